//! Runs one OCI bundle with libcontainer to its end: `oracle <state folder> <bundle> <id>`. A judge for `cargo xtask soak containment`.
//!
//! A program and a lock file of its own, so that the product's tree of dependencies stays what it is. It has one thread, as libcontainer wants.

use anyhow::{Context, Result, bail};
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use nix::sys::wait::{WaitStatus, waitpid};
use std::path::PathBuf;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [state, bundle, id] = words.as_slice() else {
        bail!("usage: oracle <state folder> <bundle> <id>");
    };
    std::fs::create_dir_all(state)?;
    let mut container = ContainerBuilder::new(id.clone(), SyscallType::default())
        .with_root_path(PathBuf::from(state))?
        .validate_id()?
        .as_init(bundle)
        .with_systemd(false)
        .with_detach(true)
        .build()
        .context("cannot make the container")?;
    let pid = container.pid().context("a container without a process")?;
    container.start().context("cannot start the container")?;
    let ended = waitpid(pid, None).context("cannot wait for the container")?;
    container.delete(true).context("cannot remove the container")?;
    if !matches!(ended, WaitStatus::Exited(_, 0)) {
        bail!("the container ended: {ended:?}");
    }
    Ok(())
}
