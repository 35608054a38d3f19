//! What a node gets that runs in namespaces of the host.
//!
//! It stays in the stand's user namespace, whose root may not mount file systems that show namespaces of others. The keeper may: it hands
//! in binds of the host's own.

use super::Keeper;
use crate::birth::HostMounts;
use crate::error::KeeperError;
use crate::launch::{NetworkLaunch, NodeLaunch};
use daas_sys::Attempt;
use daas_sys::cgroup::Mode;
use daas_sys::mounts::{self, MountFlags};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// What the host's system file systems forbid inside of a node.
const PLAIN: MountFlags = MountFlags {
    read_only: false,
    no_suid: true,
    no_dev: true,
    no_exec: true,
    no_atime: false,
};

impl Keeper {
    /// Opens what shows the host's namespaces that a node runs in.
    pub(super) fn host_mounts(
        &self,
        launch: &NodeLaunch,
        put: &mut dyn FnMut(OwnedFd) -> usize,
    ) -> Result<HostMounts, KeeperError> {
        let mut bind = |path: &str, read_only: bool| -> Result<Option<usize>, KeeperError> {
            let what = || format!("bind the host's {path}");
            let place = mounts::plain_place(Path::new(path)).attempt(what)?;
            let mount = mounts::detached_bind(place.as_fd(), false).attempt(what)?;
            let flags = MountFlags { read_only, ..PLAIN };
            mounts::restrict(mount.as_fd(), flags, false).attempt(what)?;
            Ok(Some(put(mount)))
        };
        let host = launch.host;
        let mut found = HostMounts::default();
        if host.pid {
            found.proc = bind("/proc", false)?;
        }
        if launch.network == NetworkLaunch::Host {
            found.sys = bind("/sys", true)?;
        }
        if host.cgroup && self.root.mode() == Mode::V2 {
            found.cgroup = bind("/sys/fs/cgroup", true)?;
        }
        if host.ipc {
            found.shm = bind("/dev/shm", false)?;
            // Whether the host has one mounted or not: of the namespace that we are in, which is the host's.
            let queues = mounts::new_detached("mqueue", &[], PLAIN)
                .attempt(|| "open the host's message queues")?;
            found.mqueue = Some(put(queues));
        }
        Ok(found)
    }
}

/// Returns a file of the host's `/etc`, as it is now; empty where there is none.
pub(super) fn etc(name: &str) -> String {
    std::fs::read_to_string(Path::new("/etc").join(name)).unwrap_or_default()
}

/// Returns the name of the host.
pub(super) fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}
