use daas_api::{Accepted, Failure};
use daas_model::Kind;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a key is remembered.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// How many keys are remembered: about 10 MB.
const MOST: usize = 10_000;

/// Remembers the answers to requests that bore a key.
///
/// It lives with the daemon: a stand that is asked for twice under one name is one stand in any case.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    known: Mutex<HashMap<String, Entry>>,
}

#[derive(Debug)]
struct Entry {
    body: [u8; 32],
    since: Instant,
    /// Nothing while the first request is being done.
    answer: Option<Accepted>,
}

/// What is known of a key.
#[derive(Debug)]
pub(crate) enum Known {
    /// Nothing: do it, then [`Claim::answered`].
    No,
    /// It was done, with this answer.
    Done(Accepted),
}

/// A key that is being worked on; it is forgotten if no answer comes.
pub(crate) struct Claim<'a> {
    keys: &'a Keys,
    key: Option<String>,
}

impl Keys {
    /// Looks for the key and takes it if it is new.
    pub(crate) fn claim(
        &self,
        who: &str,
        key: &str,
        body: &[u8],
    ) -> Result<(Known, Claim<'_>), Failure> {
        if key.is_empty() || key.len() > 128 || !key.bytes().all(|b| (0x21..0x7f).contains(&b)) {
            return Err(Failure::new("key-invalid", Kind::Input, "cannot use the `Idempotency-Key`: it is no text of 1 to 128 visible ASCII characters").with_status(400));
        }
        let body: [u8; 32] = Sha256::digest(body).into();
        // A key is its owner's: nobody reads another's answer by guessing it.
        let key = format!("{who} {key}");
        let mut known = locked(&self.known);
        if known.len() >= MOST {
            known.retain(|_, entry| entry.since.elapsed() < KEPT);
        }
        if known.len() >= MOST {
            let oldest = known
                .iter()
                .min_by_key(|(_, entry)| entry.since)
                .map(|(key, _)| key.clone());
            oldest.and_then(|key| known.remove(&key));
        }
        match known.get(&key).filter(|entry| entry.since.elapsed() < KEPT) {
            Some(entry) if entry.body != body => Err(Failure::new(
                "key-reused",
                Kind::Input,
                "cannot use the `Idempotency-Key` again: its first request was another one",
            )
            .hint("use a new key for a new request")),
            Some(Entry {
                answer: Some(answer),
                ..
            }) => Ok((
                Known::Done(answer.clone()),
                Claim {
                    keys: self,
                    key: None,
                },
            )),
            Some(_) => Err(Failure::new(
                "key-busy",
                Kind::Busy {
                    retry_after: Duration::from_secs(1),
                },
                "cannot answer yet: the first request with this `Idempotency-Key` is being done",
            )),
            None => {
                known.insert(
                    key.clone(),
                    Entry {
                        body,
                        since: Instant::now(),
                        answer: None,
                    },
                );
                Ok((
                    Known::No,
                    Claim {
                        keys: self,
                        key: Some(key),
                    },
                ))
            }
        }
    }
}

impl Claim<'_> {
    /// Remembers the answer.
    pub(crate) fn answered(mut self, answer: &Accepted) {
        if let Some(key) = self.key.take()
            && let Some(entry) = locked(&self.keys.known).get_mut(&key)
        {
            entry.answer = Some(answer.clone());
        }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            locked(&self.keys.known).remove(&key);
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_answers_again_what_it_answered_first() {
        let keys = Keys::default();
        let answer = Accepted {
            operations: Vec::new(),
            diagnostics: Vec::new(),
        };
        let (known, claim) = keys.claim("uid 0", "k1", b"body").unwrap();
        assert!(matches!(known, Known::No));
        assert_eq!(
            keys.claim("uid 0", "k1", b"body").err().unwrap().code(),
            "key-busy"
        );
        claim.answered(&answer);
        assert!(
            matches!(keys.claim("uid 0", "k1", b"body").unwrap().0, Known::Done(again) if again == answer)
        );
        assert_eq!(
            keys.claim("uid 0", "k1", b"other").err().unwrap().code(),
            "key-reused"
        );
        assert!(
            matches!(keys.claim("uid 7", "k1", b"other").unwrap().0, Known::No),
            "another's key is another key"
        );
    }

    #[test]
    fn a_request_that_failed_leaves_its_key_free() {
        let keys = Keys::default();
        drop(keys.claim("uid 0", "k1", b"body").unwrap());
        assert!(matches!(
            keys.claim("uid 0", "k1", b"other").unwrap().0,
            Known::No
        ));
        for bad in ["", "a b", "a\n", &"a".repeat(129), "é"] {
            assert_eq!(
                keys.claim("uid 0", bad, b"").err().unwrap().code(),
                "key-invalid"
            );
        }
    }

    #[test]
    fn old_keys_make_room_for_new_ones() {
        let keys = Keys::default();
        let answer = Accepted {
            operations: Vec::new(),
            diagnostics: Vec::new(),
        };
        for n in 0..MOST + 10 {
            keys.claim("uid 0", &format!("k{n}"), b"")
                .unwrap()
                .1
                .answered(&answer);
        }
        assert_eq!(locked(&keys.known).len(), MOST);
    }
}
