//! The room: what is wanted, had, ordered and renewed.

mod alarms;
mod clients;
mod ordering;
mod renewing;
mod shown;
mod stands;

use crate::acme::{Accounts, AcmeSettings, Desk, IssueError};
use crate::answers::{DnsAnswers, HttpAnswers};
use crate::authority::{Authority, AuthorityError, RootView};
use crate::budget::Budget;
use crate::clients::ClientVerifier;
use crate::clock::Clock;
use crate::dns_message::Aliases;
use crate::given::{Given, GivenFiles};
use crate::name::CertName;
use crate::notice::Notice;
use crate::own::{OwnNames, Served, ServesAll};
use crate::pair::{Pair, pem};
use crate::record::{CertificateRecord, ChallengeKind, ClientRecord, Issued};
use crate::renewal::DAY_MS;
use crate::room_error::CertificatesError;
use crate::seal::Vault;
use crate::served::{Resolver, Table};
use crate::view::{CertificateView, Condition};
use daas_store::{Batch, Store};
use daas_tasks::{Supervisor, Wake};
use renewing::Renewing;
use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// Orders under way at once: each is a dozen questions to an authority that counts them.
const AT_ONCE: usize = 4;

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
