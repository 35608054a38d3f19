use crate::plan::DiagnosticView;
use crate::problem::{Problem, kind_of_status, status_of};
use daas_model::{Diagnostics, Explain, Kind};
use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::time::Duration;

/// An error that crosses a door: everything of an [`Explain`] error that a person or program can use.
///
/// It is no [`Error`] itself, so that any [`Explain`] becomes one by `?`.
#[derive(Clone, PartialEq, Eq)]
pub struct Failure {
    body: Box<Body>,
}

#[derive(Clone, PartialEq, Eq)]
struct Body {
    code: Cow<'static, str>,
    kind: Kind,
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
    diagnostics: Vec<DiagnosticView>,
    status: Option<u16>,
    request_id: Option<String>,
}

impl Failure {
    /// Makes a failure that stands for itself: `code` in kebab case, `message` what was attempted on what.
    #[must_use]
    pub fn new(code: &'static str, kind: Kind, message: impl Into<String>) -> Self {
        let body = Body {
            code: Cow::Borrowed(code),
            kind,
            message: message.into(),
            causes: Vec::new(),
            hint: None,
            diagnostics: Vec::new(),
            status: None,
            request_id: None,
        };
        Self {
            body: Box::new(body),
        }
    }

    /// Makes the failure of a project whose text has faults.
    #[must_use]
    pub fn of_project(diagnostics: &Diagnostics) -> Self {
        Self::new("project-invalid", Kind::Input, "cannot read the project").with(diagnostics)
    }

    /// Makes the failure of a Dockerfile that has faults.
    #[must_use]
    pub fn of_dockerfile(diagnostics: &Diagnostics) -> Self {
        Self::new(
            "dockerfile-invalid",
            Kind::Input,
            "cannot build by this Dockerfile",
        )
        .with(diagnostics)
    }

    fn with(mut self, diagnostics: &Diagnostics) -> Self {
        self.body.diagnostics = diagnostics.iter().map(DiagnosticView::from).collect();
        self
    }

    /// Adds a cause below those that are there.
    #[must_use]
    pub fn because(mut self, cause: impl Into<String>) -> Self {
        self.body.causes.push(cause.into());
        self
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.body.hint = Some(hint.into());
        self
    }

    /// Answers with this HTTP status instead of the kind's own.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.body.status = Some(status);
        self
    }

    /// Returns the stable code.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.body.code
    }

    /// Returns who can act and whether a retry helps.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.body.kind
    }

    /// Returns what was attempted, on what.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.body.message
    }

    /// Returns why, outermost cause first.
    #[must_use]
    pub fn causes(&self) -> &[String] {
        &self.body.causes
    }

    /// Returns what to do.
    #[must_use]
    pub fn hint_text(&self) -> Option<&str> {
        self.body.hint.as_deref()
    }

    /// Returns the faults of the project's text.
    #[must_use]
    pub fn diagnostics(&self) -> &[DiagnosticView] {
        &self.body.diagnostics
    }

    /// Returns the id by which the daemon's log names the request.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.body.request_id.as_deref()
    }

    /// Returns the form on the wire.
    #[must_use]
    pub fn to_problem(&self) -> Problem {
        let body = &self.body;
        let retry_after_ms = match body.kind {
            Kind::Busy { retry_after } => {
                Some(u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX))
            }
            _ => None,
        };
        Problem {
            type_uri: format!("urn:daas:error:{}", body.code),
            status: body.status.unwrap_or_else(|| status_of(body.kind)),
            code: body.code.clone().into_owned(),
            title: body.message.clone(),
            causes: body.causes.clone(),
            hint: body.hint.clone(),
            retry_after_ms,
            diagnostics: body.diagnostics.clone(),
            request_id: body.request_id.clone(),
        }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        let kind = kind_of_status(
            problem.status,
            problem.retry_after_ms.map(Duration::from_millis),
        );
        let body = Body {
            code: Cow::Owned(problem.code),
            kind,
            message: problem.title,
            causes: problem.causes,
            hint: problem.hint,
            diagnostics: problem.diagnostics,
            status: Some(problem.status),
            request_id: problem.request_id,
        };
        Self {
            body: Box::new(body),
        }
    }
}

impl<E: Explain> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut causes = Vec::new();
        let mut next = error.source();
        while let Some(cause) = next {
            causes.push(cause.to_string());
            next = cause.source();
        }
        let body = Body {
            code: Cow::Borrowed(error.code()),
            kind: error.kind(),
            message: error.to_string(),
            causes,
            hint: error.hint(),
            diagnostics: Vec::new(),
            status: None,
            request_id: None,
        };
        Self {
            body: Box::new(body),
        }
    }
}

impl fmt::Display for Failure {
    /// Prints `message: cause: cause`, for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.body.message)?;
        for cause in &self.body.causes {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Failure[{}]: {self}", self.body.code)
    }
}

/// Wraps a failure where an [`Error`] is asked for.
#[derive(Debug)]
struct AsError(Failure);

impl fmt::Display for AsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for AsError {}

impl Failure {
    /// Returns the failure as an [`Error`], for places that know nothing of doors.
    #[must_use]
    pub fn into_error(self) -> Box<dyn Error + Send + Sync> {
        Box::new(AsError(self))
    }
}
