//! What the doors ask of the registry, and what is done there in time.

use crate::platform::Control;
use crate::record::StandRecord;
use crate::stand_loop::now_ms;
use daas_api::platform::{Answer, Registry};
use daas_api::{
    Caller, Collected, Expired, ExpiredList, Failure, LoginList, LoginMade, LoginRequest,
    LoginView, ManifestView, PruneRequest, PublishRequest, RegistryInfo, RegistryProject,
    RegistryRules, RepositoryTag, RepositoryView, RetentionRule, TagList,
};
use daas_image::Digest;
use daas_model::{ImageName, Kind, OWN_REGISTRY, ProjectName};
use daas_registry::{
    LoginRecord, NewLogin, Reference, RegistryError, Repository, Rule, SpaceRecord, Tag, Used,
};
use daas_tasks::{Task, TaskError};
use std::collections::BTreeSet;
use std::time::Duration;

/// How often the registry throws away what retention says and collects garbage.
const KEEPING: Duration = Duration::from_secs(3600);
/// How often uploads that nobody goes on with are looked for.
const SWEEP: Duration = Duration::from_secs(60);

impl Control {
    /// Returns what stands use, as far as the registry may have it.
    fn used(&self) -> Result<Used, Failure> {
        let mut used = Used::default();
        for (digest, stands) in self.users()? {
            if let (Ok(digest), Some(stand)) = (Digest::parse(&digest), stands.first()) {
                used.manifests.insert(digest, format!("stand `{stand}`"));
            }
        }
        for digest in self.engine.launched_images() {
            if let Ok(digest) = Digest::parse(&digest) {
                let by = || "a node that runs".to_owned();
                used.manifests.entry(digest).or_insert_with(by);
            }
        }
        // Stands whose images are not unpacked yet use them by name.
        for stored in self.store.list::<StandRecord>("")? {
            let by = format!("stand `{}`", stored.value.name);
            for node in stored.value.spec.nodes.values() {
                self.use_by_name(&node.image, &by, &mut used);
            }
        }
        Ok(used)
    }

    fn use_by_name(&self, image: &ImageName, by: &str, used: &mut Used) {
        if !self.registry.is_own_name(image.registry()) {
            return;
        }
        let Ok(repository) = Repository::parse(image.repository()) else {
            return;
        };
        if let Some(digest) = image.digest().and_then(|text| Digest::parse(text).ok()) {
            used.manifests
                .entry(digest)
                .or_insert_with(|| by.to_owned());
        } else if let Some(tag) = image.tag() {
            let key = (repository, tag.to_owned());
            used.names.entry(key).or_insert_with(|| by.to_owned());
        }
    }

    /// Tells whether the registry means something else by an image's name than the store does.
    pub(crate) fn is_behind_registry(&self, image: &ImageName) -> bool {
        if !self.registry.is_own_name(image.registry()) || image.digest().is_some() {
            return false;
        }
        let reference = Reference::parse(image.tag().unwrap_or("latest"));
        let (Ok(repository), Ok(reference)) = (Repository::parse(image.repository()), reference)
        else {
            return false;
        };
        let Ok(there) = self.registry.manifest(&repository, &reference) else {
            return false;
        };
        match self.engine.images().name_info(image) {
            Ok(Some(here)) => {
                here.manifest != there.digest && here.index.as_ref() != Some(&there.digest)
            }
            // What is not here is fetched anyway.
            Ok(None) | Err(_) => false,
        }
    }

    /// Takes names of the registry's images out of the store whose tags are gone and which no stand uses: they would keep the
    /// contents for ever. Returns them.
    fn forget_names(&self) -> Result<Vec<ImageName>, Failure> {
        let used = self.users()?;
        let store = self.engine.images();
        let mut gone = Vec::new();
        for info in store.names()? {
            let name = &info.name;
            if !self.registry.is_own_name(name.registry())
                || used.contains_key(&info.manifest.to_string())
            {
                continue;
            }
            let reference = Reference::parse(name.digest().or(name.tag()).unwrap_or("latest"));
            let (Ok(repository), Ok(reference)) = (Repository::parse(name.repository()), reference)
            else {
                continue;
            };
            if let Err(RegistryError::NoManifest { .. }) =
                self.registry.manifest(&repository, &reference)
            {
                store.remove(name)?;
                gone.push(name.clone());
            }
        }
        Ok(gone)
    }

    /// Lists what is about a manifest: what was pushed, and what the house keeps, which the registry takes in when it is asked for.
    async fn about(
        &self,
        repository: &Repository,
        manifest: &Digest,
    ) -> Result<Vec<String>, Failure> {
        let store = self.image_store();
        store.documents_written(manifest).await;
        let pushed = self.registry.referrers_of(repository, manifest);
        let kept = store.referrers(manifest)?;
        let kept = kept.into_iter().map(|referrer| referrer.digest);
        let all: BTreeSet<String> = pushed
            .into_iter()
            .chain(kept)
            .map(|d| d.to_string())
            .collect();
        Ok(all.into_iter().collect())
    }

    async fn manifest_view(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<ManifestView, Failure> {
        let found = self.registry.manifest(repository, reference)?;
        let tags = self.registry.tags(repository)?;
        let used = self.used()?;
        let tags: Vec<String> = tags
            .into_iter()
            .filter(|tag| tag.digest == found.digest)
            .map(|tag| tag.tag.to_string())
            .collect();
        let by_name = tags
            .iter()
            .find_map(|tag| used.names.get(&(repository.clone(), tag.clone())));
        let texts = |digests: &[Digest]| digests.iter().map(ToString::to_string).collect();
        Ok(ManifestView {
            repository: repository.to_string(),
            digest: found.digest.to_string(),
            media_type: found.media_type.clone(),
            bytes: found.size,
            total_bytes: self.registry.weight_of(repository, &found.digest),
            parts: texts(&found.parts),
            children: texts(&found.children),
            subject: found.subject.as_ref().map(ToString::to_string),
            artifact_type: found.artifact_type.clone(),
            referrers: self.about(repository, &found.digest).await?,
            pushed_ms: found.pushed_ms,
            used_by: used.manifests.get(&found.digest).or(by_name).cloned(),
            tags,
        })
    }

    /// Returns a name without a host that is the registry's own.
    fn below_own_host<'a>(&self, name: &'a str) -> &'a str {
        match name.split_once('/') {
            Some((host, rest)) if self.registry.is_own_name(host) => rest,
            _ => name,
        }
    }

    /// Starts what keeps the registry clean: retention and garbage every hour, silent uploads every minute.
    pub(crate) fn keep_registry(&self) {
        let control = self.clone();
        self.tasks.start("registry", move || Keeping {
            control: control.clone(),
        });
        let registry = self.registry.clone();
        self.tasks.start("registry uploads", move || Sweeping {
            registry: registry.clone(),
        });
    }

    async fn expire_project(
        &self,
        project: &ProjectName,
        dry_run: bool,
    ) -> Result<ExpiredList, Failure> {
        let used = self.used()?;
        let plan = if dry_run {
            self.registry.expiries(project, &used)?
        } else {
            self.registry.expire(project, &used).await?
        };
        let items = plan.into_iter().map(|expiry| Expired {
            name: match &expiry.tag {
                Some(tag) => format!("{}:{tag}", expiry.repository),
                None => format!("{}@{}", expiry.repository, expiry.digest),
            },
            digest: expiry.digest.to_string(),
            reason: expiry.reason,
            used: expiry.used,
        });
        Ok(ExpiredList {
            items: items.collect(),
        })
    }
}

/// Retention and garbage, now and then.
struct Keeping {
    control: Control,
}

impl Task for Keeping {
    async fn wait(&mut self) {
        tokio::time::sleep(KEEPING).await;
    }

    async fn turn(&mut self) -> Result<(), TaskError> {
        for project in self.control.registry.projects() {
            let expired = self.control.expire_project(&project, false).await;
            for gone in expired.map_err(Failure::into_error)?.items {
                if !gone.used {
                    tracing::info!(name = %gone.name, reason = %gone.reason, "expired");
                }
            }
        }
        let control = self.control.clone();
        let names = self
            .control
            .blocking("forget names", move || control.forget_names());
        for name in names.await.map_err(Failure::into_error)? {
            tracing::info!(image = %name, "its tag is gone from the registry and nothing uses it");
        }
        let in_use = self.control.in_use().map_err(Failure::into_error)?;
        self.control.registry.collect(in_use).await?;
        Ok(())
    }
}

/// Uploads that nobody goes on with.
struct Sweeping {
    registry: daas_registry::Registry,
}

impl Task for Sweeping {
    async fn wait(&mut self) {
        tokio::time::sleep(SWEEP).await;
    }

    async fn turn(&mut self) -> Result<(), TaskError> {
        self.registry.sweep_uploads();
        Ok(())
    }
}

/// Reads the name of a repository.
fn repository(text: &str) -> Result<Repository, Failure> {
    Ok(Repository::parse(text).map_err(RegistryError::from)?)
}

fn reference(text: &str) -> Result<Reference, Failure> {
    Ok(Reference::parse(text).map_err(RegistryError::from)?)
}

fn login_view(login: LoginRecord) -> LoginView {
    LoginView {
        name: login.name,
        project: login.project,
        push: login.push,
        delete: login.delete,
        expires_ms: login.expires_ms,
        created_ms: login.created_ms,
    }
}

fn rules_of(record: SpaceRecord) -> RegistryRules {
    let rule = |rule: Rule| RetentionRule {
        tags: rule.tags,
        keep: rule.keep,
        older_than: rule.older_than,
        branch: rule.branch,
    };
    RegistryRules {
        quota: record.quota,
        retention: record.retention.into_iter().map(rule).collect(),
        shared_with: record.shared_with,
        public: record.public,
        branches: record.branches,
    }
}

fn record_of(rules: RegistryRules) -> SpaceRecord {
    let rule = |rule: RetentionRule| Rule {
        tags: rule.tags,
        keep: rule.keep,
        older_than: rule.older_than,
        branch: rule.branch,
    };
    SpaceRecord {
        quota: rules.quota,
        retention: rules.retention.into_iter().map(rule).collect(),
        shared_with: rules.shared_with,
        public: rules.public,
        branches: rules.branches,
    }
}

impl Registry for Control {
    fn info(&self) -> Answer<'_, RegistryInfo> {
        Box::pin(async move {
            let settings = self.registry.settings();
            Ok(RegistryInfo {
                listens: self.config.registry_listens.clone(),
                inner_name: OWN_REGISTRY.to_owned(),
                names: settings.names.iter().cloned().collect(),
                caches: settings.caches.keys().cloned().collect(),
                repositories: self.registry.repositories().len(),
                uploads: self.registry.sweep_uploads(),
            })
        })
    }

    fn repositories(&self) -> Answer<'_, Vec<RepositoryView>> {
        Box::pin(async move {
            let view = |repository: daas_registry::RepositoryView| RepositoryView {
                name: repository.name.to_string(),
                tags: repository.tags,
                manifests: repository.manifests,
                bytes: repository.bytes,
                changed_ms: repository.changed_ms,
            };
            Ok(self.registry.repositories().into_iter().map(view).collect())
        })
    }

    fn tags<'a>(&'a self, name: &'a str) -> Answer<'a, TagList> {
        Box::pin(async move {
            let view = |tag: daas_registry::TagView| RepositoryTag {
                tag: tag.tag.to_string(),
                digest: tag.digest.to_string(),
                media_type: tag.media_type,
                bytes: tag.bytes,
                since_ms: tag.since_ms,
            };
            let tags = self.registry.tags(&repository(name)?)?;
            Ok(TagList {
                items: tags.into_iter().map(view).collect(),
            })
        })
    }

    fn manifest<'a>(&'a self, name: &'a str, text: &'a str) -> Answer<'a, ManifestView> {
        Box::pin(async move {
            self.manifest_view(&repository(name)?, &reference(text)?)
                .await
        })
    }

    fn delete<'a>(&'a self, caller: &'a Caller, name: &'a str, text: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            tracing::info!(%caller, repository = name, reference = text, "registry delete");
            let (repository, reference) = (repository(name)?, reference(text)?);
            Ok(self
                .registry
                .delete_manifest(&repository, &reference)
                .await?)
        })
    }

    fn delete_repository<'a>(&'a self, caller: &'a Caller, name: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            tracing::info!(%caller, repository = name, "registry delete");
            Ok(self.registry.delete_repository(&repository(name)?).await?)
        })
    }

    fn publish<'a>(
        &'a self,
        caller: &'a Caller,
        request: PublishRequest,
    ) -> Answer<'a, ManifestView> {
        Box::pin(async move {
            tracing::info!(%caller, image = %request.image, name = %request.name, "publish");
            // People know it by the name that clients push to, host included.
            let wanted = self.below_own_host(&request.name);
            let (name, tag) = wanted.rsplit_once(':').unwrap_or((wanted, "latest"));
            let repository = repository(name)?;
            let tag = Tag::parse(tag).map_err(RegistryError::from)?;
            let info = self.engine.images().name_info(&request.image)?;
            let info = info.ok_or_else(|| {
                Failure::new(
                    "image-not-found",
                    Kind::NotFound,
                    format!("no image `{}`", request.image.familiar()),
                )
                .hint("see `daas image list`")
            })?;
            self.registry
                .publish(&repository, std::slice::from_ref(&tag), &info.manifest)
                .await?;
            self.manifest_view(&repository, &Reference::Tag(tag)).await
        })
    }

    fn collect<'a>(&'a self, caller: &'a Caller, request: PruneRequest) -> Answer<'a, Collected> {
        Box::pin(async move {
            tracing::info!(%caller, ?request, "registry gc");
            let in_use = self.in_use()?;
            let collected = if request.dry_run {
                self.registry.collect_plan(in_use).await?
            } else {
                self.registry.collect(in_use).await?
            };
            Ok(Collected {
                unlinked: collected.unlinked,
                blobs: collected.blobs,
                freed_bytes: collected.bytes,
            })
        })
    }

    fn project<'a>(&'a self, project: &'a ProjectName) -> Answer<'a, RegistryProject> {
        Box::pin(async move {
            let (record, used_bytes) = self.registry.space_of(project)?;
            Ok(RegistryProject {
                project: project.clone(),
                used_bytes,
                rules: rules_of(record),
            })
        })
    }

    fn set_project<'a>(
        &'a self,
        caller: &'a Caller,
        project: &'a ProjectName,
        rules: RegistryRules,
    ) -> Answer<'a, RegistryProject> {
        Box::pin(async move {
            tracing::info!(%caller, %project, ?rules, "registry rules");
            self.registry.set_space(project, &record_of(rules)).await?;
            Registry::project(self, project).await
        })
    }

    fn expire<'a>(
        &'a self,
        caller: &'a Caller,
        project: &'a ProjectName,
        request: PruneRequest,
    ) -> Answer<'a, ExpiredList> {
        Box::pin(async move {
            tracing::info!(%caller, %project, ?request, "registry retention");
            self.expire_project(project, request.dry_run).await
        })
    }

    fn logins(&self) -> Answer<'_, LoginList> {
        Box::pin(async move {
            let items = self.registry.logins().into_iter().map(login_view).collect();
            Ok(LoginList { items })
        })
    }

    fn add_login<'a>(&'a self, caller: &'a Caller, request: LoginRequest) -> Answer<'a, LoginMade> {
        Box::pin(async move {
            tracing::info!(%caller, ?request, "registry login");
            let in_ms = |span: daas_model::Span| u64::try_from(span.0.as_millis()).ok();
            let made = self
                .registry
                .add_login(NewLogin {
                    name: request.name,
                    project: request.project,
                    push: request.push,
                    delete: request.delete,
                    expires_ms: request
                        .expires_in
                        .and_then(in_ms)
                        .map(|ms| now_ms().saturating_add(ms)),
                })
                .await?;
            Ok(LoginMade {
                login: login_view(made.record),
                secret: made.secret,
            })
        })
    }

    fn remove_login<'a>(&'a self, caller: &'a Caller, name: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            tracing::info!(%caller, name, "registry login removed");
            Ok(self.registry.remove_login(name).await?)
        })
    }
}
