//! The `oci-client` crate against a registry: login, push in every form, pull, ranges, mount, tags, referrers.
//!
//! `oci-client-trial HOST USER`: the password on standard input. A program of its own, as the crate is no dependency of the product.

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, stream};
use oci_client::client::{BlobResponse, ClientConfig, ClientProtocol, Config, ImageLayer};
use oci_client::manifest::{IMAGE_LAYER_MEDIA_TYPE, OciDescriptor, OciImageManifest, OciManifest};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference, RegistryOperation};
use std::io::Read;

const CONFIG: &str =
    r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;

fn client() -> Client {
    Client::new(ClientConfig {
        protocol: ClientProtocol::Http,
        ..ClientConfig::default()
    })
}

fn layer(seed: u8, size: usize) -> ImageLayer {
    let bytes: Vec<u8> = (0..size).map(|at| (at % 251) as u8 ^ seed).collect();
    ImageLayer::oci_v1(bytes, None)
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let (host, user) = (arguments.get(1), arguments.get(2));
    let (host, user) = (host.context("no host")?, user.context("no user")?);
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut secret = String::new();
    std::io::stdin().read_to_string(&mut secret)?;
    let auth = RegistryAuth::Basic(user.clone(), secret.trim().to_owned());
    let image: Reference = format!("{host}/rust/web:1").parse()?;
    let other: Reference = format!("{host}/rust/copy:1").parse()?;
    pushes_and_pulls(&image, &auth).await?;
    let digest = blobs(&image, &auth).await?;
    mounts(&image, &other, &auth, &digest).await?;
    refers(&image, &auth).await?;
    let wrong = RegistryAuth::Basic(user.clone(), "wrong".to_owned());
    let refused = client()
        .pull(&image, &wrong, vec![IMAGE_LAYER_MEDIA_TYPE])
        .await;
    ensure!(refused.is_err(), "a wrong password is let in");
    println!("login, push, chunks, ranges, pull, mount, tags, referrers: good");
    Ok(())
}

async fn pushes_and_pulls(image: &Reference, auth: &RegistryAuth) -> Result<()> {
    let layers = [layer(1, 3 << 20), layer(2, 70_000)];
    let config = Config::oci_v1(CONFIG, None);
    let pushed = client().push(image, &layers, config, auth, None).await?;
    // Another client: no token and no knowledge of the first one's.
    let got = client()
        .pull(image, auth, vec![IMAGE_LAYER_MEDIA_TYPE])
        .await?;
    ensure!(
        got.digest.is_some(),
        "no digest came: {}",
        pushed.manifest_url
    );
    // The crate fetches them side by side and tells them as they come.
    let came = |sent: &ImageLayer| got.layers.iter().any(|got| got.data == sent.data);
    ensure!(
        got.layers.len() == 2 && layers.iter().all(came),
        "other layers came back"
    );
    let tags = client().list_tags(image, auth, None, None).await?;
    ensure!(tags.tags == ["1"], "tags: {:?}", tags.tags);
    Ok(())
}

async fn blobs(image: &Reference, auth: &RegistryAuth) -> Result<String> {
    let client = client();
    client.auth(image, auth, RegistryOperation::Push).await?;
    let blob = layer(3, 9 << 20);
    let pieces: Vec<_> = blob
        .data
        .chunks(1 << 20)
        .map(|piece| Ok(piece.to_vec().into()))
        .collect();
    let chunked = client
        .push_blob_stream_chunked(image, stream::iter(pieces))
        .await?;
    let digest = blob.sha256_digest();
    ensure!(
        format!("{chunked:?}").contains(&digest),
        "chunks became something else: {chunked:?}"
    );
    ensure!(
        client.blob_exists(image, &digest).await?,
        "the chunks are not there"
    );
    let descriptor = OciDescriptor {
        digest: digest.clone(),
        size: blob.data.len() as i64,
        ..OciDescriptor::default()
    };
    let part = client
        .pull_blob_stream_partial(image, &descriptor, 1000, Some(500))
        .await?;
    let mut stream = match part {
        BlobResponse::Partial(stream) => stream,
        BlobResponse::Full(_) => anyhow::bail!("the whole came in place of a range"),
    };
    let mut got = Vec::new();
    while let Some(piece) = stream.stream.next().await {
        got.extend_from_slice(&piece?);
    }
    ensure!(got == blob.data[1000..1500], "another range came");
    Ok(digest)
}

async fn mounts(
    image: &Reference,
    other: &Reference,
    auth: &RegistryAuth,
    digest: &str,
) -> Result<()> {
    let client = client();
    for of in [image, other] {
        client.auth(of, auth, RegistryOperation::Push).await?;
    }
    client.mount_blob(other, image, digest).await?;
    ensure!(
        client.blob_exists(other, digest).await?,
        "what was mounted is not there"
    );
    Ok(())
}

async fn refers(image: &Reference, auth: &RegistryAuth) -> Result<()> {
    let client = client();
    client.auth(image, auth, RegistryOperation::Push).await?;
    let (manifest, digest) = client.pull_image_manifest(image, auth).await?;
    let subject = OciDescriptor {
        media_type: manifest.media_type.clone().unwrap_or_default(),
        digest: digest.clone(),
        size: client
            .pull_manifest_raw(image, auth, &["application/vnd.oci.image.manifest.v1+json"])
            .await?
            .0
            .len() as i64,
        ..OciDescriptor::default()
    };
    let attached = OciManifest::Image(OciImageManifest {
        subject: Some(subject),
        artifact_type: Some("application/vnd.test.note".to_owned()),
        ..manifest
    });
    let note: Reference = format!("{}/{}:note", image.registry(), image.repository()).parse()?;
    client.push_manifest(&note, &attached).await?;
    let by_digest: Reference =
        format!("{}/{}@{digest}", image.registry(), image.repository()).parse()?;
    let found = client
        .pull_referrers(&by_digest, Some("application/vnd.test.note"))
        .await?;
    ensure!(found.manifests.len() == 1, "referrers: {found:?}");
    Ok(())
}
