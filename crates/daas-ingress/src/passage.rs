//! A request that has found its route: guards, changes, the node, and the way back.

use crate::access::Access;
use crate::activity::Guest;
use crate::backend::{Backend, Counted, Lent, ReachError, chain};
use crate::body::{Answer, FrontBody, TooLarge};
use crate::compress::{self, takes_gzip};
use crate::cookies;
use crate::forwarded::{strip_answer, strip_connection, testify};
use crate::guard::{self, cookie};
use crate::page::Page;
use crate::proxy::{Proxy, Refused, Wanted, ambiguous};
use crate::rules::Change;
use crate::standing::Mood;
use crate::table::Entry;
use crate::upgrade;
use crate::visit::{Busy, Visit};
use daas_http::{TooSlow, Upload};
use daas_model::{ForwardAuth, Redirect, RouteProtocol};
use hyper::body::{Body, Incoming};
use hyper::header::{
    ACCEPT, CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION,
    SET_COOKIE, UPGRADE,
};
use hyper::http::request::Parts;
use hyper::http::uri::PathAndQuery;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, Uri, Version};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long a node that has just become ready may refuse connections before its visitor is told: many say that they run before they listen.
const OPENING: Duration = Duration::from_secs(10);
/// The pause between two tries to reach such a node.
const KNOCK: Duration = Duration::from_millis(20);
/// How long a judge may think.
const JUDGE: Duration = Duration::from_secs(30);
/// The cookie that keeps a visitor with its replica.
const NODE: &str = "daas_node";

/// Tells whether doing it twice is the same as doing it once (RFC 9110 section 9.2.2).
fn is_repeatable(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

/// A request on its way to a node.
pub(crate) struct Passage<'a> {
    pub(crate) proxy: &'a Proxy,
    pub(crate) visit: &'a Arc<Visit>,
    pub(crate) entry: &'a Arc<Entry>,
    /// Whether paths are looked at for this host.
    pub(crate) by_path: bool,
}

impl Passage<'_> {
    /// Sends on a request that the guards have let pass.
    pub(crate) async fn pass(
        &self,
        parts: &mut Parts,
        body: Option<Box<Upload>>,
        wanted: &Wanted,
        ip: IpAddr,
        access: &mut Option<Box<Access>>,
    ) -> Result<Response<Answer>, Refused> {
        let rules = &*self.entry.route.rules;
        let query = parts.uri.query();
        guard::forget(rules, &mut parts.headers);
        if let Some(redirect) = &rules.redirect {
            return Ok(redirected(redirect, self.rest(wanted), query));
        }
        if body
            .as_ref()
            .is_some_and(|body| body.size_hint().lower() > rules.body_limit)
        {
            return Err(too_large());
        }
        let front = parts.extensions.remove::<OnUpgrade>();
        let protocol = upgrade::wanted(&parts.headers);
        let accept = parts.headers.get(ACCEPT).cloned();
        let squeeze = rules.compress && parts.method != Method::HEAD && takes_gzip(&parts.headers);
        let stuck = rules
            .sticky
            .then(|| cookie(&parts.headers, NODE).map(str::to_owned));
        strip_connection(&mut parts.headers);
        cookies::join(&mut parts.headers);
        testify(&mut parts.headers, self.visit, &wanted.authority, ip);
        if let Some(auth) = &rules.forward_auth {
            self.judge(auth, parts, wanted).await?;
        }
        if let Some(prefix) = &rules.strip
            && let Ok(prefix) = HeaderValue::from_str(prefix)
        {
            parts.headers.insert("x-forwarded-prefix", prefix);
        }
        change(&mut parts.headers, &rules.request_headers);
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
        let body = FrontBody::of(body, rules.body_limit);
        let mark = stuck.as_ref().and_then(Option::as_deref);
        let sent = if by_h2 {
            self.send_h2(head, body, mark, access).await
        } else {
            self.send(head, body, mark, access).await
        };
        // For a page that is made now: the visitor's own wish, which went away with the head.
        if let Some(accept) = accept {
            parts.headers.insert(ACCEPT, accept);
        }
        let (mut response, lent, backend) = sent?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return self.switch(front.filter(|_| protocol.is_some()), response, lent);
        }
        strip_answer(response.headers_mut());
        change(response.headers_mut(), &rules.response_headers);
        if stuck.is_some_and(|stuck| stuck.as_deref() != Some(&backend.mark)) {
            stick(response.headers_mut(), &backend.mark);
        }
        if rules.compress
            && response.status() == StatusCode::OK
            && compress::is_worth(response.headers())
        {
            compress::vary(response.headers_mut());
            if squeeze {
                compress::announce(response.headers_mut());
                return Ok(response.map(|body| Answer::back(body, lent).squeezed()));
            }
        }
        Ok(response.map(|body| Answer::back(body, lent)))
    }

    /// Returns what lies behind the route's prefix, with its slash.
    fn rest<'w>(&self, wanted: &'w Wanted) -> &'w str {
        match self.entry.route.path.as_str() {
            "/" => &wanted.path,
            prefix => wanted
                .path
                .strip_prefix(prefix)
                .filter(|rest| !rest.is_empty())
                .unwrap_or("/"),
        }
    }

    /// Asks the route's judge; what he says instead of yes goes to the visitor.
    async fn judge(
        &self,
        auth: &ForwardAuth,
        parts: &mut Parts,
        wanted: &Wanted,
    ) -> Result<(), Refused> {
        let Some(judge) = self.entry.judges.first() else {
            return Err(self.not_ready());
        };
        let mut head = copy(parts);
        head.method = Method::GET;
        head.version = Version::HTTP_11;
        head.uri = auth.path.parse().unwrap_or_default();
        head.headers.remove(CONTENT_LENGTH);
        head.headers.insert(HOST, wanted.authority.clone());
        let target = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        for (name, value) in [
            ("x-forwarded-uri", target),
            ("x-forwarded-method", parts.method.as_str()),
        ] {
            if let Ok(value) = HeaderValue::from_str(value) {
                head.headers.insert(name, value);
            }
        }
        let mut lent = self.lend(judge, true).await?;
        let asked = async {
            lent.sender.ready().await?;
            lent.sender
                .send_request(Request::from_parts(head, FrontBody::Empty))
                .await
        };
        let mut answer = match tokio::time::timeout(JUDGE, asked).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(self.broken(judge, &error)),
            Err(_) => return Err(self.too_late(judge, JUDGE)),
        };
        if !answer.status().is_success() {
            strip_answer(answer.headers_mut());
            return Err(Refused::Answer(Box::new(
                answer.map(|body| Answer::back(body, Some(lent))),
            )));
        }
        for name in &auth.copy_headers {
            let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
                continue;
            };
            // What the visitor said under this name was for the judge only.
            match answer.headers().get(&name) {
                Some(value) => drop(parts.headers.insert(name, value.clone())),
                None => drop(parts.headers.remove(name)),
            }
        }
        Ok(())
    }

    /// Returns the target as the back end gets it.
    fn uri(&self, uri: &Uri, wanted: &Wanted, by_h2: bool) -> Result<Uri, Refused> {
        let bad = |_| ambiguous("its target cannot be written down");
        let rules = &self.entry.route.rules;
        let path = uri.path();
        let changed = rules.strip.is_some() || rules.add.is_some();
        let same = !changed
            && (path == wanted.path
                || path == "*"
                || (!self.by_path && only_slashes_differ(path, &wanted.path)));
        let target = match uri.path_and_query() {
            Some(target) if same => target.clone(),
            _ => {
                let path = if rules.strip.is_some() {
                    self.rest(wanted)
                } else {
                    &wanted.path
                };
                let before = rules.add.as_deref().unwrap_or_default();
                let query = uri
                    .query()
                    .map_or_else(String::new, |query| format!("?{query}"));
                PathAndQuery::try_from(format!("{before}{path}{query}")).map_err(bad)?
            }
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
    fn choose(&self, mark: Option<&str>) -> Result<Arc<Backend>, Refused> {
        let list = &self.entry.backends;
        if let Some(same) = mark.and_then(|mark| list.iter().find(|backend| backend.mark == mark)) {
            return Ok(same.clone());
        }
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
        let waits = match standing.mood {
            Mood::Up | Mood::Starting => !self.entry.route.stopped,
            Mood::Asleep => true,
            Mood::Stopped | Mood::Paused | Mood::Failed | Mood::Leaving => false,
        };
        let (code, title) = match standing.mood {
            Mood::Up | Mood::Starting if !waits => (
                "service-stopped",
                format!("503: {} of {name} is stopped", self.entry.route.service),
            ),
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
        page.again = waits.then_some(1);
        page.into()
    }

    /// Sends a request by HTTP/1.1; again by another connection where nothing can have happened twice.
    async fn send(
        &self,
        head: Parts,
        body: FrontBody,
        mut mark: Option<&str>,
        access: &mut Option<Box<Access>>,
    ) -> Result<(Response<Incoming>, Option<Lent>, Arc<Backend>), Refused> {
        let rules = &self.entry.route.rules;
        let repeatable = body.is_empty() && is_repeatable(&head.method);
        let mut retries = if repeatable { rules.retries } else { 0 };
        let mut spare = (retries > 0).then(|| copy(&head));
        let mut request = Request::from_parts(head, body);
        let mut others = self.entry.backends.len().saturating_sub(1);
        loop {
            let backend = self.choose(mark)?;
            if let Some(access) = access {
                access.node.clone_from(&backend.upstream.node);
            }
            let counted = Counted::new(&backend);
            let mut lent = match self.lend(&backend, !repeatable).await {
                Ok(lent) => lent,
                // Nothing has been sent: another replica may do it.
                Err(_) if others > 0 => {
                    others -= 1;
                    mark = None;
                    continue;
                }
                Err(refused) => return Err(refused),
            };
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
                Ok(Ok(Ok(response))) => return Ok((response, Some(lent), backend)),
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
                    // Another one, if there is one.
                    mark = None;
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
        mark: Option<&str>,
        access: &mut Option<Box<Access>>,
    ) -> Result<(Response<Incoming>, Option<Lent>, Arc<Backend>), Refused> {
        let backend = self.choose(mark)?;
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
            Ok(Ok(response)) => Ok((response, None, backend)),
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
        if error.is_parse() {
            return self.malformed(backend, error);
        }
        tracing::debug!(%stand, %node, cause = %chain(error), "a node broke off");
        let page = Page::new(
            StatusCode::BAD_GATEWAY,
            "node-broke-off",
            format!("502: {node} of {stand} broke off"),
        );
        page.line(format!("{node} of {stand} ended the connection without an answer; `daas stand logs {stand} {node}` may say why")).into()
    }

    fn malformed(&self, backend: &Backend, error: &hyper::Error) -> Refused {
        let (stand, node) = (&self.entry.stand, &backend.upstream.node);
        tracing::debug!(%stand, %node, cause = %chain(error), "a node's answer is no HTTP");
        let page = Page::new(
            StatusCode::BAD_GATEWAY,
            "node-malformed",
            format!("502: {node} of {stand} gave an answer that is no HTTP"),
        );
        page.line(format!(
            "the head of the answer of {node} cannot be read ({}); does its port {} speak HTTP, and without TLS?",
            chain(error),
            backend.upstream.address.port()
        ))
        .into()
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
        let guest = self.entry.sleeps.then(|| Guest::new(&self.entry.activity));
        self.visit.signals.settle_upgrade(true);
        drop(
            self.proxy
                .reach
                .tasks
                .run("switched", move |shutdown| async move {
                    let _held = (busy, lent, guest);
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
            return Some(too_large());
        }
        if cause.is::<TooSlow>() {
            let page = Page::new(
                StatusCode::REQUEST_TIMEOUT,
                "body-too-slow",
                "408: the body comes too slowly",
            );
            return Some(Refused::Page { page, close: true });
        }
        next = cause.source();
    }
    error
        .is_user()
        .then(|| ambiguous("its body ends early or is no body"))
}

fn too_large() -> Refused {
    let page = Page::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "body-too-large",
        "413: the body is larger than its route allows",
    );
    Refused::Page { page, close: true }
}

fn change(headers: &mut HeaderMap, changes: &[Change]) {
    for (name, value) in changes {
        match value {
            Some(value) => drop(headers.insert(name, value.clone())),
            None => drop(headers.remove(name)),
        }
    }
}

/// Keeps a visitor with its replica.
fn stick(headers: &mut HeaderMap, mark: &str) {
    if let Ok(cookie) =
        HeaderValue::try_from(format!("{NODE}={mark}; Path=/; HttpOnly; SameSite=Lax"))
    {
        headers.append(SET_COOKIE, cookie);
    }
}

/// Sends a visitor elsewhere. A last `$path` stands for what lies behind the prefix, with the query.
fn redirected(redirect: &Redirect, rest: &str, query: Option<&str>) -> Response<Answer> {
    let to = match redirect.to.strip_suffix("$path") {
        Some(before) => {
            let query = query.map_or_else(String::new, |query| format!("?{query}"));
            format!("{}{rest}{query}", before.trim_end_matches('/'))
        }
        None => redirect.to.clone(),
    };
    let mut response = Response::new(Answer::page(""));
    *response.status_mut() = StatusCode::from_u16(redirect.status).unwrap_or(StatusCode::FOUND);
    if let Ok(to) = HeaderValue::try_from(to) {
        response.headers_mut().insert(LOCATION, to);
    }
    response
}
