use crate::access::Access;
use crate::extract::{By, Input, Named};
use crate::render::Refused;
use crate::routes::Routes;
use crate::server::App;
use axum::Json;
use axum::extract::State;
use daas_api::endpoint::{GRANTS_CLEAR, GRANTS_SET, GRANTS_SHOW, PROJECT_CHECK};
use daas_api::{Checked, Failure, GrantList, ProjectSource};
use daas_model::{Kind, ProjectName};
use std::collections::BTreeSet;

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .route(Access::Read, &PROJECT_CHECK, check)
        .route(Access::Read, &GRANTS_SHOW, show)
        .route(Access::Administer, &GRANTS_SET, set)
        .route(Access::Administer, &GRANTS_CLEAR, clear)
}

async fn check(
    State(app): State<App>,
    Input(project): Input<ProjectSource>,
) -> Result<Json<Checked>, Refused> {
    Ok(Json(app.platform.projects().check(project).await?))
}

async fn show(
    State(app): State<App>,
    Named(project): Named<ProjectName>,
) -> Result<Json<GrantList>, Refused> {
    Ok(Json(app.platform.projects().grants(&project).await?))
}

async fn set(
    State(app): State<App>,
    By(caller): By,
    Named(project): Named<ProjectName>,
    Input(grants): Input<GrantList>,
) -> Result<Json<GrantList>, Refused> {
    if grants.project != project {
        return Err(Failure::new(
            "grants-mismatch",
            Kind::Input,
            format!(
                "cannot set grants of `{project}`: the body is about `{}`",
                grants.project
            ),
        )
        .into());
    }
    Ok(Json(
        app.platform.projects().set_grants(&caller, grants).await?,
    ))
}

async fn clear(
    State(app): State<App>,
    By(caller): By,
    Named(project): Named<ProjectName>,
) -> Result<Json<GrantList>, Refused> {
    let none = GrantList {
        project,
        grants: BTreeSet::new(),
    };
    Ok(Json(
        app.platform.projects().set_grants(&caller, none).await?,
    ))
}
