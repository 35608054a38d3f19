use crate::access::Access;
use crate::extract::{By, Input, Named, Part};
use crate::render::Refused;
use crate::routes::Routes;
use crate::server::App;
use axum::Json;
use axum::extract::State;
use daas_api::endpoint::{
    CERTIFICATE_CLIENT_ADD, CERTIFICATE_CLIENT_REVOKE, CERTIFICATE_CLIENTS, CERTIFICATE_FORGET,
    CERTIFICATE_ISSUE, CERTIFICATE_LIST, CERTIFICATE_RENEW, CERTIFICATE_REVOKE, CERTIFICATE_ROOT,
    CERTIFICATE_SHOW,
};
use daas_api::{
    CertificateList, CertificateOrder, CertificateView, ClientList, ClientMade, ClientRequest,
    RootCertificates,
};
use hyper::StatusCode;

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .route(Access::Read, &CERTIFICATE_LIST, list)
        .route(Access::Administer, &CERTIFICATE_ISSUE, issue)
        .route(Access::Read, &CERTIFICATE_SHOW, show)
        .route(Access::Administer, &CERTIFICATE_FORGET, forget)
        .route(Access::Administer, &CERTIFICATE_RENEW, renew)
        .route(Access::Administer, &CERTIFICATE_REVOKE, revoke)
        .route(Access::Read, &CERTIFICATE_ROOT, roots)
        .route(Access::Read, &CERTIFICATE_CLIENTS, clients)
        .route(Access::Administer, &CERTIFICATE_CLIENT_ADD, add_client)
        .route(
            Access::Administer,
            &CERTIFICATE_CLIENT_REVOKE,
            revoke_client,
        )
}

/// A certificate's id; whether there is one decides whoever has them.
struct Certificate(String);

impl Part for Certificate {
    const NAME: &'static str = "certificate";

    fn parse(text: &str) -> Result<Self, String> {
        plain(text).map(Self)
    }
}

/// A client's name.
struct Client(String);

impl Part for Client {
    const NAME: &'static str = "client";

    fn parse(text: &str) -> Result<Self, String> {
        let good = (1..=63).contains(&text.len())
            && !text.starts_with('-')
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if good {
            Ok(Self(text.to_owned()))
        } else {
            let short: String = text.chars().take(80).collect();
            Err(format!("`{}` is no client's name", short.escape_debug()))
        }
    }
}

fn plain(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > 4096 || text.chars().any(char::is_control) {
        let short: String = text.chars().take(80).collect();
        return Err(format!("`{}` is no id", short.escape_debug()));
    }
    Ok(text.to_owned())
}

async fn list(State(app): State<App>) -> Result<Json<CertificateList>, Refused> {
    Ok(Json(app.platform.certificates().certificates().await?))
}

async fn issue(
    State(app): State<App>,
    By(caller): By,
    Input(order): Input<CertificateOrder>,
) -> Result<(StatusCode, Json<CertificateView>), Refused> {
    let view = app.platform.certificates().issue(&caller, order).await?;
    Ok((StatusCode::ACCEPTED, Json(view)))
}

async fn show(
    State(app): State<App>,
    Named(id): Named<Certificate>,
) -> Result<Json<CertificateView>, Refused> {
    Ok(Json(app.platform.certificates().certificate(&id.0).await?))
}

async fn forget(
    State(app): State<App>,
    By(caller): By,
    Named(id): Named<Certificate>,
) -> Result<StatusCode, Refused> {
    app.platform.certificates().forget(&caller, &id.0).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn renew(
    State(app): State<App>,
    By(caller): By,
    Named(id): Named<Certificate>,
) -> Result<(StatusCode, Json<CertificateView>), Refused> {
    let view = app.platform.certificates().renew(&caller, &id.0).await?;
    Ok((StatusCode::ACCEPTED, Json(view)))
}

async fn revoke(
    State(app): State<App>,
    By(caller): By,
    Named(id): Named<Certificate>,
) -> Result<Json<CertificateView>, Refused> {
    let certificates = app.platform.certificates();
    Ok(Json(certificates.revoke(&caller, &id.0).await?))
}

async fn roots(State(app): State<App>) -> Result<Json<RootCertificates>, Refused> {
    Ok(Json(app.platform.certificates().roots().await?))
}

async fn clients(State(app): State<App>) -> Result<Json<ClientList>, Refused> {
    Ok(Json(app.platform.certificates().clients().await?))
}

async fn add_client(
    State(app): State<App>,
    By(caller): By,
    Input(request): Input<ClientRequest>,
) -> Result<Json<ClientMade>, Refused> {
    let certificates = app.platform.certificates();
    Ok(Json(certificates.add_client(&caller, request).await?))
}

async fn revoke_client(
    State(app): State<App>,
    By(caller): By,
    Named(name): Named<Client>,
) -> Result<StatusCode, Refused> {
    let certificates = app.platform.certificates();
    certificates.revoke_client(&caller, &name.0).await?;
    Ok(StatusCode::NO_CONTENT)
}
