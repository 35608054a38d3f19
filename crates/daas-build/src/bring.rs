//! `COPY` and `ADD` as steps: what they are made from, their layer from the cache or anew.

use crate::error::BuildError;
use crate::fetch_error::FetchError;
use crate::job::{Tree, at_step};
use crate::owner::owner;
use crate::remote::{self, Found};
use crate::stage::{Stage, faults, wrong};
use crate::state::{Key, State};
use crate::transfer::{Pick, Source, Transfer};
use daas_image::Merged;
use daas_spec::dockerfile::{Chmod, Ignore, Step, TransferAction, TransferKind};
use std::sync::Arc;

pub(crate) async fn transfer(
    stage: &Stage<'_>,
    state: &mut State,
    step: &Step,
    action: &TransferAction,
) -> Result<(), Arc<BuildError>> {
    let job = stage.job;
    let origin = match &action.from {
        Some(word) => Some(
            job.plan
                .origin(stage.number, word)
                .map_err(|fault| faults(vec![*fault]))?,
        ),
        None => None,
    };
    let tree = job
        .tree(stage.number, origin.as_ref(), stage.earlier)
        .await?;
    let found = remote::find(job, stage.number, step, action).await?;
    let bring = Bring::of(stage, state, step, action, &found, &tree)?;
    let (mut key, below) = ground(stage, state, step, action, &bring)?;
    refuse_nameless(step, action, &found, &below, &bring.dest)?;
    if found.iter().any(Option::is_some) {
        key.texts(found.iter().flatten().map(Found::words));
    }
    let trees = vec![tree.open().map_err(|e| at_step(step, e))?];
    let at = step.clone();
    let (mut picked, digest) = job
        .blocking("digest files of a build", move || {
            let picked = Picked::of(bring, trees, &at)?;
            let transfer = picked.bring.transfer();
            let digest = transfer.digest(&picked.trees, &picked.picks);
            let digest = digest.map_err(|e| at_step(&at, e))?;
            drop(transfer);
            Ok((picked, digest))
        })
        .await?;
    key.texts([&digest]);
    let key = key.finish();
    let begun = job.begin(stage.number, &step.text);
    if stage.kept(state, step, &key)? {
        begun.done(true);
        return Ok(());
    }
    if found.iter().any(Option::is_some) {
        picked = picked
            .with(
                stage,
                step,
                begun.number,
                found,
                action.unpack == Some(true),
            )
            .await?;
    }
    stage
        .make(state, step, &key, begun, move |draft| {
            let transfer = picked.bring.transfer();
            transfer.write(&picked.trees, &picked.picks, &below, draft)
        })
        .await?;
    Ok(())
}

/// Returns the key as far as it is known without files, and what the layer is made over.
fn ground(
    stage: &Stage<'_>,
    state: &State,
    step: &Step,
    action: &TransferAction,
    bring: &Bring,
) -> Result<(Key, Merged), BuildError> {
    let job = stage.job;
    let kind = action.kind.keyword();
    // As in BuildKit, a copy that changes modes is not linked.
    let link = action.link && action.chmod.is_none();
    let mut key = if link {
        // Made over nothing, so it depends on nothing below.
        Key::new(job.project(), &format!("{kind} --link"))
    } else {
        state.key(job.project(), kind)
    };
    key.texts([
        String::from_utf8_lossy(&bring.dest).as_ref(),
        &format!(
            "{:?} {:?} {} {:?} {:?}",
            bring.owner, action.chmod, action.parents, action.unpack, job.epoch
        ),
    ]);
    let below = if link {
        Merged::open::<&str>([])
    } else {
        state.merged()
    };
    Ok((key, below.map_err(|e| at_step(step, e))?))
}

/// Refuses a file without a name where its destination gives it none.
fn refuse_nameless(
    step: &Step,
    action: &TransferAction,
    found: &[Option<Found>],
    below: &Merged,
    dest: &[u8],
) -> Result<(), BuildError> {
    let nameless = action
        .sources
        .iter()
        .zip(found)
        .find(|(_, found)| found.as_ref().is_some_and(Found::is_nameless));
    let Some((source, _)) = nameless else {
        return Ok(());
    };
    let (_, there) = below.land(dest).map_err(|e| at_step(step, e.into()))?;
    let is_folder = dest.ends_with(b"/")
        || there.is_some_and(|there| there.kind() == rustix::fs::FileType::Directory);
    if !is_folder {
        return Ok(());
    }
    let error = FetchError::Nameless {
        address: source.clone(),
    };
    Err(remote::for_step(step, error))
}

/// What a transfer owns on its way to a thread that may wait.
struct Bring {
    sources: Vec<Source>,
    inline: Vec<(String, Vec<u8>)>,
    dest: Vec<u8>,
    owner: Option<(u32, u32)>,
    keeps_owner: bool,
    chmod: Option<Chmod>,
    exclude: Ignore,
    parents: bool,
    now: i64,
    epoch: Option<i64>,
}

impl Bring {
    fn of(
        stage: &Stage<'_>,
        state: &State,
        step: &Step,
        action: &TransferAction,
        found: &[Option<Found>],
        tree: &Tree,
    ) -> Result<Self, BuildError> {
        let owner = action
            .chown
            .as_ref()
            .map(|spec| owner(&state.image(), spec))
            .transpose()
            .map_err(|e| wrong(step, &e))?;
        let exclude = Ignore::patterns(action.exclude.iter().map(String::as_str)).map_err(|e| {
            BuildError::Step {
                instruction: step.text.clone(),
                line: step.at.line,
                why: e.to_string(),
                hint: None,
            }
        })?;
        let mut dest = state.absolute(&action.dest);
        if matches!(action.dest.as_str(), "." | "..") || action.dest.ends_with("/.") {
            dest.push('/');
        }
        let unpack = action.kind == TransferKind::Add && action.unpack != Some(false);
        Ok(Self {
            sources: local(action, found, unpack),
            inline: action
                .inline
                .iter()
                .map(|file| (file.name.clone(), file.text.clone().into_bytes()))
                .collect(),
            dest: dest.into_bytes(),
            owner,
            keeps_owner: tree.keeps_owner,
            chmod: action.chmod.clone(),
            exclude,
            parents: action.parents,
            now: stage.job.now,
            epoch: stage.job.epoch,
        })
    }

    fn transfer(&self) -> Transfer<'_> {
        Transfer {
            sources: self.sources.clone(),
            inline: self.inline.clone(),
            dest: self.dest.clone(),
            owner: self.owner,
            keeps_owner: self.keeps_owner,
            mode: self
                .chmod
                .as_ref()
                .map(|chmod| -> crate::transfer::ModeOf<'_> {
                    Box::new(|mode, folder| chmod.apply(mode, folder))
                }),
            left_out: (!self.exclude.is_empty()).then(|| -> crate::transfer::LeftOut<'_> {
                Box::new(|path, _| self.exclude.excludes(path))
            }),
            parents: self.parents,
            now: self.now,
            epoch: self.epoch,
        }
    }
}

/// The sources that are in the context or another tree: what is fetched is put between them later.
fn local(action: &TransferAction, found: &[Option<Found>], unpack: bool) -> Vec<Source> {
    let local = action.sources.iter().zip(found);
    local
        .filter(|(_, found)| found.is_none())
        .map(|(source, _)| Source {
            tree: 0,
            pattern: source.clone().into_bytes(),
            is_path: false,
            unpack,
        })
        .collect()
}

/// A transfer, its trees, and what its sources mean in them.
struct Picked {
    bring: Bring,
    trees: Vec<Merged>,
    picks: Vec<Pick>,
}

impl Picked {
    fn of(bring: Bring, trees: Vec<Merged>, step: &Step) -> Result<Self, BuildError> {
        let picks = bring.transfer().pick(&trees);
        Ok(Self {
            picks: picks.map_err(|e| at_step(step, e))?,
            bring,
            trees,
        })
    }

    /// Brings what is fetched, and puts it where it stands among the sources.
    async fn with(
        self,
        stage: &Stage<'_>,
        step: &Step,
        number: u32,
        found: Vec<Option<Found>>,
        unpack: bool,
    ) -> Result<Self, BuildError> {
        let Self {
            mut bring,
            mut trees,
            ..
        } = self;
        for (at, found) in found.into_iter().enumerate() {
            let Some(found) = found else { continue };
            let tree = trees.len();
            let brought = found.bring(stage.job, step, number, tree, unpack).await?;
            trees.push(Merged::open([brought.0]).map_err(|e| at_step(step, e))?);
            // Those before it are all in by now.
            bring.sources.insert(at.min(bring.sources.len()), brought.1);
        }
        let step = step.clone();
        let work = move || Self::of(bring, trees, &step);
        stage.job.blocking("look at files of a build", work).await
    }
}
