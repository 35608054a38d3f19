//! What a node mounts, opened before it is born.

use super::{Keeper, hosting};
use crate::birth::{MountPlan, MountWhat};
use crate::error::KeeperError;
use crate::launch::{IDS_PER_STAND, MountLaunch, MountLaunchSource, NetworkLaunch, NodeLaunch};
use std::os::fd::OwnedFd;

impl Keeper {
    /// Makes the files of `/etc` that are the stand's word and not the image's.
    fn plan_etc(
        &self,
        launch: &NodeLaunch,
        put: &mut dyn FnMut(OwnedFd) -> usize,
    ) -> Result<Vec<MountPlan>, KeeperError> {
        let (mut hosts, mut resolv_conf) = (launch.hosts.clone(), launch.resolv_conf.clone());
        if launch.network == NetworkLaunch::Host {
            hosts = Some(hosting::etc("hosts") + &hosts.unwrap_or_default());
            resolv_conf = resolv_conf.or_else(|| Some(hosting::etc("resolv.conf")));
        }
        let host_name = if launch.host.uts {
            hosting::host_name()
        } else {
            launch.hostname.clone()
        };
        let mut plans = Vec::new();
        for (name, content) in [
            ("hosts", hosts),
            ("resolv.conf", resolv_conf),
            ("hostname", Some(format!("{host_name}\n"))),
        ] {
            let Some(content) = content else { continue };
            let fd = put(self.desk.etc_file(&launch.node, name, &content)?);
            plans.push(MountPlan {
                target: format!("/etc/{name}"),
                what: MountWhat::Bind {
                    fd,
                    folder: false,
                    copy_up: false,
                },
                read_only: false,
            });
        }
        Ok(plans)
    }

    /// Opens everything that a node mounts.
    pub(super) fn plan_mounts(
        &mut self,
        launch: &NodeLaunch,
        put: &mut dyn FnMut(OwnedFd) -> usize,
    ) -> Result<Vec<MountPlan>, KeeperError> {
        let mut plans = self.plan_etc(launch, put)?;
        for (number, mount) in sorted(&launch.mounts).into_iter().enumerate() {
            let (fd, folder, copy_up) = match &mount.source {
                MountLaunchSource::Volume {
                    name,
                    subpath,
                    copy_up,
                } => (self.desk.volume(name, subpath.as_deref())?, true, *copy_up),
                MountLaunchSource::Anonymous(number) => {
                    (self.desk.anonymous(&launch.node, *number)?, true, true)
                }
                MountLaunchSource::Bind { path, owners } => {
                    let (fd, folder) = self.bind_host(path, *owners, launch.uid, launch.gid)?;
                    (fd, folder, false)
                }
                MountLaunchSource::Layers { lowers, path } => {
                    let scratch = (!mount.read_only).then_some(number);
                    let throw_away = self.throw_away();
                    let (fd, folder) =
                        self.desk
                            .layers(&launch.node, lowers, path, scratch, throw_away)?;
                    (fd, folder, false)
                }
                MountLaunchSource::File {
                    file,
                    uid,
                    gid,
                    mode,
                } => {
                    if *uid >= IDS_PER_STAND || *gid >= IDS_PER_STAND {
                        return Err(KeeperError::wrong(format!(
                            "{file} cannot belong to {uid}:{gid}: ids inside are 0 to 65535"
                        )));
                    }
                    (self.desk.file(file, *uid, *gid, *mode)?, false, false)
                }
                MountLaunchSource::Tmpfs { size, mode } => {
                    let what = MountWhat::Tmpfs {
                        size: size.map(|s| s.0),
                        mode: mode.unwrap_or(0o1777),
                    };
                    plans.push(MountPlan {
                        target: mount.target.clone(),
                        what,
                        read_only: mount.read_only,
                    });
                    continue;
                }
            };
            let read_only =
                mount.read_only || matches!(mount.source, MountLaunchSource::File { .. });
            plans.push(MountPlan {
                target: mount.target.clone(),
                what: MountWhat::Bind {
                    fd: put(fd),
                    folder,
                    copy_up,
                },
                read_only,
            });
        }
        Ok(plans)
    }
}

/// Mounts from the outer to the inner, as Docker orders them.
fn sorted(mounts: &[MountLaunch]) -> Vec<&MountLaunch> {
    let mut all: Vec<&MountLaunch> = mounts.iter().collect();
    all.sort_by_key(|m| m.target.split('/').filter(|p| !p.is_empty()).count());
    all
}
