//! A request from its head to its answer.

use crate::access::{Access, AccessLog};
use crate::activity::Guest;
use crate::backend::Reach;
use crate::body::Answer;
use crate::forwarded::client;
use crate::guard::{self, Said};
use crate::host::{host_of, without_address};
use crate::page::{Page, takes_html};
use crate::passage::Passage;
use crate::table::{Entry, Found, Table};
use crate::target::canonical;
use crate::tls::ChallengeAnswers;
use crate::visit::{Busy, Visit};
use daas_http::{Patience, Unwanted, Upload};
use daas_model::Subnet;
use daas_tasks::Bans;
use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, HOST, HeaderValue, LOCATION};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode, Version};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

/// Where ACME asks for its answers (RFC 8555 section 8.3).
const CHALLENGES: &str = "/.well-known/acme-challenge/";

/// How long a request waits for its stand to wake, or for the node that takes the place of another.
const WAKE: Duration = Duration::from_secs(60);
/// How long a person looks at nothing before a page tells what is going on.
const PAGE_AFTER: Duration = Duration::from_secs(4);

/// How many bytes of a body pay for a second of waiting.
const PAID_BY_A_SECOND: u32 = 1024;

/// What every request needs.
pub(crate) struct Proxy {
    pub(crate) table: RwLock<Arc<Table>>,
    pub(crate) reach: Reach,
    pub(crate) trusted: Vec<Subnet>,
    /// How long a body may keep us waiting.
    pub(crate) patience: Duration,
    pub(crate) challenges: Option<Arc<dyn ChallengeAnswers>>,
    pub(crate) log: Option<AccessLog>,
    /// The port of TLS, for zones whose plain requests are sent there.
    pub(crate) secure_port: std::sync::atomic::AtomicU16,
    pub(crate) bans: Option<Bans>,
    pub(crate) is_secure: Option<crate::ingress::IsSecure>,
    pub(crate) with_addresses: Vec<String>,
    /// Whether connections are asked to end with their next answer.
    pub(crate) draining: AtomicBool,
    pub(crate) visited: Option<crate::ingress::Visited>,
    /// Counts tables, for those who wait for the next one.
    pub(crate) changes: tokio::sync::watch::Sender<u64>,
}

/// A request that is answered by us.
pub(crate) enum Refused {
    /// With a page; the connection may go with it.
    Page { page: Page, close: bool },
    /// With an answer that is whole already.
    Answer(Box<Response<Answer>>),
}

impl From<Page> for Refused {
    fn from(page: Page) -> Self {
        Self::Page { page, close: false }
    }
}

pub(crate) fn ambiguous(why: &str) -> Refused {
    let page = Page::new(
        StatusCode::BAD_REQUEST,
        "request-ambiguous",
        "400: the request cannot be understood in one way only",
    );
    Refused::Page {
        page: page.line(why),
        close: true,
    }
}

/// Where a request wants to go.
pub(crate) struct Wanted {
    /// As the visitor wrote it.
    pub(crate) authority: HeaderValue,
    pub(crate) host: String,
    pub(crate) path: String,
}

impl Proxy {
    pub(crate) fn now(&self) -> Arc<Table> {
        self.table
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Answers one request; what of its body nobody takes goes to `unwanted`. Safe to drop: the connection to the node goes with it.
    pub(crate) async fn answer(
        self: Arc<Self>,
        visit: Arc<Visit>,
        request: Request<Incoming>,
        unwanted: Option<Unwanted>,
    ) -> Response<Answer> {
        let busy = Busy::new(&visit.signals);
        let began = Instant::now();
        let (mut parts, body) = request.into_parts();
        let is_h2 = parts.version == Version::HTTP_2;
        let (mut access, mut guest) = (None, None);
        let result = self
            .route(
                &visit,
                &mut parts,
                (body, unwanted),
                began,
                (&mut access, &mut guest),
            )
            .await;
        let mut response = match result {
            Ok(response) => response,
            Err(Refused::Answer(response)) => *response,
            Err(Refused::Page { page, close }) => {
                let mut response = page.render(&parts.headers);
                if close && !is_h2 {
                    response
                        .headers_mut()
                        .insert(CONNECTION, HeaderValue::from_static("close"));
                }
                response
            }
        };
        // Whatever the node speaks, we speak our own version (RFC 9112 section 2.3); who speaks HTTP/1.0 gets that from hyper.
        *response.version_mut() = Version::HTTP_11;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            visit.signals.settle_upgrade(false);
            if !is_h2 && self.draining.load(Ordering::Relaxed) {
                response
                    .headers_mut()
                    .insert(CONNECTION, HeaderValue::from_static("close"));
            }
        }
        if let Some(access) = &mut access {
            access.status = response.status().as_u16();
            access.first = began.elapsed();
        }
        let end = &mut response.body_mut().end;
        end.access = access;
        end.busy = Some(busy);
        end.guest = guest;
        response
    }

    async fn route(
        &self,
        visit: &Arc<Visit>,
        parts: &mut Parts,
        (body, unwanted): (Incoming, Option<Unwanted>),
        began: Instant,
        (access, guest): (&mut Option<Box<Access>>, &mut Option<Guest>),
    ) -> Result<Response<Answer>, Refused> {
        let wanted = wanted(parts)?;
        let ip = client(visit, &parts.headers, &self.trusted);
        if let Some(log) = &self.log {
            *access = Some(Box::new(begin_access(
                log, visit, parts, &wanted, ip, began,
            )));
        }
        if let Some(answer) = self.challenge(&wanted) {
            return Ok(answer);
        }
        if self.bans.as_ref().is_some_and(|bans| bans.is_banned(ip)) {
            let page = Page::new(
                StatusCode::FORBIDDEN,
                "client-banned",
                "403: your address failed too often",
            );
            let page = page.line(
                "It is let in again after a while; `daas ban list` on the machine tells when.",
            );
            return Err(Refused::Page { page, close: true });
        }
        // Only now: who is kept out, or cannot be understood, sends no more.
        let body = (!body.is_end_stream()).then(|| {
            let patience = Patience::new(self.patience, PAID_BY_A_SECOND);
            Box::new(Upload::new(body, patience, unwanted))
        });
        let found = self.find(&wanted, parts);
        if found.is_err() && is_probe(&wanted.path) {
            self.failed(ip, "looked for holes where nothing is").await;
        }
        let (mut entry, mut by_path) = found?;
        if let Some(access) = access {
            access.stand = entry.stand.to_string();
        }
        if let Some(away) = self.to_tls(visit, &wanted, parts) {
            return Ok(away);
        }
        // Who is refused wakes nobody, and keeps nobody awake.
        self.guard(&entry, visit, parts, &wanted, ip).await?;
        if entry.sleeps {
            *guest = Some(Guest::new(&entry.activity));
            if entry.is_waking()
                && let Some(visited) = &self.visited
            {
                visited(&entry.stand);
            }
        }
        if entry.is_waking() || entry.is_between() {
            let asked = entry.route.rules.clone();
            (entry, by_path) = self.wait(entry, by_path, &wanted, parts).await?;
            if !Arc::ptr_eq(&asked, &entry.route.rules) {
                self.guard(&entry, visit, parts, &wanted, ip).await?;
            }
        }
        let passage = Passage {
            proxy: self,
            visit,
            entry: &entry,
            by_path,
        };
        passage.pass(parts, body, &wanted, ip, access).await
    }

    /// Asks the guards of a route that need no node.
    async fn guard(
        &self,
        entry: &Entry,
        visit: &Visit,
        parts: &Parts,
        wanted: &Wanted,
        ip: IpAddr,
    ) -> Result<(), Refused> {
        let rules = &entry.route.rules;
        let query = parts.uri.query();
        match guard::ask(rules, visit, ip, &parts.headers, &wanted.path, query) {
            Said::Pass => Ok(()),
            Said::Answer(answer) => Err(Refused::Answer(answer)),
            Said::Failed(answer) => {
                self.failed(ip, "wrong password or link of a stand").await;
                Err(Refused::Answer(answer))
            }
        }
    }

    /// Counts a failure of a visitor, and waits as long as he shall.
    pub(crate) async fn failed(&self, ip: IpAddr, why: &str) {
        let Some(bans) = &self.bans else { return };
        let delay = bans.failed(ip, why);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
    }

    fn find(&self, wanted: &Wanted, parts: &Parts) -> Result<(Arc<Entry>, bool), Refused> {
        let table = self.now();
        let found = table.find(&wanted.host, &wanted.path, &parts.headers);
        let plain = match found {
            Found::NoHost => without_address(&wanted.host, &self.with_addresses),
            Found::Route(..) | Found::NoPath => None,
        };
        let found = match &plain {
            Some(host) => table.find(host, &wanted.path, &parts.headers),
            None => found,
        };
        match found {
            Found::Route(entry, by_path) => Ok((entry.clone(), by_path)),
            Found::NoPath => Err(Page::new(
                StatusCode::NOT_FOUND,
                "route-no-path",
                "404: no route has this path",
            )
            .into()),
            // Nothing is said about what there is: names of stands are not for strangers.
            Found::NoHost => Err(Page::new(
                StatusCode::NOT_FOUND,
                "route-no-host",
                "404: nothing answers at this name",
            )
            .line("No stand that is here bears it: it may be gone, or have another name.")
            .line("Who works on this machine sees all names with `daas route list`.")
            .into()),
        }
    }

    /// Holds a request, its body unread, until its stand has waked or its node is replaced; a browser gets a page after some seconds, which asks again.
    async fn wait(
        &self,
        entry: Arc<Entry>,
        by_path: bool,
        wanted: &Wanted,
        parts: &Parts,
    ) -> Result<(Arc<Entry>, bool), Refused> {
        let patience = if takes_html(&parts.headers) {
            PAGE_AFTER
        } else {
            WAKE
        };
        let Some(_place) = entry.activity.wait() else {
            return Ok((entry, by_path));
        };
        let end = tokio::time::Instant::now() + patience;
        let mut changes = self.changes.subscribe();
        loop {
            let found = self.find(wanted, parts)?;
            if !found.0.is_waking() && !found.0.is_between() {
                return Ok(found);
            }
            if tokio::time::timeout_at(end, changes.changed())
                .await
                .is_err()
            {
                return Ok(found);
            }
        }
    }

    fn challenge(&self, wanted: &Wanted) -> Option<Response<Answer>> {
        let token = wanted.path.strip_prefix(CHALLENGES)?;
        let answer = self.challenges.as_ref()?.http_answer(&wanted.host, token)?;
        Some(Response::new(Answer::page(answer)))
    }

    /// Sends a plain request to TLS, where its zone wants that.
    fn to_tls(&self, visit: &Visit, wanted: &Wanted, parts: &Parts) -> Option<Response<Answer>> {
        let is_secure = self.is_secure.as_ref()?;
        let port = self.secure_port.load(Ordering::Relaxed);
        if visit.tls || visit.trusted || port == 0 || !is_secure(&wanted.host) {
            return None;
        }
        let port = if port == 443 {
            String::new()
        } else {
            format!(":{port}")
        };
        let query = parts
            .uri
            .query()
            .map_or_else(String::new, |query| format!("?{query}"));
        let to = HeaderValue::try_from(format!(
            "https://{}{port}{}{query}",
            wanted.host, wanted.path
        ))
        .ok()?;
        let mut response = Response::new(Answer::page(""));
        // 308 keeps method and body (RFC 9110 section 15.4.9).
        *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
        response.headers_mut().insert(LOCATION, to);
        Some(response)
    }
}

/// Tells whether a path is one that only those look for who try every door: other people's secrets, consoles and holes.
fn is_probe(path: &str) -> bool {
    const HOLES: [&str; 14] = [
        "/.env",
        "/.git/",
        "/.aws/",
        "/.ssh/",
        "/.svn/",
        "/wp-login.php",
        "/wp-admin",
        "/xmlrpc.php",
        "/phpmyadmin",
        "/cgi-bin/",
        "/vendor/phpunit",
        "/boaform",
        "/actuator",
        "/hnap1",
    ];
    let path = path.to_ascii_lowercase();
    HOLES.iter().any(|hole| path.starts_with(hole))
}

fn begin_access(
    log: &AccessLog,
    visit: &Visit,
    parts: &Parts,
    wanted: &Wanted,
    client: IpAddr,
    began: Instant,
) -> Access {
    Access {
        log: log.clone(),
        began,
        at: SystemTime::now(),
        client,
        method: parts.method.clone(),
        scheme: visit.scheme(),
        host: wanted.host.clone(),
        path: wanted.path.clone(),
        version: parts.version,
        status: 0,
        stand: String::new(),
        node: String::new(),
        sent: 0,
        first: Duration::ZERO,
        broken: false,
    }
}

/// Reads where a request wants to go; what could be understood in two ways is refused.
fn wanted(parts: &Parts) -> Result<Wanted, Refused> {
    if parts.method == Method::CONNECT {
        let page = Page::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "request-connect",
            "405: this is no forward proxy",
        );
        return Err(Refused::Page { page, close: true });
    }
    let mut hosts = parts.headers.get_all(HOST).iter();
    let (named, more) = (hosts.next(), hosts.next());
    if more.is_some() {
        return Err(ambiguous("it has two Host headers"));
    }
    let authority = match (parts.uri.authority(), named) {
        (Some(inner), Some(named))
            if !inner
                .as_str()
                .as_bytes()
                .eq_ignore_ascii_case(named.as_bytes()) =>
        {
            return Err(ambiguous(
                "its target and its Host header name different hosts",
            ));
        }
        (_, Some(named)) => named.clone(),
        (Some(inner), None) => {
            HeaderValue::from_str(inner.as_str()).map_err(|_| ambiguous("its host is no host"))?
        }
        (None, None) => return Err(ambiguous("it names no host")),
    };
    let host = authority
        .to_str()
        .ok()
        .and_then(host_of)
        .ok_or_else(|| ambiguous("its host is no host"))?
        .into_owned();
    let path = match parts.uri.path() {
        // `OPTIONS *` (RFC 9112 section 3.2.4) asks about the whole server: the root's route answers.
        "*" if parts.method == Method::OPTIONS => "/".to_owned(),
        path => canonical(path)
            .map_err(|fault| ambiguous(&fault.to_string()))?
            .into_owned(),
    };
    Ok(Wanted {
        authority,
        host,
        path,
    })
}
