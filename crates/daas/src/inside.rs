//! Names of the platform inside of stands: who asks there is answered that they are at his own gateway, and finds the ingress there.

use crate::config::Config;
use crate::dns::Names;
use crate::ingress::Gates;
use daas_dns::{Asked, Dns};
use daas_engine::InnerEdge;
use daas_ingress::{Ingress, Listener};
use daas_model::Egress;
use daas_tasks::{Handle, Shutdown, Supervisor};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UdpSocket};

/// The longest question over UDP (RFC 8085 advises against more than what passes every path).
const LONGEST: usize = 1500;

/// How long others may take: the keeper waits no longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The ingress and the name server, as stands see them.
pub(crate) struct EdgeInside {
    dns: Dns,
    ingress: Ingress,
    zones: BTreeSet<String>,
    ports: BTreeSet<(u16, bool)>,
    tasks: Supervisor,
}

impl EdgeInside {
    pub(crate) fn of(
        config: &Config,
        names: &Names,
        gates: &Gates,
        ingress: &Ingress,
        tasks: &Supervisor,
    ) -> Arc<Self> {
        let own = names.zone().to_string();
        let zones = [Some(own), config.ingress.zone.clone()];
        Arc::new(Self {
            dns: names.server().clone(),
            ingress: ingress.clone(),
            zones: zones
                .into_iter()
                .flatten()
                .map(|zone| zone.trim_end_matches('.').to_ascii_lowercase())
                .collect(),
            ports: gates.ports_inside(),
            tasks: tasks.clone(),
        })
    }
}

impl InnerEdge for EdgeInside {
    fn zones(&self) -> Vec<String> {
        self.zones.iter().cloned().collect()
    }

    fn ports(&self) -> Vec<(u16, bool)> {
        self.ports.iter().copied().collect()
    }

    fn serve(&self, listener: TcpListener, tls: bool, seen_as: IpAddr) -> Handle<()> {
        let socket = listener.into_std().map(Into::into);
        match socket.and_then(|socket| Listener::adopt(socket, tls)) {
            Ok(listener) => self.ingress.open_inside(listener.seen_as(seen_as)),
            Err(error) => self.tasks.run("ingress in a stand", move |_| async move {
                tracing::warn!(%error, "names of the platform do not answer inside of a stand");
            }),
        }
    }

    fn answer(&self, socket: UdpSocket, gateways: Vec<IpAddr>, egress: Egress) -> Handle<()> {
        let view = View {
            dns: self.dns.clone(),
            ingress: self.ingress.clone(),
            gateways,
            egress,
        };
        self.tasks.run("names in a stand", move |shutdown| {
            view.answer(socket, shutdown)
        })
    }
}

/// What one stand sees.
struct View {
    dns: Dns,
    ingress: Ingress,
    gateways: Vec<IpAddr>,
    egress: Egress,
}

impl View {
    async fn answer(self, socket: UdpSocket, shutdown: Shutdown) {
        let mut buffer = [0; LONGEST];
        loop {
            let got = tokio::select! {
                got = socket.recv_from(&mut buffer) => got,
                () = shutdown.asked() => return,
            };
            // Whoever asked before may be gone, which the next receive says.
            let Ok((length, from)) = got else { continue };
            let Some(asked) = Asked::read(&buffer[..length]) else {
                continue;
            };
            let answer = if self.ingress.has_host(&asked.host()) {
                asked.found(&self.gateways)
            } else if self.egress == Egress::Full {
                // A zone that is kept elsewhere is asked for there.
                match tokio::time::timeout(PATIENCE, self.dns.ask(&asked)).await {
                    Ok(answer) => answer,
                    Err(_) => continue,
                }
            } else {
                // As all foreign names: the proxy knows them.
                asked.absent()
            };
            // A question that is not answered is asked again.
            let _ = socket.send_to(&answer, from).await;
        }
    }
}
