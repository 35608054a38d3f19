//! Rules of address translation, as text for `nft -f -` (Debian package nftables), and the run of that program.
//!
//! Each text replaces its whole table in one transaction: applied twice it changes nothing.

use crate::dial::{DialError, Dialer, StandNet};
use daas_model::Subnet;
use std::fmt::Write;
use std::io;
use std::process::Stdio;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

/// Our table, on the host and in each router namespace.
const TABLE: &str = "daas";

/// Rules of the host. `links` is the common beginning of our links' names, `block` holds all their addresses.
///
/// With `guarded` the host forwards nothing but for stands: forwarding was off before we needed it, and a machine that
/// becomes a router between all its networks by surprise is a hole.
pub(super) fn host_rules(links: &str, block: Subnet, denied: &[Subnet], guarded: bool) -> String {
    let denied = set(denied);
    let guard = if guarded {
        format!(
            "\n    iifname != \"{links}*\" oifname != \"{links}*\" drop comment \"forwarding was off before daas\""
        )
    } else {
        String::new()
    };
    format!(
        "table inet {TABLE} {{}}
delete table inet {TABLE}
table inet {TABLE} {{
  chain input {{
    type filter hook input priority filter - 10; policy accept;
    iifname != \"{links}*\" accept
    ct state established,related accept
    drop
  }}
  chain forward {{
    type filter hook forward priority filter - 10; policy accept;{guard}
    oifname \"{links}*\" ct state established,related accept
    oifname \"{links}*\" drop
    iifname \"{links}*\" meta nfproto ipv6 drop
    iifname \"{links}*\" ip saddr != {block} drop{denied}
  }}
  chain translate {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {block} oifname != \"{links}*\" masquerade
  }}
}}
",
        denied = denied.map_or_else(String::new, |set| format!(
            "\n    iifname \"{links}*\" ip daddr {set} drop"
        )),
    )
}

/// Rules of one stand's router. Only `networks` may leave, through `link`; networks of the stand do not reach each other.
pub(super) fn router_rules(link: &str, networks: &[Subnet]) -> String {
    let networks: Vec<Subnet> = networks
        .iter()
        .filter(|subnet| subnet.address.is_ipv4())
        .copied()
        .collect();
    let leave = set(&networks).map_or_else(String::new, |set| {
        format!("\n    oifname \"{link}\" ip saddr {set} accept")
    });
    format!(
        "table inet {TABLE} {{}}
delete table inet {TABLE}
table inet {TABLE} {{
  chain input {{
    type filter hook input priority filter; policy accept;
    iifname != \"{link}\" accept
    ct state established,related accept
    drop
  }}
  chain forward {{
    type filter hook forward priority filter; policy drop;
    iifname \"{link}\" ct state established,related accept{leave}
  }}
  chain translate {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname \"{link}\" masquerade
  }}
}}
"
    )
}

/// Takes our table away; right whether it is there or not.
pub(super) fn no_rules() -> String {
    format!("table inet {TABLE} {{}}\ndelete table inet {TABLE}\n")
}

fn set(subnets: &[Subnet]) -> Option<String> {
    let mut text = String::new();
    for subnet in subnets {
        let separator = if text.is_empty() { "{ " } else { ", " };
        let _ = write!(text, "{separator}{subnet}");
    }
    (!text.is_empty()).then(|| text + " }")
}

/// Tells whether our table of the host forbids forwarding for others.
pub(super) async fn is_guarded(dialer: &Dialer, net: &Arc<StandNet>) -> Result<bool, DialError> {
    let listed = run(
        dialer,
        net,
        "read the rules",
        &["-n", "list", "ruleset", "inet"],
        "",
    )
    .await?;
    Ok(listed.contains("forwarding was off before daas"))
}

/// Applies rules inside `net`.
pub(super) async fn apply(
    dialer: &Dialer,
    net: &Arc<StandNet>,
    rules: String,
) -> Result<(), DialError> {
    run(dialer, net, "apply rules with nft", &["-f", "-"], &rules)
        .await
        .map(drop)
}

/// Runs nft, born inside `net`, and returns what it printed.
async fn run(
    dialer: &Dialer,
    net: &Arc<StandNet>,
    action: &'static str,
    arguments: &'static [&'static str],
    input: &str,
) -> Result<String, DialError> {
    let runtime = tokio::runtime::Handle::current();
    let child: Child = dialer
        .visit(net, action, move || {
            let _runtime = runtime.enter();
            Command::new("nft")
                .args(arguments)
                .env_clear()
                .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
        })
        .await?;
    finish(child, input)
        .await
        .map_err(|source| DialError::Visit { action, source })
}

async fn finish(mut child: Child, input: &str) -> io::Result<String> {
    if let Some(mut stdin) = child.stdin.take() {
        // The texts are smaller than the pipe: nft reads them before it says anything.
        stdin.write_all(input.as_bytes()).await?;
    }
    let output = child.wait_with_output().await?;
    if !output.status.success() {
        let words: String = String::from_utf8_lossy(&output.stderr)
            .chars()
            .take(500)
            .collect();
        return Err(io::Error::other(format!("nft: {}", words.trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
