//! What the doors ask of images.

use crate::operations::{caught, daemon_ends, end};
use crate::platform::Control;
use crate::record::StandRecord;
use crate::stand_loop::now_ms;
use bytes::Bytes;
use daas_api::platform::{Answer, ByteFlow, Images};
use daas_api::{
    Accepted, Caller, Failure, ImageDocument, ImageDocuments, ImageRemoved, ImageView, Loaded,
    MakeRequest, NodeProgress, OperationId, OperationKind, Phase, PruneRequest, Pruned,
    PullRequest, Started, TagRequest,
};
use daas_image::{Digest, ImageError, InUse, PullOptions, Silent};
use daas_model::{Explain, ImageName, Kind, NodeName, StandName};
use futures_util::StreamExt;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use tokio::io::AsyncWriteExt;

impl Control {
    pub(crate) fn image_store(&self) -> std::sync::Arc<daas_image::Store> {
        self.engine.images().clone()
    }

    /// Runs a function that blocks on the blocking pool.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        self.tasks.run_blocking(what, work).await.map_err(|_| {
            Failure::new(
                "task-ended",
                Kind::Bug,
                format!("`{what}` ended in the middle"),
            )
        })?
    }

    /// Returns which stands use which image, by the image's manifest.
    pub(crate) fn users(&self) -> Result<BTreeMap<String, BTreeSet<StandName>>, Failure> {
        let store = self.image_store();
        let mut users: BTreeMap<String, BTreeSet<StandName>> = BTreeMap::new();
        for stand in self.store.list::<StandRecord>("")? {
            let StandRecord {
                spec, pins, name, ..
            } = stand.value;
            for node in spec.nodes.values() {
                let digest = match pins.get(&node.image) {
                    Some(pinned) => Some(pinned.clone()),
                    None => store
                        .name_info(&node.image)?
                        .map(|info| info.manifest.to_string()),
                };
                if let Some(digest) = digest {
                    users.entry(digest).or_default().insert(name.clone());
                }
            }
        }
        Ok(users)
    }

    fn image_view(
        &self,
        names: Vec<ImageName>,
        users: &BTreeMap<String, BTreeSet<StandName>>,
        whole: bool,
    ) -> Result<Option<ImageView>, Failure> {
        let Some(first) = names.first() else {
            return Ok(None);
        };
        let Some(image) = self.image_store().resolve(first)? else {
            return Ok(None);
        };
        let digest = image.digest.to_string();
        let config = if whole {
            Some(
                serde_json::to_value(&image.config)
                    .map_err(|e| Failure::new("image-config", Kind::Bug, e.to_string()))?,
            )
        } else {
            None
        };
        Ok(Some(ImageView {
            used_by: users.get(&digest).into_iter().flatten().cloned().collect(),
            names,
            platform: image.platform.to_string(),
            size_bytes: image.layers.iter().map(|l| l.size.0).sum(),
            created_ms: image.created.as_deref().and_then(rfc3339_ms),
            layers: u32::try_from(image.layers.len()).unwrap_or(u32::MAX),
            config,
            digest,
        }))
    }

    pub(crate) fn in_use(&self) -> Result<InUse, Failure> {
        let mut in_use = InUse::default();
        // What stands name now, and what their nodes were launched from before the name moved.
        for digest in self
            .users()?
            .into_keys()
            .chain(self.engine.launched_images())
        {
            in_use.images.extend(Digest::parse(&digest).ok());
        }
        Ok(in_use)
    }

    pub(crate) async fn prune_images(&self, request: PruneRequest) -> Result<Pruned, Failure> {
        let store = self.image_store();
        let control = self.clone();
        self.blocking("prune images", move || {
            let users = control.users()?;
            let mut removed = Vec::new();
            if request.all && !request.dry_run {
                store.forget_steps()?;
            }
            if request.all {
                for info in store.names()? {
                    if !users.contains_key(&info.manifest.to_string()) {
                        removed.push(format!("image {}", info.name.familiar()));
                        if !request.dry_run {
                            store.remove(&info.name)?;
                        }
                    }
                }
            }
            let in_use = control.in_use()?;
            let plan = if request.dry_run {
                store.gc_plan(&in_use)?
            } else {
                store.gc(&in_use)?
            };
            removed.extend(plan.blobs.iter().map(|digest| format!("blob {digest}")));
            removed.extend(
                plan.layers
                    .iter()
                    .chain(&plan.partial)
                    .map(|path| path.display().to_string()),
            );
            Ok(Pruned {
                removed,
                freed_bytes: plan.bytes.0,
            })
        })
        .await
    }

    /// Runs `work` as the operation `id` and tells its end.
    pub(crate) fn follow_through(
        &self,
        id: &OperationId,
        work: impl Future<Output = Result<(), Failure>> + Send + 'static,
    ) {
        let (operations, id) = (self.operations.clone(), id.clone());
        self.tasks
            .run(format!("operation {id}"), |shutdown| async move {
                // A panic must not leave an operation that runs for ever: whoever waits is told what happened.
                let result = tokio::select! {
                    result = caught(work) => result,
                    () = shutdown.asked() => Err(daemon_ends()),
                };
                operations.change_one(&id, |operation| end(operation, result, now_ms()));
            });
    }

    /// Makes an image of packages as the operation `id`.
    pub(crate) async fn make_now(
        &self,
        id: &OperationId,
        request: &MakeRequest,
    ) -> Result<(), Failure> {
        let wanted = crate::recipe::recipe(request, &self.config.state)?;
        let name = wanted.image_name()?;
        let progress = std::sync::Arc::new(self.piece_progress(id, &wanted.base));
        self.image_store().make(wanted, progress).await?;
        self.remember_made(&name, request).await
    }

    /// Returns what shows the progress of one piece of an image's way in.
    fn piece_progress(
        &self,
        id: &OperationId,
        image: &str,
    ) -> impl Fn(daas_image::Event) + Send + Sync + use<> {
        let (operations, id, image) = (self.operations.clone(), id.clone(), image.to_owned());
        move |event: daas_image::Event| {
            let Some(node) = piece_name(&event.piece) else {
                return;
            };
            let phase = match event.phase {
                daas_image::Phase::Waiting => Phase::Queued,
                daas_image::Phase::Downloading => Phase::Pulling {
                    image: image.clone(),
                    done: event.done,
                    total: (event.total > 0).then_some(event.total),
                },
                daas_image::Phase::Reading | daas_image::Phase::Unpacking => Phase::Preparing {
                    what: event.piece.clone(),
                },
                daas_image::Phase::Present => Phase::Unchanged,
                daas_image::Phase::Done => Phase::Completed,
            };
            operations.change_one(&id, |operation| {
                match operation.nodes.iter_mut().find(|n| n.node == node) {
                    Some(known) => known.phase = phase,
                    None => operation.nodes.push(NodeProgress { node, phase }),
                }
            });
        }
    }
}

/// Returns a piece of an image as a name that a line of progress can bear.
fn piece_name(piece: &str) -> Option<NodeName> {
    let text: String = piece
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '.' {
                c
            } else {
                '-'
            }
        })
        .take(40)
        .collect();
    NodeName::parse(text.trim_matches('-')).ok()
}

/// Reads a time of RFC 3339 as milliseconds of the Unix clock; nothing if it is none or lies before 1970.
fn rfc3339_ms(text: &str) -> Option<u64> {
    let (date, rest) = text.split_at_checked(10)?;
    let mut date = date.split('-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let clock = rest.get(1..9)?;
    let mut clock = clock.split(':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let zone = rest
        .get(9..)?
        .trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let offset = match zone.split_at_checked(1)? {
        ("Z" | "z", "") => 0,
        (sign @ ("+" | "-"), hours) => {
            let (h, m) = hours.split_once(':')?;
            let minutes = h.parse::<i64>().ok()? * 60 + m.parse::<i64>().ok()?;
            if sign == "+" { minutes } else { -minutes }
        }
        _ => return None,
    };
    // Days since 1970 in the Gregorian calendar, years counted from March (Hinnant, "chrono-compatible low-level date algorithms").
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let of_era = shifted.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    u64::try_from(((days * 24 + hour) * 60 + minute - offset) * 60 + second)
        .ok()
        .map(|s| s * 1000)
}

pub(crate) fn started(operation: OperationId) -> Accepted {
    Accepted {
        operations: vec![Started {
            operation,
            stand: None,
        }],
        diagnostics: Vec::new(),
    }
}

fn not_found(name: &ImageName) -> Failure {
    Failure::new(
        "image-not-found",
        Kind::NotFound,
        format!("no image `{}`", name.familiar()),
    )
    .hint("see `daas image list`, or fetch it with `daas image pull`")
}

impl Images for Control {
    fn list(&self) -> Answer<'_, Vec<ImageView>> {
        Box::pin(async move {
            let control = self.clone();
            self.blocking("list images", move || {
                let users = control.users()?;
                let mut by_digest: BTreeMap<String, Vec<ImageName>> = BTreeMap::new();
                for info in control.image_store().names()? {
                    by_digest
                        .entry(info.manifest.to_string())
                        .or_default()
                        .push(info.name);
                }
                by_digest
                    .into_values()
                    .filter_map(|names| control.image_view(names, &users, false).transpose())
                    .collect()
            })
            .await
        })
    }

    fn show<'a>(&'a self, name: &'a ImageName) -> Answer<'a, ImageView> {
        Box::pin(async move {
            let (control, name) = (self.clone(), name.clone());
            self.blocking("show image", move || {
                let info = control
                    .image_store()
                    .name_info(&name)?
                    .ok_or_else(|| not_found(&name))?;
                let names = control
                    .image_store()
                    .names()?
                    .into_iter()
                    .filter(|i| i.manifest == info.manifest)
                    .map(|i| i.name)
                    .collect();
                control
                    .image_view(names, &control.users()?, true)?
                    .ok_or_else(|| not_found(&name))
            })
            .await
        })
    }

    fn documents<'a>(&'a self, name: &'a ImageName) -> Answer<'a, ImageDocuments> {
        Box::pin(async move {
            let (store, reader) = (self.image_store(), self.image_store());
            let name = name.clone();
            let find = move || reader.name_info(&name)?.ok_or_else(|| not_found(&name));
            let info = self.blocking("find image", find).await?;
            // Those of an image that was built just now are still being written.
            store.documents_written(&info.manifest).await;
            self.blocking("read documents of an image", move || {
                let mut items = Vec::new();
                for referrer in store.referrers(&info.manifest)? {
                    for (kind, bytes) in store.read_artifact(&referrer.digest)? {
                        items.push(ImageDocument {
                            kind,
                            digest: referrer.digest.to_string(),
                            size_bytes: bytes.len() as u64,
                            content: serde_json::from_slice(&bytes).ok(),
                        });
                    }
                }
                items.sort_by(|a, b| (&a.kind, &a.digest).cmp(&(&b.kind, &b.digest)));
                Ok(ImageDocuments { items })
            })
            .await
        })
    }

    fn remove<'a>(&'a self, caller: &'a Caller, name: &'a ImageName) -> Answer<'a, ImageRemoved> {
        Box::pin(async move {
            tracing::info!(%caller, image = %name, "image name removed");
            let (control, name) = (self.clone(), name.clone());
            self.blocking("remove image", move || {
                let store = control.image_store();
                let info = store.name_info(&name)?.ok_or_else(|| not_found(&name))?;
                let still_named = store
                    .names()?
                    .iter()
                    .any(|i| i.manifest == info.manifest && i.name != name);
                let users = control
                    .users()?
                    .remove(&info.manifest.to_string())
                    .unwrap_or_default();
                if let (Some(stand), false) = (users.first(), still_named) {
                    return Err(Failure::new(
                        "image-in-use",
                        Kind::Conflict,
                        format!("cannot remove image `{}`", name.familiar()),
                    )
                    .because(format!("stand `{stand}` uses it"))
                    .hint(format!("take it down first: `daas stand down {stand}`")));
                }
                store.remove(&name)?;
                Ok(ImageRemoved { name, still_named })
            })
            .await
        })
    }

    fn pull<'a>(&'a self, caller: &'a Caller, request: PullRequest) -> Answer<'a, Accepted> {
        Box::pin(async move {
            tracing::info!(%caller, image = %request.image, "pull");
            let id =
                self.operations
                    .begin_image(OperationKind::Pull, Some(&request.image), now_ms());
            let mut options = PullOptions::default();
            if let Some(text) = &request.platform {
                let platform = daas_image::Platform::parse(text).ok_or_else(|| {
                    Failure::new(
                        "image-platform",
                        Kind::Input,
                        format!("`{text}` is no platform"),
                    )
                    .hint("write for example `linux/amd64`")
                })?;
                options.platform = Some(platform);
            }
            let progress = std::sync::Arc::new(self.piece_progress(&id, &request.image.familiar()));
            let (store, registries) = (self.image_store(), self.engine.registries().clone());
            self.follow_through(&id, async move {
                Ok(store
                    .pull(&request.image, &registries, &options, progress)
                    .await
                    .map(|_| ())?)
            });
            Ok(started(id))
        })
    }

    fn build<'a>(
        &'a self,
        caller: &'a Caller,
        head: daas_api::BuildRequest,
        files: ByteFlow,
    ) -> Answer<'a, Accepted> {
        Box::pin(self.build_image(caller, head, files))
    }

    fn build_log<'a>(&'a self, operation: &'a OperationId, follow: bool) -> Answer<'a, ByteFlow> {
        Box::pin(self.read_build_log(operation, follow))
    }

    fn make<'a>(&'a self, caller: &'a Caller, request: MakeRequest) -> Answer<'a, Accepted> {
        Box::pin(async move {
            tracing::info!(%caller, base = %request.base, packages = ?request.packages, "make image");
            let wanted = crate::recipe::recipe(&request, &self.config.state)?;
            let id =
                self.operations
                    .begin_image(OperationKind::Make, wanted.name.as_ref(), now_ms());
            let (control, of) = (self.clone(), id.clone());
            self.follow_through(&id, async move { control.make_now(&of, &request).await });
            Ok(started(id))
        })
    }

    fn refresh<'a>(
        &'a self,
        caller: &'a Caller,
        request: daas_api::RefreshRequest,
    ) -> Answer<'a, Accepted> {
        Box::pin(self.refresh_images(caller, request))
    }

    fn load<'a>(&'a self, caller: &'a Caller, archive: ByteFlow) -> Answer<'a, Loaded> {
        Box::pin(async move {
            tracing::info!(%caller, "load images");
            let file = self.receive(archive).await?;
            let store = self.image_store();
            let path = file.path.clone();
            let images = self
                .blocking("load images", move || {
                    store.load(&path, None, &Silent).map_err(unloaded)
                })
                .await?;
            drop(file);
            Ok(Loaded { images })
        })
    }

    fn save<'a>(&'a self, name: &'a ImageName) -> Answer<'a, ByteFlow> {
        Box::pin(async move {
            let (store, name) = (self.image_store(), name.clone());
            let file = Received {
                path: self.temporary()?,
            };
            let path = file.path.clone();
            self.blocking("save image", move || {
                Ok(store.save_file(&[name], &path, &Silent)?)
            })
            .await?;
            let open = tokio::fs::File::open(&file.path)
                .await
                .map_err(|e| io_failure("open", &file.path, &e))?;
            let stream =
                tokio_util::io::ReaderStream::with_capacity(open, 256 << 10).map(move |chunk| {
                    let _alive = &file;
                    chunk.map_err(|e| {
                        Failure::new(
                            "image-save",
                            Kind::Outside,
                            format!("cannot read the archive: {e}"),
                        )
                    })
                });
            Ok(Box::pin(stream) as ByteFlow)
        })
    }

    fn prune<'a>(&'a self, caller: &'a Caller, request: PruneRequest) -> Answer<'a, Pruned> {
        Box::pin(async move {
            tracing::info!(%caller, ?request, "prune images");
            self.prune_images(request).await
        })
    }

    fn tag<'a>(&'a self, caller: &'a Caller, request: TagRequest) -> Answer<'a, ImageView> {
        Box::pin(async move {
            tracing::info!(%caller, image = %request.image, name = %request.name, "tag");
            let (store, from, to) = (
                self.image_store(),
                request.image.clone(),
                request.name.clone(),
            );
            self.blocking("tag image", move || Ok(store.tag(&from, &to)?))
                .await?;
            Images::show(self, &request.name).await
        })
    }
}

/// Says why an archive cannot be loaded, without the name that it has in this daemon's state.
fn unloaded(error: ImageError) -> Failure {
    let (code, kind) = (error.code(), error.kind());
    let causes = match error {
        ImageError::BadArchive { why, .. } => vec![why],
        ImageError::Archive { .. } => Failure::from(error).causes().to_vec(),
        other => return other.into(),
    };
    let failure = Failure::new(code, kind, "cannot load this file").hint(
        "an archive is what `daas image save`, `docker save` or `skopeo copy ... oci-archive:` writes, also compressed by gzip or zstd",
    );
    causes.into_iter().fold(failure, Failure::because)
}

/// A file that is removed when nobody needs it any more.
struct Received {
    path: PathBuf,
}

impl Drop for Received {
    fn drop(&mut self) {
        // It lies in the folder of temporary files, which is emptied at the start.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn io_failure(action: &str, path: &std::path::Path, error: &std::io::Error) -> Failure {
    Failure::new(
        "control-io",
        Kind::Outside,
        format!("cannot {action} {}", path.display()),
    )
    .because(error.to_string())
}

impl Control {
    fn temporary(&self) -> Result<PathBuf, Failure> {
        let dir = self.config.state.join("tmp");
        std::fs::create_dir_all(&dir).map_err(|e| io_failure("make folder", &dir, &e))?;
        Ok(dir.join(daas_engine::new_stand_id().as_str()))
    }

    /// Writes a stream to a file of its own.
    async fn receive(&self, mut bytes: ByteFlow) -> Result<Received, Failure> {
        let received = Received {
            path: self.temporary()?,
        };
        let mut file = tokio::fs::File::create(&received.path)
            .await
            .map_err(|e| io_failure("make", &received.path, &e))?;
        while let Some(chunk) = bytes.next().await {
            let chunk: Bytes = chunk?;
            file.write_all(&chunk)
                .await
                .map_err(|e| io_failure("write", &received.path, &e))?;
        }
        file.flush()
            .await
            .map_err(|e| io_failure("write", &received.path, &e))?;
        Ok(received)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_zones() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-11-21T09:30:00Z", 1_795_253_400),
            ("2026-11-21T10:30:00.123456789+01:00", 1_795_253_400),
            ("2000-02-29T00:00:00Z", 951_782_400),
        ] {
            assert_eq!(rfc3339_ms(text), Some(seconds * 1000), "{text}");
        }
        for text in [
            "",
            "2026",
            "2026-11-21",
            "2026-11-21T09:30:00",
            "yesterday",
            "1969-12-31T23:59:59Z",
            "ä026-11-21T09:30:00Z",
        ] {
            assert_eq!(rfc3339_ms(text), None, "{text}");
        }
    }
}
