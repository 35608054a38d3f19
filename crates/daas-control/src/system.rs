//! What the doors ask of the daemon and its host.

use crate::doctor;
use crate::platform::Control;
use crate::record::StandRecord;
use daas_api::platform::{Answer, System};
use daas_api::{
    Caller, DoctorReport, Failure, PruneRequest, Pruned, SystemInfo, SystemPruned, TaskView,
};
use daas_model::{Kind, NodeState};
use daas_tasks::TaskState;

impl Control {
    fn tasks_view(&self) -> Vec<TaskView> {
        let view = |status: daas_tasks::TaskStatus| {
            let (state, error) = match status.state {
                TaskState::Waiting => ("waiting", None),
                TaskState::Working => ("working", None),
                TaskState::Backoff { error } => ("backoff", Some(error)),
            };
            TaskView {
                name: status.name,
                state: state.into(),
                turns: status.turns,
                failures: status.failures,
                error,
            }
        };
        self.tasks.status().into_iter().map(view).collect()
    }

    fn system_info(&self) -> Result<SystemInfo, Failure> {
        let stands = self.store.list::<StandRecord>("")?;
        let running = stands
            .iter()
            .map(|s| self.keep.status(&s.value.name))
            .map(|status| {
                status
                    .observed
                    .nodes
                    .values()
                    .filter(|n| matches!(n.state, NodeState::Running { .. }))
                    .count()
            })
            .sum();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let disk = doctor::disk(&self.config.state).map_err(|e| {
            Failure::new(
                "system-disk",
                Kind::Outside,
                format!("cannot measure the disk of {}", self.config.state.display()),
            )
            .because(e.to_string())
        })?;
        let read = |path: &str| {
            std::fs::read_to_string(path)
                .map(|text| text.trim().to_owned())
                .unwrap_or_default()
        };
        Ok(SystemInfo {
            version: env!("CARGO_PKG_VERSION").into(),
            started_ms: self.started_ms,
            pid: std::process::id(),
            host: read("/proc/sys/kernel/hostname"),
            kernel: read("/proc/sys/kernel/osrelease"),
            cgroups: doctor::cgroups(),
            state_dir: self.config.state.display().to_string(),
            stands: count(stands.len()),
            nodes_running: count(running),
            images: count(self.engine.images().names()?.len()),
            disk_total_bytes: disk.0,
            disk_free_bytes: disk.1,
            doors: self.config.doors.clone(),
            tasks: self.tasks_view(),
        })
    }
}

impl System for Control {
    fn info(&self) -> Answer<'_, SystemInfo> {
        Box::pin(async move { self.system_info() })
    }

    fn doctor(&self) -> Answer<'_, DoctorReport> {
        Box::pin(async move {
            let state = self.config.state.clone();
            let looked = self.blocking("doctor", move || Ok(doctor::checks(&state)));
            let mut checks = looked.await?;
            checks.extend(self.certificate_checks()?);
            checks.push(self.ssh_check());
            checks.extend(self.key_checks());
            Ok(DoctorReport { checks })
        })
    }

    fn prune<'a>(&'a self, caller: &'a Caller, request: PruneRequest) -> Answer<'a, SystemPruned> {
        Box::pin(async move {
            tracing::info!(%caller, ?request, "prune the system");
            // Leftovers of stands are swept when the daemon starts and when a stand is closed: there is nothing to prune while it runs.
            let leftovers = Pruned {
                removed: Vec::new(),
                freed_bytes: 0,
            };
            Ok(SystemPruned {
                images: self.prune_images(request).await?,
                leftovers,
            })
        })
    }
}
