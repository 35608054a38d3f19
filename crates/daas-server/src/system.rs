use crate::access::Access;
use crate::extract::{By, InputOrDefault};
use crate::render::Refused;
use crate::routes::Routes;
use crate::server::App;
use axum::Json;
use axum::extract::State;
use daas_api::endpoint::{OPENAPI, SYSTEM_DOCTOR, SYSTEM_INFO, SYSTEM_PRUNE};
use daas_api::{DoctorReport, PruneRequest, SystemInfo, SystemPruned};

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .route(Access::Read, &SYSTEM_INFO, info)
        .route(Access::Read, &SYSTEM_DOCTOR, doctor)
        .route(Access::Operate, &SYSTEM_PRUNE, prune)
        .route(Access::Read, &OPENAPI, openapi)
}

async fn info(State(app): State<App>) -> Result<Json<SystemInfo>, Refused> {
    Ok(Json(app.platform.system().info().await?))
}

async fn doctor(State(app): State<App>) -> Result<Json<DoctorReport>, Refused> {
    Ok(Json(app.platform.system().doctor().await?))
}

async fn prune(
    State(app): State<App>,
    By(caller): By,
    InputOrDefault(request): InputOrDefault<PruneRequest>,
) -> Result<Json<SystemPruned>, Refused> {
    Ok(Json(app.platform.system().prune(&caller, request).await?))
}

async fn openapi() -> Json<serde_json::Value> {
    Json(serde_json::to_value(daas_api::openapi()).unwrap_or_default())
}
