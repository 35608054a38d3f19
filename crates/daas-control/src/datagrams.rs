//! Datagrams over a stream: each behind its length, two bytes, big-endian.

use daas_tasks::Supervisor;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::UdpSocket;

/// The largest datagram that UDP can carry (RFC 768: sixteen bits of length, heads included).
const LARGEST: usize = 65_535;

/// Carries datagrams of `socket` over the returned stream until either side ends.
pub(crate) fn carry(socket: UdpSocket, tasks: &Supervisor) -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(256 << 10);
    tasks.run("forwarded datagrams", |shutdown| async move {
        let (mut reader, mut writer) = tokio::io::split(ours);
        let inwards = async {
            let mut datagram = vec![0; LARGEST];
            while let Ok(length) = reader.read_u16().await {
                let datagram = &mut datagram[..usize::from(length)];
                if reader.read_exact(datagram).await.is_err() {
                    return;
                }
                // A datagram may be lost; that nobody listens is told by the next receive.
                let _ = socket.send(datagram).await;
            }
        };
        let outwards = async {
            let mut datagram = vec![0; LARGEST];
            loop {
                let Ok(length) = socket.recv(&mut datagram).await else {
                    continue;
                };
                let Ok(head) = u16::try_from(length) else {
                    continue;
                };
                let mut whole = head.to_be_bytes().to_vec();
                whole.extend_from_slice(&datagram[..length]);
                if writer.write_all(&whole).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = inwards => {}
            () = outwards => {}
            () = shutdown.asked() => {}
        }
    });
    theirs
}
