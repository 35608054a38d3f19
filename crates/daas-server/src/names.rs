use crate::access::Access;
use crate::extract::{By, Input, Query};
use crate::render::Refused;
use crate::routes::Routes;
use crate::server::App;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use daas_api::endpoint::{DNS_RECORD_ADD, DNS_RECORD_REMOVE, DNS_RECORDS, DNS_ZONES};
use daas_api::{NewRecord, RecordList, RecordQuery, RecordView, RecordsQuery, ZoneList};

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .route(Access::Read, &DNS_ZONES, zones)
        .route(Access::Read, &DNS_RECORDS, records)
        .route(Access::Administer, &DNS_RECORD_ADD, add)
        .route(Access::Administer, &DNS_RECORD_REMOVE, remove)
}

async fn zones(State(app): State<App>) -> Result<Json<ZoneList>, Refused> {
    Ok(Json(app.platform.names().zones().await?))
}

async fn records(
    State(app): State<App>,
    Query(query): Query<RecordsQuery>,
) -> Result<Json<RecordList>, Refused> {
    Ok(Json(app.platform.names().records(query).await?))
}

async fn add(
    State(app): State<App>,
    By(caller): By,
    Input(record): Input<NewRecord>,
) -> Result<Json<RecordView>, Refused> {
    Ok(Json(
        app.platform.names().add_record(&caller, record).await?,
    ))
}

async fn remove(
    State(app): State<App>,
    By(caller): By,
    Query(query): Query<RecordQuery>,
) -> Result<StatusCode, Refused> {
    app.platform.names().remove_record(&caller, query).await?;
    Ok(StatusCode::NO_CONTENT)
}
