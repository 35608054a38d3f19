//! A request from its head to its answer.

use crate::access::{Access, AccessLog};
use crate::backend::{Backend, Counted, Lent, Reach, ReachError, chain};
use crate::body::{Answer, FrontBody, TooLarge};
use crate::forwarded::{client, strip_answer, strip_connection, testify};
use crate::host::host_of;
use crate::page::Page;
use crate::standing::Mood;
use crate::table::{Entry, Found, Table};
use crate::target::canonical;
use crate::tls::ChallengeAnswers;
use crate::upgrade;
use crate::visit::{Busy, Visit};
use daas_model::{RouteProtocol, Subnet};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HOST, HeaderMap, HeaderValue, LOCATION, UPGRADE};
use hyper::http::request::Parts;
use hyper::http::uri::PathAndQuery;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, Uri, Version};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

/// Where ACME asks for its answers (RFC 8555 section 8.3).
const CHALLENGES: &str = "/.well-known/acme-challenge/";
/// How long a node that has just become ready may refuse connections before its visitor is told: many say that they run before they listen.
const OPENING: Duration = Duration::from_secs(10);
/// The pause between two tries to reach such a node.
const KNOCK: Duration = Duration::from_millis(20);
/// The most bytes of a body where a route does not say it: none.
const ANY_BODY: u64 = u64::MAX;

/// What every request needs.
pub(crate) struct Proxy {
    pub(crate) table: RwLock<Arc<Table>>,
    pub(crate) reach: Reach,
    pub(crate) trusted: Vec<Subnet>,
    pub(crate) challenges: Option<Arc<dyn ChallengeAnswers>>,
    pub(crate) log: Option<AccessLog>,
    /// The port of TLS, for zones whose plain requests are sent there.
    pub(crate) secure_port: std::sync::atomic::AtomicU16,
    pub(crate) secure_zones: Vec<String>,
    /// Whether connections are asked to end with their next answer.
    pub(crate) draining: AtomicBool,
    pub(crate) visited: Option<crate::ingress::Visited>,
}

/// A request that is answered by us, and whether the connection goes with it.
struct Refused {
    page: Page,
    close: bool,
}

impl From<Page> for Refused {
    fn from(page: Page) -> Self {
        Self { page, close: false }
    }
}

fn ambiguous(why: &str) -> Refused {
    let page = Page::new(
        StatusCode::BAD_REQUEST,
        "request-ambiguous",
        "400: the request cannot be understood in one way only",
    );
    Refused {
        page: page.line(why),
        close: true,
    }
}

/// Where a request wants to go.
struct Wanted {
    /// As the visitor wrote it.
    authority: HeaderValue,
    host: String,
    path: String,
}

impl Proxy {
    pub(crate) fn now(&self) -> Arc<Table> {
        self.table
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Answers one request. Safe to drop: the connection to the node goes with it.
    pub(crate) async fn answer(
        self: Arc<Self>,
        visit: Arc<Visit>,
        request: Request<Incoming>,
    ) -> Response<Answer> {
        let busy = Busy::new(&visit.signals);
        let began = Instant::now();
        let (mut parts, body) = request.into_parts();
        let is_h2 = parts.version == Version::HTTP_2;
        let mut access = None;
        let result = self
            .route(&visit, &mut parts, body, began, &mut access)
            .await;
        let mut response = match result {
            Ok(response) => response,
            Err(refused) => {
                let mut response = refused.page.render(&parts.headers);
                if refused.close && !is_h2 {
                    response
                        .headers_mut()
                        .insert(CONNECTION, HeaderValue::from_static("close"));
                }
                response
            }
        };
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
        response
    }

    async fn route(
        &self,
        visit: &Arc<Visit>,
        parts: &mut Parts,
        body: Incoming,
        began: Instant,
        access: &mut Option<Box<Access>>,
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
        let table = self.now();
        let (entry, by_path) = match table.find(&wanted.host, &wanted.path, &parts.headers) {
            Found::Route(entry, by_path) => (entry.clone(), by_path),
            Found::NoPath => {
                return Err(Page::new(
                    StatusCode::NOT_FOUND,
                    "route-no-path",
                    "404: no route has this path",
                )
                .into());
            }
            // Nothing is said about what there is: names of stands are not for strangers.
            Found::NoHost => {
                return Err(Page::new(
                    StatusCode::NOT_FOUND,
                    "route-no-host",
                    "404: nothing answers at this name",
                )
                .into());
            }
        };
        drop(table);
        if let Some(access) = access {
            access.stand = entry.stand.to_string();
        }
        if entry.sleeps
            && let Some(visited) = &self.visited
        {
            visited(&entry.stand);
        }
        if let Some(away) = self.to_tls(visit, &wanted, parts) {
            return Ok(away);
        }
        let passage = Passage {
            proxy: self,
            visit,
            entry: &entry,
            by_path,
        };
        passage.pass(parts, body, &wanted, ip, access).await
    }

    fn challenge(&self, wanted: &Wanted) -> Option<Response<Answer>> {
        let token = wanted.path.strip_prefix(CHALLENGES)?;
        let answer = self.challenges.as_ref()?.http_answer(&wanted.host, token)?;
        Some(Response::new(Answer::page(answer)))
    }

    /// Sends a plain request to TLS, where its zone wants that.
    fn to_tls(&self, visit: &Visit, wanted: &Wanted, parts: &Parts) -> Option<Response<Answer>> {
        if visit.tls || visit.trusted || self.secure_zones.is_empty() {
            return None;
        }
        let inside = self.secure_zones.iter().any(|zone| {
            wanted
                .host
                .strip_suffix(zone.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        });
        let port = self.secure_port.load(Ordering::Relaxed);
        if !inside || port == 0 {
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
        return Err(Refused { page, close: true });
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

/// Tells whether doing it twice is the same as doing it once (RFC 9110 section 9.2.2).
fn is_repeatable(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

/// A request on its way to a node.
struct Passage<'a> {
    proxy: &'a Proxy,
    visit: &'a Arc<Visit>,
    entry: &'a Arc<Entry>,
    /// Whether paths are looked at for this host.
    by_path: bool,
}

impl Passage<'_> {
    async fn pass(
        &self,
        parts: &mut Parts,
        body: Incoming,
        wanted: &Wanted,
        ip: IpAddr,
        access: &mut Option<Box<Access>>,
    ) -> Result<Response<Answer>, Refused> {
        let front = parts.extensions.remove::<OnUpgrade>();
        let protocol = upgrade::wanted(&parts.headers);
        let accept = parts.headers.get(hyper::header::ACCEPT).cloned();
        strip_connection(&mut parts.headers);
        testify(&mut parts.headers, self.visit, &wanted.authority, ip);
        if let Some(protocol) = &protocol {
            parts
                .headers
                .insert(CONNECTION, HeaderValue::from_static("upgrade"));
            parts.headers.insert(UPGRADE, protocol.clone());
        }
        parts.extensions.clear();
        let by_h2 = matches!(
            self.entry.route.protocol,
            RouteProtocol::Grpc | RouteProtocol::H2c
        );
        parts.uri = self.uri(&parts.uri, wanted, by_h2)?;
        if by_h2 {
            parts.version = Version::HTTP_2;
            parts.headers.remove(HOST);
        } else {
            parts.version = Version::HTTP_11;
            parts.headers.insert(HOST, wanted.authority.clone());
        }
        let head = std::mem::replace(parts, empty());
        let body = FrontBody::of(body, ANY_BODY);
        let sent = if by_h2 {
            self.send_h2(head, body, access).await
        } else {
            self.send(head, body, access).await
        };
        // For a page that is made now: the visitor's own wish, which the back end's head may not have.
        if let Some(accept) = accept {
            parts.headers.insert(hyper::header::ACCEPT, accept);
        }
        let (mut response, lent) = sent?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return self.switch(front.filter(|_| protocol.is_some()), response, lent);
        }
        strip_answer(response.headers_mut());
        Ok(response.map(|body| Answer::back(body, lent)))
    }

    /// Returns the target as the back end gets it.
    fn uri(&self, uri: &Uri, wanted: &Wanted, by_h2: bool) -> Result<Uri, Refused> {
        let bad = |_| ambiguous("its target cannot be written down");
        let path = uri.path();
        let same = path == wanted.path
            || path == "*"
            || (!self.by_path && only_slashes_differ(path, &wanted.path));
        let target = match uri.path_and_query() {
            Some(target) if same => target.clone(),
            _ => match uri.query() {
                Some(query) => {
                    PathAndQuery::try_from(format!("{}?{query}", wanted.path)).map_err(bad)?
                }
                None => PathAndQuery::try_from(wanted.path.as_str()).map_err(bad)?,
            },
        };
        if !by_h2 {
            return Ok(Uri::from(target));
        }
        let authority =
            hyper::http::uri::Authority::try_from(wanted.authority.as_bytes()).map_err(bad)?;
        let mut new = hyper::http::uri::Parts::default();
        new.scheme = Some(hyper::http::uri::Scheme::HTTP);
        new.authority = Some(authority);
        new.path_and_query = Some(target);
        Uri::from_parts(new).map_err(|_| ambiguous("its target cannot be written down"))
    }

    /// Chooses a back end: in turn, the less busy one of two neighbours.
    fn choose(&self) -> Result<Arc<Backend>, Refused> {
        let list = &self.entry.backends;
        match list.as_slice() {
            [] => Err(self.not_ready()),
            [one] => Ok(one.clone()),
            more => {
                let turn = self.entry.turn.fetch_add(1, Ordering::Relaxed);
                let (one, other) = (&more[turn % more.len()], &more[(turn + 1) % more.len()]);
                let busy = |b: &Arc<Backend>| b.busy.load(Ordering::Relaxed);
                Ok(if busy(other) < busy(one) {
                    other.clone()
                } else {
                    one.clone()
                })
            }
        }
    }

    fn not_ready(&self) -> Refused {
        let standing = &self.entry.standing;
        let name = self.entry.stand.as_str();
        let (code, title) = match standing.mood {
            Mood::Up | Mood::Starting => {
                ("stand-starting", format!("503: {name} is not ready yet"))
            }
            Mood::Stopped => ("stand-stopped", format!("503: {name} is stopped")),
            Mood::Asleep => ("stand-asleep", format!("503: {name} is being waked")),
            Mood::Paused => ("stand-paused", format!("503: {name} is paused")),
            Mood::Failed => ("stand-failed", format!("503: {name} has failed")),
            Mood::Leaving => ("stand-leaving", format!("503: {name} is being thrown away")),
        };
        let mut page = Page::new(StatusCode::SERVICE_UNAVAILABLE, code, title);
        page.lines = standing.sentences(name);
        page.again = matches!(standing.mood, Mood::Up | Mood::Starting | Mood::Asleep).then_some(1);
        page.into()
    }

    /// Sends a request by HTTP/1.1; again by another connection where nothing can have happened twice.
    async fn send(
        &self,
        head: Parts,
        body: FrontBody,
        access: &mut Option<Box<Access>>,
    ) -> Result<(Response<Incoming>, Option<Lent>), Refused> {
        let rules = &self.entry.route.rules;
        let repeatable = body.is_empty() && is_repeatable(&head.method);
        let mut retries = if repeatable { rules.retries } else { 0 };
        let mut spare = (retries > 0).then(|| copy(&head));
        let mut request = Request::from_parts(head, body);
        loop {
            let backend = self.choose()?;
            if let Some(access) = access {
                access.node.clone_from(&backend.upstream.node);
            }
            let counted = Counted::new(&backend);
            let mut lent = self.lend(&backend, !repeatable).await?;
            let sending = async {
                if !lent.sender.is_ready()
                    && let Err(error) = lent.sender.ready().await
                {
                    return Err((error, None));
                }
                Ok(lent.sender.try_send_request(request).await)
            };
            let answer = tokio::time::timeout(rules.timeout, sending).await;
            drop(counted);
            let (error, unsent) = match answer {
                Ok(Ok(Ok(response))) => return Ok((response, Some(lent))),
                Ok(Ok(Err(mut failed))) => {
                    let unsent = failed.take_message();
                    (failed.into_error(), unsent)
                }
                Ok(Err((error, unsent))) => (error, unsent),
                Err(_) => return Err(self.too_late(&backend, rules.timeout)),
            };
            if let Some(refused) = of_visitor(&error) {
                return Err(refused);
            }
            request = match (unsent, spare.take()) {
                // An idle connection that had ended: nothing of the request has gone out.
                (Some(unsent), kept) if lent.used => {
                    spare = kept;
                    unsent
                }
                (_, Some(kept)) if retries > 0 => {
                    retries -= 1;
                    spare = (retries > 0).then(|| copy(&kept));
                    Request::from_parts(kept, FrontBody::Empty)
                }
                _ => return Err(self.broken(&backend, &error)),
            };
        }
    }

    /// Returns a connection to a back end: an idle one, or a new one. One that has just become ready may still be about to listen.
    async fn lend(&self, backend: &Arc<Backend>, anew: bool) -> Result<Lent, Refused> {
        if let Some(lent) = backend.take(anew) {
            return Ok(lent);
        }
        loop {
            match backend.connect(&self.proxy.reach).await {
                Ok(lent) => return Ok(lent),
                Err(error) if error.is_refused() && backend.born.elapsed() < OPENING => {
                    tokio::time::sleep(KNOCK).await;
                }
                Err(error) => return Err(self.unreachable(backend, &error)),
            }
        }
    }

    async fn send_h2(
        &self,
        head: Parts,
        body: FrontBody,
        access: &mut Option<Box<Access>>,
    ) -> Result<(Response<Incoming>, Option<Lent>), Refused> {
        let backend = self.choose()?;
        if let Some(access) = access {
            access.node.clone_from(&backend.upstream.node);
        }
        let counted = Counted::new(&backend);
        let timeout = self.entry.route.rules.timeout;
        let mut sender = loop {
            match backend.shared(&self.proxy.reach).await {
                Ok(sender) => break sender,
                Err(error) if error.is_refused() && backend.born.elapsed() < OPENING => {
                    tokio::time::sleep(KNOCK).await;
                }
                Err(error) => return Err(self.unreachable(&backend, &error)),
            }
        };
        let answer = tokio::time::timeout(
            timeout,
            sender.send_request(Request::from_parts(head, body)),
        )
        .await;
        drop(counted);
        match answer {
            Ok(Ok(response)) => Ok((response, None)),
            Ok(Err(error)) => {
                Err(of_visitor(&error).unwrap_or_else(|| self.broken(&backend, &error)))
            }
            Err(_) => Err(self.too_late(&backend, timeout)),
        }
    }

    fn unreachable(&self, backend: &Backend, error: &ReachError) -> Refused {
        let (stand, upstream) = (&self.entry.stand, &backend.upstream);
        tracing::debug!(%stand, node = %upstream.node, cause = %chain(error), "cannot reach a node");
        let page = Page::new(
            StatusCode::BAD_GATEWAY,
            "node-unreachable",
            format!("502: {} of {stand} does not answer", upstream.node),
        );
        let why = if error.is_refused() {
            format!(
                "{} of {stand} runs, and nothing listens at its port {}",
                upstream.node,
                upstream.address.port()
            )
        } else {
            format!(
                "{} of {stand} cannot be reached at port {}",
                upstream.node,
                upstream.address.port()
            )
        };
        page.line(why).line("it must listen at 0.0.0.0, not only at 127.0.0.1; another port is named by `x-daas: routes:`").into()
    }

    fn broken(&self, backend: &Backend, error: &hyper::Error) -> Refused {
        let (stand, node) = (&self.entry.stand, &backend.upstream.node);
        tracing::debug!(%stand, %node, cause = %chain(error), "a node broke off");
        let page = Page::new(
            StatusCode::BAD_GATEWAY,
            "node-broke-off",
            format!("502: {node} of {stand} broke off"),
        );
        page.line(format!("{node} of {stand} ended the connection without an answer; `daas stand logs {stand} {node}` may say why")).into()
    }

    fn too_late(&self, backend: &Backend, after: Duration) -> Refused {
        let (stand, node) = (&self.entry.stand, &backend.upstream.node);
        let page = Page::new(
            StatusCode::GATEWAY_TIMEOUT,
            "node-too-late",
            format!("504: {node} of {stand} takes too long"),
        );
        page.line(format!(
            "{node} of {stand} has not begun to answer within {} s",
            after.as_secs()
        ))
        .into()
    }

    /// Joins both sides after `101 Switching Protocols`.
    fn switch(
        &self,
        front: Option<OnUpgrade>,
        mut response: Response<Incoming>,
        lent: Option<Lent>,
    ) -> Result<Response<Answer>, Refused> {
        let Some(front) = front else {
            let page = Page::new(
                StatusCode::BAD_GATEWAY,
                "node-switched",
                "502: the node changed the protocol, and nobody had asked for it",
            );
            return Err(page.into());
        };
        let back = hyper::upgrade::on(&mut response);
        let busy = Busy::new(&self.visit.signals);
        self.visit.signals.settle_upgrade(true);
        drop(
            self.proxy
                .reach
                .tasks
                .run("switched", move |shutdown| async move {
                    let _held = (busy, lent);
                    tokio::select! {
                        () = upgrade::join(front, back) => {}
                        () = shutdown.asked() => {}
                    }
                }),
        );
        let mut answer = Response::new(Answer::page(""));
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        std::mem::swap(answer.headers_mut(), response.headers_mut());
        Ok(answer)
    }
}

/// Tells whether two paths differ only by repeated slashes, which a back end that is alone at its host may take as it likes.
fn only_slashes_differ(path: &str, canonical: &str) -> bool {
    path.len() > canonical.len()
        && !path.contains('%')
        && path
            .split('/')
            .filter(|s| !s.is_empty())
            .eq(canonical.split('/').filter(|s| !s.is_empty()))
}

fn empty() -> Parts {
    Request::new(()).into_parts().0
}

/// Copies a head: what a second try needs.
fn copy(head: &Parts) -> Parts {
    let mut parts = empty();
    parts.method = head.method.clone();
    parts.uri = head.uri.clone();
    parts.version = head.version;
    parts.headers = HeaderMap::clone(&head.headers);
    parts
}

/// Returns what a visitor is told whose own body was the reason of the failure.
fn of_visitor(error: &hyper::Error) -> Option<Refused> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = next {
        if cause.is::<TooLarge>() {
            let page = Page::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body-too-large",
                "413: the body is larger than its route allows",
            );
            return Some(Refused { page, close: true });
        }
        if cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|e| e.kind() == std::io::ErrorKind::TimedOut)
            && error.is_user()
        {
            let page = Page::new(
                StatusCode::REQUEST_TIMEOUT,
                "body-too-slow",
                "408: the body comes too slowly",
            );
            return Some(Refused { page, close: true });
        }
        next = cause.source();
    }
    error
        .is_user()
        .then(|| ambiguous("its body ends early or is no body"))
}
