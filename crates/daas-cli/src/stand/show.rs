use crate::human;
use crate::stop::Stop;
use crate::table::{Table, Tone};
use crate::talk::Talk;
use daas_api::{NodeStatus, NodeView, PortView, StandState, StandView};
use daas_model::{Health, Protocol, StandName, visible};
use std::net::IpAddr;

pub(crate) async fn run(stand: &StandName, talk: &Talk) -> Result<(), Stop> {
    let view = talk.client.stand(stand).await?;
    if talk.json {
        talk.json(&view)
    } else {
        talk.data(text(&view, talk))
    }
}

fn text(view: &StandView, talk: &Talk) -> String {
    let (paint, now_ms) = (talk.paint, talk.terminal.now_ms());
    let summary = &view.summary;
    let mut facts = vec![
        ("stand", summary.name.to_string()),
        ("project", summary.project.to_string()),
        ("kind", summary.kind.to_string()),
        (
            "state",
            summary.reason.as_ref().map_or_else(
                || summary.state.to_string(),
                |reason| format!("{}: {}", summary.state, visible(reason)),
            ),
        ),
        (
            "address",
            summary
                .address
                .map_or_else(|| "-".to_owned(), |address| address.to_string()),
        ),
        ("age", human::age(summary.created_ms, now_ms)),
        (
            "limits",
            format!(
                "{} CPUs, {} of memory, {} pids, {} of disk",
                view.limits.cpus_milli,
                view.limits.memory_bytes,
                view.limits.pids,
                view.limits.disk_bytes
            ),
        ),
        ("egress", view.egress.to_string()),
    ];
    if let Some(expires) = summary.expires_ms {
        facts.push(("ends in", human::age(now_ms, expires)));
    }
    if let Some(dir) = &view.dir {
        facts.push(("folder", visible(dir)));
    }
    for url in &summary.urls {
        facts.push(("url", visible(url)));
    }
    let mut text = String::new();
    for (name, value) in facts {
        text.push_str(&format!("{} {value}\n", paint.dim(&format!("{name:8}"))));
    }
    text.push('\n');
    text.push_str(&nodes_table(&view.nodes, now_ms).text(paint));
    if !view.ports.is_empty() {
        text.push('\n');
        text.push_str(&ports_table(view).text(paint));
    }
    text
}

fn nodes_table(nodes: &[NodeView], now_ms: u64) -> Table {
    let mut table = Table::new(&[
        "NODE",
        "STATUS",
        "HEALTH",
        "FOR",
        "RESTARTS",
        "ADDRESSES",
        "IMAGE",
        "WHY",
    ]);
    for node in nodes {
        let status_tone = match node.status {
            NodeStatus::Running => Tone::Good,
            NodeStatus::Failed | NodeStatus::Backoff => Tone::Bad,
            NodeStatus::Exited if node.exit_code != Some(0) => Tone::Bad,
            NodeStatus::Waiting
            | NodeStatus::Starting
            | NodeStatus::Stopping
            | NodeStatus::Paused => Tone::Warning,
            NodeStatus::Exited => Tone::Plain,
        };
        let health_tone = match node.health {
            Health::Healthy => Tone::Good,
            Health::Unhealthy => Tone::Bad,
            Health::Starting => Tone::Warning,
            Health::None => Tone::Dim,
        };
        let status = match node.exit_code {
            Some(code) if node.status != NodeStatus::Running => format!("{} ({code})", node.status),
            _ => node.status.to_string(),
        };
        let why = if node.oom {
            "out of memory".to_owned()
        } else {
            node.reason.clone().unwrap_or_default()
        };
        let addresses: Vec<String> = node.addresses.iter().map(IpAddr::to_string).collect();
        table.painted([
            (node.name.to_string(), Tone::Plain),
            (status, status_tone),
            (node.health.to_string(), health_tone),
            (
                node.since_ms
                    .map(|since| human::age(since, now_ms))
                    .unwrap_or_default(),
                Tone::Plain,
            ),
            (node.restarts.to_string(), Tone::Plain),
            (addresses.join(" "), Tone::Plain),
            (node.image.familiar(), Tone::Plain),
            (why, Tone::Plain),
        ]);
    }
    table
}

/// Lists what answers at a stand's address.
pub(crate) fn ports_table(view: &StandView) -> Table {
    let mut table = Table::new(&["NODE", "ANSWERS AT", "PORT INSIDE"]);
    for port in &view.ports {
        table.row([
            port.node.to_string(),
            place(view.summary.address, port),
            format!("{}/{}", port.target, port.protocol),
        ]);
    }
    table
}

/// Writes where a port answers: as a link where the port is one that web servers use.
fn place(address: Option<IpAddr>, port: &PortView) -> String {
    let Some(address) = address else {
        return format!("(no address yet):{}", port.published);
    };
    let host = if address.is_ipv6() {
        format!("[{address}]")
    } else {
        address.to_string()
    };
    match (port.protocol, port.published, port.target) {
        (Protocol::Tcp, 80, _) => format!("http://{host}/"),
        (Protocol::Tcp, 443, _) => format!("https://{host}/"),
        (Protocol::Tcp, published, 443 | 8443) => format!("https://{host}:{published}/"),
        (Protocol::Tcp, published, 80 | 3000 | 5000 | 8000 | 8080 | 8081 | 8888 | 9090) => {
            format!("http://{host}:{published}/")
        }
        (protocol, published, _) => format!("{host}:{published}/{protocol}"),
    }
}

pub(crate) fn state_tone(state: StandState) -> Tone {
    match state {
        StandState::Running => Tone::Good,
        StandState::Degraded | StandState::Failed => Tone::Bad,
        StandState::Waiting
        | StandState::Starting
        | StandState::Paused
        | StandState::Stopping
        | StandState::Removing => Tone::Warning,
        StandState::Stopped => Tone::Plain,
    }
}
