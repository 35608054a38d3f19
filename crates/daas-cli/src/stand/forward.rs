use crate::completions;
use crate::stop::Stop;
use crate::talk::Talk;
use crate::target::Target;
use clap::Args;
use daas_api::Failure;
use daas_api::platform::BoxDuplex;
use daas_model::{Kind, NodeName, Protocol};
use daas_tasks::Supervisor;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::mpsc;

/// Opens ports here that lead to a node.
#[derive(Debug, Args)]
pub(crate) struct Forward {
    /// The node: `shop/web`, or `shop` if it has only one.
    #[arg(value_name = "STAND/NODE", add = completions::targets())]
    target: Target,
    /// The ports: `8080`, `18080:8080`, `0.0.0.0:18080:8080`, `5353:53/udp`; 0 is any free port here.
    #[arg(value_name = "[[ADDRESS:]LOCAL:]PORT[/udp]", required = true)]
    ports: Vec<Road>,
}

/// From an address here to a port of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Road {
    local: SocketAddr,
    port: u16,
    protocol: Protocol,
}

impl FromStr for Road {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "`{}` is no port: write `8080`, `18080:8080`, `0.0.0.0:18080:8080`, `5353:53/udp`",
                text.escape_debug()
            )
        };
        let (rest, protocol) = match text.rsplit_once('/') {
            Some((rest, "udp")) => (rest, Protocol::Udp),
            Some((rest, "tcp")) => (rest, Protocol::Tcp),
            Some(_) => return Err(bad()),
            None => (text, Protocol::Tcp),
        };
        let (local, port) = match rest.rsplit_once(':') {
            Some((local, port)) => (Some(local), port),
            None => (None, rest),
        };
        let port: u16 = port.parse().ok().filter(|port| *port > 0).ok_or_else(bad)?;
        let home = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let local = match local {
            None => SocketAddr::new(home, port),
            Some(local) => match local.parse::<u16>() {
                Ok(local) => SocketAddr::new(home, local),
                Err(_) => local.parse().map_err(|_| bad())?,
            },
        };
        Ok(Self {
            local,
            port,
            protocol,
        })
    }
}

/// How long a sender of datagrams may be silent before its road is closed (RFC 4787, REQ-5, allows 2 minutes and more).
const SILENCE: Duration = Duration::from_secs(120);

/// The node at the other end.
struct There {
    talk: Talk,
    target: Target,
    node: NodeName,
}

impl There {
    async fn connect(&self, port: u16, protocol: Protocol) -> Result<BoxDuplex, Failure> {
        self.talk
            .client
            .forward(&self.target.stand, &self.node, port, protocol)
            .await
    }

    /// Tells that one connection did not come through; the others go on.
    fn tell(&self, failure: &Failure) {
        self.talk
            .terminal
            .err(crate::complain::failure(failure, self.talk.words_paint));
    }
}

pub(crate) async fn run(forward: Forward, talk: &Talk) -> Result<(), Stop> {
    let node = forward.target.node(talk).await?;
    // A name that does not exist is told now, and not at the first connection.
    let view = talk.client.stand(&forward.target.stand).await?;
    if !view.nodes.iter().any(|known| known.name == node) {
        return Err(Failure::new(
            "node-not-found",
            Kind::NotFound,
            format!("stand `{}` has no node `{node}`", forward.target.stand),
        )
        .hint(format!(
            "it has: {}",
            view.nodes
                .iter()
                .map(|known| known.name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        ))
        .into());
    }
    let tasks = Supervisor::new();
    let there = Arc::new(There {
        talk: talk.clone(),
        target: forward.target,
        node,
    });
    for road in forward.ports {
        let refused = |error: std::io::Error| {
            Failure::new(
                "forward-refused",
                Kind::Outside,
                format!("cannot listen at {}", road.local),
            )
            .because(error.to_string())
        };
        let (road_there, children) = (there.clone(), tasks.clone());
        let local = match road.protocol {
            Protocol::Tcp => {
                let listener = TcpListener::bind(road.local).await.map_err(refused)?;
                let local = listener.local_addr().map_err(refused)?;
                drop(tasks.run("forward", move |_| {
                    streams(listener, road.port, road_there, children)
                }));
                local
            }
            Protocol::Udp => {
                let socket = UdpSocket::bind(road.local).await.map_err(refused)?;
                let local = socket.local_addr().map_err(refused)?;
                drop(tasks.run("forward", move |_| {
                    datagrams(Arc::new(socket), road.port, road_there, children)
                }));
                local
            }
        };
        let name = format!("{}/{}", there.target.stand, there.node);
        if talk.json {
            talk.json_line(&serde_json::json!({"local": local, "node": name, "port": road.port, "protocol": road.protocol}))?;
        } else {
            talk.data(format!(
                "{local}/{} -> {name}:{}\n",
                road.protocol, road.port
            ))?;
        }
    }
    talk.say("Ctrl-C ends it");
    std::future::pending().await
}

async fn streams(listener: TcpListener, port: u16, there: Arc<There>, tasks: Supervisor) {
    loop {
        let Ok((mut near, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let there = there.clone();
        drop(tasks.run("connection", move |_| async move {
            match there.connect(port, Protocol::Tcp).await {
                // Either side may break it off: that is how connections end.
                Ok(mut far) => drop(tokio::io::copy_bidirectional(&mut near, &mut far).await),
                Err(failure) => there.tell(&failure),
            }
        }));
    }
}

/// Carries datagrams; each sender has a road of its own, on which a datagram travels behind its length.
async fn datagrams(socket: Arc<UdpSocket>, port: u16, there: Arc<There>, tasks: Supervisor) {
    let mut roads: HashMap<SocketAddr, mpsc::Sender<Vec<u8>>> = HashMap::new();
    let mut buffer = vec![0u8; usize::from(u16::MAX)];
    loop {
        let Ok((length, sender)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        roads.retain(|_, road| !road.is_closed());
        let road = roads.entry(sender).or_insert_with(|| {
            let (road, queue) = mpsc::channel(64);
            let (socket, there) = (socket.clone(), there.clone());
            drop(tasks.run("datagrams", move |_| async move {
                if let Err(failure) = carry_datagrams(&socket, sender, port, &there, queue).await {
                    there.tell(&failure);
                }
            }));
            road
        });
        // A full road loses the datagram, as networks do.
        let _ = road.try_send(buffer[..length].to_vec());
    }
}

async fn carry_datagrams(
    socket: &UdpSocket,
    sender: SocketAddr,
    port: u16,
    there: &There,
    mut queue: mpsc::Receiver<Vec<u8>>,
) -> Result<(), Failure> {
    let (mut from, mut to) = tokio::io::split(there.connect(port, Protocol::Udp).await?);
    let out = async {
        while let Ok(Some(datagram)) = tokio::time::timeout(SILENCE, queue.recv()).await {
            let length = u16::try_from(datagram.len()).unwrap_or(u16::MAX);
            to.write_all(&[&length.to_be_bytes()[..], &datagram].concat())
                .await?;
            to.flush().await?;
        }
        Ok::<(), std::io::Error>(())
    };
    let back = async {
        let mut datagram = vec![0u8; usize::from(u16::MAX)];
        loop {
            let length = usize::from(from.read_u16().await?);
            from.read_exact(&mut datagram[..length]).await?;
            // A sender that is gone hears nothing more, and nobody minds.
            let _ = socket.send_to(&datagram[..length], sender).await;
        }
    };
    let ended: std::io::Result<()> = tokio::select! {
        ended = out => ended,
        ended = back => ended,
    };
    ended.or_else(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => Ok(()),
        _ => Err(Failure::new(
            "forward-lost",
            Kind::Outside,
            format!("cannot carry datagrams of {sender}"),
        )
        .because(error.to_string())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roads_in_every_form() {
        let road = |text: &str| {
            text.parse::<Road>()
                .map(|r| (r.local.to_string(), r.port, r.protocol))
        };
        assert_eq!(
            road("8080"),
            Ok(("127.0.0.1:8080".into(), 8080, Protocol::Tcp))
        );
        assert_eq!(road("0:80"), Ok(("127.0.0.1:0".into(), 80, Protocol::Tcp)));
        assert_eq!(
            road("0.0.0.0:18080:8080/tcp"),
            Ok(("0.0.0.0:18080".into(), 8080, Protocol::Tcp))
        );
        assert_eq!(
            road("[::1]:5353:53/udp"),
            Ok(("[::1]:5353".into(), 53, Protocol::Udp))
        );
        for bad in ["", "0", "x", "70000", "1:2:3", "80/sctp", ":80", "80:"] {
            assert!(road(bad).is_err(), "{bad}");
        }
    }
}
