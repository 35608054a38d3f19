use crate::access::Access;
use crate::extract::{By, Input, InputOrDefault, Named, Part, Query};
use crate::render::Refused;
use crate::routes::Routes;
use crate::server::App;
use crate::stands::paged;
use axum::Json;
use axum::extract::State;
use axum::response::Response;
use daas_api::endpoint::{
    REGISTRY_DELETE, REGISTRY_DELETE_REPOSITORY, REGISTRY_GC, REGISTRY_INFO, REGISTRY_LIST,
    REGISTRY_LOGIN_ADD, REGISTRY_LOGIN_REMOVE, REGISTRY_LOGINS, REGISTRY_PROJECT,
    REGISTRY_PROJECT_SET, REGISTRY_PUBLISH, REGISTRY_RETENTION, REGISTRY_SHOW, REGISTRY_TAGS,
};
use daas_api::{
    Collected, ExpiredList, LoginList, LoginMade, LoginRequest, ManifestView, Page, PageQuery,
    PruneRequest, PublishRequest, RegistryInfo, RegistryProject, RegistryRules, TagList,
};
use daas_model::{ImageName, OWN_REGISTRY, ProjectName};
use hyper::StatusCode;

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .route(Access::Read, &REGISTRY_INFO, info)
        .route(Access::Read, &REGISTRY_LIST, list)
        .route(Access::Read, &REGISTRY_TAGS, tags)
        .route(Access::Read, &REGISTRY_SHOW, show)
        .route(Access::Operate, &REGISTRY_DELETE, delete)
        .route(
            Access::Operate,
            &REGISTRY_DELETE_REPOSITORY,
            delete_repository,
        )
        .route(Access::Operate, &REGISTRY_PUBLISH, publish)
        .route(Access::Operate, &REGISTRY_GC, collect)
        .route(Access::Read, &REGISTRY_PROJECT, project)
        .route(Access::Administer, &REGISTRY_PROJECT_SET, set_project)
        .route(Access::Operate, &REGISTRY_RETENTION, expire)
        .route(Access::Read, &REGISTRY_LOGINS, logins)
        .route(Access::Administer, &REGISTRY_LOGIN_ADD, add_login)
        .route(Access::Administer, &REGISTRY_LOGIN_REMOVE, remove_login)
}

/// A repository's name.
struct Repository(String);

impl Part for Repository {
    const NAME: &'static str = "repository";

    fn parse(text: &str) -> Result<Self, String> {
        let name = ImageName::parse(&format!("{OWN_REGISTRY}/{text}"))
            .map_err(|_| format!("`{}` is no name of a repository", text.escape_debug()))?;
        if name.repository() == text {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "`{}` is more than a repository",
                text.escape_debug()
            ))
        }
    }
}

/// A tag or digest.
struct Reference(String);

impl Part for Reference {
    const NAME: &'static str = "reference";

    fn parse(text: &str) -> Result<Self, String> {
        let sign = if text.contains(':') { '@' } else { ':' };
        let name = ImageName::parse(&format!("{OWN_REGISTRY}/any{sign}{text}"));
        match name {
            Ok(name) if name.repository() == "any" => Ok(Self(text.to_owned())),
            _ => Err(format!("`{}` is no tag and no digest", text.escape_debug())),
        }
    }
}

/// Tells whether a text may be the name of a login or of a person's key.
pub(crate) fn is_persons(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.len() <= 63
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'@'))
}

/// A login's name.
struct Login(String);

impl Part for Login {
    const NAME: &'static str = "login";

    fn parse(text: &str) -> Result<Self, String> {
        if is_persons(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("`{}` is no name of a login", text.escape_debug()))
        }
    }
}

async fn info(State(app): State<App>) -> Result<Json<RegistryInfo>, Refused> {
    Ok(Json(app.platform.registry().info().await?))
}

async fn list(State(app): State<App>, Query(query): Query<PageQuery>) -> Result<Response, Refused> {
    let all = app.platform.registry().repositories().await?;
    Ok(paged(
        Page::cut(all, &query, |repository| repository.name.clone()),
        &query,
        &REGISTRY_LIST,
    ))
}

async fn tags(
    State(app): State<App>,
    Named(repository): Named<Repository>,
) -> Result<Json<TagList>, Refused> {
    Ok(Json(app.platform.registry().tags(&repository.0).await?))
}

async fn show(
    State(app): State<App>,
    Named(repository): Named<Repository>,
    Named(reference): Named<Reference>,
) -> Result<Json<ManifestView>, Refused> {
    let registry = app.platform.registry();
    Ok(Json(registry.manifest(&repository.0, &reference.0).await?))
}

async fn delete(
    State(app): State<App>,
    By(caller): By,
    Named(repository): Named<Repository>,
    Named(reference): Named<Reference>,
) -> Result<StatusCode, Refused> {
    let registry = app.platform.registry();
    registry
        .delete(&caller, &repository.0, &reference.0)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn delete_repository(
    State(app): State<App>,
    By(caller): By,
    Named(repository): Named<Repository>,
) -> Result<StatusCode, Refused> {
    let registry = app.platform.registry();
    registry.delete_repository(&caller, &repository.0).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn publish(
    State(app): State<App>,
    By(caller): By,
    Input(request): Input<PublishRequest>,
) -> Result<Json<ManifestView>, Refused> {
    Ok(Json(
        app.platform.registry().publish(&caller, request).await?,
    ))
}

async fn collect(
    State(app): State<App>,
    By(caller): By,
    InputOrDefault(request): InputOrDefault<PruneRequest>,
) -> Result<Json<Collected>, Refused> {
    Ok(Json(
        app.platform.registry().collect(&caller, request).await?,
    ))
}

async fn project(
    State(app): State<App>,
    Named(project): Named<ProjectName>,
) -> Result<Json<RegistryProject>, Refused> {
    Ok(Json(app.platform.registry().project(&project).await?))
}

async fn set_project(
    State(app): State<App>,
    By(caller): By,
    Named(project): Named<ProjectName>,
    Input(rules): Input<RegistryRules>,
) -> Result<Json<RegistryProject>, Refused> {
    let registry = app.platform.registry();
    Ok(Json(registry.set_project(&caller, &project, rules).await?))
}

async fn expire(
    State(app): State<App>,
    By(caller): By,
    Named(project): Named<ProjectName>,
    InputOrDefault(request): InputOrDefault<PruneRequest>,
) -> Result<Json<ExpiredList>, Refused> {
    let registry = app.platform.registry();
    Ok(Json(registry.expire(&caller, &project, request).await?))
}

async fn logins(State(app): State<App>) -> Result<Json<LoginList>, Refused> {
    Ok(Json(app.platform.registry().logins().await?))
}

async fn add_login(
    State(app): State<App>,
    By(caller): By,
    Input(request): Input<LoginRequest>,
) -> Result<Json<LoginMade>, Refused> {
    Ok(Json(
        app.platform.registry().add_login(&caller, request).await?,
    ))
}

async fn remove_login(
    State(app): State<App>,
    By(caller): By,
    Named(login): Named<Login>,
) -> Result<StatusCode, Refused> {
    let registry = app.platform.registry();
    registry.remove_login(&caller, &login.0).await?;
    Ok(StatusCode::NO_CONTENT)
}
