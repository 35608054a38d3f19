//! How many requests a client may make.

use daas_model::Rate;
use daas_tasks::client_of;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many clients are remembered; when there are more, those whose allowance is whole again are forgotten, and then all.
const MOST: usize = 50_000;

/// Buckets of tokens, one for each client.
#[derive(Debug)]
pub(crate) struct Limiter {
    rate: Rate,
    clients: Mutex<HashMap<IpAddr, (f64, Instant)>>,
}

impl Limiter {
    pub(crate) fn new(rate: Rate) -> Self {
        Self {
            rate,
            clients: Mutex::default(),
        }
    }

    /// Takes one request; otherwise says after how long there will be one.
    pub(crate) fn take(&self, client: IpAddr, now: Instant) -> Result<(), Duration> {
        let most = f64::from(self.rate.requests);
        let per_second = most / self.rate.per.0.as_secs_f64();
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if clients.len() >= MOST {
            let whole = self.rate.per.0;
            clients.retain(|_, (_, at)| now.duration_since(*at) < whole);
            if clients.len() >= MOST {
                clients.clear();
            }
        }
        let (tokens, at) = clients.entry(client_of(client)).or_insert((most, now));
        *tokens = (*tokens + now.duration_since(*at).as_secs_f64() * per_second).min(most);
        *at = now;
        if *tokens >= 1.0 {
            *tokens -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - *tokens) / per_second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use daas_model::Span;

    #[test]
    fn a_client_gets_its_allowance_back_in_time_and_others_have_their_own() {
        let limiter = Limiter::new(Rate {
            requests: 2,
            per: Span::secs(10),
        });
        let (one, other, now) = (
            IpAddr::from([10, 0, 0, 1]),
            IpAddr::from([10, 0, 0, 2]),
            Instant::now(),
        );
        assert!(limiter.take(one, now).is_ok() && limiter.take(one, now).is_ok());
        assert_eq!(limiter.take(one, now), Err(Duration::from_secs(5)));
        assert!(limiter.take(other, now).is_ok());
        assert!(limiter.take(one, now + Duration::from_secs(5)).is_ok());
        assert!(limiter.take(one, now + Duration::from_secs(6)).is_err());
    }
}
