use crate::access::Access;
use crate::extract::{At, By, Input, InputOrDefault, Named, Query, bytes_of};
use crate::flow::{self, Form};
use crate::idempotency::Known;
use crate::render::Refused;
use crate::routes::Routes;
use crate::server::App;
use crate::session;
use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequestParts, State};
use axum::response::{IntoResponse, Response};
use daas_api::endpoint::{
    BASE, EVENTS, EXEC_PROTOCOL, Endpoint, FORWARD_PROTOCOL, FollowQuery, ForwardQuery, Header,
    PathQuery, STAND_COPY_IN, STAND_COPY_OUT, STAND_DOWN, STAND_EVENTS, STAND_EXEC, STAND_FORWARD,
    STAND_LOGS, STAND_PLAN, STAND_SCALE, STAND_SHOW, STAND_STATS, STAND_UP, STANDS_LIST, TAR,
    encode_part, of_action,
};
use daas_api::{
    Accepted, ActRequest, Action, DownQuery, EventQuery, EventView, ExecRequest, Failure, LogQuery,
    Page, PageQuery, PlanView, ScaleRequest, StandView, UpRequest,
};
use daas_model::{Kind, NodeName, Protocol, StandName};
use daas_tasks::Shutdown;
use hyper::header::{CONNECTION, ETAG, HeaderValue, LINK, UPGRADE};
use hyper::http::request::Parts;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{HeaderMap, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;

/// The most stands of one `up`: names of three digits, and more than one machine carries.
const MOST_AT_ONCE: u32 = 999;

pub(crate) fn routes(routes: Routes) -> Routes {
    let routes = routes
        .route(Access::Read, &STANDS_LIST, list)
        .route(Access::Operate, &STAND_UP, up)
        .route(Access::Read, &STAND_PLAN, plan)
        .route(Access::Read, &STAND_SHOW, show)
        .route(Access::Operate, &STAND_DOWN, down)
        .route(Access::Operate, &STAND_SCALE, scale)
        .route(Access::Read, &STAND_LOGS, logs)
        .route(Access::Read, &STAND_STATS, stats)
        .route(Access::Read, &STAND_EVENTS, stand_events)
        .route(Access::Read, &EVENTS, events)
        .route(Access::Operate, &STAND_EXEC, exec)
        .route(Access::Operate, &STAND_COPY_OUT, copy_out)
        .route(Access::Operate, &STAND_COPY_IN, copy_in)
        .route(Access::Operate, &STAND_FORWARD, forward);
    Action::ALL.into_iter().fold(routes, |routes, action| {
        let handler = move |app: State<App>,
                            by: By,
                            name: Named<StandName>,
                            at: At,
                            request: InputOrDefault<ActRequest>| {
            act(action, app, by, name, at, request)
        };
        routes.route(Access::Operate, of_action(action), handler)
    })
}

// === wanting ===

async fn up(
    State(app): State<App>,
    By(caller): By,
    At(at): At,
    headers: HeaderMap,
    Input(request): Input<UpRequest>,
) -> Result<(StatusCode, Json<Accepted>), Refused> {
    check_count(&request)?;
    let Some(key) = headers.get(Header::IdempotencyKey.name()) else {
        return Ok((
            StatusCode::ACCEPTED,
            Json(app.platform.stands().up(&caller, request, at).await?),
        ));
    };
    let body = serde_json::to_vec(&request).unwrap_or_default();
    let (known, claim) =
        app.keys
            .claim(&caller.to_string(), key.to_str().unwrap_or_default(), &body)?;
    let accepted = match known {
        Known::Done(accepted) => accepted,
        Known::No => {
            let accepted = app.platform.stands().up(&caller, request, at).await?;
            claim.answered(&accepted);
            accepted
        }
    };
    Ok((StatusCode::ACCEPTED, Json(accepted)))
}

async fn plan(
    State(app): State<App>,
    Input(request): Input<UpRequest>,
) -> Result<Json<Vec<PlanView>>, Refused> {
    check_count(&request)?;
    Ok(Json(app.platform.stands().plan(request).await?))
}

fn check_count(request: &UpRequest) -> Result<(), Failure> {
    match request.count {
        Some(count) if count == 0 || count > MOST_AT_ONCE => Err(Failure::new(
            "stand-count",
            Kind::Input,
            format!("cannot make {count} stands at once"),
        )
        .hint(format!("write a number from 1 to {MOST_AT_ONCE}"))),
        _ => Ok(()),
    }
}

async fn down(
    State(app): State<App>,
    By(caller): By,
    Named(stand): Named<StandName>,
    At(at): At,
    Query(how): Query<DownQuery>,
) -> Result<(StatusCode, Json<Accepted>), Refused> {
    Ok((
        StatusCode::ACCEPTED,
        Json(app.platform.stands().down(&caller, &stand, how, at).await?),
    ))
}

async fn act(
    action: Action,
    State(app): State<App>,
    By(caller): By,
    Named(stand): Named<StandName>,
    At(at): At,
    InputOrDefault(request): InputOrDefault<ActRequest>,
) -> Result<(StatusCode, Json<Accepted>), Refused> {
    Ok((
        StatusCode::ACCEPTED,
        Json(
            app.platform
                .stands()
                .act(&caller, &stand, action, request, at)
                .await?,
        ),
    ))
}

async fn scale(
    State(app): State<App>,
    By(caller): By,
    Named(stand): Named<StandName>,
    At(at): At,
    Input(request): Input<ScaleRequest>,
) -> Result<(StatusCode, Json<Accepted>), Refused> {
    Ok((
        StatusCode::ACCEPTED,
        Json(
            app.platform
                .stands()
                .scale(&caller, &stand, request, at)
                .await?,
        ),
    ))
}

// === seeing ===

async fn list(State(app): State<App>, Query(query): Query<PageQuery>) -> Result<Response, Refused> {
    let stands = app.platform.stands().list().await?;
    Ok(paged(
        Page::cut(stands, &query, |stand| stand.name.to_string()),
        &query,
        &STANDS_LIST,
    ))
}

/// Answers a page and names the next one in its `Link` header (RFC 8288).
pub(crate) fn paged<T: Serialize>(
    page: Page<T>,
    query: &PageQuery,
    endpoint: &Endpoint,
) -> Response {
    let link = page.next.as_ref().map(|next| {
        let mut link = format!("<{BASE}{}?after=", endpoint.path);
        encode_part(next, &mut link);
        if let Some(limit) = query.limit {
            link.push_str(&format!("&limit={limit}"));
        }
        link + ">; rel=\"next\""
    });
    let mut response = Json(page).into_response();
    if let Some(value) = link.and_then(|link| HeaderValue::from_str(&link).ok()) {
        response.headers_mut().insert(LINK, value);
    }
    response
}

async fn show(State(app): State<App>, Named(stand): Named<StandName>) -> Result<Response, Refused> {
    let view: StandView = app.platform.stands().show(&stand).await?;
    let tag = HeaderValue::from_str(&format!("\"{}\"", view.summary.revision));
    let mut response = Json(view).into_response();
    if let Ok(tag) = tag {
        response.headers_mut().insert(ETAG, tag);
    }
    Ok(response)
}

async fn logs(
    State(app): State<App>,
    Named(stand): Named<StandName>,
    Query(query): Query<LogQuery>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    query.nodes().map_err(|error| {
        Failure::new(
            "query-invalid",
            Kind::Input,
            format!("cannot read the query: {error}"),
        )
        .with_status(400)
    })?;
    let chunks = app.platform.stands().logs(&stand, query).await?;
    let shutdown = app.supervisor.shutdown_signal();
    Ok(match Form::of(&headers) {
        Form::Raw => flow::raw_logs(chunks, shutdown),
        form @ (Form::Events | Form::Lines) => flow::answer(chunks, form, shutdown, |_| None),
    })
}

async fn stats(
    State(app): State<App>,
    Named(stand): Named<StandName>,
    Query(query): Query<FollowQuery>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let stats = app.platform.stands().stats(&stand, query.follow).await?;
    if query.follow {
        return Ok(flow::answer(
            stats,
            Form::of(&headers),
            app.supervisor.shutdown_signal(),
            |_| None,
        ));
    }
    Ok(Json(flow::first(stats).await?).into_response())
}

async fn stand_events(
    State(app): State<App>,
    Named(stand): Named<StandName>,
    Query(query): Query<EventQuery>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let events = app
        .platform
        .stands()
        .events(Some(&stand), after(query, &headers))
        .await?;
    Ok(flow::answer(
        events,
        Form::of(&headers),
        app.supervisor.shutdown_signal(),
        |event: &EventView| Some(event.id),
    ))
}

async fn events(
    State(app): State<App>,
    Query(query): Query<EventQuery>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let events = app
        .platform
        .stands()
        .events(None, after(query, &headers))
        .await?;
    Ok(flow::answer(
        events,
        Form::of(&headers),
        app.supervisor.shutdown_signal(),
        |event: &EventView| Some(event.id),
    ))
}

/// Takes the place from `Last-Event-ID`, which a browser sends when it comes back.
fn after(mut query: EventQuery, headers: &HeaderMap) -> EventQuery {
    let last = headers
        .get(Header::LastEventId.name())
        .and_then(|value| value.to_str().ok()?.parse().ok());
    query.after = last.or(query.after);
    query
}

// === reaching in ===

async fn copy_out(
    State(app): State<App>,
    By(caller): By,
    Named(stand): Named<StandName>,
    Named(node): Named<NodeName>,
    Query(query): Query<PathQuery>,
) -> Result<Response, Refused> {
    check_path(&query.path)?;
    Ok(flow::bytes(
        app.platform
            .stands()
            .copy_out(&caller, &stand, &node, &query.path)
            .await?,
        TAR,
        None,
    ))
}

async fn copy_in(
    State(app): State<App>,
    By(caller): By,
    Named(stand): Named<StandName>,
    Named(node): Named<NodeName>,
    Query(query): Query<PathQuery>,
    body: Body,
) -> Result<StatusCode, Refused> {
    check_path(&query.path)?;
    app.platform
        .stands()
        .copy_in(&caller, &stand, &node, &query.path, bytes_of(body))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn check_path(path: &str) -> Result<(), Failure> {
    if path.starts_with('/') && !path.contains('\0') && path.len() < 4096 {
        return Ok(());
    }
    Err(Failure::new(
        "path-not-absolute",
        Kind::Input,
        format!(
            "cannot copy `{}`: it is no absolute path",
            path.escape_debug()
        ),
    )
    .hint("write the path from the node's root on, `/var/www`"))
}

async fn exec(
    State(app): State<App>,
    By(caller): By,
    Named(stand): Named<StandName>,
    Named(node): Named<NodeName>,
    upgrade: Upgrade,
    Input(request): Input<ExecRequest>,
) -> Result<Response, Refused> {
    upgrade.must_be(EXEC_PROTOCOL)?;
    if request.command.first().is_none_or(String::is_empty) {
        return Err(Failure::new(
            "exec-without-command",
            Kind::Input,
            format!("cannot run nothing in `{node}`"),
        )
        .hint("name a program")
        .into());
    }
    let session = app
        .platform
        .stands()
        .exec(&caller, &stand, &node, request)
        .await?;
    Ok(upgrade.accept(
        &app,
        EXEC_PROTOCOL,
        format!("exec in {stand}/{node}"),
        move |connection| session::exec(connection, session),
    ))
}

async fn forward(
    State(app): State<App>,
    By(caller): By,
    Named(stand): Named<StandName>,
    Named(node): Named<NodeName>,
    Query(query): Query<ForwardQuery>,
    upgrade: Upgrade,
) -> Result<Response, Refused> {
    upgrade.must_be(FORWARD_PROTOCOL)?;
    if query.port == 0 {
        return Err(
            Failure::new("port-out-of-range", Kind::Input, "cannot connect to port 0")
                .hint("a port is 1 to 65535")
                .into(),
        );
    }
    let port = app
        .platform
        .stands()
        .forward(
            &caller,
            &stand,
            &node,
            query.port,
            query.protocol.unwrap_or(Protocol::Tcp),
        )
        .await?;
    Ok(upgrade.accept(
        &app,
        FORWARD_PROTOCOL,
        format!("forward to {stand}/{node}:{}", query.port),
        move |connection| session::forward(connection, port),
    ))
}

/// A request that wants its connection to become something else (RFC 9110, section 7.8).
struct Upgrade {
    on: Option<OnUpgrade>,
    protocol: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Upgrade {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        let protocol = parts
            .headers
            .get(UPGRADE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        Ok(Self {
            on: parts.extensions.remove::<OnUpgrade>(),
            protocol,
        })
    }
}

impl Upgrade {
    fn must_be(&self, protocol: &str) -> Result<(), Failure> {
        if self.on.is_some() && self.protocol == protocol {
            return Ok(());
        }
        Err(Failure::new(
            "upgrade-missing",
            Kind::Input,
            "cannot answer without an upgrade of the connection",
        )
        .hint(format!(
            "send `Connection: upgrade` and `Upgrade: {protocol}`"
        ))
        .with_status(426))
    }

    /// Answers 101 and carries on with the connection as a task of its own, which ends at the shutdown.
    fn accept<F>(
        self,
        app: &App,
        protocol: &'static str,
        name: String,
        carry: impl FnOnce(TokioIo<Upgraded>) -> F + Send + 'static,
    ) -> Response
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let on = self.on;
        drop(
            app.supervisor
                .run(name, move |shutdown: Shutdown| async move {
                    let Some(on) = on else { return };
                    let carrying = async {
                        match on.await {
                            Ok(upgraded) => carry(TokioIo::new(upgraded)).await,
                            Err(error) => {
                                tracing::debug!(error = %error, "a connection was not upgraded");
                            }
                        }
                    };
                    tokio::select! {
                        () = carrying => {}
                        () = shutdown.asked() => {}
                    }
                }),
        );
        let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("upgrade"));
        response
            .headers_mut()
            .insert(UPGRADE, HeaderValue::from_static(protocol));
        response
    }
}
