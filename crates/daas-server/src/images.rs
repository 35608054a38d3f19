use crate::access::Access;
use crate::extract::{By, Input, InputOrDefault, Named, Query, Who, bytes_of};
use crate::flow;
use crate::render::Refused;
use crate::routes::Routes;
use crate::server::App;
use crate::stands::paged;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::{Buf, BytesMut};
use daas_api::endpoint::{
    IMAGE_BUILD, IMAGE_DOCUMENTS, IMAGE_LOAD, IMAGE_MAKE, IMAGE_PRUNE, IMAGE_PULL, IMAGE_REFRESH,
    IMAGE_REMOVE, IMAGE_SAVE, IMAGE_SHOW, IMAGE_TAG, IMAGES_LIST, TAR,
};
use daas_api::platform::ByteFlow;
use daas_api::{
    Accepted, BuildRequest, Failure, ImageDocuments, ImageRemoved, ImageView, Loaded,
    MAX_BUILD_HEAD, MakeRequest, Page, PageQuery, PruneRequest, Pruned, PullRequest,
    RefreshRequest, TagRequest,
};
use daas_model::{ImageName, Kind};
use futures_util::StreamExt;
use hyper::StatusCode;

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .route(Access::Read, &IMAGES_LIST, list)
        .route(Access::Read, &IMAGE_SHOW, show)
        .route(Access::Read, &IMAGE_DOCUMENTS, documents)
        .route(Access::Operate, &IMAGE_REMOVE, remove)
        .route(Access::Operate, &IMAGE_SAVE, save)
        .route(Access::Operate, &IMAGE_PULL, pull)
        .route(Access::Operate, &IMAGE_MAKE, make)
        .route(Access::Operate, &IMAGE_REFRESH, refresh)
        .route(Access::Operate, &IMAGE_BUILD, build)
        .route(Access::Operate, &IMAGE_LOAD, load)
        .route(Access::Operate, &IMAGE_PRUNE, prune)
        .route(Access::Operate, &IMAGE_TAG, tag)
}

async fn list(State(app): State<App>, Query(query): Query<PageQuery>) -> Result<Response, Refused> {
    let images = app.platform.images().list().await?;
    Ok(paged(
        Page::cut(images, &query, |image| image.digest.clone()),
        &query,
        &IMAGES_LIST,
    ))
}

async fn show(
    State(app): State<App>,
    Named(name): Named<ImageName>,
) -> Result<Json<ImageView>, Refused> {
    Ok(Json(app.platform.images().show(&name).await?))
}

async fn documents(
    State(app): State<App>,
    Named(name): Named<ImageName>,
) -> Result<Json<ImageDocuments>, Refused> {
    Ok(Json(app.platform.images().documents(&name).await?))
}

async fn remove(
    State(app): State<App>,
    By(caller): By,
    Named(name): Named<ImageName>,
) -> Result<Json<ImageRemoved>, Refused> {
    Ok(Json(app.platform.images().remove(&caller, &name).await?))
}

async fn save(State(app): State<App>, Named(name): Named<ImageName>) -> Result<Response, Refused> {
    Ok(flow::bytes(
        app.platform.images().save(&name).await?,
        TAR,
        None,
    ))
}

async fn pull(
    State(app): State<App>,
    By(caller): By,
    Input(request): Input<PullRequest>,
) -> Result<(StatusCode, Json<Accepted>), Refused> {
    Ok((
        StatusCode::ACCEPTED,
        Json(app.platform.images().pull(&caller, request).await?),
    ))
}

async fn make(
    State(app): State<App>,
    Who(identity): Who,
    Input(request): Input<MakeRequest>,
) -> Result<(StatusCode, Json<Accepted>), Refused> {
    if !request.copies.is_empty() {
        // The daemon reads as root: an image with any file of the host in it would go around every grant.
        identity.must(Access::Administer)?;
    }
    Ok((
        StatusCode::ACCEPTED,
        Json(
            app.platform
                .images()
                .make(&identity.caller, request)
                .await?,
        ),
    ))
}

async fn refresh(
    State(app): State<App>,
    Who(identity): Who,
    Input(request): Input<RefreshRequest>,
) -> Result<(StatusCode, Json<Accepted>), Refused> {
    Ok((
        StatusCode::ACCEPTED,
        Json(
            app.platform
                .images()
                .refresh(&identity.caller, request)
                .await?,
        ),
    ))
}

async fn build(
    State(app): State<App>,
    Who(identity): Who,
    body: Body,
) -> Result<(StatusCode, Json<Accepted>), Refused> {
    let (head, files) = head_of(bytes_of(body)).await?;
    if !head.ssh.is_empty() {
        // A socket of the host by its path: whoever may name it may speak to anything that listens there.
        identity.must(Access::Administer)?;
    }
    Ok((
        StatusCode::ACCEPTED,
        Json(
            app.platform
                .images()
                .build(&identity.caller, head, files)
                .await?,
        ),
    ))
}

/// Takes the request off the front of a build's body: four bytes of length, JSON.
async fn head_of(mut body: ByteFlow) -> Result<(BuildRequest, ByteFlow), Failure> {
    let bad = |why: String| {
        Failure::new("build-body", Kind::Input, format!("cannot read the build: {why}"))
            .hint("send the length of the request in four bytes, the request as JSON, and the archive of its files")
    };
    let mut bytes = BytesMut::new();
    let mut wanted = 4;
    let mut length = None;
    while bytes.len() < wanted {
        let Some(piece) = body.next().await else {
            return Err(bad("it ends inside of its request".into()));
        };
        bytes.extend_from_slice(&piece?);
        if length.is_none() && bytes.len() >= 4 {
            let given = bytes.get_u32() as usize;
            if given > MAX_BUILD_HEAD {
                return Err(bad(format!(
                    "its request has {given} bytes; the most is {MAX_BUILD_HEAD}"
                )));
            }
            (length, wanted) = (Some(given), given);
        }
    }
    let head = bytes.split_to(length.unwrap_or(0));
    let head = serde_json::from_slice(&head).map_err(|e| bad(e.to_string()))?;
    let rest = futures_util::stream::once(async move { Ok(bytes.freeze()) });
    Ok((head, Box::pin(rest.chain(body))))
}

async fn load(State(app): State<App>, By(caller): By, body: Body) -> Result<Json<Loaded>, Refused> {
    Ok(Json(
        app.platform.images().load(&caller, bytes_of(body)).await?,
    ))
}

async fn prune(
    State(app): State<App>,
    By(caller): By,
    InputOrDefault(request): InputOrDefault<PruneRequest>,
) -> Result<Json<Pruned>, Refused> {
    Ok(Json(app.platform.images().prune(&caller, request).await?))
}

async fn tag(
    State(app): State<App>,
    By(caller): By,
    Input(request): Input<TagRequest>,
) -> Result<Json<ImageView>, Refused> {
    Ok(Json(app.platform.images().tag(&caller, request).await?))
}
