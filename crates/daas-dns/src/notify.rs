//! Tells secondaries that a zone has a new serial (RFC 1996).

use crate::dns::Inner;
use crate::kind::{RrType, opcode};
use crate::name::Name;
use crate::request::{Header, flag};
use crate::tsig::Session;
use crate::wire::{CLASS_IN, Writer};
use crate::zone::Zone;
use daas_tasks::{Shutdown, Supervisor};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;

/// How long an answer is waited for, first; doubled each time.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// How often a secondary is told before its own refresh must do (RFC 1996 section 3.6 leaves the number open).
const TRIES: u32 = 5;

/// Tells each secondary of each zone about its serials until the shutdown.
pub(crate) fn start(inner: &Arc<Inner>, tasks: &Supervisor) {
    for zone in &inner.settings.zones {
        for secondary in &zone.secondaries {
            let (inner, origin, secondary) = (inner.clone(), zone.origin.clone(), *secondary);
            drop(tasks.run(
                format!("dns notify {secondary} of {origin}"),
                move |shutdown| async move {
                    follow(&inner, &origin, secondary, &shutdown).await;
                },
            ));
        }
    }
}

async fn follow(inner: &Inner, origin: &Name, secondary: SocketAddr, shutdown: &Shutdown) {
    let published = &inner.published;
    let mut told = None;
    loop {
        told = tokio::select! {
            serial = published.next_serial(origin, told) => serial,
            () = shutdown.asked() => return,
        };
        if let Some(zone) = published.table().exact(origin) {
            tokio::select! {
                () = tell(inner, zone, secondary) => {}
                // A newer serial makes this one old.
                _ = published.next_serial(origin, told) => {}
                () = shutdown.asked() => return,
            }
        }
    }
}

async fn tell(inner: &Inner, zone: &Zone, secondary: SocketAddr) {
    let any: SocketAddr = if secondary.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        ([0u16; 8], 0).into()
    };
    let Ok(socket) = UdpSocket::bind(any).await else {
        return;
    };
    if socket.connect(secondary).await.is_err() {
        return;
    }
    let mut wait = FIRST_WAIT;
    for _ in 0..TRIES {
        let Some((id, message)) = message(inner, zone) else {
            return;
        };
        // A port that is closed now may be open at the next try.
        let _ = socket.send(&message).await;
        if tokio::time::timeout(wait, heard(&socket, id)).await.is_ok() {
            return;
        }
        wait *= 2;
    }
    tracing::warn!(zone = %zone.origin, %secondary, serial = zone.serial, "a secondary does not answer; it will ask by itself");
}

/// Waits for the answer to the message `id`.
async fn heard(socket: &UdpSocket, id: u16) {
    let mut answer = [0; 1500];
    loop {
        match socket.recv(&mut answer).await {
            Ok(length) => {
                let header = Header::read(&answer[..length]);
                if header.is_some_and(|header| {
                    header.is_response() && header.id == id && header.opcode() == opcode::NOTIFY
                }) {
                    return;
                }
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

fn message(inner: &Inner, zone: &Zone) -> Option<(u16, Vec<u8>)> {
    let soa = zone.soa()?;
    let id = crate::random::u16();
    let mut writer = Writer::new();
    writer.clear(512);
    writer.u16(id);
    writer.u16(u16::from(opcode::NOTIFY) << 11 | flag::AA);
    writer.raw(&[0, 1, 0, 1, 0, 0, 0, 0]);
    writer.name(zone.origin.wire());
    writer.u16(RrType::SOA.0);
    writer.u16(CLASS_IN);
    writer
        .record(soa.name.wire(), soa.kind, soa.ttl, &soa.data)
        .ok()?;
    let mut message = writer.octets().to_vec();
    let settings = inner
        .settings
        .zones
        .iter()
        .find(|settings| settings.origin == zone.origin)?;
    let key = inner
        .settings
        .tsig
        .iter()
        .find(|key| settings.transfer_keys.contains(&key.name));
    if let Some(key) = key {
        Session::fresh(key.clone()).sign(&mut message);
    }
    Some((id, message))
}
