//! TLS that is passed on as it is: the name in the client's hello says where to, and the node has the certificate.

use crate::backend::Reach;
use crate::table::Entry;
use rustls::server::Acceptor;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpStream;

/// How much of a hello is looked at: post-quantum ones have about 2 KB.
const HELLO: usize = 16 * 1024;
/// How long a hello that has not come whole is waited for before it is looked at again.
const AGAIN: Duration = Duration::from_millis(5);
/// How much is copied at once each way.
const CHUNK: usize = 16 * 1024;

/// Returns the name that a client asks for (RFC 6066, section 3), lower case, and leaves its hello unread; nothing if it names none or says no hello.
pub(crate) async fn name_of(stream: &TcpStream) -> io::Result<Option<String>> {
    let mut bytes = vec![0; HELLO];
    let mut seen = 0;
    loop {
        let got = stream.peek(&mut bytes).await?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if got == seen {
            if got == bytes.len() {
                return Ok(None);
            }
            tokio::time::sleep(AGAIN).await;
            continue;
        }
        seen = got;
        let mut acceptor = Acceptor::default();
        let mut rest = &bytes[..got];
        while !rest.is_empty() {
            acceptor.read_tls(&mut rest)?;
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => {
                let name = accepted
                    .client_hello()
                    .server_name()
                    .map(str::to_ascii_lowercase);
                return Ok(name);
            }
            Ok(None) => {}
            // Not TLS as we know it: the handshake says so in its own words.
            Err(_) => return Ok(None),
        }
    }
}

/// Copies both ways between a client and one of the route's nodes, until both have said all or one breaks.
pub(crate) async fn pass(mut client: TcpStream, ip: IpAddr, entry: Arc<Entry>, reach: &Reach) {
    let rules = &entry.route.rules;
    if !rules.allow.is_empty() && !rules.allow.iter().any(|net| net.contains(ip)) {
        return;
    }
    let count = entry.backends.len();
    for _ in 0..count {
        let at = entry.turn.fetch_add(1, Ordering::Relaxed) % count;
        let backend = entry.backends[at].clone();
        let Ok(mut node) = backend.dial(reach).await else {
            continue;
        };
        // The route may change meanwhile; the connection goes on, and its node waits for it.
        drop(entry);
        let copied =
            tokio::io::copy_bidirectional_with_sizes(&mut client, &mut node, CHUNK, CHUNK).await;
        if let Err(error) = copied {
            tracing::debug!(%error, "a connection that was passed on broke");
        }
        return;
    }
    tracing::debug!(stand = %entry.stand, "no node takes a connection of TLS");
}
