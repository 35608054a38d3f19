use crate::access::Access;
use crate::extract::{By, Input, Query};
use crate::render::Refused;
use crate::routes::Routes;
use crate::server::App;
use axum::Json;
use axum::extract::State;
use daas_api::endpoint::{BAN_ADD, BAN_ALLOW, BAN_DISALLOW, BAN_LIST, BAN_REMOVE};
use daas_api::{AllowRequest, BanList, BanRequest, BanView, Failure, NetQuery};
use daas_model::{Kind, Subnet};
use hyper::StatusCode;

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .route(Access::Read, &BAN_LIST, list)
        .route(Access::Administer, &BAN_ADD, add)
        .route(Access::Administer, &BAN_REMOVE, remove)
        .route(Access::Administer, &BAN_ALLOW, allow)
        .route(Access::Administer, &BAN_DISALLOW, disallow)
}

fn net(query: &NetQuery) -> Result<Subnet, Failure> {
    Subnet::parse_or_address(&query.net)
        .map_err(|why| Failure::new("net-invalid", Kind::Input, why))
}

async fn list(State(app): State<App>) -> Result<Json<BanList>, Refused> {
    Ok(Json(app.platform.banning().bans().await?))
}

async fn add(
    State(app): State<App>,
    By(caller): By,
    Input(request): Input<BanRequest>,
) -> Result<Json<BanView>, Refused> {
    Ok(Json(app.platform.banning().ban(&caller, request).await?))
}

async fn remove(
    State(app): State<App>,
    By(caller): By,
    Query(query): Query<NetQuery>,
) -> Result<StatusCode, Refused> {
    app.platform.banning().unban(&caller, net(&query)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn allow(
    State(app): State<App>,
    By(caller): By,
    Input(request): Input<AllowRequest>,
) -> Result<Json<BanList>, Refused> {
    Ok(Json(
        app.platform.banning().allow(&caller, request.net).await?,
    ))
}

async fn disallow(
    State(app): State<App>,
    By(caller): By,
    Query(query): Query<NetQuery>,
) -> Result<StatusCode, Refused> {
    let banning = app.platform.banning();
    banning.disallow(&caller, net(&query)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
