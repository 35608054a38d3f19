//! A machine of a test and the world outside of it: two network namespaces, gone when dropped.
#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

static NEXT: AtomicU32 = AtomicU32::new(1);

/// Where the world's servers are (RFC 5737, TEST-NET-3).
pub(crate) const SERVER: &str = "203.0.113.1";

pub(crate) struct World {
    machine: String,
    outside: String,
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "ip {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

impl World {
    pub(crate) fn new() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = |role: &str| format!("daas-build-{role}-{}-{number}", std::process::id());
        let world = Self {
            machine: name("machine"),
            outside: name("outside"),
        };
        for space in [&world.machine, &world.outside] {
            ip(&["netns", "add", space]);
            ip(&["-n", space, "link", "set", "lo", "up"]);
        }
        let (machine, outside) = (world.machine.as_str(), world.outside.as_str());
        ip(&[
            "-n", machine, "link", "add", "wan", "type", "veth", "peer", "name", "lan", "netns",
            outside,
        ]);
        ip(&["-n", machine, "addr", "add", "203.0.113.2/24", "dev", "wan"]);
        ip(&["-n", outside, "addr", "add", "203.0.113.1/24", "dev", "lan"]);
        for (space, link) in [(machine, "wan"), (outside, "lan")] {
            ip(&["-n", space, "link", "set", link, "up"]);
        }
        ip(&["-n", machine, "route", "add", "default", "via", SERVER]);
        world
    }

    /// A program of the machine. Nothing but the network is another one: `ip netns exec` would change mounts, too.
    pub(crate) fn machine(&self, program: &str) -> Command {
        Self::within(&self.machine, program)
    }

    fn within(space: &str, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/run/netns/{space}"))
            .arg(program);
        command
    }

    /// Starts a server outside, and waits until it answers the machine at `port`.
    pub(crate) fn serve(&self, program: &str, arguments: &[&str], port: u16) -> Server {
        let process = Self::within(&self.outside, program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut server = Server { process };
        let address: SocketAddr = format!("{SERVER}:{port}").parse().unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        while !self.answers(address) {
            assert!(
                server.process.try_wait().unwrap().is_none(),
                "{program} has ended"
            );
            assert!(Instant::now() < until, "{program} does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    fn answers(&self, address: SocketAddr) -> bool {
        // This thread alone looks from there, and ends.
        let space = std::fs::File::open(format!("/run/netns/{}", self.machine)).unwrap();
        let look = move || {
            rustix::thread::move_into_link_name_space(
                std::os::fd::AsFd::as_fd(&space),
                Some(rustix::thread::LinkNameSpaceType::Network),
            )
            .unwrap();
            TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
        };
        std::thread::spawn(look).join().unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for space in [&self.machine, &self.outside] {
            let _ = Command::new("ip").args(["netns", "del", space]).status();
        }
    }
}

/// A server that ends when it is dropped.
pub(crate) struct Server {
    process: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
