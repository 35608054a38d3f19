//! The keeper's private folder: a small memory file system in its own mount namespace, where everything that nodes get is laid out.
//!
//! It is the current folder of keeper and spawner, so that children reach it without walking folders of the host that they may not enter,
//! and overlays are described by names short enough for one page of options on old kernels:
//! `d` the disk, `l/<n>` shifted layers, `r/<node>` merged roots, `f/` configs and secrets, `n/<node>/` files of a node, `root` where a child attaches its own,
//! `room` where one that waits keeps its system's file systems.

use crate::launch::DeviceLaunch;
use daas_model::{FileName, NodeName, VolumeName};
use daas_sys::mounts::{self, MountFlags};
use daas_sys::{Attempt, Fault};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Uid};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Everything below is relative to the current folder.
#[derive(Debug)]
pub(crate) struct Desk {
    folder: PathBuf,
    uid_base: u32,
    userns: OwnedFd,
    /// Where each layer's shifted bind is, below `l`.
    layers: BTreeMap<PathBuf, String>,
}

/// The folder of the disk.
pub(crate) const DISK: &str = "d";

impl Desk {
    /// Mounts the folder over `folder` and goes there. The caller has a private mount namespace.
    pub(crate) fn lay(folder: &Path, uid_base: u32, userns: OwnedFd) -> Result<Self, Fault> {
        fs::create_dir_all(folder).attempt(|| format!("make {}", folder.display()))?;
        // Configs and secrets are bounded by the frame that brings them, twice for a change of all of them.
        let options = [
            ("source", Some("daas-desk")),
            ("mode", Some("755")),
            ("size", Some("160m")),
        ];
        let flags = MountFlags {
            no_suid: true,
            ..MountFlags::default()
        };
        let what = || format!("mount memory at {}", folder.display());
        let mount = mounts::new_detached("tmpfs", &options, flags).attempt(what)?;
        mounts::attach(mount.as_fd(), rustix::fs::CWD, &folder.to_string_lossy()).attempt(what)?;
        std::env::set_current_dir(folder).attempt(|| format!("go to {}", folder.display()))?;
        for name in [
            DISK,
            "l",
            "r",
            "f",
            "n",
            crate::child_node::ROOT,
            crate::child_seat::ROOM,
        ] {
            make_folder(Path::new(name))?;
        }
        Ok(Self {
            folder: folder.to_path_buf(),
            uid_base,
            userns,
            layers: BTreeMap::new(),
        })
    }

    pub(crate) fn userns(&self) -> BorrowedFd<'_> {
        self.userns.as_fd()
    }

    /// Takes every layer, merged root and the folder itself out of our mount namespace.
    pub(crate) fn clear(&mut self) -> Result<(), Fault> {
        std::env::set_current_dir("/").attempt(|| "leave the private folder")?;
        match mounts::detach(&self.folder) {
            // Asked again after a failure further on.
            Err(e)
                if matches!(
                    rustix::io::Errno::from_io_error(&e),
                    Some(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT)
                ) => {}
            other => other.attempt(|| format!("unmount {}", self.folder.display()))?,
        }
        self.layers.clear();
        match fs::remove_dir(&self.folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.attempt(|| format!("remove {}", self.folder.display())),
        }
    }

    fn chown(&self, path: &Path, uid: u32, gid: u32) -> Result<(), Fault> {
        let (uid, gid) = (
            Uid::from_raw(self.uid_base + uid),
            Gid::from_raw(self.uid_base + gid),
        );
        rustix::fs::chownat(
            rustix::fs::CWD,
            path,
            Some(uid),
            Some(gid),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .attempt(|| format!("give {} to the stand", path.display()))
    }

    /// Binds `layer` with shifted owners, once, and returns its name below `l`.
    fn layer(&mut self, layer: &Path) -> Result<String, Fault> {
        if let Some(name) = self.layers.get(layer) {
            return Ok(name.clone());
        }
        let name = short_name(self.layers.len());
        let what = || format!("shift the owners of layer {}", layer.display());
        let place = rustix::fs::open(
            layer,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .attempt(|| format!("open layer {}", layer.display()))?;
        let mount = mounts::detached_bind(place.as_fd(), false).attempt(what)?;
        mounts::shift_owners(mount.as_fd(), self.userns.as_fd(), false).attempt(what)?;
        let target = format!("l/{name}");
        make_folder(Path::new(&target))?;
        mounts::attach(mount.as_fd(), rustix::fs::CWD, &target).attempt(what)?;
        self.layers.insert(layer.to_path_buf(), name.clone());
        Ok(name)
    }

    fn layer_names(&mut self, lowers: &[PathBuf]) -> Result<Vec<String>, Fault> {
        lowers.iter().map(|layer| self.layer(layer)).collect()
    }

    /// Returns a detached bind of `path` in layers that are not the node's own, and whether it is a folder. With `scratch` it can be written;
    /// what is written goes to a folder of that number of the node's.
    pub(crate) fn layers(
        &mut self,
        node: &NodeName,
        lowers: &[PathBuf],
        path: &str,
        scratch: Option<usize>,
        throw_away: bool,
    ) -> Result<(OwnedFd, bool), Fault> {
        let what = || format!("take `{path}` of other layers for node {node}");
        let names = self.layer_names(lowers)?;
        let take = |place: &str| -> Result<(OwnedFd, bool), Fault> {
            let root = open_place(place).attempt(what)?;
            let found = mounts::place_in(root.as_fd(), path).attempt(what)?;
            let kind = FileType::from_raw_mode(rustix::fs::fstat(&found).attempt(what)?.st_mode);
            let bind = mounts::detached_bind(found.as_fd(), false).attempt(what)?;
            Ok((bind, kind.is_dir()))
        };
        if let ([only], None) = (names.as_slice(), scratch) {
            return take(&format!("l/{only}"));
        }
        let mut options = vec![("source".to_owned(), Some("daas".to_owned()))];
        let lower = if names.is_empty() {
            "../root".to_owned()
        } else {
            names.join(":")
        };
        options.push(("lowerdir".to_owned(), Some(lower)));
        if let Some(number) = scratch {
            let own = format!("{DISK}/nodes/{node}");
            let aside = format!("{own}/aside");
            let place = format!("{aside}/{number}");
            remove_all(Path::new(&place))?;
            for folder in [format!("{DISK}/nodes"), own, aside, place.clone()] {
                make_folder(Path::new(&folder))?;
            }
            for (key, name) in [("upperdir", "upper"), ("workdir", "work")] {
                let folder = format!("{place}/{name}");
                make_folder(Path::new(&folder))?;
                if let (Some(top), "upper") = (names.first(), name) {
                    let meta = fs::metadata(format!("l/{top}")).attempt(what)?;
                    Self::look_like(&folder, &meta).attempt(what)?;
                }
                options.push((key.to_owned(), Some(format!("../{folder}"))));
            }
            if throw_away {
                options.push(("volatile".to_owned(), None));
            }
        }
        let borrowed: Vec<(&str, Option<&str>)> = options
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_deref()))
            .collect();
        std::env::set_current_dir("l").attempt(what)?;
        let mount = mounts::new_detached(
            "overlay",
            &borrowed,
            MountFlags {
                no_dev: true,
                ..MountFlags::default()
            },
        );
        std::env::set_current_dir("..").attempt(what)?;
        let mount = mount.attempt(what)?;
        // A part of a mount can be bound only where it is attached: for that moment.
        let place = format!("r/{node}.aside");
        make_folder(Path::new(&place))?;
        mounts::attach(mount.as_fd(), rustix::fs::CWD, &place).attempt(what)?;
        let taken = take(&place);
        mounts::detach(Path::new(&place)).attempt(what)?;
        fs::remove_dir(&place).attempt(what)?;
        taken
    }

    /// Gives a folder the mode and owner that `meta` tells.
    fn look_like(folder: &str, meta: &fs::Metadata) -> io::Result<()> {
        rustix::fs::chownat(
            rustix::fs::CWD,
            folder,
            Some(Uid::from_raw(meta.uid())),
            Some(Gid::from_raw(meta.gid())),
            AtFlags::empty(),
        )?;
        let mode = Mode::from_raw_mode(meta.mode() & 0o7777);
        Ok(rustix::fs::chmodat(
            rustix::fs::CWD,
            folder,
            mode,
            AtFlags::empty(),
        )?)
    }

    /// Merges the layers of a node, if that is not done yet. What it writes goes to the disk.
    pub(crate) fn merge(
        &mut self,
        node: &NodeName,
        lowers: &[PathBuf],
        throw_away: bool,
    ) -> Result<(), Fault> {
        let merged = format!("r/{node}");
        if Path::new(&merged).exists() {
            return Ok(());
        }
        let names = self.layer_names(lowers)?;
        let own = format!("{DISK}/nodes/{node}");
        make_folder(Path::new(&format!("{DISK}/nodes")))?;
        make_folder(Path::new(&own))?;
        let (upper, work) = (format!("{own}/upper"), format!("{own}/work"));
        if Path::new(&work).join("work/incompat").exists() {
            // Left by a keeper that died: a volatile upper may not be used again (kernel, overlayfs.rst "Volatile mount").
            remove_all(Path::new(&upper))?;
            remove_all(Path::new(&work))?;
        }
        if !Path::new(&upper).exists() {
            make_folder(Path::new(&upper))?;
            // The merged root looks like the upper one: take over what the image's root looks like.
            let (mode, uid, gid) = match names.first().map(|name| fs::metadata(format!("l/{name}")))
            {
                Some(meta) => {
                    let meta = meta.attempt(|| "look at the top layer")?;
                    (meta.mode() & 0o7777, meta.uid(), meta.gid())
                }
                None => (0o755, self.uid_base, self.uid_base),
            };
            let what = || format!("prepare the root of node {node}");
            rustix::fs::chownat(
                rustix::fs::CWD,
                upper.as_str(),
                Some(Uid::from_raw(uid)),
                Some(Gid::from_raw(gid)),
                AtFlags::empty(),
            )
            .attempt(what)?;
            rustix::fs::chmodat(
                rustix::fs::CWD,
                upper.as_str(),
                Mode::from_raw_mode(mode),
                AtFlags::empty(),
            )
            .attempt(what)?;
        }
        make_folder(Path::new(&work))?;
        let what = || format!("merge the layers of node {node}");
        // Relative to `l`, so that sixty layers fit the 255 bytes that fsconfig takes for one value.
        std::env::set_current_dir("l").attempt(what)?;
        let lower = if names.is_empty() {
            "../root".to_owned()
        } else {
            names.join(":")
        };
        let (upper, work) = (format!("../{upper}"), format!("../{work}"));
        let mut options = vec![
            ("source", Some("daas")),
            ("lowerdir", Some(lower.as_str())),
            ("upperdir", Some(upper.as_str())),
            ("workdir", Some(work.as_str())),
            // What a node wrote must be readable without the layers below it, whatever the module's parameters say.
            ("redirect_dir", Some("off")),
            ("metacopy", Some("off")),
        ];
        if throw_away {
            // No waiting for the disk at unmount: 2 ms instead of up to hundreds (reference/engine.md 2).
            options.push(("volatile", None));
        }
        let mount = mounts::new_detached(
            "overlay",
            &options,
            MountFlags {
                no_dev: true,
                ..MountFlags::default()
            },
        );
        std::env::set_current_dir("..").attempt(what)?;
        let mount = mount.attempt(what)?;
        make_folder(Path::new(&merged))?;
        mounts::attach(mount.as_fd(), rustix::fs::CWD, &merged).attempt(what)
    }

    /// Returns a detached bind of a node's merged root.
    pub(crate) fn root_of(&self, node: &NodeName) -> Result<OwnedFd, Fault> {
        let what = || format!("take the root of node {node}");
        let place = open_place(&format!("r/{node}")).attempt(what)?;
        mounts::detached_bind(place.as_fd(), false).attempt(what)
    }

    /// Returns a detached bind of what a node wrote to its root, its owners mapped by `map`.
    pub(crate) fn written(&self, node: &NodeName, map: BorrowedFd<'_>) -> Result<OwnedFd, Fault> {
        let what = || format!("take what node {node} wrote");
        let place = open_place(&format!("{DISK}/nodes/{node}/upper")).attempt(what)?;
        let mount = mounts::detached_bind(place.as_fd(), false).attempt(what)?;
        mounts::shift_owners(mount.as_fd(), map, false).attempt(what)?;
        Ok(mount)
    }

    /// Takes a node's merged root apart; what it wrote stays on the disk.
    pub(crate) fn unmerge(&mut self, node: &NodeName) -> Result<(), Fault> {
        let merged = PathBuf::from(format!("r/{node}"));
        if merged.exists() {
            mounts::detach(&merged).attempt(|| format!("unmount the root of node {node}"))?;
            fs::remove_dir(&merged).attempt(|| format!("remove {}", merged.display()))?;
        }
        Ok(())
    }

    /// Deletes what a node wrote to its root. It must be taken apart first.
    pub(crate) fn forget_root(&mut self, node: &NodeName) -> Result<(), Fault> {
        self.unmerge(node)?;
        for part in ["upper", "work"] {
            remove_all(Path::new(&format!("{DISK}/nodes/{node}/{part}")))?;
        }
        Ok(())
    }

    /// Deletes everything of a node: root, files, and anonymous volumes unless they are kept.
    pub(crate) fn forget(&mut self, node: &NodeName, keep_volumes: bool) -> Result<(), Fault> {
        self.unmerge(node)?;
        let volumes = (!keep_volumes).then(|| format!("{DISK}/anon/{node}"));
        let rest = [format!("{DISK}/nodes/{node}"), format!("n/{node}")];
        for path in rest.into_iter().chain(volumes) {
            remove_all(Path::new(&path))?;
        }
        Ok(())
    }

    /// Makes a `/dev` with the usual devices and `devices` of the host, attached nowhere yet.
    ///
    /// The device files are real ones, made by the host's root: a node cannot make any, and those of the host it can neither chmod nor chown.
    pub(crate) fn make_dev(&self, devices: &[DeviceLaunch]) -> Result<OwnedFd, Fault> {
        let options = [
            ("source", Some("dev")),
            ("mode", Some("755")),
            ("size", Some("64m")),
        ];
        let dev = mounts::new_detached(
            "tmpfs",
            &options,
            MountFlags {
                no_suid: true,
                no_exec: true,
                ..MountFlags::default()
            },
        )
        .attempt(|| "make /dev")?;
        let owner = (
            Some(Uid::from_raw(self.uid_base)),
            Some(Gid::from_raw(self.uid_base)),
        );
        let own = |name: &str| {
            rustix::fs::chownat(&dev, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)
                .attempt(|| format!("make /dev/{name}"))
        };
        rustix::fs::chownat(&dev, "", owner.0, owner.1, AtFlags::EMPTY_PATH)
            .attempt(|| "make /dev")?;
        // linux/Documentation/admin-guide/devices.txt
        for (name, major, minor) in [
            ("null", 1, 3),
            ("zero", 1, 5),
            ("full", 1, 7),
            ("random", 1, 8),
            ("urandom", 1, 9),
            ("tty", 5, 0),
        ] {
            let device = rustix::fs::makedev(major, minor);
            let mode = Mode::from_raw_mode(0o666);
            rustix::fs::mknodat(&dev, name, FileType::CharacterDevice, mode, device)
                .attempt(|| format!("make /dev/{name}"))?;
            own(name)?;
        }
        for name in ["pts", "shm", "mqueue"] {
            rustix::fs::mkdirat(&dev, name, Mode::from_raw_mode(0o755))
                .attempt(|| format!("make /dev/{name}"))?;
            own(name)?;
        }
        for (name, link) in [
            ("fd", "/proc/self/fd"),
            ("stdin", "/proc/self/fd/0"),
            ("stdout", "/proc/self/fd/1"),
            ("stderr", "/proc/self/fd/2"),
            ("ptmx", "pts/ptmx"),
        ] {
            rustix::fs::symlinkat(link, &dev, name).attempt(|| format!("make /dev/{name}"))?;
            own(name)?;
        }
        for device in devices {
            self.host_device(&dev, device)?;
        }
        Ok(dev)
    }

    fn host_device(&self, dev: &OwnedFd, device: &DeviceLaunch) -> Result<(), Fault> {
        let what = || {
            format!(
                "give device {} to a node as {}",
                device.host.display(),
                device.target
            )
        };
        let refuse = |why: &str| {
            Err(io::Error::new(io::ErrorKind::InvalidInput, why.to_owned())).attempt(what)
        };
        let Some(target) = device.target.strip_prefix("/dev/") else {
            return refuse("its place inside must be below /dev");
        };
        let parts: Vec<&str> = target.split('/').collect();
        if parts
            .iter()
            .any(|part| part.is_empty() || matches!(*part, "." | ".."))
        {
            return refuse("its place inside is no plain path");
        }
        let meta = fs::metadata(&device.host).attempt(what)?;
        let kind = FileType::from_raw_mode(meta.mode());
        if !kind.is_char_device() && !kind.is_block_device() {
            return refuse("it is no device");
        }
        let mut folder = dev.try_clone().attempt(what)?;
        let (last, above) = parts
            .split_last()
            .map_or((target, &[][..]), |(last, above)| (*last, above));
        for part in above {
            match rustix::fs::mkdirat(&folder, *part, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(e) => return Err(e).attempt(what),
            }
            folder = mounts::open_in(
                folder.as_fd(),
                part,
                OFlags::PATH | OFlags::DIRECTORY,
                ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
            )
            .attempt(what)?;
        }
        let bits = u32::from(device.read) * 0o444 + u32::from(device.write) * 0o222;
        rustix::fs::mknodat(&folder, last, kind, Mode::from_raw_mode(bits), meta.rdev())
            .attempt(what)
    }

    /// Writes a file that a node finds below `/etc` and may change, and returns a detached bind of it.
    pub(crate) fn etc_file(
        &self,
        node: &NodeName,
        name: &str,
        content: &str,
    ) -> Result<OwnedFd, Fault> {
        let folder = PathBuf::from(format!("n/{node}"));
        make_folder(&folder)?;
        let path = folder.join(name);
        let what = || format!("write {name} of node {node}");
        fs::write(&path, content).attempt(what)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).attempt(what)?;
        self.chown(&path, 0, 0)?;
        bind_of(&path)
    }

    /// Keeps the content of a config or secret.
    pub(crate) fn put_file(&self, file: &FileName, content: &[u8]) -> Result<(), Fault> {
        let folder = PathBuf::from(format!("f/{file}"));
        remove_all(&folder)?;
        make_folder(&folder)?;
        let path = folder.join("content");
        fs::write(&path, content)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o600)))
            .attempt(|| format!("keep {file}"))
    }

    /// Returns a detached bind of a config or secret as one owner sees it.
    pub(crate) fn file(
        &self,
        file: &FileName,
        uid: u32,
        gid: u32,
        mode: u32,
    ) -> Result<OwnedFd, Fault> {
        let what = || format!("give {file} to a node");
        let path = PathBuf::from(format!("f/{file}/{uid}.{gid}.{mode:o}"));
        if !path.exists() {
            // An inode for each owner and mode; nothing of it can be written, mounts are read-only.
            fs::copy(format!("f/{file}/content"), &path).attempt(what)?;
            self.chown(&path, uid, gid)?;
            rustix::fs::chmodat(
                rustix::fs::CWD,
                &path,
                Mode::from_raw_mode(mode & 0o777),
                AtFlags::empty(),
            )
            .attempt(what)?;
        }
        bind_of(&path)
    }

    /// Makes the folder of a named volume, if it is not there.
    pub(crate) fn ensure_volume(&self, volume: &VolumeName) -> Result<(), Fault> {
        make_folder(Path::new(&format!("{DISK}/volumes")))?;
        make_folder(Path::new(&format!("{DISK}/volumes/{volume}")))
    }

    /// Returns a detached bind of a volume or a folder in it. Owners on the disk are those inside, so that the disk serves any range of ids. Links in the volume, which nodes can make, are refused.
    pub(crate) fn volume(
        &self,
        volume: &VolumeName,
        subpath: Option<&str>,
    ) -> Result<OwnedFd, Fault> {
        self.ensure_volume(volume)?;
        let what = || format!("take volume {volume}");
        let mut place = open_place(&format!("{DISK}/volumes/{volume}")).attempt(what)?;
        for part in subpath
            .unwrap_or("")
            .split('/')
            .filter(|part| !part.is_empty() && *part != ".")
        {
            let what = || format!("take folder `{part}` of volume {volume}");
            match rustix::fs::mkdirat(&place, part, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(e) => return Err(e).attempt(what),
            }
            place = mounts::open_in(
                place.as_fd(),
                part,
                OFlags::PATH | OFlags::DIRECTORY,
                ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
            )
            .attempt(what)?;
        }
        self.shifted(&place).attempt(what)
    }

    fn shifted(&self, place: &OwnedFd) -> io::Result<OwnedFd> {
        let mount = mounts::detached_bind(place.as_fd(), false)?;
        mounts::shift_owners(mount.as_fd(), self.userns.as_fd(), false)?;
        Ok(mount)
    }

    /// Returns a detached bind of anonymous volume `number` of a node.
    pub(crate) fn anonymous(&self, node: &NodeName, number: u32) -> Result<OwnedFd, Fault> {
        make_folder(Path::new(&format!("{DISK}/anon")))?;
        make_folder(Path::new(&format!("{DISK}/anon/{node}")))?;
        let path = PathBuf::from(format!("{DISK}/anon/{node}/{number}"));
        make_folder(&path)?;
        let what = || format!("take anonymous volume {number} of node {node}");
        let place = open_place(&path.to_string_lossy()).attempt(what)?;
        self.shifted(&place).attempt(what)
    }

    /// Forgets what nodes wrote to their roots on a disk that served another range of ids: their owners would mean nothing.
    pub(crate) fn meet_disk(&self) -> Result<(), Fault> {
        let note = format!("{DISK}/.ids");
        let own = self.uid_base.to_string();
        match fs::read_to_string(&note) {
            Ok(base) if base == own => return Ok(()),
            Ok(_) => remove_all(Path::new(&format!("{DISK}/nodes")))?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e).attempt(|| format!("read {note}")),
        }
        fs::write(&note, own).attempt(|| format!("write {note}"))
    }
}

/// Returns a detached bind of a file or folder of the host, with shifted owners where its file system can, and whether it is a folder.
pub(crate) fn host_bind(path: &Path, userns: BorrowedFd<'_>) -> Result<(OwnedFd, bool), Fault> {
    let what = || format!("bind {} of the host", path.display());
    let place = mounts::plain_place(path).attempt(what)?;
    let folder = FileType::from_raw_mode(rustix::fs::fstat(&place).attempt(what)?.st_mode).is_dir();
    let shifted = mounts::detached_bind(place.as_fd(), true)
        .and_then(|mount| mounts::shift_owners(mount.as_fd(), userns, true).map(|()| mount));
    let mount = match shifted {
        Ok(mount) => mount,
        // NFS, FUSE and the like: the owners stay the host's, which inside are nobody.
        Err(_) => mounts::detached_bind(place.as_fd(), true).attempt(what)?,
    };
    mounts::restrict(
        mount.as_fd(),
        MountFlags {
            no_suid: true,
            no_dev: true,
            ..MountFlags::default()
        },
        true,
    )
    .attempt(what)?;
    Ok((mount, folder))
}

fn open_place(path: &str) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(
        path,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

fn bind_of(path: &Path) -> Result<OwnedFd, Fault> {
    let what = || format!("bind {}", path.display());
    let place = open_place(&path.to_string_lossy()).attempt(what)?;
    mounts::detached_bind(place.as_fd(), false).attempt(what)
}

/// Makes a folder of mode 0755, which is also what Docker gives a fresh volume; our own umask takes nothing away.
fn make_folder(path: &Path) -> Result<(), Fault> {
    match fs::DirBuilder::new().mode(0o755).create(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.attempt(|| format!("make {}", path.display())),
    }
}

/// Removes a tree; std's walker follows no links and stays below the folders that it has opened.
pub(crate) fn remove_all(path: &Path) -> Result<(), Fault> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.attempt(|| format!("remove {}", path.display())),
    }
}

/// The `n`-th short name: one character for the first 62, two for the next 3,844.
fn short_name(n: usize) -> String {
    const DIGITS: &[u8; 62] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let digit = |n: usize| char::from(DIGITS.get(n % 62).copied().unwrap_or(b'0'));
    if n < 62 {
        digit(n).to_string()
    } else {
        let n = n - 62;
        format!("{}{}", digit(n / 62), digit(n))
    }
}

/// Opens a file for a caller that only holds it.
pub(crate) fn open_file(path: &Path) -> io::Result<File> {
    File::open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixty_layers_fit_one_option_of_255_bytes_and_all_names_differ() {
        let names: Vec<String> = (0..1000).map(short_name).collect();
        assert!(names[..62].join(":").len() + "lowerdir".len() < 255);
        let mut sorted = names.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!(sorted.len(), names.len());
    }
}
