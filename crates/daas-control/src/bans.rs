//! Who is kept out: counted at the doors, kept in records, told in events.

use crate::events::HappeningRecord;
use crate::platform::Control;
use crate::stand_loop::now_ms;
use daas_api::platform::{Answer, Banning};
use daas_api::{BanList, BanRequest, BanView, Caller, Failure};
use daas_model::{Kind, Severity, Subnet};
use daas_store::{Batch, Record, Store, StoreError};
use daas_tasks::{Ban, Bans};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use tokio::sync::mpsc::UnboundedReceiver;

/// The topic of events that belong to no stand but to the doors.
const TOPIC: &str = "bans";

/// A ban that outlives the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BanRecord {
    net: Subnet,
    since_ms: u64,
    until_ms: Option<u64>,
    why: String,
    times: u32,
}

impl Record for BanRecord {
    const KIND: &'static str = "ban";
}

/// Somebody who is never banned, by hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AllowedRecord {
    net: Subnet,
}

impl Record for AllowedRecord {
    const KIND: &'static str = "never-banned";
}

impl From<Ban> for BanRecord {
    fn from(ban: Ban) -> Self {
        Self {
            net: ban.net,
            since_ms: ban.since_ms,
            until_ms: ban.until_ms,
            why: ban.why,
            times: ban.times,
        }
    }
}

impl From<BanRecord> for Ban {
    fn from(record: BanRecord) -> Self {
        Self {
            net: record.net,
            since_ms: record.since_ms,
            until_ms: record.until_ms,
            why: record.why,
            times: record.times,
        }
    }
}

fn view(ban: &Ban) -> BanView {
    BanView {
        net: ban.net,
        since_ms: ban.since_ms,
        until_ms: ban.until_ms,
        why: ban.why.clone(),
        times: ban.times,
    }
}

/// Gives the doors what is recorded, before they open.
///
/// # Errors
/// [`StoreError`] if the records cannot be read.
pub fn recall_bans(bans: &Bans, store: &Store) -> Result<(), StoreError> {
    let now_ms = now_ms();
    for kept in store.list::<BanRecord>("")? {
        if kept.value.until_ms.is_none_or(|until| until > now_ms) {
            bans.add(kept.value.into());
        }
    }
    allow_recorded(bans, store)
}

fn allow_recorded(bans: &Bans, store: &Store) -> Result<(), StoreError> {
    let allowed = store.list::<AllowedRecord>("")?;
    bans.set_allowed(allowed.into_iter().map(|kept| kept.value.net).collect());
    Ok(())
}

impl Control {
    /// Starts what keeps the bans that the doors give.
    pub fn keep_bans(&self, mut given: UnboundedReceiver<Ban>) {
        let control = self.clone();
        drop(self.tasks.run("bans", move |shutdown| async move {
            loop {
                let ban = tokio::select! {
                    ban = given.recv() => ban,
                    () = shutdown.asked() => return,
                };
                let Some(ban) = ban else { return };
                tracing::warn!(net = %ban.net, why = %ban.why, "banned");
                let text = format!("{} is kept out, {}", ban.net, ban.why);
                if let Err(error) = control.record_ban(ban, "peer-banned", text).await {
                    tracing::error!(cause = %daas_model::render_chain(&error), "a ban is not recorded");
                }
            }
        }));
    }

    async fn record_ban(&self, ban: Ban, code: &str, text: String) -> Result<(), StoreError> {
        // Bans that are over go with the next one.
        let now_ms = now_ms();
        let mut batch = Batch::new();
        for kept in self.store.list::<BanRecord>("")? {
            if kept.value.until_ms.is_some_and(|until| until <= now_ms) {
                batch = batch.delete::<BanRecord>(&kept.key);
            }
        }
        let key = ban.net.to_string();
        let batch = batch.put(&key, &BanRecord::from(ban))?.event(
            TOPIC,
            now_ms,
            &HappeningRecord::of_doors(Severity::Warning, code, text),
        )?;
        self.store.commit(batch).await?;
        Ok(())
    }

    fn ban_list(&self) -> BanList {
        let allowed = self.store.list::<AllowedRecord>("").unwrap_or_default();
        let by_hand = allowed.into_iter().map(|kept| kept.value.net);
        let rules = self.bans.rules().allow.iter().copied();
        BanList {
            items: self.bans.list().iter().map(view).collect(),
            allowed: rules.chain(by_hand).collect(),
        }
    }
}

/// Returns what is banned of an address: of IPv6 the network, as it is counted.
fn counted(net: Subnet) -> Subnet {
    match net.address {
        IpAddr::V6(_) if net.prefix == 128 => Subnet {
            address: daas_tasks::client_of(net.address),
            prefix: 64,
        },
        _ => net,
    }
}

/// Refuses a ban of somebody who is never banned: it would be told as one and keep nobody out.
fn refuse_without_effect(net: Subnet, allowed: &[Subnet]) -> Result<(), Failure> {
    let cover = allowed
        .iter()
        .find(|cover| cover.prefix <= net.prefix && cover.contains(net.address));
    cover.map_or(Ok(()), |cover| {
        Err(Failure::new(
            "ban-never",
            Kind::Conflict,
            format!("cannot keep `{net}` out: `{cover}` is never banned"),
        )
        .hint("`daas ban list` shows who is never banned; loopback always is"))
    })
}

impl Banning for Control {
    fn bans(&self) -> Answer<'_, BanList> {
        Box::pin(std::future::ready(Ok(self.ban_list())))
    }

    fn ban<'a>(&'a self, caller: &'a Caller, request: BanRequest) -> Answer<'a, BanView> {
        Box::pin(async move {
            refuse_without_effect(request.net, &self.ban_list().allowed)?;
            let now_ms = now_ms();
            let time = request
                .time
                .map(|time| u64::try_from(time.0.as_millis()).unwrap_or(u64::MAX));
            let ban = Ban {
                net: counted(request.net),
                since_ms: now_ms,
                until_ms: time.map(|time| now_ms.saturating_add(time)),
                why: request
                    .why
                    .unwrap_or_else(|| format!("by hand of {caller}")),
                times: 1,
            };
            let text = format!("{} is kept out by {caller}: {}", ban.net, ban.why);
            self.record_ban(ban.clone(), "peer-banned", text)
                .await
                .map_err(Failure::from)?;
            self.bans.add(ban.clone());
            Ok(view(&ban))
        })
    }

    fn unban<'a>(&'a self, caller: &'a Caller, net: Subnet) -> Answer<'a, ()> {
        Box::pin(async move {
            let net = counted(net);
            let text = format!("{net} is let in again by {caller}");
            let batch = Batch::new()
                .delete::<BanRecord>(&net.to_string())
                .event(
                    TOPIC,
                    now_ms(),
                    &HappeningRecord::of_doors(Severity::Note, "peer-let-in", text),
                )
                .map_err(Failure::from)?;
            self.store.commit(batch).await.map_err(Failure::from)?;
            if self.bans.remove(net) {
                return Ok(());
            }
            Err(Failure::new(
                "ban-unknown",
                Kind::NotFound,
                format!("cannot let `{net}` in: it is not kept out"),
            )
            .hint("`daas ban list` shows who is"))
        })
    }

    fn allow<'a>(&'a self, caller: &'a Caller, net: Subnet) -> Answer<'a, BanList> {
        Box::pin(async move {
            self.store
                .put(&net.to_string(), &AllowedRecord { net })
                .await
                .map_err(Failure::from)?;
            allow_recorded(&self.bans, &self.store).map_err(Failure::from)?;
            tracing::info!(%net, by = %caller, "never banned");
            Ok(self.ban_list())
        })
    }

    fn disallow<'a>(&'a self, caller: &'a Caller, net: Subnet) -> Answer<'a, ()> {
        Box::pin(async move {
            self.store
                .delete::<AllowedRecord>(&net.to_string())
                .await
                .map_err(Failure::from)?;
            allow_recorded(&self.bans, &self.store).map_err(Failure::from)?;
            tracing::info!(%net, by = %caller, "may be banned");
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_never_banned_cannot_be_and_a_wider_net_can() {
        let net = |text: &str| Subnet::parse(text).unwrap();
        let allowed = [net("127.0.0.0/8"), net("::1/128"), net("192.0.2.7/32")];
        for (text, is_refused) in [
            ("127.0.0.1/32", true),
            ("::1/128", true),
            ("192.0.2.7/32", true),
            ("192.0.2.0/24", false),
            ("192.0.2.8/32", false),
            ("2001:db8::1/128", false),
        ] {
            let said = refuse_without_effect(net(text), &allowed);
            assert_eq!(said.is_err(), is_refused, "{text}");
        }
    }
}
