//! One order, from its making to the certificate. Every step can be done again after a crash: the order's URL and key are kept in between.

use super::account::Accounts;
use super::error::{IssueError, word, words};
use super::settings::AcmeSettings;
use crate::answers::{DnsAnswers, HttpAnswers};
use crate::dns_message::Aliases;
use crate::name::CertName;
use crate::pair::Pair;
use crate::record::{ChallengeKind, OrderRecord};
use crate::seal::Vault;
use crate::served::Resolver;
use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeType, Error as AcmeError,
    Identifier, KeyAuthorization, NewOrder, Order, OrderStatus, Problem, RetryPolicy,
    RevocationRequest,
};
use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256,
};
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use zeroize::Zeroizing;

/// How often one question is put again because its nonce was refused (RFC 8555, section 6.5). At half of all nonces refused one question in
/// a billion still fails.
pub(super) const NONCES: u32 = 30;
/// How long an authority may check a name.
const CHECKED: Duration = Duration::from_secs(180);
/// How long an authority may take to sign.
const SIGNED: Duration = Duration::from_secs(180);

pub(super) fn is_bad_nonce(error: &AcmeError) -> bool {
    matches!(error, AcmeError::Api(problem) if word(problem) == "badNonce")
}

/// Does `$question` again as long as the authority refuses its nonce; the library does so twice only.
macro_rules! asked {
    ($question:expr) => {{
        let mut tries = 0;
        loop {
            match $question {
                Err(error) if is_bad_nonce(&error) && tries < NONCES => tries += 1,
                answer => break answer,
            }
        }
    }};
}

/// What orders need: accounts, and places for answers.
pub(crate) struct Desk {
    pub(crate) accounts: Accounts,
    pub(crate) vault: Arc<Vault>,
    pub(crate) http: Arc<HttpAnswers>,
    pub(crate) resolver: Arc<Resolver>,
    pub(crate) dns: RwLock<Vec<Arc<dyn DnsAnswers>>>,
    /// Names of challenges that are looked for elsewhere, as the configuration says.
    pub(crate) delegations: BTreeMap<CertName, CertName>,
    pub(crate) aliases: Aliases,
}

/// A certificate that was issued.
pub(crate) struct Made {
    pub(crate) pair: Pair,
    pub(crate) sealed: String,
}

/// An answer that stands somewhere until the order is over.
enum Placed {
    Http {
        token: String,
    },
    Tls {
        name: String,
    },
    Dns {
        at: Arc<dyn DnsAnswers>,
        name: CertName,
        value: String,
    },
}

/// What an authorization wants of us.
struct Wanted {
    name: String,
    kind: ChallengeKind,
    token: String,
}

impl Desk {
    /// Makes an order; what is returned must be kept before [`Desk::finish`].
    pub(crate) async fn begin(
        &self,
        at: &AcmeSettings,
        id: &str,
        names: &[CertName],
        replaces: Option<&CertificateDer<'_>>,
        now_ms: u64,
    ) -> Result<OrderRecord, IssueError> {
        let account = self.accounts.of(at).await?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(IssueError::Make)?;
        let identifiers: Vec<_> = names
            .iter()
            .map(|name| Identifier::Dns(name.to_string()))
            .collect();
        let plain = || {
            let order = NewOrder::new(&identifiers);
            match &at.profile {
                Some(profile) => order.profile(profile),
                None => order,
            }
        };
        let replaced = replaces.and_then(|old| CertificateIdentifier::try_from(old).ok());
        let mut told = false;
        let mut order = None;
        if let Some(old) = replaced {
            // Authorities without RFC 9773, and those that do not know the certificate, are asked without it.
            let new = plain().replaces(old);
            order = asked!(account.new_order(&new).await).ok();
            told = order.is_some();
        }
        let order = match order {
            Some(order) => order,
            None => asked!(account.new_order(&plain()).await)
                .map_err(|error| IssueError::of("take an order", &at.directory, error))?,
        };
        let secret = Zeroizing::new(key.serialize_der());
        Ok(OrderRecord {
            authority: at.directory.clone(),
            url: order.url().to_owned(),
            key: self.vault.seal(&format!("order/{id}"), &secret),
            replaces: told,
            since_ms: now_ms,
        })
    }

    /// Goes on with an order wherever it stands, to its end.
    pub(crate) async fn finish(
        &self,
        at: &AcmeSettings,
        id: &str,
        names: &[CertName],
        only: Option<ChallengeKind>,
        kept: &OrderRecord,
    ) -> Result<Made, IssueError> {
        let account = self.accounts.of(at).await?;
        let failed = |action| move |error| IssueError::of(action, &at.directory, error);
        let mut order =
            asked!(account.order(kept.url.clone()).await).map_err(failed("show the order"))?;
        if order.state().status == OrderStatus::Pending {
            let mut placed = Vec::new();
            let proved = self
                .prove(at, &mut order, only.or(at.challenge), &mut placed)
                .await;
            let proved = match proved {
                Err(error @ IssueError::Refused { .. }) => {
                    Err(self.why(at, &mut order, &placed).await.unwrap_or(error))
                }
                other => other,
            };
            self.take_away(placed).await;
            proved?;
        }
        let secret = self.vault.unseal(&format!("order/{id}"), &kept.key)?;
        if order.state().status == OrderStatus::Ready {
            let csr = request(&secret, names)?;
            asked!(order.finalize_csr(&csr).await).map_err(failed("finish the order"))?;
        }
        let chain = self.collect(at, &mut order).await?;
        let issued = |source| IssueError::Issued {
            authority: at.directory.clone(),
            source,
        };
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|source| {
                issued(crate::pair::PairError::Pem {
                    what: "certificate",
                    source,
                })
            })?;
        let key = PrivatePkcs8KeyDer::from(secret.to_vec()).into();
        let pair = Pair::new(chain, key).map_err(issued)?;
        if let Some(missing) = names.iter().find(|name| !pair.facts().covers(name)) {
            let why = format!("it is not good for `{missing}`");
            return Err(issued(crate::pair::PairError::Certificate {
                place: 1,
                why,
            }));
        }
        let sealed = self.vault.seal(
            &format!("certificate/{id}"),
            &crate::room::sealed_text(&pair),
        );
        Ok(Made { pair, sealed })
    }

    async fn collect(&self, at: &AcmeSettings, order: &mut Order) -> Result<String, IssueError> {
        let policy = RetryPolicy::new()
            .initial_delay(Duration::from_millis(100))
            .backoff(1.5)
            .timeout(SIGNED);
        match asked!(order.poll_certificate(&policy).await) {
            Ok(chain) => Ok(chain),
            Err(AcmeError::Timeout(_)) => Err(IssueError::Slow {
                authority: at.directory.clone(),
                action: "sign the certificate",
                after: SIGNED,
            }),
            Err(error) => Err(IssueError::of(
                "hand out the certificate",
                &at.directory,
                error,
            )),
        }
    }

    /// Answers the challenges and waits until the authority is convinced of all.
    async fn prove(
        &self,
        at: &AcmeSettings,
        order: &mut Order,
        only: Option<ChallengeKind>,
        placed: &mut Vec<Placed>,
    ) -> Result<(), IssueError> {
        let failed = |action| move |error| IssueError::of(action, &at.directory, error);
        fetch_authorizations(order)
            .await
            .map_err(failed("show what it wants proved"))?;
        let mut list = order.authorizations();
        // All of them are here: nothing is asked by going through them again.
        while let Some(Ok(mut authorization)) = list.next().await {
            if authorization.status != AuthorizationStatus::Pending {
                continue;
            }
            let offered: Vec<ChallengeType> = authorization
                .challenges
                .iter()
                .map(|c| c.r#type.clone())
                .collect();
            let name = authorization.identifier().to_string();
            let kind = self.choose(at, &name, &offered, only).await?;
            let Some(mut challenge) = authorization.challenge(wire(kind)) else {
                continue;
            };
            let wanted = Wanted {
                name,
                kind,
                token: challenge.token.clone(),
            };
            placed.push(self.place(&wanted, &challenge.key_authorization()).await?);
            asked!(challenge.set_ready().await).map_err(failed("look at an answer"))?;
        }
        let policy = RetryPolicy::new()
            .initial_delay(Duration::from_millis(100))
            .backoff(1.4)
            .timeout(CHECKED);
        match asked!(order.poll_ready(&policy).await) {
            Ok(OrderStatus::Ready) => Ok(()),
            Ok(_) => Err(IssueError::Refused {
                action: "accept the answers",
                authority: at.directory.clone(),
                problem: "invalid".into(),
                detail: "the order is invalid".into(),
            }),
            Err(AcmeError::Timeout(_)) => Err(IssueError::Slow {
                authority: at.directory.clone(),
                action: "check the answers",
                after: CHECKED,
            }),
            Err(error) => Err(IssueError::of("accept the answers", &at.directory, error)),
        }
    }

    async fn choose(
        &self,
        at: &AcmeSettings,
        name: &str,
        offered: &[ChallengeType],
        only: Option<ChallengeKind>,
    ) -> Result<ChallengeKind, IssueError> {
        let is_offered = |kind: &ChallengeKind| offered.contains(&wire(*kind));
        let star = name.starts_with("*.");
        let ours = self.dns_for(name).await.is_some();
        let usable = |kind: &ChallengeKind| match kind {
            ChallengeKind::Dns01 => ours,
            ChallengeKind::Http01 | ChallengeKind::TlsAlpn01 => !star,
        };
        let all = [
            ChallengeKind::Dns01,
            ChallengeKind::Http01,
            ChallengeKind::TlsAlpn01,
        ];
        // A wildcard has one way only, whatever is preferred.
        let wanted: Vec<ChallengeKind> = match only {
            Some(kind) if !star => vec![kind],
            _ => all.to_vec(),
        };
        let found = wanted
            .into_iter()
            .find(|kind| is_offered(kind) && usable(kind));
        found.ok_or_else(|| {
            let list: Vec<String> = offered.iter().map(|kind| format!("{kind:?}")).collect();
            let why = if ours {
                "no challenge that is wanted is offered"
            } else {
                "no name server of ours answers for it"
            };
            IssueError::NoChallenge {
                authority: at.directory.clone(),
                name: name.to_owned(),
                why: format!("{why}; offered: {}", list.join(", ")),
            }
        })
    }

    /// Returns where the TXT record of `name` goes: into a name server of ours, by way of CNAMEs if need be (RFC 8555, section 8.4).
    async fn dns_for(&self, name: &str) -> Option<(Arc<dyn DnsAnswers>, CertName)> {
        let base = name.strip_prefix("*.").unwrap_or(name);
        let mut asked = CertName::parse(&format!("_acme-challenge.{base}")).ok()?;
        let servers = self
            .dns
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for _ in 0..8 {
            if let Some(target) = self.delegations.get(&asked) {
                asked = target.clone();
            }
            if let Some(server) = servers.iter().find(|server| server.serves(&asked)) {
                return Some((server.clone(), asked));
            }
            asked = self.aliases.of(&asked).await?;
        }
        None
    }

    async fn place(&self, wanted: &Wanted, proof: &KeyAuthorization) -> Result<Placed, IssueError> {
        match wanted.kind {
            ChallengeKind::Http01 => {
                self.http.set(&wanted.token, proof.as_str().to_owned());
                Ok(Placed::Http {
                    token: wanted.token.clone(),
                })
            }
            ChallengeKind::TlsAlpn01 => {
                let key = tls_answer(&wanted.name, proof.digest().as_ref())?;
                self.resolver.set_challenge(&wanted.name, key);
                Ok(Placed::Tls {
                    name: wanted.name.clone(),
                })
            }
            ChallengeKind::Dns01 => {
                let fault = |source| IssueError::Answer {
                    name: wanted.name.clone(),
                    source,
                };
                let (at, name) = self.dns_for(&wanted.name).await.ok_or_else(|| {
                    fault("no name server of ours answers for it any more".into())
                })?;
                let value = proof.dns_value();
                at.set_txt(&name, &value).await.map_err(fault)?;
                Ok(Placed::Dns { at, name, value })
            }
        }
    }

    async fn take_away(&self, placed: Vec<Placed>) {
        for answer in placed {
            match answer {
                Placed::Http { token } => drop(self.http.remove(&token)),
                Placed::Tls { name } => self.resolver.remove_challenge(&name),
                Placed::Dns { at, name, value } => {
                    if let Err(error) = at.remove_txt(&name, &value).await {
                        tracing::warn!(%name, cause = %daas_model::render_chain(error.as_ref()), "an answer stays in the DNS");
                    }
                }
            }
        }
    }

    /// Returns what the authority says about the challenge that failed.
    async fn why(
        &self,
        at: &AcmeSettings,
        order: &mut Order,
        placed: &[Placed],
    ) -> Option<IssueError> {
        // The order was looked at meanwhile, and then the library has forgotten them.
        fetch_authorizations(order).await.ok()?;
        let mut list = order.authorizations();
        while let Some(Ok(mut authorization)) = list.next().await {
            drop(asked!(authorization.refresh().await.map(drop)));
            let failed = authorization.challenges.iter().find_map(|challenge| {
                let problem = challenge.error.clone()?;
                Some((
                    kind_of(&challenge.r#type)?,
                    challenge.token.clone(),
                    problem,
                ))
            });
            if let Some((challenge, token, problem)) = failed {
                let waits = placed
                    .iter()
                    .any(|p| matches!(p, Placed::Http { token: own } if *own == token));
                return Some(told(
                    at,
                    authorization.identifier().to_string(),
                    challenge,
                    &problem,
                    waits.then(|| self.http.asked(&token)),
                ));
            }
        }
        None
    }

    /// Takes a certificate back (RFC 8555, section 7.6).
    pub(crate) async fn revoke(
        &self,
        at: &AcmeSettings,
        certificate: &CertificateDer<'_>,
    ) -> Result<(), IssueError> {
        let account = self.accounts.of(at).await?;
        let request = RevocationRequest {
            certificate,
            reason: None,
        };
        match asked!(account.revoke(&request).await) {
            Err(AcmeError::Api(problem)) if word(&problem) == "alreadyRevoked" => Ok(()),
            other => other
                .map_err(|error| IssueError::of("revoke the certificate", &at.directory, error)),
        }
    }

    /// Asks when the authority wants a certificate renewed (RFC 9773), and after how long to ask again. Nothing if it does not say such things.
    pub(crate) async fn window(
        &self,
        at: &AcmeSettings,
        certificate: &CertificateDer<'_>,
    ) -> Result<Option<(crate::renewal::Window, Duration)>, IssueError> {
        let account: Account = self.accounts.of(at).await?;
        let Ok(id) = CertificateIdentifier::try_from(certificate) else {
            return Ok(None);
        };
        match account.renewal_info(&id).await {
            Ok((info, again)) => {
                let ms = |time: time::OffsetDateTime| {
                    u64::try_from(time.unix_timestamp())
                        .unwrap_or(0)
                        .saturating_mul(1000)
                };
                let window = crate::renewal::Window {
                    start_ms: ms(info.suggested_window.start),
                    end_ms: ms(info.suggested_window.end),
                };
                Ok(Some((window, again)))
            }
            Err(AcmeError::Unsupported(_)) => Ok(None),
            Err(error) => Err(IssueError::of("tell when to renew", &at.directory, error)),
        }
    }
}

fn told(
    at: &AcmeSettings,
    name: String,
    challenge: ChallengeKind,
    problem: &Problem,
    asked: Option<u32>,
) -> IssueError {
    IssueError::Challenge {
        authority: at.directory.clone(),
        name,
        challenge,
        problem: word(problem),
        detail: words(problem),
        asked,
    }
}

/// Gets all authorizations of an order.
async fn fetch_authorizations(order: &mut Order) -> Result<(), AcmeError> {
    for _ in 0..=NONCES {
        let mut again = false;
        let mut list = order.authorizations();
        while let Some(answer) = list.next().await {
            match answer {
                Ok(_) => {}
                // The list has gone on behind it: it is gone through once more, for what is missing.
                Err(error) if is_bad_nonce(&error) => again = true,
                Err(error) => return Err(error),
            }
        }
        if !again {
            return Ok(());
        }
    }
    Err(AcmeError::Str("an authority that accepts nonces"))
}

fn wire(kind: ChallengeKind) -> ChallengeType {
    match kind {
        ChallengeKind::Http01 => ChallengeType::Http01,
        ChallengeKind::TlsAlpn01 => ChallengeType::TlsAlpn01,
        ChallengeKind::Dns01 => ChallengeType::Dns01,
    }
}

fn kind_of(kind: &ChallengeType) -> Option<ChallengeKind> {
    match kind {
        ChallengeType::Http01 => Some(ChallengeKind::Http01),
        ChallengeType::TlsAlpn01 => Some(ChallengeKind::TlsAlpn01),
        ChallengeType::Dns01 => Some(ChallengeKind::Dns01),
        _ => None,
    }
}

/// Writes the request for `names` (PKCS #10).
fn request(key: &[u8], names: &[CertName]) -> Result<Vec<u8>, IssueError> {
    let pkcs8 = PrivatePkcs8KeyDer::from(key);
    let key = KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, &PKCS_ECDSA_P256_SHA256)
        .map_err(IssueError::Make)?;
    let texts: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(texts).map_err(IssueError::Make)?;
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key).map_err(IssueError::Make)?;
    Ok(request.der().to_vec())
}

/// Makes the certificate that answers TLS-ALPN-01 (RFC 8737, section 3).
///
/// rustls' own readers refuse its critical extension, so that the key is put beside it unread.
fn tls_answer(name: &str, digest: &[u8]) -> Result<CertifiedKey, IssueError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(IssueError::Make)?;
    let mut params = CertificateParams::new(vec![name.to_owned()]).map_err(IssueError::Make)?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = params.self_signed(&key).map_err(IssueError::Make)?;
    let secret = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let signer = any_supported_type(&secret)
        .map_err(|_| IssueError::Make(rcgen::Error::CouldNotParseKeyPair))?;
    Ok(CertifiedKey::new(vec![certificate.der().clone()], signer))
}
