use crate::exit;
use daas_api::Failure;
use daas_model::Kind;
use std::io;

/// Why a command ends before its end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It failed.
    Failed(Failure),
    /// It has said all that there is to say, and ends with this code.
    Said(u8),
    /// Nobody reads its output any more.
    Unread,
}

impl Stop {
    /// Makes the failure of a wish that cannot be fulfilled.
    pub(crate) fn input(code: &'static str, message: impl Into<String>) -> Failure {
        Failure::new(code, Kind::Input, message)
    }

    /// Makes the failure of a local step.
    pub(crate) fn io(
        action: &str,
        place: impl std::fmt::Display,
    ) -> impl FnOnce(io::Error) -> Self {
        let message = format!("cannot {action} `{place}`");
        move |error| {
            let kind = match error.kind() {
                io::ErrorKind::NotFound => Kind::NotFound,
                io::ErrorKind::PermissionDenied => Kind::Forbidden,
                _ => Kind::Outside,
            };
            Self::Failed(Failure::new("file-failed", kind, message).because(error.to_string()))
        }
    }

    /// Adds what to do.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        match self {
            Self::Failed(failure) => Self::Failed(failure.hint(hint)),
            other => other,
        }
    }

    /// Returns the code that the program ends with.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Failed(failure) => exit::of(failure.kind()),
            Self::Said(code) => *code,
            Self::Unread => exit::DONE,
        }
    }
}

impl<E> From<E> for Stop
where
    Failure: From<E>,
{
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// What a write to the terminal failed with.
pub(crate) fn unwritten(error: io::Error) -> Stop {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Stop::Unread;
    }
    Stop::Failed(
        Failure::new("output-failed", Kind::Outside, "cannot write the output")
            .because(error.to_string()),
    )
}
