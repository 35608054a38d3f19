//! Where answers to challenges are put. Other rooms fulfil these traits; the house brings them together.

use crate::name::CertName;
use daas_tasks::TaskError;
use futures_util::future::BoxFuture;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A name server into which TXT records can be put.
pub trait DnsAnswers: fmt::Debug + Send + Sync {
    /// Tells whether it answers for `name`.
    fn serves(&self, name: &CertName) -> bool;
    /// Adds a TXT record; others of the name stay. Ends when the server answers with it.
    fn set_txt<'a>(
        &'a self,
        name: &'a CertName,
        value: &'a str,
    ) -> BoxFuture<'a, Result<(), TaskError>>;
    /// Takes exactly this TXT record away; one that is not there is no fault.
    fn remove_txt<'a>(
        &'a self,
        name: &'a CertName,
        value: &'a str,
    ) -> BoxFuture<'a, Result<(), TaskError>>;
}

/// Answers at `/.well-known/acme-challenge/<token>` (RFC 8555, section 8.3).
#[derive(Debug, Default)]
pub struct HttpAnswers {
    tokens: Mutex<HashMap<String, Answer>>,
}

#[derive(Debug)]
struct Answer {
    text: String,
    asked: u32,
}

impl HttpAnswers {
    fn tokens(&self) -> MutexGuard<'_, HashMap<String, Answer>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, token: &str, text: String) {
        self.tokens()
            .insert(token.to_owned(), Answer { text, asked: 0 });
    }

    /// Forgets a token; returns how often it was asked for.
    pub(crate) fn remove(&self, token: &str) -> u32 {
        self.tokens().remove(token).map_or(0, |answer| answer.asked)
    }

    pub(crate) fn asked(&self, token: &str) -> u32 {
        self.tokens().get(token).map_or(0, |answer| answer.asked)
    }

    /// Returns what to answer for `token`, as `application/octet-stream`; nothing (404) if nobody waits for it.
    #[must_use]
    pub fn answer(&self, token: &str) -> Option<String> {
        let mut tokens = self.tokens();
        let answer = tokens.get_mut(token)?;
        answer.asked += 1;
        Some(answer.text.clone())
    }
}
