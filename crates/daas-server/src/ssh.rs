use crate::access::Access;
use crate::extract::{By, Input, Named, Part};
use crate::registry::is_persons;
use crate::render::Refused;
use crate::routes::Routes;
use crate::server::App;
use axum::Json;
use axum::extract::State;
use daas_api::endpoint::{SSH_INFO, SSH_KEY_ADD, SSH_KEY_REMOVE, SSH_KEYS};
use daas_api::{SshInfo, SshKeyList, SshKeyRequest, SshKeyView};
use hyper::StatusCode;

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .route(Access::Read, &SSH_INFO, info)
        .route(Access::Read, &SSH_KEYS, keys)
        .route(Access::Administer, &SSH_KEY_ADD, add)
        .route(Access::Administer, &SSH_KEY_REMOVE, remove)
}

/// A key's name. Those from files may have other words, and cannot be removed anyway.
struct Key(String);

impl Part for Key {
    const NAME: &'static str = "key";

    fn parse(text: &str) -> Result<Self, String> {
        if is_persons(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("`{}` is no name of a key", text.escape_debug()))
        }
    }
}

async fn info(State(app): State<App>) -> Result<Json<SshInfo>, Refused> {
    Ok(Json(app.platform.ssh().info().await?))
}

async fn keys(State(app): State<App>) -> Result<Json<SshKeyList>, Refused> {
    Ok(Json(app.platform.ssh().keys().await?))
}

async fn add(
    State(app): State<App>,
    By(caller): By,
    Input(request): Input<SshKeyRequest>,
) -> Result<Json<SshKeyView>, Refused> {
    Ok(Json(app.platform.ssh().add_key(&caller, request).await?))
}

async fn remove(
    State(app): State<App>,
    By(caller): By,
    Named(key): Named<Key>,
) -> Result<StatusCode, Refused> {
    app.platform.ssh().remove_key(&caller, &key.0).await?;
    Ok(StatusCode::NO_CONTENT)
}
