//! Looking into stands: logs, usage, programs, files, ports.

use crate::platform::Control;
use crate::record::StandRecord;
use bytes::Bytes;
use daas_api::platform::{BoxDuplex, ByteFlow, ExecSession, Flow};
use daas_api::{
    BytesText, Caller, ExecRequest, Failure, LogChunk, LogQuery, LogStream, Pressure, StandStats,
    Usage, WindowSize,
};
use daas_keeper::log::{From, Reader, Record, Stream};
use daas_model::{Kind, NodeName, Protocol, StandId, StandName};
use daas_plan::owner_of_network;
use futures_util::StreamExt;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc;

/// How many pieces of log may wait for a slow reader; then the files are read no further.
const AHEAD: usize = 64;
/// The pause between two looks at a log that has nothing new; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(160);
/// How often usage is measured when it is followed.
const MEASURE_EVERY: Duration = Duration::from_secs(1);
/// How long a node may take to accept a forwarded connection.
const PATIENCE: Duration = Duration::from_secs(10);

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
        let mut logs = nodes
            .into_iter()
            .map(|node| NodeLog::open(node, &dir))
            .collect::<Result<Vec<_>, _>>()
            .map_err(unreadable)?;
        let id = stored.value.id;
        let control = self.clone();
        self.tasks
            .run_blocking(format!("logs of {stand}"), move || {
                let result = pass_on(&mut logs, &query, &sender, || {
                    control.engine.folder(&id).is_some()
                });
                if let Err(failure) = result {
                    // Nobody listens any more: nobody misses it.
                    let _ = sender.blocking_send(Err(failure));
                }
            });
        Ok(Box::pin(futures_util::stream::unfold(
            receiver,
            |mut receiver| async move { receiver.recv().await.map(|item| (item, receiver)) },
        )))
    }

    pub(crate) async fn measure(
        &self,
        stand: &StandName,
        follow: bool,
    ) -> Result<Flow<StandStats>, Failure> {
        let id = self.stand(stand)?.value.id;
        let first = self.stats_of(stand, &id).await?;
        if !follow {
            return Ok(Box::pin(futures_util::stream::iter([Ok(first)])));
        }
        let (control, stand) = (self.clone(), stand.clone());
        let later = futures_util::stream::unfold((), move |()| {
            let (control, stand, id) = (control.clone(), stand.clone(), id.clone());
            async move {
                tokio::time::sleep(MEASURE_EVERY).await;
                Some((control.stats_of(&stand, &id).await, ()))
            }
        });
        Ok(Box::pin(
            futures_util::stream::iter([Ok(first)]).chain(later),
        ))
    }

    async fn stats_of(&self, stand: &StandName, id: &StandId) -> Result<StandStats, Failure> {
        let usage = self.engine.usage(id).await?;
        Ok(StandStats {
            stand: stand.clone(),
            at_ms: usage.at_ms,
            total: usage_view(&usage.total),
            nodes: usage
                .nodes
                .iter()
                .map(|(name, node)| (name.clone(), usage_view(node)))
                .collect(),
        })
    }

    /// Starts a program in a node.
    pub(crate) async fn start_in(
        &self,
        record: &StandRecord,
        node: &NodeName,
        request: ExecRequest,
    ) -> Result<daas_engine::ExecSession, daas_engine::EngineError> {
        let order = crate::stand_loop::order(record);
        let wanted = daas_engine::ExecRequest {
            argv: request.command,
            user: request.user,
            working_dir: request.working_dir,
            environment: request.environment,
            stdin: request.stdin,
            tty: request
                .tty
                .then(|| request.size.map_or((24, 80), |s| (s.rows, s.columns))),
        };
        self.engine.exec(&order, node, wanted).await
    }

    pub(crate) async fn run_in(
        &self,
        caller: &Caller,
        stand: &StandName,
        node: &NodeName,
        request: ExecRequest,
    ) -> Result<ExecSession, Failure> {
        let (id, stored) = self.node(stand, node)?;
        if request.command.is_empty() {
            return Err(
                Failure::new("exec-empty", Kind::Input, "cannot run nothing")
                    .hint("name a program behind the node"),
            );
        }
        tracing::info!(%caller, %stand, %node, command = %request.command[0], "exec");
        let session = self.start_in(&stored.value, node, request).await?;
        let (resize, mut sizes) = mpsc::channel::<WindowSize>(8);
        let (engine, at, number) = (self.engine.clone(), node.clone(), session.exec);
        self.tasks.run(format!("terminal in {stand}/{node}"), |shutdown| async move {
            loop {
                tokio::select! {
                    size = sizes.recv() => match size {
                        Some(size) => { let _ = engine.resize(&id, &at, number, (size.rows, size.columns)).await; }
                        None => return,
                    },
                    () = shutdown.asked() => return,
                }
            }
        });
        Ok(ExecSession {
            stdin: session.stdin.map(|pipe| Box::pin(pipe) as _),
            stdout: Box::pin(session.stdout),
            stderr: session.stderr.map(|pipe| Box::pin(pipe) as _),
            resize,
            exit: Box::pin(async move {
                let end = session.exit.await.map_err(Failure::from)?;
                Ok(end.code)
            }),
        })
    }

    pub(crate) async fn read_archive(
        &self,
        stand: &StandName,
        node: &NodeName,
        path: &str,
    ) -> Result<ByteFlow, Failure> {
        let (id, _) = self.node(stand, node)?;
        let (archive, done) = self.engine.copy_out(&id, node, path).await?;
        let bytes = tokio_util::io::ReaderStream::with_capacity(archive, 128 << 10).map(|chunk| {
            chunk.map_err(|e| {
                Failure::new(
                    "copy-read",
                    Kind::Outside,
                    format!("cannot read the archive: {e}"),
                )
            })
        });
        // What failed inside is told behind the bytes that came.
        let end = futures_util::stream::once(async move { done.await.map_err(Failure::from) })
            .filter_map(|end| async move { end.err().map(Err::<Bytes, _>) });
        Ok(Box::pin(bytes.chain(end)))
    }

    pub(crate) async fn write_archive(
        &self,
        caller: &Caller,
        stand: &StandName,
        node: &NodeName,
        path: &str,
        mut archive: ByteFlow,
    ) -> Result<(), Failure> {
        use tokio::io::AsyncWriteExt;
        let (id, _) = self.node(stand, node)?;
        tracing::info!(%caller, %stand, %node, path, "copy in");
        let (mut pipe, done) = self.engine.copy_in(&id, node, path).await?;
        while let Some(chunk) = archive.next().await {
            if pipe.write_all(&chunk?).await.is_err() {
                // The other side has stopped reading: its answer says why.
                break;
            }
        }
        drop(pipe);
        Ok(done.await?)
    }

    pub(crate) async fn reach(
        &self,
        caller: &Caller,
        stand: &StandName,
        node: &NodeName,
        port: u16,
        protocol: Protocol,
    ) -> Result<BoxDuplex, Failure> {
        let (id, stored) = self.node(stand, node)?;
        let record = &stored.value;
        let owner = owner_of_network(&record.spec, node);
        let address = record
            .addresses
            .nodes
            .get(owner)
            .and_then(|n| n.values().flatten().next().copied())
            .ok_or_else(|| {
                Failure::new(
                    "node-no-network",
                    Kind::Conflict,
                    format!("cannot reach node `{node}`"),
                )
                .because("it has no network")
            })?;
        tracing::debug!(%caller, %stand, %node, port, "forward");
        let net = self.engine.net(&id)?;
        let target = SocketAddr::new(address, port);
        match protocol {
            Protocol::Tcp => Ok(Box::pin(
                self.engine
                    .dialer()
                    .connect_tcp(&net, target, PATIENCE)
                    .await?,
            )),
            Protocol::Udp => {
                let socket = self.engine.dialer().connect_udp(&net, target).await?;
                Ok(Box::pin(crate::datagrams::carry(socket, &self.tasks)))
            }
        }
    }
}

fn usage_view(usage: &daas_engine::Usage) -> Usage {
    Usage {
        cpu_us: usage.cpu_us,
        throttled_us: usage.throttled_us,
        memory_bytes: usage.memory,
        memory_peak_bytes: usage.memory_peak,
        memory_limit_bytes: usage.memory_limit,
        pids: usage.pids,
        pids_limit: usage.pids_limit,
        io_read_bytes: usage.io_read,
        io_written_bytes: usage.io_written,
        net_received_bytes: usage.net_received,
        net_sent_bytes: usage.net_sent,
        disk_bytes: usage.disk,
        pressure: usage
            .pressure
            .map(|(cpu, memory, io)| Pressure { cpu, memory, io }),
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

/// Sends records of all logs in the order of their times until the end, or as long as somebody listens and the stand is there.
fn pass_on(
    logs: &mut [NodeLog],
    query: &LogQuery,
    sender: &mpsc::Sender<Result<LogChunk, Failure>>,
    there: impl Fn() -> bool,
) -> Result<(), Failure> {
    if let Some(lines) = query.tail {
        for log in logs.iter_mut() {
            log.keep_tail(lines).map_err(unreadable)?;
        }
    }
    let mut heads: Vec<Option<Record>> = logs.iter().map(|_| None).collect();
    let mut pause = FIRST_PAUSE;
    loop {
        for (head, log) in heads.iter_mut().zip(logs.iter_mut()) {
            if head.is_none() {
                *head = log.next().map_err(unreadable)?;
            }
        }
        let next = heads
            .iter()
            .enumerate()
            .filter_map(|(at, head)| head.as_ref().map(|h| (h.time_ns, at)))
            .min();
        if let Some((time_ns, at)) = next {
            pause = FIRST_PAUSE;
            let Some(record) = heads[at].take() else {
                continue;
            };
            if query
                .since_ms
                .is_some_and(|since| time_ns / 1_000_000 < since)
            {
                continue;
            }
            let stream = match record.stream {
                Stream::Output => LogStream::Stdout,
                Stream::Error => LogStream::Stderr,
            };
            let chunk = LogChunk {
                node: logs[at].node.clone(),
                stream,
                at_us: time_ns / 1000,
                bytes: BytesText(record.bytes),
            };
            if sender.blocking_send(Ok(chunk)).is_err() {
                return Ok(());
            }
            continue;
        }
        if !query.follow || sender.is_closed() || !there() {
            return Ok(());
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
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
