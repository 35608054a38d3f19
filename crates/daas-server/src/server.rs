use crate::access::Access;
use crate::door::{TcpDoor, UnixDoor};
use crate::idempotency::Keys;
use crate::listen;
use crate::render;
use crate::request_id::RequestIds;
use crate::routes::Routes;
use crate::slow::Timers;
use crate::{
    bans, certificates, images, names, operations, projects, registry, route_list, ssh, stands,
    system,
};
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use daas_api::Platform;
use daas_api::endpoint::Endpoint;
use daas_tasks::Supervisor;
use std::fmt;
use std::sync::Arc;

/// What handlers work with.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) platform: Arc<dyn Platform>,
    pub(crate) supervisor: Supervisor,
    pub(crate) keys: Arc<Keys>,
    ids: Arc<RequestIds>,
}

/// Serves a platform at its doors.
#[derive(Clone)]
pub struct Server {
    app: App,
    router: Router,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}

impl Server {
    /// Makes a server of `platform`; connections become tasks of `supervisor` and end with its shutdown.
    #[must_use]
    pub fn new(platform: Arc<dyn Platform>, supervisor: Supervisor) -> Self {
        let app = App {
            platform,
            supervisor,
            keys: Arc::default(),
            ids: Arc::default(),
        };
        let router = routes()
            .into_router()
            .layer(from_fn_with_state(app.clone(), answer))
            .with_state(app.clone());
        Self { app, router }
    }

    /// Returns every endpoint with the access that it needs.
    #[must_use]
    pub fn access() -> Vec<(&'static Endpoint, Access)> {
        routes().registered().to_vec()
    }

    /// Serves the unix socket until the shutdown; then the socket's file is removed.
    pub fn open_unix(&self, door: UnixDoor, timers: Timers) {
        let (router, supervisor) = (self.router.clone(), self.app.supervisor.clone());
        let name = format!("door {}", door.path().display());
        drop(self.app.supervisor.run(name, move |shutdown| {
            listen::unix(door, router, supervisor, timers, shutdown)
        }));
    }

    /// Serves the TCP address until the shutdown.
    pub fn open_tcp(&self, door: TcpDoor, timers: Timers) {
        let (router, supervisor) = (self.router.clone(), self.app.supervisor.clone());
        let name = format!("door {}", door.address());
        drop(self.app.supervisor.run(name, move |shutdown| {
            listen::tcp(door, router, supervisor, timers, shutdown)
        }));
    }
}

fn routes() -> Routes {
    let routes = Routes::new();
    let routes = projects::routes(routes);
    let routes = stands::routes(routes);
    let routes = operations::routes(routes);
    let routes = images::routes(routes);
    let routes = registry::routes(routes);
    let routes = route_list::routes(routes);
    let routes = names::routes(routes);
    let routes = certificates::routes(routes);
    let routes = bans::routes(routes);
    let routes = ssh::routes(routes);
    system::routes(routes)
}

/// Gives every request its id and every failure its form.
async fn answer(State(app): State<App>, request: Request, next: Next) -> Response {
    let id = app.ids.next();
    let what = format!("{} {}", request.method(), request.uri().path());
    render::finish(next.run(request).await, id, &what)
}
