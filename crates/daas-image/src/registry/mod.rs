//! Pulling from registries: any that speaks the OCI Distribution Specification 1.1 or Docker's registry protocol, version 2.

mod auth;
mod blob;
mod client;
mod fetch;
mod http;
mod own;
mod settings;
mod url;
mod web;

pub use fetch::Fetched;
pub(crate) use http::{Failure, Http};
pub use own::OwnRegistry;
pub use settings::{Credential, Credentials, ProxySettings, RegistrySettings};
pub use web::{Dial, Web, WebAnswer, WebError};

use crate::digest::Hasher;
use crate::manifest::{ACCEPTED, Descriptor, Document, MAX_CONFIG, MAX_MANIFEST, Manifest};
use crate::progress::Progress;
use crate::store::{LayerJob, Lease, NameInfo, Store};
use crate::{Digest, Image, ImageError, Platform};
use client::Client;
use daas_model::{ImageName, ProjectName};
use futures_util::{StreamExt, TryStreamExt};
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderName};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use url::Url;

/// The registries that this house pulls from. Made once; serves any number of pulls.
pub struct Registries {
    settings: RegistrySettings,
    http: Http,
    own: OnceLock<Arc<dyn OwnRegistry>>,
}

/// How one image is pulled.
#[derive(Debug, Clone, Default)]
pub struct PullOptions {
    /// For which machine; this one without.
    pub platform: Option<Platform>,
    /// Who asks; the house's credentials without.
    pub credentials: Option<Credentials>,
    /// For which project, where our own registry is asked; for the house itself without.
    pub project: Option<ProjectName>,
}

/// Sets the flag when it is dropped, so that blocking work sees that nobody waits for it.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Registries {
    /// Reads the authorities and prepares TLS.
    ///
    /// # Errors
    /// [`ImageError::Settings`] if a file of authorities or a mirror makes no sense.
    pub fn new(settings: RegistrySettings) -> Result<Self, ImageError> {
        for mirror in settings.mirrors.values().flatten() {
            if Url::parse(mirror).is_none() {
                return Err(ImageError::Settings {
                    why: format!("the mirror `{}` is no URL", mirror.escape_debug()),
                });
            }
        }
        let http = Http::new(&settings)?;
        Ok(Self {
            settings,
            http,
            own: OnceLock::new(),
        })
    }

    /// The mirrors of a registry and then itself.
    fn clients(
        &self,
        name: &ImageName,
        options: &PullOptions,
    ) -> Result<Vec<Client<'_>>, ImageError> {
        let credentials = options
            .credentials
            .as_ref()
            .unwrap_or(&self.settings.credentials);
        let registry = name.registry().to_ascii_lowercase();
        let mut clients = Vec::new();
        for mirror in self.settings.mirrors.get(&registry).into_iter().flatten() {
            let base = Url::parse(mirror).ok_or_else(|| ImageError::Settings {
                why: format!("the mirror `{}` is no URL", mirror.escape_debug()),
            })?;
            let host = base.host_header();
            let credential = credentials.of(&host).cloned();
            clients.push(Client::new(
                &self.http,
                base,
                host,
                Some(registry.clone()),
                name.repository().to_owned(),
                credential,
                self.settings.retries,
            ));
        }
        // Docker's hub answers under another name than the one in image names.
        let host = if registry == "docker.io" {
            "registry-1.docker.io"
        } else {
            &registry
        };
        let base = Url::parse(&format!("https://{host}/")).ok_or_else(|| ImageError::Settings {
            why: format!("the registry `{registry}` is no host"),
        })?;
        let credential = credentials.of(&registry).cloned();
        clients.push(Client::new(
            &self.http,
            base,
            registry,
            None,
            name.repository().to_owned(),
            credential,
            self.settings.retries,
        ));
        Ok(clients)
    }

    /// Whether plain HTTP to this registry was allowed.
    fn may_be_plain(&self, client: &Client<'_>) -> bool {
        client.base.is_local() || self.settings.insecure.contains(&client.host)
    }

    /// Fetches the document that `name` means from the first place that has it.
    async fn find<'a>(
        &'a self,
        name: &ImageName,
        options: &PullOptions,
    ) -> Result<(Client<'a>, Vec<u8>, Option<String>), ImageError> {
        let reference = name.digest().or(name.tag()).unwrap_or("latest");
        let mut last_error = None;
        for mut client in self.clients(name, options)? {
            let mut result = client.fetch_document(reference).await;
            if let (Err(ImageError::Insecure { .. }), true) = (&result, self.may_be_plain(&client))
            {
                client.base.tls = false;
                if client.base.port == 443 {
                    client.base.port = 80;
                }
                result = client.fetch_document(reference).await;
            }
            match result {
                Ok((bytes, kind)) => return Ok((client, bytes, kind)),
                Err(error) => {
                    tracing::debug!(registry = %client.host, %error, "a registry does not give the image");
                    // The registry's own word counts more than its mirrors', and it is asked last.
                    last_error = Some(error);
                }
            }
        }
        Err(last_error.unwrap_or(ImageError::Broken {
            what: "choosing a registry",
        }))
    }
}

impl Client<'_> {
    /// Fetches a manifest or index by tag or digest; returns its bytes and the media type that the registry claims.
    async fn fetch_document(
        &self,
        reference: &str,
    ) -> Result<(Vec<u8>, Option<String>), ImageError> {
        const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
        let what = format!(
            "{}{}{reference}",
            self.repository,
            if reference.contains(':') { "@" } else { ":" }
        );
        let accept = ACCEPTED.join(", ");
        let headers = [(ACCEPT, accept.as_str())];
        let mut tries = client::tries();
        let (bytes, kind, told) = loop {
            let answer = self
                .get(&format!("manifests/{reference}"), &headers, &what)
                .await?;
            let kind = answer
                .header(CONTENT_TYPE)
                .map(|t| t.split(';').next().unwrap_or_default().trim().to_owned());
            let told = answer.header(DIGEST).and_then(|d| Digest::parse(d).ok());
            match answer.collect(MAX_MANIFEST).await {
                Ok(bytes) => break (bytes, kind, told),
                Err(failure) => self.recover(failure, &mut tries, &what).await?,
            }
        };
        // A name with a digest promises it; the registry's own word is held to as well.
        for wanted in [Digest::parse(reference).ok(), told].into_iter().flatten() {
            let mut hasher = Hasher::new(wanted.algorithm());
            hasher.update(&bytes);
            let got = hasher.finish();
            if got != wanted {
                return Err(ImageError::DigestMismatch {
                    what: format!("the manifest of {what}"),
                    wanted,
                    got,
                });
            }
        }
        Ok((
            bytes,
            kind.filter(|k| {
                !matches!(
                    k.as_str(),
                    "" | "application/json" | "application/octet-stream" | "text/plain"
                )
            }),
        ))
    }
}

impl Store {
    /// Fetches an image from its registry or a mirror of it, unpacks it, and makes `name` mean it.
    ///
    /// What is here already is not fetched again; a download that broke off goes on where it ended. Safe to drop at any point:
    /// what has arrived stays for the next time, nothing half is visible.
    ///
    /// # Errors
    /// [`ImageError::NotInRegistry`], [`ImageError::Denied`], [`ImageError::Transport`], [`ImageError::Platform`], and those of
    /// checking and unpacking.
    pub async fn pull(
        &self,
        name: &ImageName,
        registries: &Registries,
        options: &PullOptions,
        progress: Arc<dyn Progress>,
    ) -> Result<Image, ImageError> {
        if let Some(own) = registries.own(name.registry()) {
            return self.take_own(own.as_ref(), name, options, progress).await;
        }
        let wanted = options.platform.clone().unwrap_or_else(Platform::native);
        let bad = |why| ImageError::BadDocument {
            what: format!("the manifest of {}", name.familiar()),
            why,
        };
        let mut lease = self.lease();
        let (client, bytes, kind) = registries.find(name, options).await?;
        let (manifest, bytes, index) = match Document::parse(&bytes, kind.as_deref())
            .map_err(bad)?
        {
            Document::Manifest(manifest) => (manifest, bytes, None),
            Document::Index(index) => {
                let chosen = index
                    .choose(&wanted)
                    .map_err(|there| ImageError::Platform {
                        name: Box::new(name.clone()),
                        wanted: wanted.to_string(),
                        there,
                    })?
                    .clone();
                let index = self.keep_document(&mut lease, &bytes, name.digest())?;
                let (bytes, kind) = client.fetch_document(chosen.digest.as_str()).await?;
                crate::store::check_size(&chosen, bytes.len() as u64)?;
                match Document::parse(&bytes, kind.as_deref().or(Some(&chosen.media_type)))
                    .map_err(bad)?
                {
                    Document::Manifest(manifest) => (manifest, bytes, Some((index, chosen.digest))),
                    Document::Index(_) => return Err(bad("it is an index inside an index".into())),
                }
            }
        };
        let digest = self.keep_document(
            &mut lease,
            &bytes,
            index
                .as_ref()
                .map_or(name.digest(), |(_, chosen)| Some(chosen.as_str())),
        )?;
        let jobs = self
            .fetch_config(
                &client,
                name,
                &manifest,
                &wanted,
                &mut lease,
                progress.as_ref(),
            )
            .await?;
        self.lease_image(&mut lease, &digest, &manifest, &jobs);
        let cancelled = Arc::new(AtomicBool::new(false));
        let guard = CancelOnDrop(Arc::clone(&cancelled));
        self.fetch_layers(
            &client,
            &manifest,
            jobs,
            registries.settings.parallel,
            &progress,
            &cancelled,
        )
        .await?;
        let info = NameInfo {
            name: name.clone(),
            manifest: digest.clone(),
            index: index.map(|(index, _)| index),
            private: client.was_known(),
            since: crate::load::now(),
        };
        let store = self.clone();
        // The lease goes along: the work ends even if nobody waits for it.
        let install = move || {
            let image = store.install(&digest, &info, progress.as_ref(), &cancelled);
            drop(lease);
            image
        };
        let image = self.blocking("install an image", install).await?;
        drop(guard);
        image
    }

    /// Asks the registry, with the asker's own credentials, whether the asker may have this image.
    ///
    /// For names whose [`NameInfo::private`] is set this must be asked for every use by another than who pulled it: an image that
    /// is here is not everybody's (threat S14).
    ///
    /// # Errors
    /// [`ImageError::Denied`] or [`ImageError::NotInRegistry`] if not, [`ImageError::Transport`] if nobody can be asked.
    pub async fn check_access(
        &self,
        name: &ImageName,
        registries: &Registries,
        options: &PullOptions,
    ) -> Result<(), ImageError> {
        registries.check_access(name, options).await
    }

    /// Stores a document under the digest that it was asked for by, or its own.
    fn keep_document(
        &self,
        lease: &mut Lease,
        bytes: &[u8],
        asked: Option<&str>,
    ) -> Result<Digest, ImageError> {
        let digest = asked
            .and_then(|d| Digest::parse(d).ok())
            .unwrap_or_else(|| Digest::of(bytes));
        lease.add(digest.as_str());
        let mut writer = self.blob_writer(digest.algorithm())?;
        writer.write(bytes)?;
        writer.commit(Some(&digest))
    }

    async fn fetch_config(
        &self,
        client: &Client<'_>,
        name: &ImageName,
        manifest: &Manifest,
        wanted: &Platform,
        lease: &mut Lease,
        progress: &dyn Progress,
    ) -> Result<Vec<LayerJob>, ImageError> {
        if manifest.config.size > MAX_CONFIG {
            return Err(ImageError::BadDocument {
                what: "the image's configuration".into(),
                why: format!("it is larger than {MAX_CONFIG} bytes"),
            });
        }
        let whole: u64 = manifest
            .layers
            .iter()
            .fold(0, |sum, l| l.size.saturating_add(sum));
        if whole > self.budget().bytes.0 {
            return Err(ImageError::BadDocument {
                what: format!("the manifest of {}", name.familiar()),
                why: format!("its layers have {whole} bytes, more than an image may"),
            });
        }
        lease.add(manifest.config.digest.as_str());
        client.fetch_blob(self, &manifest.config, progress).await?;
        let text = self.read_blob(
            &manifest.config.digest,
            MAX_CONFIG,
            "the image's configuration",
        )?;
        let checked = Self::check_image(manifest, &text)?;
        if wanted.distance(&checked.config.platform).is_none() {
            return Err(ImageError::Platform {
                name: Box::new(name.clone()),
                wanted: wanted.to_string(),
                there: vec![checked.config.platform.to_string()],
            });
        }
        Ok(checked.jobs)
    }

    /// Fetches the layers side by side and unpacks each as soon as it is here.
    async fn fetch_layers(
        &self,
        client: &Client<'_>,
        manifest: &Manifest,
        jobs: Vec<LayerJob>,
        parallel: usize,
        progress: &Arc<dyn Progress>,
        cancelled: &Arc<AtomicBool>,
    ) -> Result<(), ImageError> {
        let by_digest: BTreeMap<&Digest, &Descriptor> =
            manifest.layers.iter().map(|l| (&l.digest, l)).collect();
        let mut seen = BTreeSet::new();
        let unique: Vec<LayerJob> = jobs
            .into_iter()
            .filter(|job| seen.insert(job.blob.clone()))
            .collect();
        let work = unique.into_iter().map(|job| {
            let descriptor = by_digest.get(&job.blob).copied();
            async move {
                if self.find_layer(&job)?.is_none() || self.blob_size(&job.blob).is_none() {
                    let descriptor = descriptor.ok_or(ImageError::Broken {
                        what: "listing layers",
                    })?;
                    client
                        .fetch_blob(self, descriptor, progress.as_ref())
                        .await?;
                }
                let (store, progress, cancelled) =
                    (self.clone(), Arc::clone(progress), Arc::clone(cancelled));
                // A layer that needs its lower ones is left to the installation, which goes from the bottom up.
                let unpack = move || {
                    store
                        .unpack_layer(&job, None, progress.as_ref(), &cancelled)
                        .map(drop)
                };
                self.blocking("unpack a layer", unpack).await?
            }
        });
        futures_util::stream::iter(work)
            .buffer_unordered(parallel.max(1))
            .try_collect::<()>()
            .await
    }
}

impl Registries {
    async fn check_access(
        &self,
        name: &ImageName,
        options: &PullOptions,
    ) -> Result<(), ImageError> {
        let reference = name.digest().or(name.tag()).unwrap_or("latest");
        let accept = ACCEPTED.join(", ");
        let headers = [(ACCEPT, accept.as_str())];
        let path = format!("manifests/{reference}");
        let what = name.familiar();
        let mut clients = self.clients(name, options)?;
        let client = clients.last_mut().ok_or(ImageError::Broken {
            what: "choosing a registry",
        })?;
        match client.head(&path, &headers, &what).await {
            Err(ImageError::Insecure { .. }) if self.may_be_plain(client) => {
                client.base.tls = false;
                if client.base.port == 443 {
                    client.base.port = 80;
                }
                client.head(&path, &headers, &what).await
            }
            asked => asked,
        }
    }
}
