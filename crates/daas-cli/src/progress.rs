use crate::human;
use crate::paint::Paint;
use crate::stop::Stop;
use crate::talk::Talk;
use daas_api::{
    Accepted, Failure, NodeProgress, Operation, OperationId, OperationKind, OperationState, Phase,
};
use daas_model::{Kind, visible};
use futures_util::{StreamExt, TryStreamExt, stream};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How many operations are followed at once: each takes a descriptor, of which a process has 1,024.
const AT_ONCE: usize = 64;
/// Up to how many stands each has a line of its own.
const MOST_LINES: usize = 20;

/// Follows operations to their ends and shows how far they are; returns them in the order in which they were asked for.
pub(crate) async fn follow(talk: &Talk, accepted: &Accepted) -> Result<Vec<Operation>, Stop> {
    talk.remark(&accepted.diagnostics);
    let board = Board::new(talk, accepted.operations.len());
    let follow_one = |n: usize, id: OperationId| {
        let board = &board;
        async move {
            let mut flow = talk.client.follow_operation(&id).await?;
            let mut last = None;
            while let Some(operation) = flow.try_next().await? {
                board.show(&operation);
                let over = operation.state.is_over();
                last = Some(operation);
                if over {
                    break;
                }
            }
            let last = last.filter(|operation| operation.state.is_over());
            last.map(|operation| (n, operation)).ok_or_else(|| {
                Failure::new("operation-unfinished", Kind::Outside, format!("cannot see the end of operation `{id}`: the daemon hung up")).hint("it will be finished all the same when the daemon runs; look with `daas stand list`")
            })
        }
    };
    let following = accepted
        .operations
        .iter()
        .enumerate()
        .map(|(n, started)| follow_one(n, started.operation.clone()));
    let ended: Result<Vec<(usize, Operation)>, Failure> = stream::iter(following)
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await;
    board.close();
    let mut ended = ended?;
    ended.sort_by_key(|(n, _)| *n);
    Ok(ended.into_iter().map(|(_, operation)| operation).collect())
}

/// Returns the failure of the first operation that failed; one that was replaced is a conflict.
pub(crate) fn verdict(operations: &[Operation]) -> Result<(), Stop> {
    for operation in operations {
        match (operation.state, &operation.problem) {
            (OperationState::Failed, Some(problem)) => {
                return Err(Failure::from(problem.clone()).into());
            }
            (OperationState::Failed, None) => {
                return Err(Failure::new(
                    "operation-failed",
                    Kind::Outside,
                    format!("cannot finish operation `{}`", operation.id),
                )
                .into());
            }
            (OperationState::Replaced, _) => {
                let failure = Failure::new(
                    "operation-replaced",
                    Kind::Conflict,
                    format!(
                        "cannot finish operation `{}`: somebody asked for something else meanwhile",
                        operation.id
                    ),
                );
                return Err(failure
                    .hint("look with `daas stand list` and ask again")
                    .into());
            }
            (OperationState::Done | OperationState::Running, _) => {}
        }
    }
    Ok(())
}

/// Shows operations while they run.
struct Board {
    form: Form,
    paint: Paint,
    state: Mutex<State>,
}

enum Form {
    /// Nothing is shown.
    Silent,
    /// A line at each change, for logs of CI; of several operations, only their ends.
    Plain(Box<Talk>, usize),
    /// One moving line per node.
    Nodes(MultiProgress),
    /// One moving line per stand.
    Stands(MultiProgress),
    /// One moving line for all stands.
    Sum(ProgressBar, usize),
}

#[derive(Default)]
struct State {
    bars: HashMap<String, ProgressBar>,
    said: HashMap<String, String>,
    over: usize,
}

impl Board {
    fn new(talk: &Talk, operations: usize) -> Self {
        let form = if talk.quiet {
            Form::Silent
        } else if !talk.terminal.err_is_terminal {
            Form::Plain(Box::new(talk.clone()), operations)
        } else if operations <= 1 {
            Form::Nodes(MultiProgress::new())
        } else if operations <= MOST_LINES {
            Form::Stands(MultiProgress::new())
        } else {
            Form::Sum(moving(&MultiProgress::new()), operations)
        };
        Self {
            form,
            paint: talk.words_paint,
            state: Mutex::default(),
        }
    }

    fn show(&self, operation: &Operation) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let thing = thing(operation);
        match &self.form {
            Form::Silent => {}
            Form::Plain(talk, 2..) => {
                if operation.state.is_over() {
                    talk.say(ended(operation));
                }
            }
            Form::Plain(talk, _) => {
                for progress in &operation.nodes {
                    let key = format!("{thing}/{}", progress.node);
                    let words = words(&progress.phase, false);
                    if state.said.get(&key) != Some(&words) {
                        talk.say(format!("{thing}: {}", visible(&line(progress, &words))));
                        state.said.insert(key, words);
                    }
                }
            }
            Form::Nodes(bars) => {
                let width = operation
                    .nodes
                    .iter()
                    .map(|n| n.node.as_str().len())
                    .max()
                    .unwrap_or(0);
                for progress in &operation.nodes {
                    let bar = state
                        .bars
                        .entry(progress.node.to_string())
                        .or_insert_with(|| moving(bars));
                    bar.set_prefix(format!("{:width$}", progress.node));
                    self.set(bar, progress);
                }
            }
            Form::Stands(bars) => {
                let bar = state
                    .bars
                    .entry(thing.clone())
                    .or_insert_with(|| moving(bars));
                bar.set_prefix(thing);
                let done = operation.nodes.iter().filter(|n| is_end(&n.phase)).count();
                let current = operation
                    .nodes
                    .iter()
                    .find(|n| !is_end(&n.phase))
                    .or_else(|| {
                        operation
                            .nodes
                            .iter()
                            .find(|n| matches!(n.phase, Phase::Failed { .. }))
                    });
                let now = current
                    .map(|n| format!("  {} {}", n.node, visible(&words(&n.phase, true))))
                    .unwrap_or_default();
                let text = format!("{done}/{}{now}", operation.nodes.len());
                match operation.state {
                    OperationState::Running => bar.set_message(text),
                    OperationState::Done => bar.finish_with_message(
                        self.paint.good(&format!("done  {}", took(operation))),
                    ),
                    OperationState::Failed | OperationState::Replaced => {
                        bar.finish_with_message(self.paint.bad(&text));
                    }
                }
            }
            Form::Sum(bar, all) => {
                if operation.state.is_over() {
                    state.over += 1;
                }
                bar.set_message(format!("{} of {all} stands", state.over));
            }
        }
    }

    fn set(&self, bar: &ProgressBar, progress: &NodeProgress) {
        // The prefix says it already where a piece is named by what is done.
        let text = if is_named_by_deed(progress) {
            String::new()
        } else {
            visible(&words(&progress.phase, true))
        };
        match &progress.phase {
            Phase::Failed { .. } => bar.finish_with_message(self.paint.bad(&text)),
            phase if is_end(phase) => bar.finish_with_message(self.paint.good(&text)),
            _ => bar.set_message(text),
        }
    }

    /// Leaves the lines as they are and lets the cursor go.
    fn close(&self) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for bar in state.bars.values() {
            if !bar.is_finished() {
                bar.abandon();
            }
        }
        if let Form::Sum(bar, _) = &self.form {
            bar.abandon();
        }
    }
}

fn moving(bars: &MultiProgress) -> ProgressBar {
    let bar = bars.add(ProgressBar::new_spinner());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix}  {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// Returns what an operation is about.
fn thing(operation: &Operation) -> String {
    let stand = operation.stand.as_ref().map(ToString::to_string);
    stand
        .or_else(|| {
            operation
                .image
                .as_ref()
                .map(daas_model::ImageName::familiar)
        })
        .unwrap_or_else(|| operation.id.to_string())
}

/// Returns how long an operation took.
pub(crate) fn took(operation: &Operation) -> String {
    human::duration(
        operation
            .ended_ms
            .unwrap_or(operation.started_ms)
            .saturating_sub(operation.started_ms),
    )
}

/// Returns what was done, in the past tense.
pub(crate) fn deed(kind: OperationKind) -> &'static str {
    match kind {
        OperationKind::Up => "is up",
        OperationKind::Down => "is gone",
        OperationKind::Start => "is started",
        OperationKind::Stop => "is stopped",
        OperationKind::Restart => "is restarted",
        OperationKind::Pause => "is paused",
        OperationKind::Resume => "is resumed",
        OperationKind::Scale => "is scaled",
        OperationKind::Pull => "is here",
        OperationKind::Make => "is made",
        OperationKind::Build => "is built",
        OperationKind::Refresh => "is refreshed",
    }
}

/// Writes what became of an operation.
fn ended(operation: &Operation) -> String {
    let thing = thing(operation);
    match operation.state {
        OperationState::Done => format!("`{thing}` {} ({})", deed(operation.kind), took(operation)),
        OperationState::Failed => format!("`{thing}` failed ({})", took(operation)),
        OperationState::Replaced => format!("`{thing}` was asked for something else meanwhile"),
        OperationState::Running => format!("`{thing}` is on its way"),
    }
}

fn is_end(phase: &Phase) -> bool {
    match phase {
        Phase::Healthy
        | Phase::Running
        | Phase::Completed
        | Phase::Unchanged
        | Phase::Stopped
        | Phase::Paused
        | Phase::Removed => true,
        Phase::Queued
        | Phase::Pulling { .. }
        | Phase::Preparing { .. }
        | Phase::Waiting { .. }
        | Phase::Starting
        | Phase::Started
        | Phase::Stopping
        | Phase::Failed { .. } => false,
    }
}

/// Tells whether a piece of an image bears the name of what is done to it: `cleaning`, `reading-package-lists`.
fn is_named_by_deed(progress: &NodeProgress) -> bool {
    let Phase::Preparing { what } = &progress.phase else {
        return false;
    };
    let letters = |text: &str| -> String {
        text.chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect()
    };
    letters(what) == letters(progress.node.as_str())
}

/// Writes what a piece or node does; `words` are those of its phase.
fn line(progress: &NodeProgress, words: &str) -> String {
    if is_named_by_deed(progress) {
        words.to_owned()
    } else {
        format!("{} {words}", progress.node)
    }
}

/// Writes a phase; `exact` with numbers that change all the time.
fn words(phase: &Phase, exact: bool) -> String {
    match phase {
        Phase::Queued => "queued".into(),
        Phase::Pulling { image, done, total } if exact => {
            format!("pulling {image}  {}", amount(*done, *total))
        }
        Phase::Pulling { image, .. } => format!("pulling {image}"),
        Phase::Preparing { what } => what.clone(),
        Phase::Waiting { on } => format!("waiting for {}", on.join(", ")),
        Phase::Starting => "starting".into(),
        Phase::Started => "started, not healthy yet".into(),
        Phase::Healthy => "healthy".into(),
        Phase::Running => "running".into(),
        Phase::Completed => "completed".into(),
        Phase::Unchanged => "unchanged".into(),
        Phase::Stopping => "stopping".into(),
        Phase::Stopped => "stopped".into(),
        Phase::Paused => "paused".into(),
        Phase::Removed => "removed".into(),
        Phase::Failed { reason } => format!("failed: {reason}"),
    }
}

/// Writes a part of a whole with a bar of 20 places.
fn amount(done: u64, total: Option<u64>) -> String {
    let Some(total) = total.filter(|total| *total > 0) else {
        return human::size(done);
    };
    let filled = usize::try_from(done.min(total).saturating_mul(20) / total).unwrap_or(20);
    format!(
        "[{}{}] {} of {}",
        "#".repeat(filled),
        "-".repeat(20 - filled),
        human::size(done),
        human::size(total)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_that_is_named_by_what_is_done_is_told_once() {
        let progress = |node: &str, what: &str| NodeProgress {
            node: daas_model::NodeName::parse(node).unwrap(),
            phase: Phase::Preparing { what: what.into() },
        };
        let told = |p: NodeProgress| line(&p, &words(&p.phase, false));
        assert_eq!(
            told(progress("packing-the-layer", "packing the layer")),
            "packing the layer"
        );
        assert_eq!(told(progress("web", "building")), "web building");
    }

    #[test]
    fn an_amount_never_leaves_its_bar() {
        assert_eq!(
            amount(5 << 20, Some(10 << 20)),
            "[##########----------] 5 MiB of 10 MiB"
        );
        assert_eq!(amount(7, Some(0)), "7 B");
        assert_eq!(
            amount(u64::MAX, Some(1))
                .chars()
                .filter(|c| *c == '#')
                .count(),
            20
        );
        assert_eq!(amount(1 << 20, None), "1 MiB");
    }
}
