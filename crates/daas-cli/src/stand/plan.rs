use super::Wanted;
use crate::complain;
use crate::exit;
use crate::stop::Stop;
use crate::table::{Table, Tone};
use crate::talk::Talk;
use clap::Args;
use daas_api::{DiagnosticView, PlanView};
use daas_model::Severity;

/// Tells what an `up` would do.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    wanted: Wanted,
}

pub(crate) async fn run(plan: Plan, talk: &Talk) -> Result<(), Stop> {
    // The plan holds every remark.
    let request = plan.wanted.request(&talk.silent())?;
    let plans = talk.client.plan(&request).await?;
    if talk.json {
        talk.json(&plans)?;
    } else {
        for (n, plan) in plans.iter().enumerate() {
            if n > 0 {
                talk.data("\n")?;
            }
            talk.data(text(plan, talk))?;
        }
    }
    let refused = plans
        .iter()
        .flat_map(|plan| &plan.diagnostics)
        .any(|d| d.severity == Severity::Error);
    if refused {
        Err(Stop::Said(exit::INPUT))
    } else {
        Ok(())
    }
}

fn text(plan: &PlanView, talk: &Talk) -> String {
    let paint = talk.paint;
    let what = if plan.exists {
        "would be changed"
    } else {
        "would be made"
    };
    let faultless = plan
        .diagnostics
        .iter()
        .all(|d| d.severity == Severity::Note);
    let mut text = if plan.steps.is_empty() && faultless {
        format!("stand `{}` is as it should be\n", plan.stand)
    } else {
        format!("stand `{}` {what}:\n", paint.bold(plan.stand.as_str()))
    };
    if !plan.steps.is_empty() {
        let mut table = Table::new(&["DO", "ON", "BECAUSE"]);
        for step in &plan.steps {
            table.row([
                step.action.clone(),
                step.subject.clone(),
                step.reason.clone(),
            ]);
        }
        text.push_str(&table.text(paint));
    }
    if !plan.ignored.is_empty() {
        text.push_str("\nwithout effect here:\n");
        let mut table = Table::new(&["KEY", "WHY", "WHERE"]);
        for ignored in &plan.ignored {
            let tone = if ignored.severity == Severity::Note {
                Tone::Dim
            } else {
                Tone::Warning
            };
            table.painted([
                (ignored.key.clone(), tone),
                (ignored.why.clone(), Tone::Plain),
                (
                    format!("{}:{}", ignored.place.file, ignored.place.line),
                    Tone::Dim,
                ),
            ]);
        }
        text.push_str(&table.text(paint));
    }
    // A key without effect has its row above.
    let has_row = |diagnostic: &DiagnosticView| {
        let place = diagnostic.place.as_ref();
        diagnostic.code == "key-unsupported" && plan.ignored.iter().any(|i| Some(&i.place) == place)
    };
    let mut others = talk.untold(&plan.diagnostics);
    others.retain(|diagnostic| !has_row(diagnostic));
    if !others.is_empty() {
        text.push('\n');
        text.push_str(&complain::diagnostics(&others, paint));
    }
    text
}
