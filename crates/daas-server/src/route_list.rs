use crate::access::Access;
use crate::extract::{Named, Part, Query};
use crate::render::Refused;
use crate::routes::Routes;
use crate::server::App;
use axum::Json;
use axum::extract::State;
use daas_api::endpoint::{ROUTE_LIST, ROUTE_SNIPPET, ROUTE_TRAEFIK};
use daas_api::{EdgeQuery, EdgeSnippet, RouteList, TraefikConfig};

/// An edge, as it is called in a path.
struct EdgeName(String);

impl Part for EdgeName {
    const NAME: &'static str = "edge";
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "nginx" | "haproxy" => Ok(Self(text.to_owned())),
            other => Err(format!(
                "`{}` is neither `nginx` nor `haproxy`",
                other.escape_debug()
            )),
        }
    }
}

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .route(Access::Read, &ROUTE_LIST, list)
        .route(Access::Read, &ROUTE_TRAEFIK, traefik)
        .route(Access::Read, &ROUTE_SNIPPET, snippet)
}

async fn list(State(app): State<App>) -> Result<Json<RouteList>, Refused> {
    Ok(Json(app.platform.routes().list().await?))
}

async fn traefik(
    State(app): State<App>,
    Query(query): Query<EdgeQuery>,
) -> Result<Json<TraefikConfig>, Refused> {
    Ok(Json(app.platform.routes().traefik(query).await?))
}

async fn snippet(
    State(app): State<App>,
    Named(edge): Named<EdgeName>,
    Query(query): Query<EdgeQuery>,
) -> Result<Json<EdgeSnippet>, Refused> {
    Ok(Json(app.platform.routes().snippet(&edge.0, query).await?))
}
