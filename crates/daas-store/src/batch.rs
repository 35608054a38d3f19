use crate::error::StoreError;
use crate::record::{Record, Revision};
use serde::Serialize;
use std::fmt;

/// What a record must be like for a change of it to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Anything, absent included.
    Any,
    /// Absent.
    Absent,
    /// Last changed at this revision.
    Revision(Revision),
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("anything"),
            Self::Absent => f.write_str("absent"),
            Self::Revision(revision) => write!(f, "revision {revision}"),
        }
    }
}

/// Changes that happen together or not at all.
#[derive(Debug, Default)]
#[must_use = "a batch does nothing until it is committed"]
pub struct Batch {
    pub(crate) changes: Vec<Edit>,
}

#[derive(Debug)]
pub(crate) enum Edit {
    Put {
        kind: &'static str,
        key: String,
        json: String,
        expect: Expect,
    },
    Delete {
        kind: &'static str,
        key: String,
        expect: Expect,
    },
    Event {
        topic: String,
        at_ms: u64,
        json: String,
    },
}

impl Batch {
    /// Makes an empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds: keep `value` under `key`, whatever is there.
    ///
    /// # Errors
    /// [`StoreError::Record`] if the value has no JSON form.
    pub fn put<T: Record>(self, key: &str, value: &T) -> Result<Self, StoreError> {
        self.put_if(key, value, Expect::Any)
    }

    /// Adds: keep `value` under `key` if what is there is as expected; otherwise nothing of the batch happens.
    ///
    /// # Errors
    /// [`StoreError::Record`] if the value has no JSON form.
    pub fn put_if<T: Record>(
        mut self,
        key: &str,
        value: &T,
        expect: Expect,
    ) -> Result<Self, StoreError> {
        let json = to_json(T::KIND, key, value)?;
        self.changes.push(Edit::Put {
            kind: T::KIND,
            key: key.to_owned(),
            json,
            expect,
        });
        Ok(self)
    }

    /// Adds: forget what is under `key`. Nothing there is no fault.
    pub fn delete<T: Record>(self, key: &str) -> Self {
        self.delete_if::<T>(key, Expect::Any)
    }

    /// Adds: forget what is under `key` if it is as expected; otherwise nothing of the batch happens.
    pub fn delete_if<T: Record>(mut self, key: &str, expect: Expect) -> Self {
        self.changes.push(Edit::Delete {
            kind: T::KIND,
            key: key.to_owned(),
            expect,
        });
        self
    }

    /// Adds an event about `topic` (for stands: the stand's name), at `at_ms` milliseconds of the Unix clock.
    ///
    /// # Errors
    /// [`StoreError::Record`] if the value has no JSON form.
    pub fn event(
        mut self,
        topic: &str,
        at_ms: u64,
        value: &impl Serialize,
    ) -> Result<Self, StoreError> {
        let json = to_json("event", topic, value)?;
        self.changes.push(Edit::Event {
            topic: topic.to_owned(),
            at_ms,
            json,
        });
        Ok(self)
    }

    /// Tells whether nothing would happen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

fn to_json(kind: &str, key: &str, value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Record {
        kind: kind.to_owned(),
        key: key.to_owned(),
        why: error.to_string(),
    })
}
