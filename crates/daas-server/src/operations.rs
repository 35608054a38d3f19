use crate::access::Access;
use crate::extract::{Named, Query};
use crate::flow::{self, Form};
use crate::render::Refused;
use crate::routes::Routes;
use crate::server::App;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use daas_api::OperationId;
use daas_api::endpoint::{FollowQuery, OPERATION_LOG, OPERATION_SHOW, TEXT};
use hyper::HeaderMap;

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .route(Access::Read, &OPERATION_SHOW, show)
        .route(Access::Read, &OPERATION_LOG, log)
}

async fn log(
    State(app): State<App>,
    Named(id): Named<OperationId>,
    Query(query): Query<FollowQuery>,
) -> Result<Response, Refused> {
    let log = app.platform.images().build_log(&id, query.follow).await?;
    Ok(flow::bytes(
        log,
        TEXT,
        Some(app.supervisor.shutdown_signal()),
    ))
}

async fn show(
    State(app): State<App>,
    Named(id): Named<OperationId>,
    Query(query): Query<FollowQuery>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    if query.follow {
        let operations = app.platform.stands().follow_operation(&id).await?;
        return Ok(flow::answer(
            operations,
            Form::of(&headers),
            app.supervisor.shutdown_signal(),
            |_| None,
        ));
    }
    Ok(Json(app.platform.stands().operation(&id).await?).into_response())
}
