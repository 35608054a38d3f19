//! Logs of nodes, read from their files in the order of their times.
//!
//! Nothing here holds a thread while it waits, for a log or for who reads it: hundreds may follow logs.

use crate::platform::Control;
use daas_api::platform::Flow;
use daas_api::{BytesText, Failure, LogChunk, LogQuery, LogStream};
use daas_keeper::log::{From, Reader, Record, Stream};
use daas_model::{Kind, NodeName, StandName};
use daas_tasks::{Shutdown, Supervisor};
use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc;

/// How many pieces of log may wait for a slow reader; then the files are read no further.
const AHEAD: usize = 16;
/// The most pieces, and about the most bytes, that are read at once.
const BATCH: usize = 64;
const BATCH_BYTES: usize = 256 << 10;
/// The pause between two looks at a log that has nothing new; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(160);

impl Control {
    pub(crate) async fn read_logs(
        &self,
        stand: &StandName,
        query: LogQuery,
    ) -> Result<Flow<LogChunk>, Failure> {
        let stored = self.stand(stand)?;
        let nodes = query
            .nodes()
            .map_err(|e| Failure::new("node-name", Kind::Input, e.to_string()))?;
        for node in &nodes {
            self.node(stand, node)?;
        }
        let nodes: Vec<NodeName> = if nodes.is_empty() {
            stored.value.spec.nodes.keys().cloned().collect()
        } else {
            nodes
        };
        let Some(dir) = self.engine.folder(&stored.value.id) else {
            return Ok(Box::pin(futures_util::stream::empty()));
        };
        let (sender, receiver) = mpsc::channel(AHEAD);
        let logs = Logs::open(nodes, &dir, &query).map_err(unreadable)?;
        let (id, control, tasks) = (stored.value.id, self.clone(), self.tasks.clone());
        self.tasks
            .run(format!("logs of {stand}"), |shutdown| async move {
                let there = || query.follow && control.engine.folder(&id).is_some();
                if let Err(failure) = pass_on(logs, &tasks, &sender, there, shutdown).await {
                    // Nobody listens any more: nobody misses it.
                    let _ = sender.send(Err(failure)).await;
                }
            });
        Ok(Box::pin(futures_util::stream::unfold(
            receiver,
            |mut receiver| async move { receiver.recv().await.map(|item| (item, receiver)) },
        )))
    }
}

/// Logs of several nodes as one.
struct Logs {
    of: Vec<NodeLog>,
    /// The next record of each, where it is read already.
    heads: Vec<Option<Record>>,
    since_ms: Option<u64>,
    /// The lines of each that are wanted at the beginning, until they are found.
    tail: Option<u64>,
}

impl Logs {
    fn open(nodes: Vec<NodeName>, dir: &Path, query: &LogQuery) -> std::io::Result<Self> {
        let of = nodes
            .into_iter()
            .map(|node| NodeLog::open(node, dir))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            heads: of.iter().map(|_| None).collect(),
            of,
            since_ms: query.since_ms,
            tail: query.tail,
        })
    }

    /// Returns what is there and was not returned yet, the oldest first; nothing if there is nothing new.
    fn read(&mut self) -> std::io::Result<Vec<LogChunk>> {
        if let Some(lines) = self.tail.take() {
            for log in &mut self.of {
                log.keep_tail(lines)?;
            }
        }
        let (mut batch, mut size) = (Vec::new(), 0);
        while batch.len() < BATCH && size < BATCH_BYTES {
            let Some(chunk) = self.next()? else { break };
            size += chunk.bytes.0.len();
            batch.push(chunk);
        }
        Ok(batch)
    }

    fn next(&mut self) -> std::io::Result<Option<LogChunk>> {
        loop {
            for (head, log) in self.heads.iter_mut().zip(&mut self.of) {
                if head.is_none() {
                    *head = log.next()?;
                }
            }
            let oldest = self
                .heads
                .iter_mut()
                .zip(&self.of)
                .filter_map(|(head, log)| Some((head.as_ref()?.time_ns, head, log)))
                .min_by_key(|(time_ns, ..)| *time_ns);
            let Some((time_ns, head, log)) = oldest else {
                return Ok(None);
            };
            let too_old = self
                .since_ms
                .is_some_and(|since| time_ns / 1_000_000 < since);
            let Some(record) = head.take().filter(|_| !too_old) else {
                continue;
            };
            let stream = match record.stream {
                Stream::Output => LogStream::Stdout,
                Stream::Error => LogStream::Stderr,
            };
            return Ok(Some(LogChunk {
                node: log.node.clone(),
                stream,
                at_us: time_ns / 1000,
                bytes: BytesText(record.bytes),
            }));
        }
    }
}

/// Sends what comes until the end, or as long as somebody listens, more may come, and the daemon goes on.
async fn pass_on(
    mut logs: Logs,
    tasks: &Supervisor,
    sender: &mpsc::Sender<Result<LogChunk, Failure>>,
    more_may_come: impl Fn() -> bool,
    shutdown: Shutdown,
) -> Result<(), Failure> {
    let mut pause = FIRST_PAUSE;
    loop {
        // Asked before the files are read: what was written before the end is sent.
        let more = more_may_come();
        let reading = tasks.run_blocking("read logs", move || {
            let batch = logs.read();
            (logs, batch)
        });
        let Ok((read_on, batch)) = reading.await else {
            return Err(unreadable(std::io::Error::other("the reading was ended")));
        };
        logs = read_on;
        let batch = batch.map_err(unreadable)?;
        let nothing_new = batch.is_empty();
        for chunk in batch {
            if sender.send(Ok(chunk)).await.is_err() {
                return Ok(());
            }
        }
        if !nothing_new {
            pause = FIRST_PAUSE;
            continue;
        }
        if !more {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = sender.closed() => return Ok(()),
            () = shutdown.asked() => return Ok(()),
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// The log of one node while it is read.
struct NodeLog {
    node: NodeName,
    reader: Reader,
    /// Records that were read and are not sent yet, in order.
    ready: VecDeque<Record>,
}

impl NodeLog {
    fn open(node: NodeName, dir: &Path) -> std::io::Result<Self> {
        let reader = Reader::open(&dir.join("logs").join(format!("{node}.log")), From::Oldest)?;
        Ok(Self {
            node,
            reader,
            ready: VecDeque::new(),
        })
    }

    /// Returns the next record; nothing if there is none yet.
    fn next(&mut self) -> std::io::Result<Option<Record>> {
        if let Some(record) = self.ready.pop_front() {
            return Ok(Some(record));
        }
        self.reader.read_next()
    }

    /// Leaves only the last `lines` lines of what is there now.
    fn keep_tail(&mut self, lines: u64) -> std::io::Result<()> {
        let mut kept: VecDeque<Record> = VecDeque::new();
        let mut ends = 0u64;
        while let Some(record) = self.next()? {
            ends += line_ends(&record.bytes);
            kept.push_back(record);
            // A record goes when the wanted lines lie behind it; one more line end is kept, because it is where the first wanted line begins.
            while let Some(first) = kept.front() {
                let inside = line_ends(&first.bytes);
                if ends - inside <= lines {
                    break;
                }
                ends -= inside;
                kept.pop_front();
            }
        }
        cut_front(&mut kept, ends, lines);
        self.ready = kept;
        Ok(())
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err wants"
)]
fn unreadable(error: std::io::Error) -> Failure {
    Failure::new("log-read", Kind::Outside, "cannot read a log").because(error.to_string())
}

fn line_ends(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|b| **b == b'\n').count() as u64
}

/// Cuts whole lines from the front until `lines` are left; a last line without its end counts as one.
fn cut_front(kept: &mut VecDeque<Record>, ends: u64, lines: u64) {
    let open = kept.back().is_some_and(|r| r.bytes.last() != Some(&b'\n'));
    let mut spare = (ends + u64::from(open)).saturating_sub(lines);
    while spare > 0 {
        let Some(first) = kept.front_mut() else {
            return;
        };
        match first.bytes.iter().position(|b| *b == b'\n') {
            Some(at) => {
                first.bytes.drain(..=at);
                spare -= 1;
            }
            None => first.bytes.clear(),
        }
        if first.bytes.is_empty() {
            kept.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(time_ns: u64, bytes: &str) -> Record {
        Record {
            at: 0,
            next: 0,
            time_ns,
            stream: Stream::Output,
            bytes: bytes.as_bytes().to_vec(),
        }
    }

    #[test]
    fn the_tail_is_cut_at_lines_not_at_records() {
        for (pieces, lines, left) in [
            (vec!["a\nb\n", "c\n"], 2, "b\nc\n"),
            (vec!["a\nb", "c\nd"], 1, "d"),
            (vec!["a\nb", "c\nd"], 2, "bc\nd"),
            (vec!["a\n"], 5, "a\n"),
            (vec!["a\n", "b\n"], 0, ""),
        ] {
            let mut kept: VecDeque<Record> = pieces.iter().map(|p| record(1, p)).collect();
            let ends = kept.iter().map(|r| line_ends(&r.bytes)).sum();
            cut_front(&mut kept, ends, lines);
            let text: Vec<u8> = kept.into_iter().flat_map(|r| r.bytes).collect();
            assert_eq!(String::from_utf8(text).unwrap(), left, "{pieces:?} {lines}");
        }
    }
}
