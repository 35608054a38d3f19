//! What images say, looked up once and kept as long as their digest is the same.

use super::{LocalEngine, lock};
use crate::engine::{Pins, Progress, Teller};
use crate::error::EngineError;
use crate::launch::{Ids, ImageFacts};
use daas_image::{Digest, Event, Image, ImageConfig, ImageHealth, Phase, PullOptions};
use daas_model::{HealthCheck, HealthTest, ImageName, NodeSpec, ProjectName, Span, StandSpec};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Facts by manifest digest, and ids by digest and words.
#[derive(Debug, Default)]
pub(super) struct FactsCache {
    facts: Mutex<HashMap<String, Arc<Known>>>,
    ids: Mutex<HashMap<(String, String), Ids>>,
}

/// An image and its facts.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) image: Image,
    pub(super) facts: ImageFacts,
}

impl LocalEngine {
    /// Returns the digests of those images of `spec` that are in the store: the pinned one if it is there, or what the name means now.
    pub(super) fn digests(&self, spec: &StandSpec, pins: &Pins) -> Result<Pins, EngineError> {
        let mut digests = Pins::new();
        for node in spec.nodes.values() {
            if digests.contains_key(&node.image) || !self.may_use(&node.image, &spec.project) {
                continue;
            }
            if let Some(digest) = self.meant(&node.image, pins)? {
                digests.insert(node.image.clone(), digest.to_string());
            }
        }
        Ok(digests)
    }

    /// Returns the manifest that a name stands for; nothing if it is not in the store.
    fn meant(&self, name: &ImageName, pins: &Pins) -> Result<Option<Digest>, EngineError> {
        let store = &self.inner.images;
        let pinned = pins.get(name).and_then(|text| Digest::parse(text).ok());
        if let Some(pinned) = pinned.filter(|digest| store.blob_size(digest).is_some()) {
            return Ok(Some(pinned));
        }
        let info = store.name_info(name).map_err(wrap(name))?;
        Ok(info.map(|info| info.manifest))
    }

    /// Tells whether a project's stands may use an image that is here; one that they may not is as if it were not.
    fn may_use(&self, image: &ImageName, project: &ProjectName) -> bool {
        let own = self.inner.registries.own(image.registry());
        own.is_none_or(|own| own.may(image, project))
    }

    /// Returns an image of the store with its facts.
    pub(super) async fn known_image(
        &self,
        name: &ImageName,
        pins: &Pins,
    ) -> Result<Arc<Known>, EngineError> {
        let digest = self
            .meant(name, pins)?
            .ok_or_else(|| EngineError::NoImage {
                image: name.clone(),
            })?;
        if let Some(known) = lock(&self.inner.facts.facts).get(digest.as_str()) {
            return Ok(known.clone());
        }
        let (store, of, name_of) = (self.inner.images.clone(), digest.clone(), name.clone());
        let image = self
            .blocking("read image", move || store.image_as(&name_of, &of))
            .await?
            .map_err(wrap(name))?;
        image.check_root().map_err(wrap(name))?;
        let facts = facts_of(&image);
        let known = Arc::new(Known { image, facts });
        lock(&self.inner.facts.facts).insert(digest.to_string(), known.clone());
        Ok(known)
    }

    /// Turns the user of a node, or of a command in it, into numbers.
    pub(super) async fn ids(
        &self,
        node: &NodeSpec,
        known: &Arc<Known>,
        user: Option<&str>,
    ) -> Result<Ids, EngineError> {
        let user = user
            .or(node.user.as_deref())
            .or(known.facts.user.as_deref())
            .unwrap_or("")
            .to_owned();
        let key = (
            known.facts.digest.clone(),
            format!("{user}\0{}", node.group_add.join("\0")),
        );
        if let Some(ids) = lock(&self.inner.facts.ids).get(&key) {
            return Ok(ids.clone());
        }
        let (looked, groups, name) = (known.clone(), node.group_add.clone(), node.image.clone());
        let found = self
            .blocking("look up user", move || {
                looked.image.lookup_user(&user, &groups)
            })
            .await?
            .map_err(wrap(&name))?;
        let ids = Ids {
            uid: found.uid,
            gid: found.gid,
            groups: found.groups,
            home: Some(found.home),
        };
        lock(&self.inner.facts.ids).insert(key, ids.clone());
        Ok(ids)
    }

    /// Brings an image into the store; one that is there is compared with its registry's.
    pub(super) async fn fetch(
        &self,
        name: &ImageName,
        project: &ProjectName,
        tell: &Teller,
    ) -> Result<(), EngineError> {
        let (subject, tell) = (name.familiar(), tell.clone());
        let progress = pull_progress(subject, tell);
        self.inner
            .images
            .pull(
                name,
                &self.inner.registries,
                &PullOptions {
                    project: Some(project.clone()),
                    ..PullOptions::default()
                },
                Arc::new(progress),
            )
            .await
            .map(|_| ())
            .map_err(wrap(name))
    }

    /// Runs a function that blocks on the blocking pool.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, EngineError> {
        self.inner
            .tasks
            .run_blocking(what, work)
            .await
            .map_err(|_| EngineError::Keeper {
                source: std::io::Error::other(format!("`{what}` was ended")),
            })
    }
}

/// Wraps an error of the store.
pub(super) fn wrap(image: &ImageName) -> impl FnOnce(daas_image::ImageError) -> EngineError {
    let image = image.clone();
    move |source| EngineError::Image {
        image,
        source: Box::new(source),
    }
}

/// Sums the pieces of an image up into one progress.
fn pull_progress(subject: String, tell: Teller) -> impl Fn(Event) + Send + Sync {
    let pieces: Mutex<BTreeMap<String, (u64, u64)>> = Mutex::default();
    move |event: Event| {
        let mut pieces = lock(&pieces);
        let unpacking = matches!(event.phase, Phase::Unpacking);
        if !unpacking {
            pieces.insert(event.piece.clone(), (event.done, event.total));
        }
        let (done, total) = pieces.values().fold((0, 0), |(done, total), piece| {
            (done + piece.0, total + piece.1)
        });
        drop(pieces);
        let text = if unpacking {
            format!("unpacking {}", event.piece)
        } else {
            "downloading".to_owned()
        };
        tell(Progress {
            subject: subject.clone(),
            text,
            done,
            total: (total > 0).then_some(total),
        });
    }
}

fn facts_of(image: &Image) -> ImageFacts {
    let config: &ImageConfig = &image.config;
    let word = |text: &String| (!text.is_empty()).then(|| text.clone());
    ImageFacts {
        digest: image.digest.to_string(),
        lowers: image
            .lower_dirs()
            .into_iter()
            .map(ToOwned::to_owned)
            .collect(),
        entrypoint: config.entrypoint.clone(),
        command: config.cmd.clone(),
        environment: config
            .env
            .iter()
            .filter_map(|line| line.split_once('='))
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect(),
        user: word(&config.user),
        working_dir: word(&config.working_dir),
        volumes: config.volumes.clone(),
        health: config.healthcheck.as_ref().and_then(health_of),
        stop_signal: word(&config.stop_signal),
    }
}

/// Reads an image's health check; 0 means Docker's default (Docker image specification 1.2, `Healthcheck`).
fn health_of(check: &ImageHealth) -> Option<HealthCheck> {
    let (kind, rest) = check.test.split_first()?;
    let test = match kind.as_str() {
        "NONE" => HealthTest::None,
        "CMD" => HealthTest::Exec(rest.to_vec()),
        "CMD-SHELL" => HealthTest::Shell(rest.join(" ")),
        _ => return None,
    };
    let default = HealthCheck::default();
    let span = |nanos: u64, default: Span| {
        if nanos == 0 {
            default
        } else {
            Span(Duration::from_nanos(nanos))
        }
    };
    Some(HealthCheck {
        test,
        interval: span(check.interval, default.interval),
        timeout: span(check.timeout, default.timeout),
        retries: u32::try_from(check.retries)
            .ok()
            .filter(|n| *n > 0)
            .unwrap_or(default.retries),
        start_period: span(check.start_period, default.start_period),
        start_interval: span(check.start_interval, default.start_interval),
    })
}
