//! Looking into stands: usage, programs, files, ports.

use crate::platform::Control;
use crate::record::StandRecord;
use bytes::Bytes;
use daas_api::platform::{BoxDuplex, ByteFlow, ExecSession, Flow};
use daas_api::{Caller, ExecRequest, Failure, Pressure, StandStats, Usage, WindowSize};
use daas_model::{Kind, NodeName, Protocol, StandId, StandName};
use daas_plan::owner_of_network;
use futures_util::StreamExt;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::mpsc;

/// How often usage is measured when it is followed.
const MEASURE_EVERY: Duration = Duration::from_secs(1);
/// How long a node may take to accept a forwarded connection.
const PATIENCE: Duration = Duration::from_secs(10);

impl Control {
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
        let mut bytes =
            tokio_util::io::ReaderStream::with_capacity(archive, 128 << 10).map(|chunk| {
                chunk.map_err(|e| {
                    Failure::new(
                        "copy-read",
                        Kind::Outside,
                        format!("cannot read the archive: {e}"),
                    )
                })
            });
        // Nothing at all came: the keeper's answer says why, while the caller can still be told.
        let Some(first) = bytes.next().await else {
            done.await?;
            return Ok(Box::pin(futures_util::stream::empty()));
        };
        let first = futures_util::stream::iter([first]);
        // What fails later is told behind the bytes that came.
        let end = futures_util::stream::once(async move { done.await.map_err(Failure::from) })
            .filter_map(|end| async move { end.err().map(Err::<Bytes, _>) });
        Ok(Box::pin(first.chain(bytes).chain(end)))
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
