//! What tests of the ways from outside share.
#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

use std::net::{Ipv4Addr, TcpListener};

/// Returns a port of loopback that was free a moment ago; nobody else gets it so soon.
pub(crate) fn free_port() -> u16 {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.local_addr().unwrap().port()
}

/// A service of the trial image that answers every request for `/` with the words and a new line.
pub(crate) fn serving(service: &str, words: &str) -> String {
    format!(
        "  {service}:\n    image: trial:latest\n    command: [/bin/busybox, sh, -c, 'echo {words} > /tmp/index.html; exec busybox httpd -f -p 8000 -h /tmp']\n    expose: ['8000']\n    healthcheck: {{test: [CMD, /bin/wget, -q, -O, /dev/null, 'http://127.0.0.1:8000/'], interval: 200ms, start_period: 10s, start_interval: 100ms}}\n"
    )
}
