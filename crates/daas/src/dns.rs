//! The name server's place in the house: `dns:` of the configuration, its zones and its listeners.

use crate::config::Fault;
use crate::serve::ServeError;
use daas_control::StandNames;
use daas_dns::{Bound, Dns, ForwardSettings, Name, Resource, Settings, TsigKey, ZoneSettings};
use daas_model::Subnet;
use daas_store::Store;
use daas_tasks::Supervisor;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// The zone of stands where nobody has a domain yet: `internal` is reserved for private networks (ICANN, 2024).
const LOCAL_ZONE: &str = "daas.internal";

/// `dns:` as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DnsText {
    listen: Option<Vec<SocketAddr>>,
    zone: Option<String>,
    address: Vec<IpAddr>,
    limit: Option<u32>,
    clients: Vec<Subnet>,
    keys: Vec<PathBuf>,
    upstreams: Option<Vec<SocketAddr>>,
    private: Vec<String>,
    zones: BTreeMap<String, ZoneText>,
}

/// One of `dns.zones`.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ZoneText {
    servers: Vec<String>,
    mailbox: Option<String>,
    records: Vec<String>,
    sign: bool,
    secondaries: Vec<SocketAddr>,
    transfer: Vec<String>,
    update: Vec<String>,
    push: Option<PushText>,
}

/// Another server that gets what the zone has.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct PushText {
    server: SocketAddr,
    key: String,
}

/// What the name server is to do.
#[derive(Debug, Clone)]
pub(crate) struct DnsConfig {
    /// Where it answers.
    listen: Vec<SocketAddr>,
    /// Whether nobody asked for these addresses.
    listen_is_default: bool,
    /// The zone of stands.
    pub(crate) zone: Name,
    /// Whether nobody named it.
    pub(crate) zone_is_default: bool,
    /// Where names of stands lead; decided at the start if empty.
    address: Vec<IpAddr>,
    limit: u32,
    clients: Vec<Subnet>,
    /// Files of keys that peers share with us.
    keys: Vec<PathBuf>,
    /// Who is asked for foreign names; those of the system if nobody said.
    upstreams: Option<Vec<SocketAddr>>,
    /// Zones of others whose names may lead to private addresses.
    private: Vec<Name>,
    zones: Vec<ZoneSettings>,
}

impl DnsText {
    /// Returns what it says, with its defaults; `routed` is the zone of the ingress.
    pub(crate) fn read(self, routed: Option<&str>) -> Result<DnsConfig, Fault> {
        let named = self.zone.as_deref().or(routed);
        let zone_is_default = named.is_none();
        let zone = named.unwrap_or(LOCAL_ZONE);
        let zone = Name::parse(zone).map_err(|e| ("dns.zone", e.into()))?;
        if zone.count() == 0 {
            return Err(("dns.zone", "the root is nobody's zone".into()));
        }
        let private = self
            .private
            .iter()
            .map(|zone| Name::parse(zone))
            .collect::<Result<_, _>>();
        let private = private.map_err(|e| ("dns.private", e.into()))?;
        let mut zones = Vec::new();
        for (name, text) in self.zones {
            zones.extend(text.read_all(&name).map_err(|e| ("dns.zones", e))?);
        }
        if !zones
            .iter()
            .any(|other: &ZoneSettings| other.origin == zone)
        {
            zones.push(ZoneSettings::new(zone.clone()));
        }
        Ok(DnsConfig {
            listen_is_default: self.listen.is_none(),
            // The port of a name server, where nobody but this machine asks. 127.0.0.53 and .54 are systemd's.
            listen: self
                .listen
                .unwrap_or_else(|| vec![SocketAddr::from(([127, 0, 0, 1], 53))]),
            zone,
            zone_is_default,
            address: self.address,
            limit: self.limit.unwrap_or(Settings::default().limit),
            clients: self.clients,
            keys: self.keys,
            upstreams: self.upstreams,
            private,
            zones,
        })
    }
}

impl ZoneText {
    /// Returns the zone of a name, or the reverse zones of a block of addresses.
    fn read_all(
        self,
        name: &str,
    ) -> Result<Vec<ZoneSettings>, Box<dyn std::error::Error + Send + Sync>> {
        if !name.contains('/') {
            return Ok(vec![self.read(name)?]);
        }
        let origins = daas_dns::reverse_zones(Subnet::parse(name)?)?;
        match origins.len() {
            0 => Err(format!("`{name}` would be more than 64 reverse zones: name it by a prefix at a dot (/8, /16, /24; for IPv6 a multiple of 4), or by fewer addresses").into()),
            1 => Ok(vec![self.read(&origins[0].to_string())?]),
            _ if !self.records.is_empty() => Err(format!("`{name}` is {} reverse zones, so `records` belong to none of them: name the zones one by one", origins.len()).into()),
            _ => origins
                .iter()
                .map(|origin| self.clone().read(&origin.to_string()))
                .collect(),
        }
    }

    fn read(self, name: &str) -> Result<ZoneSettings, Box<dyn std::error::Error + Send + Sync>> {
        let origin = Name::parse(name)?;
        let mut zone = ZoneSettings::new(origin.clone());
        for server in &self.servers {
            zone.servers.push(Name::parse_under(server, &origin)?);
        }
        if let Some(mailbox) = &self.mailbox {
            zone.mailbox = Some(Name::parse(&mailbox.replacen('@', ".", 1))?);
        }
        zone.signed = self.sign;
        zone.secondaries = self.secondaries;
        for who in &self.transfer {
            // A block has a slash, a key has not.
            match Subnet::parse(who) {
                Ok(block) => zone.transfer_to.push(block),
                Err(_) if who.contains('/') => {
                    return Err(Subnet::parse(who).err().unwrap_or_default().into());
                }
                Err(_) => match who.parse::<IpAddr>() {
                    Ok(ip) => zone.transfer_to.extend(alone(ip)),
                    Err(_) => zone.transfer_keys.push(Name::parse(who)?),
                },
            }
        }
        for key in &self.update {
            zone.update_keys.push(Name::parse(key)?);
        }
        if let Some(push) = &self.push {
            zone.push_to = Some(push.server);
            zone.push_key = Some(Name::parse(&push.key)?);
        }
        for line in &self.records {
            let record = Resource::parse(line, &origin)
                .map_err(|e| format!("{name}: {}", daas_model::render_chain(&e)))?;
            zone.records.push(record);
        }
        Ok(zone)
    }
}

/// The name server before anybody is answered.
pub(crate) struct Names {
    dns: Dns,
    bound: Vec<Bound>,
    zone: Name,
    addresses: Vec<IpAddr>,
    upstreams: Vec<SocketAddr>,
}

impl Names {
    /// Binds what the configuration asks for and opens the zones. An address that nobody asked for may be taken by somebody else.
    pub(crate) fn open(
        config: &DnsConfig,
        stands: Subnet,
        state: &Path,
        store: Store,
        tasks: Supervisor,
    ) -> Result<Self, ServeError> {
        let mut bound = Vec::new();
        for address in &config.listen {
            match Bound::bind(*address) {
                Ok(one) => bound.push(one),
                Err(error) if config.listen_is_default => {
                    tracing::warn!(%address, cause = %daas_model::render_chain(&error), "names are not served on the host");
                }
                Err(error) => return Err(error.into()),
            }
        }
        let addresses = config.led_to();
        let mut zones = config.zones.clone();
        for zone in &mut zones {
            zone.addresses.clone_from(&addresses);
            if is_reverse(&zone.origin) && zone.servers.is_empty() {
                serve_by(zone, &config.zone)?;
            }
            if zone.origin == config.zone {
                zone.embedded = Some(addresses.iter().filter_map(|ip| alone(*ip)).collect());
            }
        }
        for origin in daas_dns::reverse_zones(stands).map_err(daas_dns::DnsError::from)? {
            if !zones.iter().any(|zone| zone.origin == origin) {
                let mut zone = ZoneSettings::new(origin);
                serve_by(&mut zone, &config.zone)?;
                zones.push(zone);
            }
        }
        let forward = config.forward(&bound);
        let upstreams = forward.upstreams.clone();
        let mut keys = Vec::new();
        for path in &config.keys {
            keys.extend(TsigKey::read(path)?);
        }
        let known: Vec<Name> = keys.iter().map(|key| key.name().clone()).collect();
        check_keys(&zones, &known)?;
        let settings = Settings {
            keys: state.join("dns"),
            zones,
            limit: config.limit,
            clients: config.clients.clone(),
            tsig: keys,
            forward: Some(forward),
            rolls: daas_dns::RollSettings::default(),
        };
        Ok(Self {
            dns: Dns::open(settings, store, tasks)?,
            bound,
            zone: config.zone.clone(),
            addresses,
            upstreams,
        })
    }

    /// Returns whom stands with a free way out ask: this server, which remembers and keeps private addresses out - and behind it those that it asks, for the
    /// time in which the daemon is down.
    pub(crate) fn resolvers(&self) -> Vec<SocketAddr> {
        let own = self.bound.iter().map(|bound| reachable(bound.address()));
        own.take(1).chain(self.upstreams.iter().copied()).collect()
    }

    /// Returns the name server itself.
    pub(crate) fn server(&self) -> &Dns {
        &self.dns
    }

    /// Returns where it listens.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let bound = self.bound.iter();
        bound.map(|bound| bound.address().to_string()).collect()
    }

    /// Returns the zone of the stands.
    pub(crate) fn zone(&self) -> &Name {
        &self.zone
    }

    /// Returns what names of stands are made from.
    pub(crate) fn of_stands(&self) -> StandNames {
        StandNames {
            dns: self.dns.clone(),
            zone: self.zone.clone(),
            addresses: self.addresses.clone(),
            listens: self
                .bound
                .iter()
                .map(|bound| bound.address().to_string())
                .collect(),
        }
    }

    /// Answers from now on.
    pub(crate) fn listen(self) -> Result<(), ServeError> {
        for bound in self.bound {
            let address = bound.address();
            self.dns.listen(bound)?;
            tracing::info!(%address, zone = %self.zone, "names are served");
        }
        Ok(())
    }
}

impl DnsConfig {
    /// Returns who is asked for foreign names: never this server itself, which the system may ask.
    fn forward(&self, bound: &[Bound]) -> ForwardSettings {
        let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        let (servers, zones) = of_system(&text);
        let mut upstreams = self.upstreams.clone().unwrap_or(servers);
        upstreams.retain(|upstream| {
            !bound.iter().any(|bound| {
                bound.address() == *upstream || reachable(bound.address()) == *upstream
            })
        });
        ForwardSettings {
            upstreams,
            private: self.private.iter().cloned().chain(zones).collect(),
        }
    }

    /// Returns where names of stands lead: what the configuration says, else where names are asked for, else this machine's way out - or the machine itself
    /// while nobody else can ask.
    fn led_to(&self) -> Vec<IpAddr> {
        if !self.address.is_empty() {
            return self.address.clone();
        }
        let outside: Vec<IpAddr> = self
            .listen
            .iter()
            .map(SocketAddr::ip)
            .filter(|ip| !ip.is_loopback())
            .collect();
        if outside.is_empty() {
            return vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
        }
        if outside.iter().any(IpAddr::is_unspecified) {
            return vec![way_out().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))];
        }
        outside
    }
}

fn is_reverse(zone: &Name) -> bool {
    let name = zone.to_string();
    name.ends_with(".in-addr.arpa.") || name.ends_with(".ip6.arpa.")
}

/// Lets a reverse zone have the server and the mailbox of the zone of stands: nobody has a host called `ns.1.168.192.in-addr.arpa`.
fn serve_by(zone: &mut ZoneSettings, by: &Name) -> Result<(), daas_dns::DnsError> {
    zone.servers = vec![by.child("ns")?];
    if zone.mailbox.is_none() {
        zone.mailbox = Some(by.child("hostmaster")?);
    }
    Ok(())
}

/// Refuses a zone that names a key that is in no file: whoever has one of that name would be refused, again and again.
fn check_keys(zones: &[ZoneSettings], keys: &[Name]) -> Result<(), daas_dns::DnsError> {
    for zone in zones {
        let uses = [
            ("push", zone.push_key.as_slice()),
            ("update", &zone.update_keys),
            ("transfer", &zone.transfer_keys),
        ];
        for (part, named) in uses {
            if let Some(missing) = named.iter().find(|key| !keys.contains(key)) {
                return Err(daas_dns::DnsError::BadZone {
                    zone: zone.origin.clone(),
                    why: missing_key(missing, part, keys),
                });
            }
        }
    }
    Ok(())
}

fn missing_key(missing: &Name, part: &str, keys: &[Name]) -> String {
    let known: Vec<String> = keys.iter().map(Name::bare).collect();
    let near = daas_spec::nearest(&missing.bare(), known.iter().map(String::as_str))
        .map(|near| format!("; did you mean `{near}`?"))
        .unwrap_or_default();
    format!(
        "the key `{}` of its `{part}` is in no file of `dns.keys`{near}",
        missing.bare()
    )
}

/// Returns the address at which this machine itself reaches a listener.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => {
            SocketAddr::from((Ipv4Addr::LOCALHOST, address.port()))
        }
        IpAddr::V6(ip) if ip.is_unspecified() => {
            SocketAddr::from((Ipv6Addr::LOCALHOST, address.port()))
        }
        _ => address,
    }
}

/// Returns the resolvers of the system, and the zones of its own network: `nameserver`, `search` and `domain` of resolv.conf(5).
fn of_system(text: &str) -> (Vec<SocketAddr>, Vec<Name>) {
    let (mut servers, mut zones) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => servers.extend(
                words
                    .next()
                    .and_then(|word| word.parse().ok())
                    .map(|ip: IpAddr| SocketAddr::new(ip, 53)),
            ),
            Some("search" | "domain") => zones.extend(
                words
                    .filter_map(|word| Name::parse(word).ok())
                    .filter(|zone| zone.count() > 0),
            ),
            _ => {}
        }
    }
    (servers, zones)
}

/// Returns the address that this machine uses towards others. A socket is asked, nothing is sent.
pub(crate) fn way_out() -> Option<IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    // Of the block for documentation (RFC 5737): whoever has no route to it has none to anywhere.
    socket.connect("192.0.2.1:53").ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

/// Returns the block of one address.
fn alone(ip: IpAddr) -> Option<Subnet> {
    let prefix = if ip.is_ipv4() { 32 } else { 128 };
    Subnet::parse(&format!("{ip}/{prefix}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<DnsConfig, Fault> {
        serde_saphyr::from_str::<DnsText>(text).unwrap().read(None)
    }

    #[test]
    fn a_block_of_addresses_names_its_reverse_zones() {
        let names = |text: &str| -> Vec<String> {
            let zones = read(text).unwrap().zones;
            zones.iter().map(|zone| zone.origin.to_string()).collect()
        };
        assert_eq!(
            names("zones: {192.168.2.0/23: {}, 'fd00:1::/32': {}}"),
            [
                "2.168.192.in-addr.arpa.",
                "3.168.192.in-addr.arpa.",
                "1.0.0.0.0.0.d.f.ip6.arpa.",
                "daas.internal."
            ]
        );
        for (block, part) in [
            ("10.0.0.0/9: {}", "more than 64"),
            ("10.0.0.0/33: {}", "10.0.0.0/33"),
            ("192.168.2.0/23: {records: ['1 PTR a.test.']}", "one by one"),
        ] {
            let (key, error) = read(&format!("zones: {{{block}}}")).unwrap_err();
            assert_eq!(key, "dns.zones");
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    #[test]
    fn without_a_domain_stands_are_named_in_a_local_zone_on_this_machine() {
        let config = DnsText::default().read(None).unwrap();
        assert_eq!(config.zone.to_string(), "daas.internal.");
        assert_eq!(config.led_to(), [IpAddr::V4(Ipv4Addr::LOCALHOST)]);
        assert!(config.listen_is_default);
    }

    #[test]
    fn a_key_that_is_in_no_file_is_a_fault_with_the_nearest_one() {
        let known = [Name::parse("ddns").unwrap(), Name::parse("xfer").unwrap()];
        for (text, part) in [
            (
                "update: [ddnss]",
                "the key `ddnss` of its `update` is in no file of `dns.keys`; did you mean `ddns`?",
            ),
            (
                "transfer: [10.0.0.0/8, nobody]",
                "the key `nobody` of its `transfer`",
            ),
            (
                "push: {server: '192.0.2.1:53', key: other}",
                "the key `other` of its `push`",
            ),
        ] {
            let zones = read(&format!("zones: {{a.test: {{{text}}}}}"))
                .unwrap()
                .zones;
            let said = check_keys(&zones, &known).unwrap_err().to_string();
            assert!(said.contains("`a.test.`") && said.contains(part), "{said}");
        }
        let zones = read("zones: {a.test: {update: [DDNS], transfer: [xfer, 10.0.0.1]}}");
        assert!(check_keys(&zones.unwrap().zones, &known).is_ok());
    }

    #[test]
    fn the_systems_resolvers_and_the_zones_of_its_network_are_found() {
        let (servers, zones) = of_system(
            "# made\nsearch corp.example .\nnameserver 10.0.0.2\nnameserver fd00::2\noptions ndots:2\n",
        );
        assert_eq!(
            servers,
            [
                "10.0.0.2:53".parse().unwrap(),
                "[fd00::2]:53".parse::<SocketAddr>().unwrap()
            ]
        );
        assert_eq!(zones, [Name::parse("corp.example").unwrap()]);
    }

    #[test]
    fn zones_and_records_are_read_with_the_place_of_a_fault() {
        let config = read("listen: ['192.0.2.53:53']\nzone: dev.example.com\nzones:\n  example.com:\n    mailbox: ops@example.com\n    records: ['www 60 A 192.0.2.1', '@ MX 10 mail']\n").unwrap();
        assert_eq!(config.zones.len(), 2);
        assert_eq!(
            config.zones[0].records[1].to_string(),
            "example.com. 300 MX 10 mail.example.com."
        );
        assert_eq!(config.led_to(), ["192.0.2.53".parse::<IpAddr>().unwrap()]);
        let (key, error) = read("zones: {example.com: {records: ['www A 1.2.3']}}").unwrap_err();
        assert_eq!(key, "dns.zones");
        assert!(error.to_string().contains("1.2.3"), "{error}");
        assert!(read("zone: .").is_err());
    }
}
