use daas_model::{Diagnostic, Place, Severity, StandName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A place in a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlaceView {
    /// The file as the user named it.
    pub file: String,
    /// The line, from 1; 0 when the whole file is meant.
    pub line: u32,
    /// The column in characters, from 1; 0 when the whole line is meant.
    pub column: u32,
}

/// One fault or remark about a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DiagnosticView {
    /// How bad it is: `error`, `warning`, `note`.
    #[schema(value_type = String)]
    pub severity: Severity,
    /// The stable code.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// Where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<PlaceView>,
    /// Why it is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl From<&Place> for PlaceView {
    fn from(place: &Place) -> Self {
        Self {
            file: place.file.clone(),
            line: place.line,
            column: place.column,
        }
    }
}

impl From<&Diagnostic> for DiagnosticView {
    fn from(d: &Diagnostic) -> Self {
        Self {
            severity: d.severity,
            code: d.code.clone(),
            message: d.message.clone(),
            place: d.place.as_ref().map(PlaceView::from),
            cause: d.cause.clone(),
            hint: d.hint.clone(),
        }
    }
}

impl From<&DiagnosticView> for Diagnostic {
    fn from(view: &DiagnosticView) -> Self {
        let mut d = Self::new(view.severity, view.code.clone(), view.message.clone());
        d.place = view.place.as_ref().map(|p| Place {
            file: p.file.clone(),
            line: p.line,
            column: p.column,
        });
        d.cause.clone_from(&view.cause);
        d.hint.clone_from(&view.hint);
        d
    }
}

/// One thing that the project says and that has no effect here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IgnoredView {
    /// How much it matters: a warning may change what the project does, a note does not.
    #[schema(value_type = String)]
    pub severity: Severity,
    /// The key, `services.web.logging`.
    pub key: String,
    /// Why it has none.
    pub why: String,
    /// Where it is said.
    pub place: PlaceView,
}

/// What would happen to one stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanView {
    /// The stand.
    #[schema(value_type = String)]
    pub stand: StandName,
    /// Whether it exists now.
    pub exists: bool,
    /// What would be done, in order.
    pub steps: Vec<PlanStep>,
    /// What has no effect here.
    pub ignored: Vec<IgnoredView>,
    /// Faults and remarks; what is refused by policy is an error among them.
    pub diagnostics: Vec<DiagnosticView>,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanStep {
    /// What is done: `make`, `start`, `replace`, `stop`, `remove`, `pull`, ...
    pub action: String,
    /// On what: `node web`, `network default`, `image nginx:latest`.
    pub subject: String,
    /// Why.
    pub reason: String,
}
