//! The environment image of a project follows what it is made of: the descriptions of its services, and the packages of its base.
//!
//! It is made first when somebody asks for it (`daas project environment`, `daas project shell`): most projects never do, and it is their
//! largest image. From then on it is made anew when a stand of the project is asked for with other descriptions, and when images of
//! packages were refreshed.

use crate::builds::BuildLog;
use crate::operations::{caught, daemon_ends, end};
use crate::platform::Control;
use crate::record::StandRecord;
use crate::stand_loop::now_ms;
use daas_api::{BuildRequest, Failure, OperationId, OperationKind};
use daas_image::Image;
use daas_model::{ImageName, ProjectName};
use daas_spec::Outcome;
use daas_spec::described::{PackagesImage, environment, environment_name};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the environment of a project is made of now.
struct Recipe {
    name: ImageName,
    project: ProjectName,
    dockerfile: String,
    stages: BTreeMap<String, PackagesImage>,
}

impl Recipe {
    fn of(outcome: &Outcome) -> Option<Self> {
        let (dockerfile, stages) = environment(&outcome.described)?;
        let project = outcome.project.clone()?;
        Some(Self {
            name: environment_name(&project).ok()?,
            project,
            dockerfile,
            stages,
        })
    }
}

impl Control {
    /// Makes the environment of a project anew, beside whoever asks, if there is one and it stands on other packages.
    pub(crate) fn follow_environment(&self, outcome: &Outcome) {
        let Some(recipe) = Recipe::of(outcome) else {
            return;
        };
        let control = self.clone();
        self.tasks
            .run("environment of a project", |shutdown| async move {
                let work = control.renew_environment(&recipe, shutdown);
                if let Err(failure) = work.await {
                    tracing::warn!(project = %recipe.project, cause = %failure, "the environment of a project stays as it was; the next stand tries again");
                }
            });
    }

    /// Lets the environments of all projects that have stands follow.
    pub(crate) fn follow_environments(&self) -> Result<(), Failure> {
        let mut seen: Vec<ProjectName> = Vec::new();
        for stored in self.store.list::<StandRecord>("")? {
            let project = &stored.value.spec.project;
            if !seen.contains(project) {
                seen.push(project.clone());
                self.follow_environment(&self.read(&stored.value.source)?);
            }
        }
        Ok(())
    }

    async fn renew_environment(
        &self,
        recipe: &Recipe,
        shutdown: daas_tasks::Shutdown,
    ) -> Result<(), Failure> {
        let _turn = self.making(&recipe.name).await;
        if self.is_current(recipe).await? {
            return Ok(());
        }
        let id = self
            .operations
            .begin_image(OperationKind::Build, Some(&recipe.name), now_ms());
        let ended = tokio::select! {
            ended = caught(self.build_environment(recipe, &id)) => ended,
            () = shutdown.asked() => Err(daemon_ends()),
        };
        self.operations
            .change_one(&id, |operation| end(operation, ended.clone(), now_ms()));
        ended
    }

    /// Tells whether there is nothing to be done: nobody wanted the image, or it begins with the packages that it should have.
    async fn is_current(&self, recipe: &Recipe) -> Result<bool, Failure> {
        let store = self.engine.images().clone();
        let (name, stages) = (recipe.name.clone(), recipe.stages.clone());
        self.blocking("look at an environment", move || {
            let Some(image) = store.resolve(&name)? else {
                return Ok(true);
            };
            for packages in stages.values() {
                let below = match packages.image_name() {
                    Ok(name) => store.resolve(&name)?,
                    Err(_) => None,
                };
                if !below.is_some_and(|below| begins_with(&image, &below)) {
                    return Ok(false);
                }
            }
            Ok(true)
        })
        .await
    }

    async fn build_environment(&self, recipe: &Recipe, id: &OperationId) -> Result<(), Failure> {
        let mut images = BTreeMap::new();
        for (stage, packages) in &recipe.stages {
            images.insert(stage.clone(), self.packages_image(packages).await?);
        }
        let head = BuildRequest {
            dockerfile: recipe.dockerfile.clone(),
            project: Some(recipe.project.clone()),
            names: vec![recipe.name.clone()],
            images,
            ..BuildRequest::default()
        };
        let context = self.builder.empty_context()?;
        let request = self.request(head, &context)?;
        let log = BuildLog::open(&self.logs(), id, self.operations.clone())?;
        self.run_build(id, request, context, Arc::new(log)).await
    }
}

fn begins_with(image: &Image, below: &Image) -> bool {
    let ids = |image: &Image| -> Vec<_> {
        let layers = image.layers.iter();
        layers.map(|layer| layer.diff_id.clone()).collect()
    };
    ids(image).starts_with(&ids(below))
}
