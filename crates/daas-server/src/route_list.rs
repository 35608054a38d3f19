use crate::access::Access;
use crate::render::Refused;
use crate::routes::Routes;
use crate::server::App;
use axum::Json;
use axum::extract::State;
use daas_api::RouteList;
use daas_api::endpoint::ROUTE_LIST;

pub(crate) fn routes(routes: Routes) -> Routes {
    routes.route(Access::Read, &ROUTE_LIST, list)
}

async fn list(State(app): State<App>) -> Result<Json<RouteList>, Refused> {
    Ok(Json(app.platform.routes().list().await?))
}
