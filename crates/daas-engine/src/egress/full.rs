use super::firewall;
use crate::dial::{DialError, Dialer, StandNet};
use crate::kernel;
use daas_model::{Explain, Kind, Subnet};
use daas_sys::netlink::{self, LinkEnd, Route};
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

/// How long the kernel's link watch worker may take to let packets pass; it runs within a second.
const UP: Duration = Duration::from_secs(3);
/// How often that is looked at.
const UP_STEP: Duration = Duration::from_millis(1);

/// How the stands' links to the host look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FullConfig {
    /// The block from which each link has its two addresses. 100.64.0.0/10 is meant for translators (RFC 6598) and unlikely in a
    /// team's own network.
    pub block: Subnet,
    /// The beginning of the links' names, at most 8 bytes: `daas-x` makes `daas-x0`, `daas-x1`, ...
    pub prefix: String,
    /// Blocks that stands do not reach this way.
    pub denied: Vec<Subnet>,
}

impl Default for FullConfig {
    fn default() -> Self {
        let v4 = |a, b, prefix| Subnet {
            address: IpAddr::V4(Ipv4Addr::new(a, b, 0, 0)),
            prefix,
        };
        let block = v4(100, 64, 10);
        Self {
            block,
            prefix: "daas-x".into(),
            // The machine itself, other stands' links, the link (with the clouds' metadata), multicast and the future. Private networks
            // are the administrator's to add: many stands have to reach the team's own servers.
            denied: vec![
                v4(0, 0, 8),
                v4(127, 0, 8),
                block,
                v4(169, 254, 16),
                v4(224, 0, 4),
                v4(240, 0, 4),
            ],
        }
    }
}

/// One stand's link: the same name at both ends, which is unique on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FullLink {
    /// The name of both ends.
    pub name: String,
    /// The host's end.
    pub host: IpAddr,
    /// The stand's end.
    pub stand: IpAddr,
}

impl FullConfig {
    /// The beginning of the names stands in rules: nothing that means something there may be in it.
    fn check(&self) -> Result<(), FullError> {
        let prefix = &self.prefix;
        let letters = prefix
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if letters && (1..=8).contains(&prefix.len()) {
            Ok(())
        } else {
            Err(FullError::Prefix {
                prefix: prefix.clone(),
            })
        }
    }

    /// Returns link number `slot`, or nothing when the block ends before.
    #[must_use]
    pub fn link(&self, slot: u32) -> Option<FullLink> {
        let host = self.block.nth(u128::from(slot) * 2)?;
        let stand = self.block.nth(u128::from(slot) * 2 + 1)?;
        let name = format!("{}{slot}", self.prefix);
        // linux/if.h: IFNAMSIZ is 16 with the zero.
        (name.len() < 16).then_some(FullLink { name, host, stand })
    }
}

/// A way out that could not be made or removed.
#[derive(Debug, thiserror::Error)]
pub enum FullError {
    /// The names of links would not begin with what the configuration says.
    #[error("cannot name links `{prefix}0`, `{prefix}1`, ...")]
    Prefix {
        /// The configured beginning.
        prefix: String,
    },
    /// There is no such link.
    #[error("cannot join a stand with the host: there is no link number {slot}")]
    NoSlot {
        /// The number.
        slot: u32,
    },
    /// The kernel or `nft` refused a step.
    #[error("cannot {step} for link `{link}`")]
    Step {
        /// What was attempted.
        step: &'static str,
        /// The link, or the beginning of all links' names.
        link: String,
        /// What was said.
        source: DialError,
    },
}

impl Explain for FullError {
    fn code(&self) -> &'static str {
        match self {
            Self::Prefix { .. } => "egress-link-name",
            Self::NoSlot { .. } => "egress-no-slot",
            Self::Step { .. } => "egress-full",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Prefix { .. } => Kind::Input,
            Self::NoSlot { .. } => Kind::Conflict,
            Self::Step { .. } => Kind::Outside,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Prefix { .. } => Some("1 to 8 of a-z, 0-9 and -, for example `daas-x`".into()),
            Self::NoSlot { .. } => Some("remove stands, or configure a larger block for their links".into()),
            Self::Step { .. } => Some(
                "`egress: full` needs the package nftables and a kernel with veth and nf_tables; `daas doctor` looks for both"
                    .into(),
            ),
        }
    }
}

/// Joins stands with the host's network by translation of addresses.
#[derive(Debug, Clone)]
pub struct FullEgress {
    dialer: Dialer,
    config: Arc<FullConfig>,
}

impl FullEgress {
    /// Makes nothing yet.
    #[must_use]
    pub fn new(dialer: Dialer, config: FullConfig) -> Self {
        Self {
            dialer,
            config: Arc::new(config),
        }
    }

    /// Makes the host forward and translate for stands. Right to call again, at the latest before the first [`FullEgress::open`].
    ///
    /// Forwarding stays on afterwards. If it was off before, only stands' packets are forwarded.
    ///
    /// # Errors
    /// [`FullError::Step`] with the step that failed.
    pub async fn prepare(&self) -> Result<(), FullError> {
        self.config.check()?;
        const FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";
        let config = &self.config;
        let home = self.dialer.home();
        let step = |step| {
            move |source| FullError::Step {
                step,
                link: config.prefix.clone(),
                source,
            }
        };
        let was_on = self
            .dialer
            .at_home("read ip_forward", || {
                Ok(std::fs::read_to_string(FORWARD)?.trim() != "0")
            })
            .await;
        let was_on = was_on.map_err(step("look whether the host forwards"))?;
        let guarded = !was_on
            || firewall::is_guarded(&self.dialer, home)
                .await
                .map_err(step("read the host's rules"))?;
        let rules = firewall::host_rules(&config.prefix, config.block, &config.denied, guarded);
        firewall::apply(&self.dialer, home, rules)
            .await
            .map_err(step("write the host's rules"))?;
        // Only behind its rules: there is no moment in which the host forwards for anybody.
        let turn_on = self
            .dialer
            .at_home("write ip_forward", || std::fs::write(FORWARD, "1"))
            .await;
        turn_on.map_err(step("make the host forward"))
    }

    /// Gives the stand behind `net` its link number `slot`, which no other living stand has, and lets `networks` leave through it.
    /// Networks that are not named, `internal` ones, stay inside. Right to call again: what is there stays, connections go on.
    ///
    /// # Errors
    /// [`FullError::Step`] with the step that failed; what was made before it stays and is used by the next try.
    pub async fn open(
        &self,
        slot: u32,
        net: &Arc<StandNet>,
        networks: &[Subnet],
    ) -> Result<FullLink, FullError> {
        self.config.check()?;
        let link = self.config.link(slot).ok_or(FullError::NoSlot { slot })?;
        let step = |step| {
            let link = link.name.clone();
            move |source| FullError::Step { step, link, source }
        };
        // Rules first: a way that is open for a moment without them is open.
        let rules = firewall::router_rules(&link.name, networks);
        firewall::apply(&self.dialer, net, rules)
            .await
            .map_err(step("write the router's rules"))?;
        let name = link.name.clone();
        let inside = self
            .dialer
            .visit(net, "look for a link", move || exists(&name))
            .await;
        let inside = inside.map_err(step("look for the router's end"))?;
        let (name, stand_net) = (link.name.clone(), net.clone());
        let host = link.host;
        self.dialer
            .at_home("make a link", move || join(&name, host, &stand_net, inside))
            .await
            .map_err(step("join the stand with the host"))?;
        let (name, gateway, stand) = (link.name.clone(), link.host, link.stand);
        self.dialer
            .visit(net, "give the router its way out", move || {
                lead_out(&name, stand, gateway)
            })
            .await
            .map_err(step("give the router its way out"))?;
        self.until_up(net, &link.name)
            .await
            .map_err(step("look at the link"))?;
        Ok(link)
    }

    /// Waits until both ends pass packets. The first packet before that is lost, and a SYN costs a second
    /// (reference/engine.md, 8.2).
    async fn until_up(&self, net: &Arc<StandNet>, name: &str) -> Result<(), DialError> {
        let start = tokio::time::Instant::now();
        while start.elapsed() < UP {
            let (here, there) = (name.to_owned(), name.to_owned());
            let up = self
                .dialer
                .at_home("look at a link", move || is_up(&here))
                .await?
                && self
                    .dialer
                    .visit(net, "look at a link", move || is_up(&there))
                    .await?;
            if up {
                return Ok(());
            }
            tokio::time::sleep(UP_STEP).await;
        }
        tracing::warn!(
            link = name,
            "a stand's link to the host does not come up, it may yet"
        );
        Ok(())
    }

    /// Takes link number `slot` away; right when it is gone already, as it is after the end of the stand's router.
    ///
    /// # Errors
    /// [`FullError::Step`] if the kernel refuses.
    pub async fn close(&self, slot: u32) -> Result<(), FullError> {
        let Some(FullLink { name, .. }) = self.config.link(slot) else {
            return Ok(());
        };
        let link = name.clone();
        let removed = self
            .dialer
            .at_home("remove a link", move || remove(&name))
            .await;
        removed.map_err(|source| FullError::Step {
            step: "remove the link",
            link,
            source,
        })
    }

    /// Removes every link of ours whose number is not in `alive`, and returns the names: for the start of the daemon.
    ///
    /// # Errors
    /// [`FullError::Step`] if the kernel refuses.
    pub async fn sweep(&self, alive: BTreeSet<u32>) -> Result<Vec<String>, FullError> {
        let prefix = self.config.prefix.clone();
        let swept = self.dialer.at_home("sweep links", move || {
            let mut swept = Vec::new();
            for name in links_of(&prefix)? {
                let slot = name
                    .strip_prefix(&prefix)
                    .and_then(|number| number.parse::<u32>().ok());
                if slot.is_some_and(|slot| !alive.contains(&slot)) {
                    remove(&name)?;
                    swept.push(name);
                }
            }
            Ok(swept)
        });
        swept.await.map_err(|source| FullError::Step {
            step: "sweep",
            link: self.config.prefix.clone(),
            source,
        })
    }

    /// Removes all links and the host's rules: for the removal of DaaS from a machine.
    ///
    /// # Errors
    /// [`FullError::Step`] if the kernel or `nft` refuses.
    pub async fn remove_all(&self) -> Result<(), FullError> {
        self.sweep(BTreeSet::new()).await?;
        firewall::apply(&self.dialer, self.dialer.home(), firewall::no_rules())
            .await
            .map_err(|source| FullError::Step {
                step: "remove the host's rules",
                link: self.config.prefix.clone(),
                source,
            })
    }
}

/// Makes the pair of links, or keeps the one that is there. On a thread at home.
fn join(name: &str, host: IpAddr, net: &StandNet, inside: bool) -> io::Result<()> {
    use std::os::fd::AsFd;
    let mut route = Route::open()?;
    if !(inside && exists(name)?) {
        // The other end of what is left of it is in a namespace that is about to die.
        remove(name)?;
        let end = LinkEnd {
            name,
            index: 0,
            mac: None,
        };
        route.batch(vec![netlink::veth(end, None, end, net.as_fd())])?;
    }
    let index = index_of(name)?;
    tolerate_present(
        route
            .batch(vec![netlink::address(index, host, 31)])
            .map_err(Into::into),
    )
}

/// Sets up the router's end. On a thread inside the router's namespace.
fn lead_out(name: &str, stand: IpAddr, gateway: IpAddr) -> io::Result<()> {
    let index = index_of(name)?;
    let mut route = Route::open()?;
    let mut one = |message| tolerate_present(route.batch(vec![message]).map_err(Into::into));
    one(netlink::address(index, stand, 31))?;
    one(netlink::no_own_ipv6(index))?;
    one(netlink::up(index))?;
    one(netlink::default_route(gateway, index))?;
    // A node that uses another network's addresses as its own gets no further.
    std::fs::write("/proc/sys/net/ipv4/conf/all/rp_filter", "1")?;
    // Packets between nodes on one bridge are not the router's business; a host with br_netfilter would show it each of them.
    match std::fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", "0") {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")
}

fn tolerate_present(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn index_of(name: &str) -> io::Result<i32> {
    netlink::index_of(name).and_then(|index| i32::try_from(index).map_err(io::Error::other))
}

fn is_absent(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error())
}

fn exists(name: &str) -> io::Result<bool> {
    match netlink::index_of(name) {
        Ok(_) => Ok(true),
        Err(error) if is_absent(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

fn is_up(name: &str) -> io::Result<bool> {
    Ok(Route::open()?.oper_state(index_of(name)?)? == netlink::OPER_UP)
}

fn remove(name: &str) -> io::Result<()> {
    match netlink::index_of(name).and_then(kernel::remove_link) {
        Err(error) if is_absent(&error) => Ok(()),
        other => other,
    }
}

/// Lists links by the beginning of their names, as the calling thread's namespace has them.
fn links_of(prefix: &str) -> io::Result<Vec<String>> {
    // `/sys/class/net` would show the links of the namespace in which it was mounted; this one follows the thread.
    let table = std::fs::read_to_string("/proc/thread-self/net/dev")?;
    let names = table
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name.trim());
    Ok(names
        .filter(|name| name.starts_with(prefix))
        .map(str::to_owned)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_numbered_within_their_block_and_name() {
        let config = FullConfig::default();
        let link = config.link(300).unwrap();
        assert_eq!(
            (link.name.as_str(), link.host, link.stand),
            (
                "daas-x300",
                "100.64.2.88".parse().unwrap(),
                "100.64.2.89".parse().unwrap()
            )
        );
        let last = config.link((1 << 21) - 1).unwrap();
        assert_eq!(last.stand.to_string(), "100.127.255.255");
        assert_eq!(config.link(1 << 21), None);
    }
}
