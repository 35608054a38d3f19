//! Images of packages are made anew from the newest packages, when somebody asks and by schedule.

use crate::builds::BuildLog;
use crate::operations::{caught, daemon_ends, end};
use crate::platform::Control;
use crate::record::{MadeRecord, RefreshRecord, StandRecord};
use crate::stand_loop::now_ms;
use daas_api::{
    Accepted, BuildWish, Caller, Failure, MakeRequest, OperationId, OperationKind, RefreshRequest,
};
use daas_image::Image;
use daas_model::{ImageName, Kind, StandName};
use daas_plan::Power;
use daas_spec::described::PackagesImage;
use daas_store::Expect;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// The record of the last round.
const ROUND: &str = "images";
/// How often the schedule is looked at: a round that was missed while the machine slept comes within this time.
const LOOK: Duration = Duration::from_secs(600);

impl Control {
    /// Remembers how an image was made, so that it can be made anew.
    pub(crate) async fn remember_made(
        &self,
        name: &ImageName,
        request: &MakeRequest,
    ) -> Result<(), Failure> {
        let record = MadeRecord {
            request: MakeRequest {
                name: Some(name.clone()),
                ..request.clone()
            },
            made_ms: now_ms(),
        };
        self.store.put(&name.to_string(), &record).await?;
        Ok(())
    }

    pub(crate) async fn refresh_images(
        &self,
        caller: &Caller,
        request: RefreshRequest,
    ) -> Result<Accepted, Failure> {
        tracing::info!(%caller, images = ?request.images, "refresh images");
        let mut known: BTreeMap<ImageName, MakeRequest> = BTreeMap::new();
        for stored in self.store.list::<MadeRecord>("")? {
            let made = stored.value.request;
            known.extend(made.name.clone().map(|name| (name, made)));
        }
        if let Some(odd) = request.images.iter().find(|i| !known.contains_key(*i)) {
            return Err(Failure::new(
                "image-not-made",
                Kind::NotFound,
                format!("cannot refresh `{}`", odd.familiar()),
            )
            .because("it was not made here from packages")
            .hint("`daas image pull` fetches the newest of what comes from a registry, `daas image build --pull` builds on it"));
        }
        known.retain(|name, _| request.images.is_empty() || request.images.contains(name));
        let id =
            self.operations
                .begin_image(OperationKind::Refresh, request.images.first(), now_ms());
        let log = Arc::new(BuildLog::open(&self.logs(), &id, self.operations.clone())?);
        let (control, caller, of) = (self.clone(), caller.clone(), id.clone());
        self.follow_through(&id, async move {
            let changed = control
                .refresh_all(&of, known.into_values().collect(), &log)
                .await?;
            if request.in_use {
                control.renew_on(&caller, &changed, &log).await?;
            }
            Ok(())
        });
        Ok(crate::images::started(id))
    }

    /// Makes images anew one after the other and returns those that changed; one that fails does not keep the others.
    async fn refresh_all(
        &self,
        id: &OperationId,
        all: Vec<MakeRequest>,
        log: &BuildLog,
    ) -> Result<BTreeSet<ImageName>, Failure> {
        let mut changed = BTreeSet::new();
        let mut failed: Option<(ImageName, Failure)> = None;
        if all.is_empty() {
            log.line("no image was made here from packages");
        }
        for request in all {
            let Some(name) = request.name.clone() else {
                continue;
            };
            match self.refresh_one(id, &name, &request, log).await {
                Ok(true) => drop(changed.insert(name)),
                Ok(false) => {}
                Err(failure) => {
                    log.line(&format!("{}: ERROR {failure}", name.familiar()));
                    failed.get_or_insert((name, failure));
                }
            }
        }
        self.store
            .put(ROUND, &RefreshRecord { at_ms: now_ms() })
            .await?;
        if !changed.is_empty() {
            self.follow_environments()?;
        }
        match failed {
            None => Ok(changed),
            Some((name, failure)) => Err(Failure::new(
                "image-refresh",
                failure.kind(),
                format!("cannot refresh `{}`", name.familiar()),
            )
            .because(failure.to_string())
            .hint("the others were refreshed; the log of the operation tells of each")),
        }
    }

    /// Makes an image anew; tells whether it changed. Stands that run go on with what they have.
    async fn refresh_one(
        &self,
        id: &OperationId,
        name: &ImageName,
        request: &MakeRequest,
        log: &BuildLog,
    ) -> Result<bool, Failure> {
        let _turn = self.making(name).await;
        let store = self.engine.images().clone();
        let Some(before) = store.resolve(name)? else {
            // Its name was taken away: nobody wants it any more.
            self.store.delete::<MadeRecord>(&name.to_string()).await?;
            return Ok(false);
        };
        self.make_now(id, request).await?;
        let Some(after) = store.resolve(name)? else {
            return Ok(false);
        };
        let told = self
            .blocking("compare packages of images", move || {
                compare(&before, &after)
            })
            .await?;
        if told.is_empty() {
            log.line(&format!("{}: nothing is newer", name.familiar()));
            return Ok(false);
        }
        log.line(&format!("{}: {} changed", name.familiar(), told.len()));
        for line in told {
            log.line(&format!("  {line}"));
        }
        Ok(true)
    }

    /// Lets running stands go on with images that changed, and with what is built of described services on them.
    async fn renew_on(
        &self,
        caller: &Caller,
        changed: &BTreeSet<ImageName>,
        log: &BuildLog,
    ) -> Result<(), Failure> {
        for stored in self.store.list::<StandRecord>("")? {
            let stand = stored.value;
            if stand.power != Power::Running {
                continue;
            }
            let mut outcome = self.read(&stand.source)?;
            outcome.builds.retain(|build| {
                let places = build.additional_contexts.values();
                places
                    .filter_map(|place| PackagesImage::parse(place)?.image_name().ok())
                    .any(|image| changed.contains(&image))
            });
            let built = outcome.builds.iter().map(|build| build.image.clone());
            let moved: BTreeSet<ImageName> = changed
                .iter()
                .cloned()
                .chain(built)
                .filter(|image| stand.pins.contains_key(image))
                .collect();
            let builds = self
                .service_builds(caller, &stand.source, &outcome, BuildWish::Missing)
                .await?;
            if let Some(builds) = &builds {
                log.line(&format!(
                    "stand `{}`: its images are built anew",
                    stand.name
                ));
                builds.hold(self, std::slice::from_ref(&stand.name));
            }
            self.unpin(&stand.name, &moved).await?;
            match builds {
                Some(builds) => self.build_for(builds, vec![(stand.name, stand.id)]),
                None if !moved.is_empty() => drop(self.keep.run(&stand.name, &stand.id)),
                None => {}
            }
        }
        Ok(())
    }

    /// Lets names of images mean for a stand what they mean now, or what they will once they are built.
    async fn unpin(&self, stand: &StandName, images: &BTreeSet<ImageName>) -> Result<(), Failure> {
        while let Some(mut stored) = self.store.get::<StandRecord>(stand.as_str())? {
            stored.value.pins.retain(|image, _| !images.contains(image));
            let expect = Expect::Revision(stored.revision);
            match self
                .store
                .put_if(stand.as_str(), &stored.value, expect)
                .await
            {
                Err(error) if error.is_conflict() => {}
                other => {
                    other?;
                    break;
                }
            }
        }
        Ok(())
    }

    /// Refreshes all images by schedule; stands that run go on with what they have.
    pub(crate) fn keep_refreshed(&self) {
        let Some(every) = self.config.refresh else {
            return;
        };
        let control = self.clone();
        self.tasks.run("refresh of images", |shutdown| async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(LOOK.min(every.0)) => {}
                    () = shutdown.asked() => return,
                }
                let last = match control.store.get::<RefreshRecord>(ROUND) {
                    Ok(last) => last.map_or(control.started_ms, |s| s.value.at_ms),
                    Err(error) => {
                        tracing::warn!(cause = %error, "cannot tell when images were refreshed");
                        continue;
                    }
                };
                let due = u64::try_from(every.0.as_millis()).unwrap_or(u64::MAX);
                if now_ms().saturating_sub(last) < due {
                    continue;
                }
                tokio::select! {
                    result = control.scheduled() => if let Err(failure) = result {
                        tracing::warn!(cause = %failure, "images were not all refreshed");
                    },
                    () = shutdown.asked() => return,
                }
            }
        });
    }

    async fn scheduled(&self) -> Result<(), Failure> {
        let all: Vec<MakeRequest> = self
            .store
            .list::<MadeRecord>("")?
            .into_iter()
            .map(|stored| stored.value.request)
            .collect();
        if all.is_empty() {
            return Ok(());
        }
        let id = self
            .operations
            .begin_image(OperationKind::Refresh, None, now_ms());
        let log = BuildLog::open(&self.logs(), &id, self.operations.clone())?;
        let unfinished = Unfinished {
            control: self,
            id: &id,
        };
        let result = caught(async { self.refresh_all(&id, all, &log).await.map(drop) }).await;
        std::mem::forget(unfinished);
        self.operations
            .change_one(&id, |operation| end(operation, result.clone(), now_ms()));
        result
    }
}

/// Ends an operation whose work was dropped by the shutdown.
struct Unfinished<'a> {
    control: &'a Control,
    id: &'a OperationId,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.control.operations.change_one(self.id, |operation| {
            end(operation, Err(daemon_ends()), now_ms());
        });
    }
}

/// Tells which packages two images differ in, one line each; none if the images are the same.
fn compare(before: &Image, after: &Image) -> Result<Vec<String>, Failure> {
    if before.digest == after.digest {
        return Ok(Vec::new());
    }
    let list = |image: &Image| {
        daas_build::debian_packages(image).map_err(|e| {
            Failure::new(
                "image-packages",
                Kind::Outside,
                "cannot list an image's packages",
            )
            .because(e.to_string())
        })
    };
    let told = changes(&list(before)?, &list(after)?);
    Ok(if told.is_empty() {
        vec!["other files of the same packages".to_owned()]
    } else {
        told
    })
}

fn changes(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<String> {
    let mut told = Vec::new();
    for (name, version) in after {
        match before.get(name) {
            None => told.push(format!("{name} {version} is new")),
            Some(old) if old != version => told.push(format!("{name} {old} -> {version}")),
            Some(_) => {}
        }
    }
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    told.extend(gone.map(|name| format!("{name} is gone")));
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_packages_are_told_with_both_versions() {
        let list = |all: &[(&str, &str)]| -> BTreeMap<String, String> {
            all.iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect()
        };
        let before = list(&[("openssl", "3.0.1"), ("bash", "5.2"), ("old", "1")]);
        let after = list(&[("openssl", "3.0.2"), ("bash", "5.2"), ("new", "2")]);
        assert_eq!(
            changes(&before, &after),
            ["new 2 is new", "openssl 3.0.1 -> 3.0.2", "old is gone"]
        );
        assert!(changes(&before, &before).is_empty());
    }
}
