//! The room: what is wanted, had, ordered and renewed.

mod stands;

use crate::acme::{Accounts, AcmeSettings, Desk, IssueError};
use crate::answers::{DnsAnswers, HttpAnswers};
use crate::authority::{Authority, AuthorityError, RootView};
use crate::budget::{Budget, What, pause};
use crate::clients::{ClientVerifier, ZONE};
use crate::clock::Clock;
use crate::dns_message::Aliases;
use crate::given::{Given, GivenFiles};
use crate::name::CertName;
use crate::notice::Notice;
use crate::own::{OwnNames, Served, ServesAll};
use crate::pair::{Pair, pem};
use crate::record::{
    CertificateRecord, ChallengeKind, ClientRecord, FaultRecord, Issued, LedgerRecord,
};
use crate::renewal::{DAY_MS, alarm, due_ms};
use crate::room_error::CertificatesError;
use crate::seal::{Vault, hex_sha256};
use crate::served::{Resolver, Table};
use crate::view::{CertificateView, Condition, Source};
use daas_model::Explain;
use daas_store::{Batch, Expect, Store};
use daas_tasks::{Handle, Supervisor, Task, TaskError, Wake};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// Orders under way at once: each is a dozen questions to an authority that counts them.
const AT_ONCE: usize = 4;
/// The longest sleep of the loop: a clock that is set must not let certificates end.
const LONGEST: Duration = Duration::from_secs(600);
/// How often given files are looked at.
const FILES: Duration = Duration::from_secs(10);

/// What the room needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The state folder.
    pub state: PathBuf,
    /// The platform's own zones: all names below them have certificates without being ordered.
    pub zones: Vec<CertName>,
    /// Addresses of the machine, for those who come without a name.
    pub addresses: Vec<IpAddr>,
    /// Given certificates.
    pub files: Vec<GivenFiles>,
    /// Authorities, the preferred one first.
    pub acme: Vec<AcmeSettings>,
    /// Certificates that shall always be there, each by its names.
    pub wanted: Vec<Vec<CertName>>,
    /// How much is ordered in a week.
    pub budget: Budget,
    /// Where TXT records of challenges are put in place of their own names.
    pub delegations: BTreeMap<CertName, CertName>,
    /// Who is asked for CNAMEs of challenges.
    pub resolver: Option<SocketAddr>,
    /// Whether stands have wildcards of their own from an authority.
    pub stands: bool,
}

impl Settings {
    /// Returns settings of a machine that knows no authority, for `*.localhost`.
    #[must_use]
    pub fn new(state: impl Into<PathBuf>) -> Self {
        Self {
            state: state.into(),
            zones: vec![CertName::parse("localhost").expect("a name")],
            addresses: vec![
                IpAddr::from([127, 0, 0, 1]),
                IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
            ],
            files: Vec::new(),
            acme: Vec::new(),
            wanted: Vec::new(),
            budget: Budget::default(),
            delegations: BTreeMap::new(),
            resolver: None,
            stands: true,
        }
    }
}

/// What somebody asks to be ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The names, the first one gives the id.
    pub names: Vec<CertName>,
    /// The only challenge to use.
    pub challenge: Option<ChallengeKind>,
    /// The only authority to use, by the URL of its directory.
    pub authority: Option<String>,
}

/// A client's certificate with its key, told once.
pub struct ClientMade {
    /// Who it is.
    pub record: ClientRecord,
    /// The certificate as PEM.
    pub certificate: String,
    /// The key as PEM.
    pub key: Zeroizing<String>,
}

impl std::fmt::Debug for ClientMade {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientMade")
            .field("record", &self.record)
            .finish_non_exhaustive()
    }
}

/// The certificates of the platform. A clone is another handle of the same.
#[derive(Clone)]
pub struct Certificates {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    store: Store,
    vault: Arc<Vault>,
    clock: Arc<dyn Clock>,
    tasks: Supervisor,
    own: Arc<OwnNames>,
    resolver: Arc<Resolver>,
    http: Arc<HttpAnswers>,
    clients: Arc<ClientVerifier>,
    desk: Desk,
    given: Given,
    /// Ids that are worked on.
    busy: Mutex<HashSet<String>>,
    /// Alarms of given certificates: they have no record.
    alarmed: Mutex<BTreeMap<String, u32>>,
    slots: Semaphore,
    /// Held while what was issued is counted: two orders that end at once must both count.
    counting: tokio::sync::Mutex<()>,
    wake: Wake,
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates")
            .field("settings", &self.inner.settings)
            .finish_non_exhaustive()
    }
}

/// Writes a chain with its key for sealing.
pub(crate) fn sealed_text(pair: &Pair) -> Zeroizing<Vec<u8>> {
    let key = Zeroizing::new(pem("PRIVATE KEY", pair.key_der()));
    Zeroizing::new([pair.chain_pem().as_bytes(), key.as_bytes()].concat())
}

impl Certificates {
    /// Opens the room: the private authority (made at the first start), what was issued, what was given. Orders begin with [`Certificates::start`].
    ///
    /// # Errors
    /// [`CertificatesError`] if secrets cannot be opened or records not read.
    pub async fn open(
        settings: Settings,
        store: Store,
        clock: Arc<dyn Clock>,
        tasks: Supervisor,
    ) -> Result<Self, CertificatesError> {
        let vault = Arc::new(Vault::open(&settings.state, &store, "certificates").await?);
        let authority = Authority::open(&store, &vault, &settings.zones, clock.now_ms()).await?;
        let clients =
            ClientVerifier::new(authority.certificates()).ok_or(CertificatesError::Verifier)?;
        let own = Arc::new(OwnNames::new(
            authority,
            settings.zones.clone(),
            settings.addresses.clone(),
            clock.clone(),
        ));
        let resolver = Arc::new(Resolver::new(own.clone(), Arc::new(ServesAll)));
        let http = Arc::new(HttpAnswers::default());
        let desk = Desk {
            accounts: Accounts::new(store.clone(), vault.clone(), tasks.clone()),
            vault: vault.clone(),
            http: http.clone(),
            resolver: resolver.clone(),
            dns: std::sync::RwLock::default(),
            delegations: settings.delegations.clone(),
            aliases: Aliases {
                resolver: settings.resolver,
            },
        };
        let inner = Inner {
            given: Given::new(settings.files.clone()),
            settings,
            store,
            vault,
            clock,
            tasks,
            own,
            resolver,
            http,
            clients: Arc::new(clients),
            desk,
            busy: Mutex::default(),
            alarmed: Mutex::default(),
            slots: Semaphore::new(AT_ONCE),
            counting: tokio::sync::Mutex::default(),
            wake: Wake::new(),
        };
        let room = Self {
            inner: Arc::new(inner),
        };
        room.serve_given();
        room.serve_issued()?;
        room.know_clients()?;
        Ok(room)
    }

    /// Starts the loop that orders and renews.
    pub fn start(&self) {
        let room = self.clone();
        self.inner
            .tasks
            .start("certificates", move || Renewing { room: room.clone() });
    }

    /// Returns what answers handshakes.
    #[must_use]
    pub fn resolver(&self) -> Arc<Resolver> {
        self.inner.resolver.clone()
    }

    /// Returns what answers at `/.well-known/acme-challenge/`.
    #[must_use]
    pub fn http_answers(&self) -> Arc<HttpAnswers> {
        self.inner.http.clone()
    }

    /// Returns what tells clients by their certificates.
    #[must_use]
    pub fn client_verifier(&self) -> Arc<ClientVerifier> {
        self.inner.clients.clone()
    }

    /// Adds a name server for answers of DNS-01; the first that serves a name is used.
    pub fn add_dns(&self, dns: Arc<dyn DnsAnswers>) {
        self.inner
            .desk
            .dns
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(dns);
    }

    /// Says who knows which names lead somewhere; others are shown a certificate for the page that says so.
    pub fn set_served(&self, served: Arc<dyn Served>) {
        self.inner.resolver.set_served(served);
    }

    /// Returns the roots of the private authority as PEM.
    #[must_use]
    pub fn root_pem(&self) -> String {
        self.inner.own.authority().pem()
    }

    /// Returns the roots of the private authority.
    #[must_use]
    pub fn roots(&self) -> Vec<RootView> {
        self.inner.own.authority().views()
    }

    /// Returns the zones whose names have certificates of the private authority.
    #[must_use]
    pub fn zones(&self) -> &[CertName] {
        self.inner.own.zones()
    }

    // === looking ===

    /// Returns all certificates but those that are made in handshakes, by id.
    ///
    /// # Errors
    /// [`CertificatesError::Store`] if records cannot be read.
    pub fn list(&self) -> Result<Vec<CertificateView>, CertificatesError> {
        let now_ms = self.inner.clock.now_ms();
        let mut all: Vec<CertificateView> = self
            .inner
            .given
            .now()
            .iter()
            .map(|given| given_view(given, now_ms))
            .collect();
        for kept in self.inner.store.list::<CertificateRecord>("")? {
            all.push(view(&kept.key, &kept.value, now_ms));
        }
        all.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(all)
    }

    /// Returns one certificate.
    ///
    /// # Errors
    /// [`CertificatesError::NotFound`] if there is none.
    pub fn show(&self, id: &str) -> Result<CertificateView, CertificatesError> {
        let mut all = self.list()?;
        let at = all.iter().position(|one| one.id == id);
        at.map(|at| all.swap_remove(at))
            .ok_or_else(|| CertificatesError::NotFound { id: id.to_owned() })
    }

    /// Returns the chain of a certificate as PEM.
    ///
    /// # Errors
    /// [`CertificatesError::NotFound`] if there is none yet.
    pub fn chain(&self, id: &str) -> Result<String, CertificatesError> {
        let given = self
            .inner
            .given
            .now()
            .into_iter()
            .find(|given| given_id(given) == id);
        if let Some(pair) = given.and_then(|given| given.pair) {
            return Ok(pair.chain_pem());
        }
        let record = self.record(id)?;
        let pair = self.opened(id, &record)?;
        pair.map(|pair| pair.chain_pem())
            .ok_or_else(|| CertificatesError::NotFound { id: id.to_owned() })
    }

    fn record(&self, id: &str) -> Result<CertificateRecord, CertificatesError> {
        let kept = self.inner.store.get::<CertificateRecord>(id)?;
        kept.map(|kept| kept.value)
            .ok_or_else(|| CertificatesError::NotFound { id: id.to_owned() })
    }

    fn opened(
        &self,
        id: &str,
        record: &CertificateRecord,
    ) -> Result<Option<Pair>, CertificatesError> {
        let Some(issued) = &record.issued else {
            return Ok(None);
        };
        let text = self
            .inner
            .vault
            .unseal(&format!("certificate/{id}"), &issued.sealed)?;
        let pair = Pair::from_pem(&text, &text).map_err(|source| CertificatesError::Kept {
            id: id.to_owned(),
            source,
        })?;
        Ok(Some(pair))
    }

    // === asking ===

    /// Records that a certificate is wanted and returns it as it is now; it is ordered at once.
    ///
    /// # Errors
    /// [`CertificatesError::Covered`] if another certificate is good for all of the names; [`CertificatesError::Exists`] if there is one of
    /// this id with other names; an [`IssueError`] if no authority could be asked.
    pub async fn issue(&self, order: Order) -> Result<CertificateView, CertificatesError> {
        let id = self.check(&order)?;
        let mut record = CertificateRecord {
            challenge: order.challenge,
            authority: order.authority,
            configured: false,
            ..blank(order.names)
        };
        if let Some(kept) = self.inner.store.get::<CertificateRecord>(&id)? {
            let same = kept.value.names == record.names;
            if !same && kept.value.issued.is_some() {
                return Err(CertificatesError::Exists { id });
            }
            let wishes = (record.names, record.challenge, record.authority);
            record = kept.value;
            (record.names, record.challenge, record.authority) = wishes;
            (record.next_try_ms, record.failures, record.fault) = (0, 0, None);
        }
        self.inner.store.put(&id, &record).await?;
        drop(self.work_on(&id));
        self.show(&id)
    }

    fn check(&self, order: &Order) -> Result<String, CertificatesError> {
        let first = order.names.first().ok_or(CertificatesError::NoNames)?;
        let no_authority = || IssueError::NoAuthority {
            name: first.to_string(),
        };
        if self.inner.settings.acme.is_empty() {
            return Err(no_authority().into());
        }
        if let Some(wanted) = &order.authority
            && !self
                .inner
                .settings
                .acme
                .iter()
                .any(|at| at.directory == *wanted)
        {
            return Err(CertificatesError::UnknownAuthority {
                authority: wanted.clone(),
                known: self
                    .inner
                    .settings
                    .acme
                    .iter()
                    .map(|at| at.directory.clone())
                    .collect(),
            });
        }
        let id = first.to_string();
        if let Some(by) = self.covered(&id, &order.names)? {
            return Err(CertificatesError::Covered { name: id, by });
        }
        Ok(id)
    }

    /// Returns the id of another certificate that is good for all of `names` and not near its end.
    fn covered(&self, id: &str, names: &[CertName]) -> Result<Option<String>, CertificatesError> {
        let now_ms = self.inner.clock.now_ms();
        let good = |one: &CertificateView| {
            one.id != id
                && one.condition == Condition::Valid
                && one.not_after_ms.is_some_and(|end| end > now_ms + DAY_MS)
                && names
                    .iter()
                    .all(|name| one.names.iter().any(|own| own.covers(name)))
        };
        Ok(self.list()?.into_iter().find(good).map(|one| one.id))
    }

    /// Orders a certificate once more, now.
    ///
    /// # Errors
    /// [`CertificatesError::NotFound`] if there is none of this id that can be ordered.
    pub async fn renew(&self, id: &str) -> Result<CertificateView, CertificatesError> {
        let mut record = self.record(id)?;
        (record.next_try_ms, record.failures, record.fault) = (0, 0, None);
        self.inner.store.put(id, &record).await?;
        drop(self.force(id));
        self.show(id)
    }

    /// Takes a certificate back at its authority and out of service.
    ///
    /// # Errors
    /// [`CertificatesError::NotFound`] if there is none; an [`IssueError`] if the authority does not do it: it is out of service even so.
    pub async fn revoke(&self, id: &str) -> Result<CertificateView, CertificatesError> {
        let mut record = self.record(id)?;
        let pair = self.opened(id, &record)?;
        let (Some(pair), Some(issued)) = (pair, record.issued.as_mut()) else {
            return Err(CertificatesError::NotFound { id: id.to_owned() });
        };
        issued.revoked_ms = Some(self.inner.clock.now_ms());
        let authority = issued.authority.clone();
        let text = format!("certificate `{id}` is revoked");
        let batch = Batch::new().put(id, &record)?;
        self.inner
            .store
            .commit(self.noted(batch, Notice::note("certificate-revoked", text))?)
            .await?;
        self.serve_issued()?;
        let known = self
            .inner
            .settings
            .acme
            .iter()
            .find(|at| at.directory == authority);
        let at = known
            .cloned()
            .unwrap_or_else(|| AcmeSettings::new(authority));
        self.inner.desk.revoke(&at, &pair.chain()[0]).await?;
        self.show(id)
    }

    /// Forgets a certificate that was ordered: it is served and renewed no more.
    ///
    /// # Errors
    /// [`CertificatesError::NotFound`] if there is none; [`CertificatesError::Configured`] if the configuration wants it.
    pub async fn forget(&self, id: &str) -> Result<(), CertificatesError> {
        if self.record(id)?.configured {
            return Err(CertificatesError::Configured { id: id.to_owned() });
        }
        self.inner.store.delete::<CertificateRecord>(id).await?;
        self.serve_issued()
    }

    // === clients ===

    /// Makes a certificate by which the machine or person `name` proves who it is; an older one of this name ends at once.
    ///
    /// # Errors
    /// [`CertificatesError::ClientName`] if it is no label.
    pub async fn add_client(
        &self,
        name: &str,
        life: Duration,
    ) -> Result<ClientMade, CertificatesError> {
        let full = client_name(name)?;
        let now_ms = self.inner.clock.now_ms();
        let pair = self.inner.own.authority().client(&full, life, now_ms)?;
        let record = ClientRecord {
            name: name.to_owned(),
            serial: pair.facts().serial.clone(),
            fingerprint: pair.facts().fingerprint.clone(),
            at_ms: now_ms,
            not_after_ms: pair.facts().not_after_ms,
            revoked_ms: None,
        };
        let batch = Batch::new().put(name, &record)?;
        let notice = Notice::note(
            "client-certificate-issued",
            format!("client `{name}` has a certificate"),
        );
        self.inner.store.commit(self.noted(batch, notice)?).await?;
        self.know_clients()?;
        Ok(ClientMade {
            record,
            certificate: pair.chain_pem(),
            key: Zeroizing::new(pem("PRIVATE KEY", pair.key_der())),
        })
    }

    /// Returns the clients, by name.
    ///
    /// # Errors
    /// [`CertificatesError::Store`] if records cannot be read.
    pub fn clients(&self) -> Result<Vec<ClientRecord>, CertificatesError> {
        let all = self.inner.store.list::<ClientRecord>("")?;
        Ok(all.into_iter().map(|kept| kept.value).collect())
    }

    /// Takes a client's certificate back; its next handshake fails.
    ///
    /// # Errors
    /// [`CertificatesError::NotFound`] if there is none.
    pub async fn revoke_client(&self, name: &str) -> Result<(), CertificatesError> {
        let kept = self.inner.store.get::<ClientRecord>(name)?;
        let mut record = kept
            .ok_or_else(|| CertificatesError::NotFound {
                id: name.to_owned(),
            })?
            .value;
        record.revoked_ms.get_or_insert(self.inner.clock.now_ms());
        let batch = Batch::new().put(name, &record)?;
        let notice = Notice::note(
            "client-certificate-revoked",
            format!("client `{name}` is revoked"),
        );
        self.inner.store.commit(self.noted(batch, notice)?).await?;
        self.know_clients()
    }

    fn know_clients(&self) -> Result<(), CertificatesError> {
        let clients = self.clients()?;
        self.inner.clients.set_known(clients.iter());
        Ok(())
    }

    // === serving ===

    fn serve_given(&self) {
        if self.inner.given.reload() {
            let mut table = Table::default();
            for given in self.inner.given.now() {
                if let Some(pair) = given.pair {
                    table.add(&pair);
                }
            }
            self.inner.resolver.set_given(table);
        }
    }

    fn serve_issued(&self) -> Result<(), CertificatesError> {
        let mut table = Table::default();
        for kept in self.inner.store.list::<CertificateRecord>("")? {
            let revoked = |issued: &Issued| issued.revoked_ms.is_some();
            if kept.value.left_ms.is_some() || kept.value.issued.as_ref().is_some_and(revoked) {
                continue;
            }
            match self.opened(&kept.key, &kept.value) {
                Ok(Some(pair)) => table.add(&pair),
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(id = %kept.key, cause = %daas_model::render_chain(&error), "a certificate is not served");
                }
            }
        }
        self.inner.resolver.set_issued(table);
        Ok(())
    }

    // === the loop ===

    /// Does all that is due: reads given files, orders, renews, gives alarms. Ends when the orders that it began have ended.
    ///
    /// # Errors
    /// [`CertificatesError::Store`] if records cannot be read or written. Orders that fail are no errors of this: their records tell.
    pub async fn tick(&self) -> Result<(), CertificatesError> {
        for order in self.begin_due().await? {
            drop(order.await);
        }
        self.give_alarms().await
    }

    /// Begins all orders that are due.
    async fn begin_due(&self) -> Result<Vec<Handle<()>>, CertificatesError> {
        self.serve_given();
        self.want_configured().await?;
        self.forget_left().await?;
        let now_ms = self.inner.clock.now_ms();
        let mut begun = Vec::new();
        for kept in self.inner.store.list::<CertificateRecord>("")? {
            if next_ms(&kept.value) <= now_ms {
                begun.extend(self.work_on(&kept.key));
            }
        }
        Ok(begun)
    }

    /// Makes the records of what the configuration wants, and lets go what it does not want any more.
    async fn want_configured(&self) -> Result<(), CertificatesError> {
        let wanted = &self.inner.settings.wanted;
        if self.inner.settings.acme.is_empty() {
            return Ok(());
        }
        let ids: BTreeSet<String> = wanted
            .iter()
            .filter_map(|names| Some(names.first()?.to_string()))
            .collect();
        for names in wanted {
            let Some(id) = names.first().map(ToString::to_string) else {
                continue;
            };
            let kept = self.inner.store.get::<CertificateRecord>(&id)?;
            if kept
                .as_ref()
                .is_some_and(|kept| kept.value.configured && kept.value.names == *names)
            {
                continue;
            }
            if kept.is_none() && self.covered(&id, names)?.is_some() {
                continue;
            }
            let mut record = kept.map_or_else(|| blank(names.clone()), |kept| kept.value);
            if record.names != *names {
                // What is there is served until the wider one has come.
                (record.order, record.next_try_ms) = (None, 0);
                record.names.clone_from(names);
            }
            record.configured = true;
            self.inner.store.put(&id, &record).await?;
        }
        for kept in self.inner.store.list::<CertificateRecord>("")? {
            if kept.value.configured && !ids.contains(&kept.key) {
                self.inner
                    .store
                    .delete::<CertificateRecord>(&kept.key)
                    .await?;
                self.serve_issued()?;
            }
        }
        Ok(())
    }

    /// Returns how long the loop may sleep.
    fn sleep(&self) -> Duration {
        let now_ms = self.inner.clock.now_ms();
        let records = self
            .inner
            .store
            .list::<CertificateRecord>("")
            .unwrap_or_default();
        let next = records
            .iter()
            .map(|kept| next_ms(&kept.value).saturating_sub(now_ms))
            .min();
        let most = if self.inner.given.is_empty() {
            LONGEST
        } else {
            FILES
        };
        // A second between looks: what is due and worked on already is no reason to turn round and round.
        next.map_or(most, Duration::from_millis)
            .clamp(Duration::from_secs(1), most)
    }

    /// Does what is due of one certificate, unless somebody does it already.
    fn work_on(&self, id: &str) -> Option<Handle<()>> {
        self.spawn(id, false)
    }

    fn force(&self, id: &str) -> Option<Handle<()>> {
        self.spawn(id, true)
    }

    fn spawn(&self, id: &str, now: bool) -> Option<Handle<()>> {
        let busy = Busy::take(&self.inner, id)?;
        let (room, id) = (self.clone(), id.to_owned());
        Some(self.inner.tasks.run(format!("certificate {id}"), move |shutdown| async move {
            let _busy = busy;
            let work = async {
                let _slot = room.inner.slots.acquire().await;
                if let Err(error) = room.turn(&id, now).await {
                    tracing::error!(%id, cause = %daas_model::render_chain(&error), "cannot keep what became of an order");
                }
            };
            // An order that is cut off is gone on with after the start: its URL and key are kept.
            tokio::select! {
 biased;
 () = shutdown.asked() => {}
 () = work => {}
 }
        }))
    }

    async fn turn(&self, id: &str, now: bool) -> Result<(), CertificatesError> {
        let Some(kept) = self.inner.store.get::<CertificateRecord>(id)? else {
            return Ok(());
        };
        let record = kept.value;
        let now_ms = self.inner.clock.now_ms();
        match decide(&record, now_ms) {
            _ if now => {}
            Due::Later(_) => return Ok(()),
            Due::Ask => {
                self.ask_window(id, record).await?;
                return Ok(());
            }
            Due::Order => {}
        }
        if record.issued.is_none() && self.covered(id, &record.names)?.is_some() {
            return self.not_needed(id, record).await;
        }
        match self.obtain(id, &record).await {
            Ok(()) => Ok(()),
            Err(error) => self.failed(id, &error).await,
        }
    }

    async fn not_needed(
        &self,
        id: &str,
        mut record: CertificateRecord,
    ) -> Result<(), CertificatesError> {
        record.next_try_ms = self.inner.clock.now_ms() + DAY_MS;
        self.inner.store.put(id, &record).await?;
        Ok(())
    }

    async fn ask_window(
        &self,
        id: &str,
        mut record: CertificateRecord,
    ) -> Result<(), CertificatesError> {
        let now_ms = self.inner.clock.now_ms();
        let pair = self.opened(id, &record)?;
        let (Some(pair), Some(issued)) = (pair, record.issued.as_mut()) else {
            return Ok(());
        };
        // Asked four times a day where the authority names no time, or cannot be asked.
        let mut again = Duration::from_secs(6 * 3600);
        let at = self
            .inner
            .settings
            .acme
            .iter()
            .find(|at| at.directory == issued.authority);
        if let Some(at) = at {
            match self.inner.desk.window(at, &pair.chain()[0]).await {
                Ok(Some((window, after))) => {
                    issued.window = Some(window);
                    again = after.clamp(Duration::from_secs(60), Duration::from_secs(24 * 3600));
                }
                Ok(None) => again = Duration::from_secs(24 * 3600),
                Err(error) => {
                    tracing::info!(id, cause = %daas_model::render_chain(&error), "no word about renewal");
                }
            }
        }
        issued.ask_again_ms = now_ms + u64::try_from(again.as_millis()).unwrap_or(DAY_MS);
        self.inner.store.put(id, &record).await?;
        Ok(())
    }

    /// Orders at one authority after the other, until one issues.
    async fn obtain(&self, id: &str, record: &CertificateRecord) -> Result<(), IssueError> {
        let mut candidates: Vec<&AcmeSettings> = self.inner.settings.acme.iter().collect();
        candidates.retain(|at| {
            record
                .authority
                .as_ref()
                .is_none_or(|only| *only == at.directory)
        });
        if let Some(order) = &record.order {
            candidates.sort_by_key(|at| at.directory != order.authority);
        }
        let name = record
            .names
            .first()
            .map(ToString::to_string)
            .unwrap_or_default();
        let mut last = IssueError::NoAuthority { name };
        for at in candidates {
            match self.obtain_at(at, id).await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_the_authoritys() => {
                    tracing::warn!(id, authority = %at.directory, cause = %daas_model::render_chain(&error), "no certificate from this authority");
                    last = error;
                }
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    async fn obtain_at(&self, at: &AcmeSettings, id: &str) -> Result<(), IssueError> {
        let Some(kept) = self.inner.store.get::<CertificateRecord>(id)? else {
            return Ok(());
        };
        let mut record = kept.value;
        let order = match record
            .order
            .clone()
            .filter(|order| order.authority == at.directory)
        {
            Some(order) => order,
            None => {
                self.within_budget(at, &record)?;
                let old = self.opened(id, &record).ok().flatten();
                let here = record.issued.as_ref().is_some_and(|issued| {
                    issued.authority == at.directory && issued.revoked_ms.is_none()
                });
                let replaces = old.as_ref().filter(|_| here).map(|pair| &pair.chain()[0]);
                let now_ms = self.inner.clock.now_ms();
                let order = self
                    .inner
                    .desk
                    .begin(at, id, &record.names, replaces, now_ms)
                    .await?;
                record.order = Some(order.clone());
                self.inner
                    .store
                    .put_if(id, &record, Expect::Revision(kept.revision))
                    .await?;
                order
            }
        };
        match self
            .inner
            .desk
            .finish(at, id, &record.names, record.challenge, &order)
            .await
        {
            Ok(made) => self.have(at, id, made, order.replaces).await,
            Err(error) => {
                // An order that the authority has ended is of no use; one that it did not answer about may be.
                if !matches!(
                    error,
                    IssueError::Slow { .. } | IssueError::Authority { .. }
                ) {
                    self.drop_order(id).await?;
                }
                if matches!(&error, IssueError::Refused { problem, .. } if problem == "accountDoesNotExist")
                {
                    self.inner.desk.accounts.forget(&at.directory).await?;
                }
                Err(error)
            }
        }
    }

    async fn drop_order(&self, id: &str) -> Result<(), IssueError> {
        if let Some(mut kept) = self.inner.store.get::<CertificateRecord>(id)? {
            kept.value.order = None;
            self.inner.store.put(id, &kept.value).await?;
        }
        Ok(())
    }

    fn within_budget(
        &self,
        at: &AcmeSettings,
        record: &CertificateRecord,
    ) -> Result<(), IssueError> {
        let what = match (&record.issued, &record.stand) {
            (Some(_), _) => What::Renewal,
            (None, Some(_)) => What::Stand,
            (None, None) => What::New,
        };
        let now_ms = self.inner.clock.now_ms();
        for domain in domains(&record.names) {
            let ledger = self
                .inner
                .store
                .get::<LedgerRecord>(&ledger_key(at, domain))?;
            let ledger = ledger.map(|kept| kept.value).unwrap_or_default();
            self.inner
                .settings
                .budget
                .allows(&ledger, what, now_ms)
                .map_err(|until_ms| IssueError::Budget {
                    authority: at.directory.clone(),
                    domain: domain.to_owned(),
                    until_ms,
                })?;
        }
        Ok(())
    }

    /// Keeps and serves what was issued.
    async fn have(
        &self,
        at: &AcmeSettings,
        id: &str,
        made: crate::acme::Made,
        replaces: bool,
    ) -> Result<(), IssueError> {
        let now_ms = self.inner.clock.now_ms();
        let facts = made.pair.facts();
        let Some(kept) = self.inner.store.get::<CertificateRecord>(id)? else {
            return Ok(());
        };
        let mut record = kept.value;
        record.issued = Some(Issued {
            sealed: made.sealed,
            authority: at.directory.clone(),
            at_ms: now_ms,
            not_before_ms: facts.not_before_ms,
            not_after_ms: facts.not_after_ms,
            serial: facts.serial.clone(),
            fingerprint: facts.fingerprint.clone(),
            window: None,
            ask_again_ms: now_ms,
            revoked_ms: None,
        });
        (record.order, record.failures, record.next_try_ms) = (None, 0, 0);
        (record.fault, record.alarmed) = (None, None);
        let _counting = self.inner.counting.lock().await;
        let mut batch = Batch::new().put(id, &record)?;
        if !replaces {
            for domain in domains(&record.names) {
                let key = ledger_key(at, domain);
                let kept = self.inner.store.get::<LedgerRecord>(&key)?;
                let mut ledger = kept.map(|kept| kept.value).unwrap_or_default();
                ledger.add(now_ms);
                batch = batch.put(&key, &ledger)?;
            }
        }
        let notice = Notice::note(
            "certificate-issued",
            format!("certificate `{id}` was issued by {}", at.directory),
        );
        batch = self.noted(batch, notice)?;
        self.inner.store.commit(batch).await?;
        if let Err(error) = self.serve_issued() {
            tracing::error!(id, cause = %daas_model::render_chain(&error), "the new certificate is not served");
        }
        Ok(())
    }

    async fn failed(&self, id: &str, error: &IssueError) -> Result<(), CertificatesError> {
        // At the end of the daemon connections end under orders: that says nothing about the authority.
        if self.inner.tasks.shutdown_signal().is_asked() {
            return Ok(());
        }
        let now_ms = self.inner.clock.now_ms();
        let Some(kept) = self.inner.store.get::<CertificateRecord>(id)? else {
            return Ok(());
        };
        let mut record = kept.value;
        record.failures = record.failures.saturating_add(1);
        let wait = u64::try_from(pause(record.failures).as_millis()).unwrap_or(DAY_MS);
        record.next_try_ms = error.not_before_ms().unwrap_or(0).max(now_ms + wait);
        let message = daas_model::render_chain(error);
        let text = format!("no certificate `{id}`: {message}");
        tracing::warn!(id, failures = record.failures, cause = %message, "no certificate");
        record.fault = Some(FaultRecord {
            code: error.code().to_owned(),
            message,
            hint: error.hint(),
            at_ms: now_ms,
        });
        let mut batch = Batch::new().put(id, &record)?;
        // That stands come faster than an authority issues is nobody's fault: their names are served by the private one.
        if record.stand.is_none() || !matches!(error, IssueError::Budget { .. }) {
            batch = self.noted(batch, Notice::warning(error.code(), text))?;
        }
        self.inner.store.commit(batch).await?;
        Ok(())
    }

    /// Gives the alarms about certificates that near their end.
    async fn give_alarms(&self) -> Result<(), CertificatesError> {
        let now_ms = self.inner.clock.now_ms();
        for kept in self.inner.store.list::<CertificateRecord>("")? {
            let Some(issued) = kept
                .value
                .issued
                .as_ref()
                .filter(|issued| issued.revoked_ms.is_none() && kept.value.left_ms.is_none())
            else {
                continue;
            };
            let due = alarm(
                issued.not_before_ms,
                issued.not_after_ms,
                now_ms,
                kept.value.alarmed,
            );
            let Some(days) = due else { continue };
            let mut record = kept.value.clone();
            record.alarmed = Some(days);
            let batch = Batch::new().put_if(&kept.key, &record, Expect::Revision(kept.revision))?;
            let notice = Notice::ending(
                &kept.key,
                days,
                record.fault.as_ref().map(|fault| fault.message.as_str()),
            );
            self.inner.store.commit(self.noted(batch, notice)?).await?;
        }
        for given in self.inner.given.now() {
            let Some(facts) = given.pair.as_ref().map(|pair| pair.facts()) else {
                continue;
            };
            let due = {
                let mut alarmed = self
                    .inner
                    .alarmed
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                let last = alarmed.get(&facts.fingerprint).copied();
                let due = alarm(facts.not_before_ms, facts.not_after_ms, now_ms, last);
                if let Some(days) = due {
                    alarmed.insert(facts.fingerprint.clone(), days);
                }
                due
            };
            if let Some(days) = due {
                let notice =
                    Notice::ending(&given_id(&given), days, Some("its files were not renewed"));
                self.inner
                    .store
                    .commit(self.noted(Batch::new(), notice)?)
                    .await?;
            }
        }
        Ok(())
    }

    fn noted(&self, batch: Batch, notice: Notice) -> Result<Batch, daas_store::StoreError> {
        batch.event("certificates", self.inner.clock.now_ms(), &notice)
    }
}

/// Marks an id as worked on.
struct Busy {
    inner: Arc<Inner>,
    id: String,
}

impl Busy {
    fn take(inner: &Arc<Inner>, id: &str) -> Option<Self> {
        let mut busy = inner.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.insert(id.to_owned()).then(|| Self {
            inner: inner.clone(),
            id: id.to_owned(),
        })
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.inner
            .busy
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.id);
        self.inner.wake.call();
    }
}

/// The loop.
struct Renewing {
    room: Certificates,
}

impl Task for Renewing {
    async fn wait(&mut self) {
        self.room.inner.wake.called_or(self.room.sleep()).await;
    }

    async fn turn(&mut self) -> Result<(), TaskError> {
        // Orders go on beside the loop: a slow authority holds up nobody else.
        drop(self.room.begin_due().await?);
        self.room.give_alarms().await?;
        Ok(())
    }
}

/// What is to be done about a certificate.
enum Due {
    Order,
    Ask,
    Later(u64),
}

fn decide(record: &CertificateRecord, now_ms: u64) -> Due {
    if record.left_ms.is_some() {
        return Due::Later(u64::MAX);
    }
    let Some(issued) = &record.issued else {
        return if record.next_try_ms <= now_ms {
            Due::Order
        } else {
            Due::Later(record.next_try_ms)
        };
    };
    if issued.revoked_ms.is_some() && !record.configured {
        return Due::Later(u64::MAX);
    }
    let mut due = due_ms(
        issued.not_before_ms,
        issued.not_after_ms,
        issued.window,
        &issued.fingerprint,
    );
    if issued.revoked_ms.is_some() || record.order.is_some() {
        due = 0;
    }
    let due = due.max(record.next_try_ms);
    if due <= now_ms {
        return Due::Order;
    }
    if issued.ask_again_ms <= now_ms {
        return Due::Ask;
    }
    Due::Later(due.min(issued.ask_again_ms))
}

fn next_ms(record: &CertificateRecord) -> u64 {
    match decide(record, 0) {
        Due::Later(at) => at,
        Due::Order | Due::Ask => 0,
    }
}

fn blank(names: Vec<CertName>) -> CertificateRecord {
    CertificateRecord {
        names,
        challenge: None,
        authority: None,
        configured: true,
        issued: None,
        order: None,
        failures: 0,
        next_try_ms: 0,
        fault: None,
        alarmed: None,
        stand: None,
        left_ms: None,
    }
}

fn domains(names: &[CertName]) -> BTreeSet<&str> {
    names.iter().map(CertName::registered_domain).collect()
}

fn ledger_key(at: &AcmeSettings, domain: &str) -> String {
    format!("{}/{domain}", &hex_sha256(at.directory.as_bytes())[..16])
}

fn client_name(name: &str) -> Result<CertName, CertificatesError> {
    let fault = || CertificatesError::ClientName {
        name: name.chars().take(80).collect(),
    };
    let label = !name.contains('.')
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    let full = CertName::parse(&format!("{name}.{ZONE}")).map_err(|_| fault())?;
    if label { Ok(full) } else { Err(fault()) }
}

fn condition(not_before_ms: u64, not_after_ms: u64, now_ms: u64) -> Condition {
    if now_ms >= not_after_ms {
        Condition::Expired
    } else if alarm(not_before_ms, not_after_ms, now_ms, None).is_some() {
        Condition::Expiring
    } else {
        Condition::Valid
    }
}

fn view(id: &str, record: &CertificateRecord, now_ms: u64) -> CertificateView {
    let issued = record.issued.as_ref();
    let condition = match issued {
        Some(issued) if issued.revoked_ms.is_some() => Condition::Revoked,
        Some(issued) => condition(issued.not_before_ms, issued.not_after_ms, now_ms),
        None if record.fault.is_some() => Condition::Failed,
        None => Condition::Ordering,
    };
    let renew = |issued: &Issued| {
        due_ms(
            issued.not_before_ms,
            issued.not_after_ms,
            issued.window,
            &issued.fingerprint,
        )
    };
    CertificateView {
        id: id.to_owned(),
        names: record.names.clone(),
        source: Source::Ordered {
            authority: issued
                .map(|issued| issued.authority.clone())
                .or_else(|| record.authority.clone()),
        },
        condition,
        issuer: None,
        serial: issued.map(|issued| issued.serial.clone()),
        fingerprint: issued.map(|issued| issued.fingerprint.clone()),
        not_before_ms: issued.map(|issued| issued.not_before_ms),
        not_after_ms: issued.map(|issued| issued.not_after_ms),
        renew_ms: issued
            .filter(|issued| issued.revoked_ms.is_none())
            .map(renew),
        fault: record.fault.clone(),
        next_try_ms: (record.next_try_ms > now_ms).then_some(record.next_try_ms),
    }
}

fn given_id(given: &crate::given::GivenNow) -> String {
    let name = given
        .pair
        .as_ref()
        .and_then(|pair| pair.facts().names.first().map(ToString::to_string));
    format!(
        "given:{}",
        name.unwrap_or_else(|| given.files.certificate.display().to_string())
    )
}

fn given_view(given: &crate::given::GivenNow, now_ms: u64) -> CertificateView {
    let facts = given.pair.as_ref().map(|pair| pair.facts());
    let fault = given.fault.as_ref().map(|error| FaultRecord {
        code: error.code().to_owned(),
        message: daas_model::render_chain(error.as_ref()),
        hint: error.hint(),
        at_ms: now_ms,
    });
    CertificateView {
        id: given_id(given),
        names: facts.map(|facts| facts.names.clone()).unwrap_or_default(),
        source: Source::Given,
        condition: facts.map_or(Condition::Failed, |facts| {
            condition(facts.not_before_ms, facts.not_after_ms, now_ms)
        }),
        issuer: facts.map(|facts| facts.issuer.clone()),
        serial: facts.map(|facts| facts.serial.clone()),
        fingerprint: facts.map(|facts| facts.fingerprint.clone()),
        not_before_ms: facts.map(|facts| facts.not_before_ms),
        not_after_ms: facts.map(|facts| facts.not_after_ms),
        renew_ms: None,
        fault,
        next_try_ms: None,
    }
}

impl From<IssueError> for CertificatesError {
    fn from(error: IssueError) -> Self {
        Self::Issue(Box::new(error))
    }
}

impl From<AuthorityError> for CertificatesError {
    fn from(error: AuthorityError) -> Self {
        Self::Authority(error)
    }
}
