//! The one place where failures and diagnostics are written for a person (style, "Errors").

use crate::paint::Paint;
use daas_api::{DiagnosticView, Failure};
use daas_model::{Diagnostic, Severity, visible};

/// Writes a failure with its causes, its hint, and the faults behind it.
pub(crate) fn failure(failure: &Failure, paint: Paint) -> String {
    let mut text = String::new();
    if !failure.diagnostics().is_empty() {
        text.push_str(&diagnostics(failure.diagnostics(), paint));
        text.push('\n');
    }
    text.push_str(&format!(
        "{}: {}\n",
        paint.bad(&format!("error[{}]", visible(failure.code()))),
        visible(failure.message())
    ));
    for cause in failure.causes() {
        text.push_str(&format!("  caused by: {}\n", visible(cause)));
    }
    if let Some(hint) = failure.hint_text() {
        // What a program said last has lines of its own; they stay below the hint, whatever they hold.
        let lines: Vec<String> = hint.lines().map(visible).collect();
        text.push_str(&format!("  hint: {}\n", lines.join("\n    ")));
    }
    if let (daas_model::Kind::Bug, Some(id)) = (failure.kind(), failure.request_id()) {
        text.push_str(&format!("  hint: this is a fault of DaaS; please report it with the daemon's log of request {id}\n"));
    }
    text
}

/// Writes diagnostics, one below the other.
pub(crate) fn diagnostics(views: &[DiagnosticView], paint: Paint) -> String {
    views
        .iter()
        .map(|view| diagnostic(&Diagnostic::from(view), paint))
        .collect()
}

/// Writes one diagnostic.
pub(crate) fn diagnostic(diagnostic: &Diagnostic, paint: Paint) -> String {
    let text = diagnostic.to_string();
    let (head, rest) = text.split_once(": ").unwrap_or((&text, ""));
    let head = match diagnostic.severity {
        Severity::Error => paint.bad(head),
        Severity::Warning => paint.warning(head),
        Severity::Note => paint.dim(head),
    };
    format!("{head}: {rest}\n")
}

/// Writes how many faults there are: `2 errors, 1 warning`.
pub(crate) fn count(views: &[DiagnosticView]) -> String {
    let of = |severity: Severity, one: &str| {
        let n = views
            .iter()
            .filter(|view| view.severity == severity)
            .count();
        (n > 0).then(|| format!("{n} {one}{}", if n == 1 { "" } else { "s" }))
    };
    let parts: Vec<String> = [
        of(Severity::Error, "error"),
        of(Severity::Warning, "warning"),
        of(Severity::Note, "note"),
    ]
    .into_iter()
    .flatten()
    .collect();
    if parts.is_empty() {
        "no faults".into()
    } else {
        parts.join(", ")
    }
}
