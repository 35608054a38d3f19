//! Everything that a keeper does before it is known which stand it will hold.

use super::{Eyes, Keeper, Source, conns, names};
use crate::birth::Born;
use crate::channel::Channel;
use crate::desk::{DISK, Desk};
use crate::disk::Disk;
use crate::error::KeeperError;
use crate::launch::KeeperSeed;
use crate::protocol::VERSION;
use crate::spawner;
use crate::steps::Steps;
use daas_sys::birth::SingleThread;
use daas_sys::guard::Guard;
use daas_sys::netlink::{self, LinkWatch, Route};
use daas_sys::signal::Signals;
use daas_sys::userns::{self, IdRange};
use daas_sys::{Attempt, Fault, cgroup, mounts, netns, process};
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// What a keeper's process is born with.
#[derive(Debug)]
pub(crate) struct Inherited {
    pub(crate) seed: KeeperSeed,
    pub(crate) listener: UnixListener,
}

impl Inherited {
    /// Makes the keeper's folder and its socket, on which requests may queue at once, before the keeper is born.
    pub(crate) fn make(seed: KeeperSeed) -> Result<Self, Fault> {
        let dir = seed.dir.clone();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .attempt(|| format!("make {}", dir.display()))?;
        let text = serde_json::to_vec(&seed)
            .map_err(std::io::Error::other)
            .attempt(|| "write the seed")?;
        write_private(&dir.join(SEED), &text)?;
        let listener = bind(&dir)?;
        Ok(Self { seed, listener })
    }
}

/// The file that names what a keeper was made from, for whoever cleans up after it.
pub(crate) const SEED: &str = "seed.json";
/// The keeper's socket.
pub(crate) const SOCKET: &str = "keeper.sock";
/// The disk.
pub(crate) const IMAGE: &str = "disk.img";
/// Where the private folder is mounted.
pub(crate) const DESK: &str = "desk";
/// The logs.
pub(crate) const LOGS_FOLDER: &str = "logs";

pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Fault> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let draft = PathBuf::from(format!("{}.new", path.display()));
    let what = || format!("write {}", path.display());
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .attempt(what)?;
    file.write_all(bytes).attempt(what)?;
    fs::rename(&draft, path).attempt(what)
}

fn bind(dir: &Path) -> Result<UnixListener, Fault> {
    let path = dir.join(SOCKET);
    let _ = fs::remove_file(&path);
    let what = || format!("listen at {}", path.display());
    // A socket's path holds 107 bytes (unix(7)); through a descriptor of the folder any folder will do.
    let folder = fs::File::open(dir).attempt(what)?;
    let short = format!(
        "/proc/self/fd/{}/{SOCKET}",
        std::os::fd::AsRawFd::as_raw_fd(&folder)
    );
    let listener = UnixListener::bind(short).attempt(what)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).attempt(what)?;
    listener.set_nonblocking(true).attempt(what)?;
    Ok(listener)
}

/// Lives as a keeper; returns the exit code of the process.
pub(crate) fn live(inherited: Inherited) -> i32 {
    let Inherited { seed, listener } = inherited;
    let dir = seed.dir.clone();
    super::state::note_birth(&dir);
    let spare = listener.try_clone();
    match Keeper::prepare(seed, listener) {
        Ok(keeper) => {
            keeper.live();
            0
        }
        Err(error) => {
            if let Ok(listener) = spare {
                conns::refuse_everybody(&listener, &error, &dir);
            }
            1
        }
    }
}

impl Keeper {
    fn prepare(seed: KeeperSeed, listener: UnixListener) -> Result<Self, KeeperError> {
        let mut keeper = Self::furnish(seed, listener)?;
        keeper.make_seats()?;
        keeper.steps.take("prepare.ready")?;
        keeper.watch_own();
        Ok(keeper)
    }

    fn furnish(seed: KeeperSeed, listener: UnixListener) -> Result<Self, KeeperError> {
        let proof = SingleThread::prove().attempt(|| "become a keeper")?;
        check(&seed)?;
        let mut steps = Steps::from_env();
        let signals = Signals::take(&[17]).attempt(|| "take signals")?;
        raise_limits();
        rustix::process::umask(rustix::fs::Mode::empty());

        steps.take("prepare.cgroup")?;
        let root = cgroup::Root::find(&seed.cgroup_root)?;
        root.shelter()?;
        let group = root.stand(seed.keeper_id.as_str());
        group.create()?;

        steps.take("prepare.userns")?;
        // Before the private mount namespace, which the short-lived holder need not copy.
        let ids = [IdRange {
            inside: 0,
            outside: seed.uid_base,
            count: seed.uid_count,
        }];
        let userns = userns::create(&proof, &ids, &ids)?;

        steps.take("prepare.mounts")?;
        netns::unshare(true, false, false).attempt(|| "make a private mount namespace")?;
        mounts::make_all_private().attempt(|| "make mounts private")?;
        let desk = Desk::lay(&seed.dir.join(DESK), seed.uid_base, userns)?;

        steps.take("prepare.spawner")?;
        // On v1 it waits for an RCU grace period to join its cgroups: it does so while we go on.
        let (spawner_pid, mut spawner) =
            spawner::start(&proof, &group, desk.userns()).attempt(|| "make the spawner")?;

        steps.take("prepare.disk")?;
        let disk = Disk::open(
            &seed.disk,
            &seed.dir.join(IMAGE),
            &seed.dir.join(DESK).join(DISK),
            Path::new("."),
        )?;

        steps.take("prepare.network")?;
        let home_net = netns::current().attempt(|| "open the host's network")?;
        let (route, links) = enter_router()?;
        let guard = install_guard()?;

        let v1_oom = group.v1_oom_notifier()?;
        let watch = rustix::fs::inotify::init(
            rustix::fs::inotify::CreateFlags::CLOEXEC | rustix::fs::inotify::CreateFlags::NONBLOCK,
        )
        .attempt(|| "watch cgroups")?;
        let eyes = Eyes::open().attempt(|| "make the loop")?;
        make_logs_folder(&seed.dir)?;
        settled(&mut spawner)?;
        Ok(Self {
            proof,
            seed,
            steps,
            eyes,
            alarms: BinaryHeap::new(),
            listener,
            signals,
            watch,
            watched: BTreeMap::new(),
            root,
            group,
            v1_oom,
            stand_oom_seen: 0,
            stand_pids_seen: 0,
            told: super::repeats::OfStand::default(),
            looking: false,
            disk_was_full: false,
            pace: super::slowing::Pace::default(),
            stand_oom_at: None,
            desk,
            disk: Some(disk),
            last_image: None,
            spawner_pid,
            spawner,
            route,
            links,
            guard,
            home_net,
            stand: None,
            bridges: BTreeMap::new(),
            next_bridge: super::adopt::FIRST_BRIDGE,
            has_first_bridge: false,
            seats: VecDeque::new(),
            leaving: BTreeMap::new(),
            next_link: 100,
            nodes: BTreeMap::new(),
            batches: BTreeMap::new(),
            next_batch: 1,
            pending_links: BTreeMap::new(),
            execs: BTreeMap::new(),
            copies: BTreeMap::new(),
            next_job: 1,
            conns: BTreeMap::new(),
            names: names::Names::default(),
            events: 0,
            state_dirty: true,
            state_due: false,
            ending: false,
            reaped_early: BTreeMap::new(),
            helpers: BTreeSet::new(),
        })
    }

    fn watch_own(&mut self) {
        self.eyes.watch(&self.listener, Source::Listener);
        self.eyes.watch(&self.signals, Source::Signals);
        self.eyes.watch(&self.links, Source::Links);
        self.eyes.watch(&self.watch, Source::Watch);
        if let Some(fd) = &self.v1_oom {
            self.eyes.watch(fd, Source::StandOom);
        }
        let files = [
            self.group.pids_events_file(),
            self.group.memory_events_file(),
        ];
        for file in files.into_iter().flatten() {
            self.watch_cgroup_file(&file, None);
        }
    }
}

fn check(seed: &KeeperSeed) -> Result<(), KeeperError> {
    if seed.protocol != VERSION {
        return Err(KeeperError::wrong(format!(
            "the keeper speaks version {VERSION} and was asked for {}",
            seed.protocol
        )));
    }
    let count = seed.uid_count;
    if count == 0
        || count > crate::launch::IDS_PER_STAND
        || seed.uid_base.checked_add(count).is_none()
        || seed.uid_base < 65_536
    {
        return Err(KeeperError::wrong(format!(
            "{count} ids from {} are no range for a stand",
            seed.uid_base
        )));
    }
    Ok(())
}

/// Guards the bridges that will be made here. A kernel without rules for bridges runs stands all the same; `daas doctor` tells.
fn install_guard() -> Result<Option<Guard>, Fault> {
    use rustix::io::Errno;
    match Guard::install() {
        Ok(guard) => Ok(Some(guard)),
        Err(e)
            if matches!(
                Errno::from_io_error(&e),
                Some(Errno::OPNOTSUPP | Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT | Errno::NOENT)
            ) =>
        {
            Ok(None)
        }
        Err(e) => Err(e).attempt(|| "guard the bridges"),
    }
}

/// Makes the router's network namespace and moves there.
fn enter_router() -> Result<(Route, LinkWatch), Fault> {
    netns::unshare(false, true, false).attempt(|| "make the router's network")?;
    // Bridges and ports need no addresses of their own making.
    let _ = netlink::disable_ipv6_by_default();
    let mut route = Route::open().attempt(|| "speak about links")?;
    let links = LinkWatch::open().attempt(|| "listen for links")?;
    route
        .batch(vec![netlink::up(1)])
        .attempt(|| "bring loopback up")?;
    Ok((route, links))
}

fn make_logs_folder(dir: &Path) -> Result<(), Fault> {
    let logs = dir.join(LOGS_FOLDER);
    fs::create_dir_all(&logs)
        .and_then(|()| fs::set_permissions(&logs, fs::Permissions::from_mode(0o700)))
        .attempt(|| format!("make {}", logs.display()))
}

/// Waits until the spawner sits in its cgroups and namespaces.
pub(super) fn settled(spawner: &mut Channel) -> Result<(), KeeperError> {
    match spawner
        .receive::<Born>()
        .attempt(|| "hear from the spawner")?
    {
        Some(Born::Ready) => Ok(()),
        Some(Born::Failed(attempt, errno)) => Err(Fault {
            attempt,
            source: std::io::Error::from_raw_os_error(errno),
        }
        .into()),
        Some(Born::Pid(_)) | None => Err(KeeperError::wrong("the spawner ended")),
    }
}

/// Raises our own ceilings as far as the host lets us, so that nodes may ask for theirs; where it does not, they are clamped.
fn raise_limits() {
    for name in [
        "nofile",
        "nproc",
        "memlock",
        "core",
        "rtprio",
        "nice",
        "stack",
        "sigpending",
        "msgqueue",
    ] {
        let wanted = if name == "nofile" {
            1_048_576
        } else {
            u64::MAX
        };
        let _ = process::raise_hard_limit(name, wanted);
    }
}
