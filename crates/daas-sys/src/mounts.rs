//! Mounts as descriptors: made, changed and attached without a path that an image could bend.

use crate::fault::check;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount,
    fsopen, mount_change, move_mount, open_tree, unmount,
};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// What a mount does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MountFlags {
    /// No writing.
    pub read_only: bool,
    /// Setuid bits and file capabilities give nothing.
    pub no_suid: bool,
    /// Device files open nothing.
    pub no_dev: bool,
    /// No program runs from it.
    pub no_exec: bool,
    /// Reading does not write access times.
    pub no_atime: bool,
}

impl MountFlags {
    fn attributes(self) -> MountAttrFlags {
        let mut flags = MountAttrFlags::empty();
        flags.set(MountAttrFlags::MOUNT_ATTR_RDONLY, self.read_only);
        flags.set(MountAttrFlags::MOUNT_ATTR_NOSUID, self.no_suid);
        flags.set(MountAttrFlags::MOUNT_ATTR_NODEV, self.no_dev);
        flags.set(MountAttrFlags::MOUNT_ATTR_NOEXEC, self.no_exec);
        flags.set(MountAttrFlags::MOUNT_ATTR_NOATIME, self.no_atime);
        flags
    }
}

/// Makes a mount of a new file system instance that is attached nowhere yet; it ends with the descriptor.
///
/// An option without value is a flag. Values longer than 255 bytes are refused by the kernel.
///
/// # Errors
/// What fsopen(2), fsconfig(2), fsmount(2) say.
pub fn new_detached(
    kind: &str,
    options: &[(&str, Option<&str>)],
    flags: MountFlags,
) -> io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        match value {
            Some(value) => fsconfig_set_string(&context, *key, *value)?,
            None => fsconfig_set_flag(&context, *key)?,
        }
    }
    fsconfig_create(&context)?;
    Ok(fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        flags.attributes(),
    )?)
}

/// Attaches a detached mount at `path` below `folder` (or at `folder` itself when `path` is empty).
///
/// # Errors
/// What move_mount(2) says.
pub fn attach(mount: BorrowedFd<'_>, folder: BorrowedFd<'_>, path: &str) -> io::Result<()> {
    let mut flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    if path.is_empty() {
        flags |= MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    }
    Ok(move_mount(mount, "", folder, path, flags)?)
}

/// Makes a detached bind of what `place` means, without (or with) the mounts below it.
///
/// # Errors
/// What open_tree(2) says.
pub fn detached_bind(place: BorrowedFd<'_>, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(open_tree(place, "", flags)?)
}

/// `struct mount_attr` of linux/mount.h.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

/// `MOUNT_ATTR_IDMAP` of linux/mount.h.
const IDMAP: u64 = 0x0010_0000;

fn set_attr(mount: BorrowedFd<'_>, recursive: bool, attr: &MountAttr) -> io::Result<()> {
    let mut flags = libc::AT_EMPTY_PATH;
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: the empty path ends with zero; `attr` lives through the call and its size is the one that we say.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attr),
            size_of::<MountAttr>(),
        )
    })
    .map(|_| ())
}

/// Shifts the owners of a detached mount by the maps of `userns`: what belongs to user 0 on disk belongs to the namespace's root.
///
/// # Errors
/// `EINVAL` if the file system cannot (NFS, overlay) or the mount is attached already; `EPERM` without `CAP_SYS_ADMIN` over the file system.
pub fn shift_owners(
    mount: BorrowedFd<'_>,
    userns: BorrowedFd<'_>,
    recursive: bool,
) -> io::Result<()> {
    let userns = u64::try_from(userns.as_raw_fd()).map_err(io::Error::other)?;
    set_attr(
        mount,
        recursive,
        &MountAttr {
            set: IDMAP,
            clear: 0,
            propagation: 0,
            userns,
        },
    )
}

/// Adds `flags` to a mount.
///
/// # Errors
/// What mount_setattr(2) says.
pub fn restrict(mount: BorrowedFd<'_>, flags: MountFlags, recursive: bool) -> io::Result<()> {
    let set = u64::from(flags.attributes().bits());
    set_attr(
        mount,
        recursive,
        &MountAttr {
            set,
            clear: 0,
            propagation: 0,
            userns: 0,
        },
    )
}

/// Makes every mount of our namespace private: nothing comes in, nothing goes out.
///
/// # Errors
/// What mount(2) says.
pub fn make_all_private() -> io::Result<()> {
    Ok(mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )?)
}

/// Takes a mount out of our namespace; what still uses it keeps it alive.
///
/// # Errors
/// What umount2(2) says.
pub fn detach(path: &Path) -> io::Result<()> {
    Ok(unmount(
        path,
        UnmountFlags::DETACH | UnmountFlags::NOFOLLOW,
    )?)
}

/// Makes the mount at the current folder our root and lets the old one go; afterwards the current folder is `/`.
///
/// # Errors
/// What pivot_root(2), umount2(2) say.
pub fn enter_root() -> io::Result<()> {
    // Both "." : the old root is stacked over the new one and taken away from there (pivot_root(2), NOTES).
    rustix::process::pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    Ok(rustix::process::chdir("/")?)
}

/// Opens `path` inside of `root` as a place: symlinks are resolved as if `root` were `/`, magic links are refused.
///
/// # Errors
/// What openat2(2) says.
pub fn place_in(root: BorrowedFd<'_>, path: &str) -> io::Result<OwnedFd> {
    open_in(
        root,
        path,
        OFlags::PATH,
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )
}

/// Opens `path` inside of `root` as a place; any symlink on the way is refused with `ELOOP`.
///
/// # Errors
/// What openat2(2) says.
pub fn plain_place_in(root: BorrowedFd<'_>, path: &str) -> io::Result<OwnedFd> {
    open_in(
        root,
        path,
        OFlags::PATH,
        ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS,
    )
}

/// Opens `path` inside of `root` with `flags`, resolved as `resolve` says.
///
/// # Errors
/// What openat2(2) says; `EAGAIN` (a race on the way) is retried.
pub fn open_in(
    root: BorrowedFd<'_>,
    path: &str,
    flags: OFlags,
    resolve: ResolveFlags,
) -> io::Result<OwnedFd> {
    let path = match path.trim_start_matches('/') {
        "" => ".",
        other => other,
    };
    loop {
        match openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(rustix::io::Errno::AGAIN) => {}
            other => return Ok(other?),
        }
    }
}

/// Opens an absolute host path as a place; any symlink on the way is refused with `ELOOP`.
///
/// # Errors
/// What openat2(2) says.
pub fn plain_place(path: &Path) -> io::Result<OwnedFd> {
    loop {
        match openat2(
            rustix::fs::CWD,
            path,
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::NO_SYMLINKS,
        ) {
            Err(rustix::io::Errno::AGAIN) => {}
            other => return Ok(other?),
        }
    }
}

/// Makes the ext4 file system that holds `file` stop writing for good, because all of it is about to be thrown away.
///
/// # Errors
/// What ioctl EXT4_IOC_SHUTDOWN says; `ENOTTY` on another file system.
pub fn abandon_ext4(file: impl AsFd) -> io::Result<()> {
    /// `_IOR('X', 125, __u32)` of the kernel's fs/ext4/ext4.h.
    const EXT4_IOC_SHUTDOWN: libc::c_ulong = 0x8004_587d;
    /// `EXT4_GOING_FLAGS_NOLOGFLUSH`.
    const NO_LOG_FLUSH: u32 = 2;
    let how = NO_LOG_FLUSH;
    // SAFETY: the ioctl reads one u32 from the pointer, which lives through the call.
    check(
        unsafe { libc::ioctl(file.as_fd().as_raw_fd(), EXT4_IOC_SHUTDOWN, &raw const how) }.into(),
    )
    .map(|_| ())
}
