//! The house behind the SSH door: every node of every stand is a room, and its keys are kept here.

use crate::events::HappeningRecord;
use crate::platform::Control;
use crate::record::StandRecord;
use crate::ssh_room::NodeRoom;
use crate::stand_loop::now_ms;
use daas_api::Failure;
use daas_api::platform::{Answer, Ssh};
use daas_api::{Caller, Check, CheckVerdict, SshInfo, SshKeyList, SshKeyRequest, SshKeyView};
use daas_model::Kind;
use daas_ssh::{
    Deed, End, House, KeyOrigin, KnownKey, NameFault, Neighbour, Rights, Room, Visitor, meant,
};
use daas_store::Batch;
use std::sync::Arc;

/// How the SSH door is seen from outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SshOutside {
    /// Where it listens: `127.0.0.1:2222`.
    pub listens: Vec<String>,
    /// By which hosts and ports clients may name it, as they stand in `known_hosts`: `[localhost]:2222`.
    pub known_as: Vec<String>,
    /// The host's key as it stands in `known_hosts`.
    pub host_key: String,
    /// Its fingerprint.
    pub fingerprint: String,
}

impl Control {
    /// Returns what answers sessions over SSH.
    #[must_use]
    pub fn ssh_house(&self) -> Arc<dyn House> {
        Arc::new(Nodes {
            control: self.clone(),
        })
    }
}

/// All nodes of all stands.
struct Nodes {
    control: Control,
}

impl Nodes {
    /// Returns the room that is meant, among the stands that the key may enter: others are as if they were not there.
    fn find(&self, visitor: &Visitor) -> Result<NodeRoom, Failure> {
        let stands: Vec<StandRecord> = self
            .control
            .store
            .list::<StandRecord>("")?
            .into_iter()
            .map(|stored| stored.value)
            .filter(|stand| visitor.rights.allow(&stand.name, &stand.spec.project))
            .collect();
        let there: Vec<Neighbour> = stands
            .iter()
            .map(|stand| Neighbour {
                stand: stand.name.clone(),
                nodes: stand.spec.nodes.keys().cloned().collect(),
            })
            .collect();
        let meant = meant(&visitor.user, &there).map_err(|fault| refused(&fault))?;
        let slept = stands
            .iter()
            .any(|stand| stand.name == meant.stand && stand.asleep);
        Ok(NodeRoom {
            control: self.control.clone(),
            stand: meant.stand,
            node: meant.node,
            slept,
        })
    }
}

fn refused(fault: &NameFault) -> Failure {
    let (code, hint) = match fault {
        NameFault::NoStand { .. } => (
            "ssh-no-stand",
            "sign in as `<stand>-<service>` or `<service>.<stand>`; `daas stand list` shows the stands",
        ),
        NameFault::NoNode { .. } => (
            "ssh-no-service",
            "sign in as `<stand>-<service>`, of replicas `<stand>-<service>-<n>`",
        ),
        NameFault::Several { .. } => ("ssh-several", "sign in by one of these names"),
    };
    let kind = match fault {
        NameFault::Several { .. } => Kind::Conflict,
        NameFault::NoStand { .. } | NameFault::NoNode { .. } => Kind::NotFound,
    };
    Failure::new(code, kind, fault.to_string()).hint(hint)
}

impl House for Nodes {
    fn enter<'a>(&'a self, visitor: &'a Visitor) -> Answer<'a, Arc<dyn Room>> {
        Box::pin(async move { Ok(Arc::new(self.find(visitor)?) as Arc<dyn Room>) })
    }

    fn done(&self, visitor: &Visitor, deed: Deed) {
        let how = match deed.end {
            None => "was left".to_owned(),
            Some(End::Exited(code)) => format!("ended with {code}"),
            Some(End::Killed(signal)) => format!("ended by signal {signal}"),
            Some(End::CutOff) => "was cut off by the daemon's end".to_owned(),
        };
        let room = self.find(visitor);
        let node = room.as_ref().map_or_else(
            |_| daas_model::visible(&visitor.user),
            |room| format!("{}/{}", room.stand, room.node),
        );
        tracing::info!(key = %visitor.key, peer = %visitor.peer, node, what = %deed.what, how, millis = deed.millis, "ssh session");
        // What led to no node is in the log only: names that anybody types are no events of a stand.
        let Ok(room) = room else { return };
        let text = format!(
            "{} ran {} in {} over SSH: it {how} after {} ms",
            visitor.key, deed.what, room.node, deed.millis
        );
        let record = HappeningRecord::inside(&room.stand, &room.node, "ssh-session", text);
        let store = self.control.store.clone();
        drop(self.control.tasks.run("ssh event", |_| async move {
            let batch = Batch::new().event(room.stand.as_str(), now_ms(), &record);
            let kept = match batch {
                Ok(batch) => store.commit(batch).await.map(drop),
                Err(error) => Err(error),
            };
            if let Err(error) = kept {
                tracing::warn!(cause = %daas_model::render_chain(&error), "a session over SSH is not kept as an event");
            }
        }));
    }
}

impl Control {
    /// Says how the SSH door is, for `daas doctor`.
    pub(crate) fn ssh_check(&self) -> Check {
        let (outside, keys) = (&self.config.ssh, self.keyring.all().len());
        let listens = outside.listens.join(", ");
        let (verdict, found, fix) = if outside.listens.is_empty() {
            (
                CheckVerdict::Warn,
                "it listens nowhere".to_owned(),
                Some("`ssh.listen` names addresses; the daemon's log says if one was taken"),
            )
        } else if keys == 0 {
            (
                CheckVerdict::Ok,
                format!("at {listens}; no key may sign in yet"),
                Some("`daas ssh key add anna ~/.ssh/id_ed25519.pub`"),
            )
        } else {
            (
                CheckVerdict::Ok,
                format!("at {listens} for {keys} keys"),
                None,
            )
        };
        Check {
            code: "ssh".into(),
            title: "SSH door".into(),
            verdict,
            found,
            fix: fix.map(str::to_owned),
        }
    }
}

fn view(known: KnownKey) -> SshKeyView {
    let (origin, added_ms) = match known.origin {
        KeyOrigin::Added(at) => ("added".to_owned(), Some(at)),
        KeyOrigin::Configuration => ("configuration".to_owned(), None),
        KeyOrigin::File(path) => (path.display().to_string(), None),
    };
    SshKeyView {
        name: known.name,
        kind: known.key.kind(),
        fingerprint: known.key.fingerprint(),
        projects: known.rights.projects,
        stands: known.rights.stands,
        origin,
        added_ms,
    }
}

impl Ssh for Control {
    fn info(&self) -> Answer<'_, SshInfo> {
        let outside = self.config.ssh.clone();
        Box::pin(std::future::ready(Ok(SshInfo {
            listens: outside.listens,
            known_as: outside.known_as,
            host_key: outside.host_key,
            fingerprint: outside.fingerprint,
        })))
    }

    fn keys(&self) -> Answer<'_, SshKeyList> {
        Box::pin(async move {
            let items = self.keyring.all().into_iter().map(view).collect();
            Ok(SshKeyList { items })
        })
    }

    fn add_key<'a>(&'a self, caller: &'a Caller, request: SshKeyRequest) -> Answer<'a, SshKeyView> {
        Box::pin(async move {
            let rights = Rights {
                projects: request.projects,
                stands: request.stands,
            };
            let known = self
                .keyring
                .add(&request.name, &request.key, rights)
                .await?;
            tracing::info!(%caller, name = %known.name, key = ?known.key, rights = ?known.rights, "ssh key added");
            Ok(view(known))
        })
    }

    fn remove_key<'a>(&'a self, caller: &'a Caller, name: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            self.keyring.remove(name).await?;
            tracing::info!(%caller, name, "ssh key removed");
            Ok(())
        })
    }
}
