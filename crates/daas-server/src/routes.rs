//! Registration of routes: each is told which access it needs.

use crate::access::{Access, admit};
use crate::render::Refused;
use crate::server::App;
use axum::Router;
use axum::extract::Request;
use axum::handler::Handler;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{MethodFilter, on};
use daas_api::Failure;
use daas_api::endpoint::{BASE, Endpoint, Method};
use daas_model::Kind;

/// Routes on their way to a router.
pub(crate) struct Routes {
    router: Router<App>,
    registered: Vec<(&'static Endpoint, Access)>,
}

impl Routes {
    pub(crate) fn new() -> Self {
        Self {
            router: Router::new(),
            registered: Vec::new(),
        }
    }

    /// Registers `handler` for `endpoint`; whoever has not `access` does not reach it. There is no other way to register.
    pub(crate) fn route<H, T>(
        mut self,
        access: Access,
        endpoint: &'static Endpoint,
        handler: H,
    ) -> Self
    where
        H: Handler<T, App>,
        T: 'static,
    {
        let filter = match endpoint.method {
            Method::Get => MethodFilter::GET,
            Method::Post => MethodFilter::POST,
            Method::Put => MethodFilter::PUT,
            Method::Delete => MethodFilter::DELETE,
        };
        let guard = from_fn(move |request: Request, next: Next| guard(access, request, next));
        self.router = self.router.route(
            &format!("{BASE}{}", endpoint.path),
            on(filter, handler).layer(guard),
        );
        self.registered.push((endpoint, access));
        self
    }

    /// Returns what was registered.
    pub(crate) fn registered(&self) -> &[(&'static Endpoint, Access)] {
        &self.registered
    }

    /// Returns the router; what it does not know is a problem, too, and told only to whom may read.
    pub(crate) fn into_router(self) -> Router<App> {
        let reads =
            || from_fn(move |request: Request, next: Next| guard(Access::Read, request, next));
        let nowhere = on(MethodFilter::GET, || async { Refused(nothing_here()) })
            .fallback(|| async { Refused(nothing_here()) });
        let wrong_method = || async {
            Refused(
                Failure::new(
                    "method-unknown",
                    Kind::Input,
                    "cannot do this here: the path has other methods",
                )
                .hint("`GET /api/v1/openapi.json` lists all")
                .with_status(405),
            )
        };
        self.router
            .method_not_allowed_fallback(wrong_method)
            .fallback_service(nowhere.layer(reads()).with_state(()))
    }
}

fn nothing_here() -> Failure {
    Failure::new(
        "path-unknown",
        Kind::NotFound,
        "cannot find anything at this path",
    )
    .hint("`GET /api/v1/openapi.json` lists all")
}

async fn guard(access: Access, request: Request, next: Next) -> Result<Response, Refused> {
    admit(access, request.extensions())?;
    Ok(next.run(request).await)
}
