//! Projects: reading them, and what they may ask of the host.

use crate::platform::Control;
use crate::record::GrantRecord;
use daas_api::platform::{Answer, Projects};
use daas_api::{
    Caller, Checked, DiagnosticView, Failure, GrantList, IgnoredView, PlaceView, ProjectSource,
};
use daas_model::{Kind, Limits, Policy, ProjectName};
use daas_spec::{LimitsOver, Outcome, ProjectRequest, read_project};
use std::collections::BTreeMap;

impl Control {
    /// Returns what an administrator granted to a project.
    pub(crate) fn policy(&self, project: &ProjectName) -> Result<Policy, Failure> {
        Ok(Policy {
            grants: self
                .store
                .get::<GrantRecord>(project.as_str())?
                .map(|s| s.value.grants)
                .unwrap_or_default(),
        })
    }

    /// Reads a project with the grants that it has.
    ///
    /// Its name is known only after a first reading, and its grants only by its name: a project that asks for something is read twice.
    pub(crate) fn read(&self, source: &ProjectSource) -> Result<Outcome, Failure> {
        let files: BTreeMap<String, Vec<u8>> = source
            .contents
            .iter()
            .map(|(path, text)| (path.clone(), text.0.clone()))
            .collect();
        let mut request = request_of(source, &self.config);
        let outcome = read_project(&files, &request);
        let Some(project) = outcome.project.clone() else {
            return Ok(outcome);
        };
        request.policy = self.policy(&project)?;
        if request.policy.grants.is_empty() {
            return Ok(outcome);
        }
        Ok(read_project(&files, &request))
    }
}

fn request_of(source: &ProjectSource, config: &crate::platform::ControlConfig) -> ProjectRequest {
    ProjectRequest {
        dir: source.dir.clone(),
        files: source.files.clone(),
        project_name: source.project_name.clone(),
        profiles: source.profiles.clone(),
        env: source.env.clone(),
        env_files: source.env_files.clone(),
        scale: source.scale.clone(),
        kind: source.kind,
        limits: LimitsOver {
            cpus: source.limits.cpus_milli,
            memory: source.limits.memory_bytes,
            pids: source.limits.pids,
            disk: source.limits.disk_bytes,
        },
        egress: source.egress,
        ttl: source.ttl,
        policy: Policy::default(),
        defaults: config.limits,
    }
}

/// Refuses limits in which nothing can run: the kernel's refusal would come late, and be tried again for ever.
pub(crate) fn enough(limits: Limits) -> Result<Limits, Failure> {
    match limits.too_small() {
        None => Ok(limits),
        Some(words) => Err(Failure::new(
            "limits-too-small",
            Kind::Input,
            format!("cannot run anything in {words}"),
        )
        .hint(
            "raise it: `--memory`, `--pids` or `--disk`, or `x-daas: {limits: ...}` of the project",
        )),
    }
}

/// Returns what the doors show of keys without effect.
pub(crate) fn ignored_views(outcome: &Outcome) -> Vec<IgnoredView> {
    outcome
        .ignored
        .iter()
        .map(|i| IgnoredView {
            severity: i.severity,
            key: i.key.clone(),
            why: i.why.clone(),
            place: PlaceView::from(&i.place),
        })
        .collect()
}

/// Returns what the doors show of faults and remarks.
pub(crate) fn diagnostic_views(outcome: &Outcome) -> Vec<DiagnosticView> {
    outcome
        .diagnostics
        .iter()
        .map(DiagnosticView::from)
        .collect()
}

impl Projects for Control {
    fn check(&self, project: ProjectSource) -> Answer<'_, Checked> {
        Box::pin(async move {
            let outcome = self.read(&project)?;
            Ok(Checked {
                project: outcome.project.clone(),
                valid: !outcome.has_errors(),
                diagnostics: diagnostic_views(&outcome),
                ignored: ignored_views(&outcome),
            })
        })
    }

    fn grants<'a>(&'a self, project: &'a ProjectName) -> Answer<'a, GrantList> {
        Box::pin(async move {
            let grants = self.policy(project)?.grants;
            Ok(GrantList {
                project: project.clone(),
                grants,
            })
        })
    }

    fn set_grants<'a>(&'a self, caller: &'a Caller, grants: GrantList) -> Answer<'a, GrantList> {
        Box::pin(async move {
            tracing::info!(%caller, project = %grants.project, grants = ?grants.grants, "grants changed");
            let key = grants.project.as_str();
            if grants.grants.is_empty() {
                self.store.delete::<GrantRecord>(key).await?;
            } else {
                self.store
                    .put(
                        key,
                        &GrantRecord {
                            project: grants.project.clone(),
                            grants: grants.grants.clone(),
                        },
                    )
                    .await?;
            }
            Ok(grants)
        })
    }
}
