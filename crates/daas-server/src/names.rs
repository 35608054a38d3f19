use crate::access::Access;
use crate::extract::{By, Input, Query};
use crate::render::Refused;
use crate::routes::Routes;
use crate::server::App;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use daas_api::endpoint::{
    DNS_KEY_ROLL, DNS_KEY_SEEN, DNS_KEYS, DNS_RECORD_ADD, DNS_RECORD_REMOVE, DNS_RECORDS, DNS_ZONES,
};
use daas_api::{
    KeyRoll, KeySeen, NewRecord, RecordList, RecordQuery, RecordView, RecordsQuery, ZoneKeyList,
    ZoneList,
};

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .route(Access::Read, &DNS_ZONES, zones)
        .route(Access::Read, &DNS_RECORDS, records)
        .route(Access::Administer, &DNS_RECORD_ADD, add)
        .route(Access::Administer, &DNS_RECORD_REMOVE, remove)
        .route(Access::Read, &DNS_KEYS, keys)
        .route(Access::Administer, &DNS_KEY_ROLL, roll_key)
        .route(Access::Administer, &DNS_KEY_SEEN, key_seen)
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

async fn keys(
    State(app): State<App>,
    Query(query): Query<RecordsQuery>,
) -> Result<Json<ZoneKeyList>, Refused> {
    Ok(Json(app.platform.names().keys(query).await?))
}

async fn roll_key(
    State(app): State<App>,
    By(caller): By,
    Input(roll): Input<KeyRoll>,
) -> Result<Json<ZoneKeyList>, Refused> {
    Ok(Json(app.platform.names().roll_key(&caller, roll).await?))
}

async fn key_seen(
    State(app): State<App>,
    By(caller): By,
    Input(seen): Input<KeySeen>,
) -> Result<Json<ZoneKeyList>, Refused> {
    Ok(Json(app.platform.names().key_seen(&caller, seen).await?))
}
