//! A server on a free port of loopback, and what asks it.

use daas_dns::{Bound, Dns, Name, Resource, RrType, Settings, ZoneSettings, data};
use daas_store::Store;
use daas_tasks::Supervisor;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

/// How long a test waits for what must come.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A server with its runtime; everything ends when it is dropped.
pub(crate) struct Place {
    pub(crate) dns: Dns,
    pub(crate) address: SocketAddr,

    pub(crate) store: Store,
    tasks: Supervisor,
    runtime: tokio::runtime::Runtime,
    /// The folder of keys, where it is nobody else's.
    dir: Option<tempfile::TempDir>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let left = self.runtime.block_on(self.tasks.shutdown(SOON));
        assert!(left.is_empty() || std::thread::panicking(), "{left:?}");
    }
}

impl Place {
    /// Serves the zones, without a limit of equal answers unless `settings` has one.
    pub(crate) fn with(settings: Settings) -> Self {
        Self::on(Store::in_memory().unwrap(), settings)
    }

    /// Serves the zones with the records of a store.
    pub(crate) fn on(store: Store, settings: Settings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("dns");
        let mut place = Self::with_keys(store, settings, &keys);
        place.dir = Some(dir);
        place
    }

    /// Serves the zones with the records of a store and the keys of a folder.
    pub(crate) fn with_keys(store: Store, mut settings: Settings, keys: &std::path::Path) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        settings.keys = keys.to_owned();
        let tasks = Supervisor::new();
        let (dns, address) = {
            let _inside = runtime.enter();
            let dns = Dns::open(settings, store.clone(), tasks.clone()).unwrap();
            let bound = Bound::bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let address = bound.address();
            dns.listen(bound).unwrap();
            (dns, address)
        };
        Self {
            dns,
            address,
            store,
            tasks,
            runtime,
            dir: None,
        }
    }

    /// Serves `zone` with records written `name TYPE data`.
    pub(crate) fn of(zone: &str, records: &[&str]) -> Self {
        Self::with(Settings {
            zones: vec![zone_of(zone, records)],
            ..Settings::default()
        })
    }

    /// Says why a zone with records written `name TYPE data` is not served.
    pub(crate) fn refusal(zone: &str, records: &[&str]) -> String {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings {
            zones: vec![zone_of(zone, records)],
            keys: dir.path().join("dns"),
            ..Settings::default()
        };
        let store = Store::in_memory().unwrap();
        Dns::open(settings, store, Supervisor::new())
            .unwrap_err()
            .to_string()
    }

    /// Answers at every address of the machine too, and returns the port.
    pub(crate) fn listen_everywhere(&self, all: &str) -> u16 {
        let _inside = self.runtime.enter();
        let bound = Bound::bind(all.parse().unwrap()).unwrap();
        let port = bound.address().port();
        self.dns.listen(bound).unwrap();
        port
    }

    /// Waits for a future on the server's runtime.
    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Runs `dig` with arguments and returns what it prints.
    pub(crate) fn dig(&self, arguments: &[&str]) -> String {
        run(
            "dig",
            &[
                &[
                    "@127.0.0.1",
                    "-p",
                    &self.address.port().to_string(),
                    "+tries=1",
                    "+time=10",
                ],
                arguments,
            ]
            .concat(),
        )
    }

    /// Asks with `dig +short` and returns the lines, sorted.
    pub(crate) fn short(&self, arguments: &[&str]) -> Vec<String> {
        let mut lines: Vec<String> = self
            .dig(&[arguments, &["+short"]].concat())
            .lines()
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    }

    /// Sends a message over UDP and returns its answer.
    pub(crate) fn udp(&self, message: &[u8]) -> Vec<u8> {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        socket.send_to(message, self.address).unwrap();
        let mut answer = vec![0; 65_535];
        let (length, _) = socket.recv_from(&mut answer).expect("an answer");
        answer.truncate(length);
        answer
    }

    /// Sends octets over UDP and tells whether nobody answers: a question behind them is answered first.
    pub(crate) fn is_silent_about(&self, octets: &[u8]) -> bool {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        socket.send_to(octets, self.address).unwrap();
        // One socket answers in order.
        socket
            .send_to(&question("probe.invalid", 1, 0xfffe), self.address)
            .unwrap();
        let mut answer = [0; 512];
        socket.recv_from(&mut answer).unwrap();
        answer[..2] == [0xff, 0xfe]
    }

    /// Sends a message over TCP and returns the answer.
    pub(crate) fn tcp(&self, message: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let length = u16::try_from(message.len()).unwrap();
        stream.write_all(&length.to_be_bytes()).unwrap();
        stream.write_all(message).unwrap();
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer).unwrap();
        answer
    }
}

/// Runs a program that must be installed and returns its output.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .output()
        .unwrap_or_else(|error| panic!("{program} (see tools/packages.txt): {error}"));
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Makes a zone with records written `name TYPE data`.
pub(crate) fn zone_of(zone: &str, records: &[&str]) -> ZoneSettings {
    let origin = Name::parse(zone).unwrap();
    ZoneSettings {
        addresses: vec!["127.0.0.1".parse().unwrap()],
        records: records.iter().map(|line| resource(&origin, line)).collect(),
        ..ZoneSettings::new(origin)
    }
}

/// Makes a record of `name TYPE data`.
pub(crate) fn resource(origin: &Name, line: &str) -> Resource {
    let mut words = line.splitn(3, ' ');
    let mut word = || words.next().unwrap();
    let name = Name::parse_under(word(), origin).unwrap();
    let kind = RrType::parse(word()).unwrap();
    Resource {
        name,
        kind,
        ttl: 60,
        data: data::parse(kind, word(), origin).unwrap(),
    }
}

/// Makes the octets of a query of class IN.
pub(crate) fn question(name: &str, kind: u16, id: u16) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    message.extend_from_slice(Name::parse(name).unwrap().wire());
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&[0, 1]);
    message
}
