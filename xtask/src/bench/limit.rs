//! What the kernel itself costs: the least that a stand of three nodes can do, with nothing of ours around it.
//!
//! A process makes a network namespace with a bridge, and three children by `clone3` into all namespaces but that of
//! users and into a cgroup of the unified hierarchy; each mounts an overlay, makes it its root, sets its address and
//! executes. Up ends when all three have executed and all three ports of the bridge forward; down when all are reaped
//! and their folders are gone.
//!
//! Measured with raw calls, because a wrapper would be measured too; hence the only `unsafe` outside `daas-sys`. The
//! module runs in a process of its own with one thread, so a child may allocate.

#![expect(
    unsafe_code,
    reason = "the yardstick must not contain the code that is measured with it"
)]

use anyhow::{Context, Result, bail};
use std::ffi::CString;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const NODES: i32 = 3;
const BRIDGE: i32 = 2;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Times of one stand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) up: Duration,
    pub(crate) down: Duration,
}

/// Brings one stand up and down below `place`, whose root file system is `image`.
///
/// # Errors
/// What the kernel refused.
pub(crate) fn once(place: &Path, image: &Path, cgroups: &Path) -> Result<Times> {
    let started = Instant::now();
    let mut stand = Stand::up(place, image, cgroups)?;
    let up = started.elapsed();
    // What sleeps has come to rest; the stand is not thrown down in its first instant.
    std::thread::sleep(Duration::from_millis(100));
    let asked = Instant::now();
    stand.down()?;
    Ok(Times {
        up,
        down: asked.elapsed(),
    })
}

/// The contender: each stand in a process of its own, whose namespaces end with it.
pub(super) struct Limit {
    place: PathBuf,
    image: PathBuf,
    cgroups: PathBuf,
    last_down: Duration,
}

impl Limit {
    pub(super) fn new(place: &Path, image: &Path) -> Result<Self> {
        let place = place.join("limit");
        fs::create_dir(&place)?;
        // The unified hierarchy, alone or beside those of version 1.
        let cgroups = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
            .map(PathBuf::from)
            .into_iter()
            .find(|path| path.join("cgroup.procs").exists())
            .context("no unified cgroup hierarchy")?;
        Ok(Self {
            place,
            image: image.to_owned(),
            cgroups,
            last_down: Duration::ZERO,
        })
    }
}

impl super::Contender for Limit {
    fn name(&self) -> &'static str {
        "the kernel's limit"
    }

    fn up(&mut self) -> Result<Duration> {
        let output = Command::new(std::env::current_exe()?)
            .args(["bench", "limit-once"])
            .args([&self.place, &self.image, &self.cgroups])
            .output()
            .context("cannot run this program again")?;
        let said = String::from_utf8_lossy(&output.stdout);
        let mut times = said
            .split_whitespace()
            .map(|word| word.parse().map(Duration::from_nanos));
        let (Some(Ok(up)), Some(Ok(down))) = (times.next(), times.next()) else {
            bail!("{}", String::from_utf8_lossy(&output.stderr));
        };
        self.last_down = down;
        Ok(up)
    }

    /// Was done by the process of [`Limit::up`], after the same quiet.
    fn down(&mut self) -> Result<Duration> {
        Ok(self.last_down)
    }
}

struct Stand<'a> {
    place: &'a Path,
    cgroup: PathBuf,
    children: Vec<i32>,
}

impl<'a> Stand<'a> {
    fn up(place: &'a Path, image: &Path, cgroups: &Path) -> Result<Self> {
        let cgroup = cgroups.join(format!("daas-limit-{}", std::process::id()));
        fs::create_dir(&cgroup).with_context(|| format!("cannot make {}", cgroup.display()))?;
        let group = fs::File::open(&cgroup)?;
        // SAFETY: changes the network namespace of this process only, which has one thread.
        checked(unsafe { libc::unshare(libc::CLONE_NEWNET) }, "unshare")?;
        let mut netlink = Netlink::new()?;
        netlink.ask(&[link_up(1), bridge(), address(BRIDGE, 1)])?;
        let (news, news_in) = pipe()?;
        let mut stand = Self {
            place,
            cgroup,
            children: Vec::new(),
        };
        let mut starts = Vec::new();
        for number in 1..=NODES {
            let (start, start_in) = pipe()?;
            let root = Root::new(place, image, number)?;
            let pid = clone_into(group.as_raw_fd())?;
            if pid == 0 {
                // The write ends of older siblings stay open here until exec; nobody reads their end.
                drop(start_in);
                let fault = live(&root, start, number);
                let _ = write!(fs::File::from(news_in), "node {number}: {fault:#}");
                // SAFETY: ends this child without running what belongs to its parent.
                unsafe { libc::_exit(1) }
            }
            stand.children.push(pid);
            starts.push(fs::File::from(start_in));
        }
        drop(news_in);
        let pairs: Vec<Vec<u8>> = stand
            .children
            .iter()
            .zip(1..)
            .map(|(pid, number)| veth(number, *pid))
            .collect();
        netlink.ask(&pairs)?;
        for start in &mut starts {
            start.write_all(&[1])?;
        }
        let mut fault = String::new();
        // Ends when the last copy of the write end is closed: by exec in each child.
        fs::File::from(news)
            .read_to_string(&mut fault)
            .context("cannot hear the nodes")?;
        if !fault.is_empty() {
            bail!("the kernel's limit: {fault}");
        }
        for number in 1..=NODES {
            netlink.wait_until_it_forwards(port(number))?;
        }
        Ok(stand)
    }

    fn down(&mut self) -> Result<()> {
        fs::write(self.cgroup.join("cgroup.kill"), "1").context("cannot kill the cgroup")?;
        for pid in self.children.drain(..) {
            let mut status = 0;
            // SAFETY: `status` outlives the call.
            checked(unsafe { libc::waitpid(pid, &raw mut status, 0) }, "waitpid")?;
        }
        fs::remove_dir(&self.cgroup).context("cannot remove the cgroup")?;
        for number in 1..=NODES {
            fs::remove_dir_all(self.place.join(number.to_string()))?;
        }
        Ok(())
    }
}

impl Drop for Stand<'_> {
    /// Cleans up after a stand that did not come up whole.
    fn drop(&mut self) {
        if self.cgroup.exists() {
            let _ = self.down();
        }
    }
}

/// The root of one node, with every word that the child needs made before it is born.
struct Root {
    mount: CString,
    options: CString,
}

impl Root {
    fn new(place: &Path, image: &Path, number: i32) -> Result<Self> {
        let own = place.join(number.to_string());
        for folder in ["", "up", "work", "root"] {
            fs::create_dir(own.join(folder))?;
        }
        let own = own.display();
        Ok(Self {
            mount: CString::new(format!("{own}/root"))?,
            options: CString::new(format!(
                "lowerdir={},upperdir={own}/up,workdir={own}/work,volatile",
                image.display()
            ))?,
        })
    }
}

/// The life of a node until it executes; comes back only with what went wrong.
fn live(root: &Root, start: OwnedFd, number: i32) -> anyhow::Error {
    match prepare(root, start, number) {
        Err(fault) => fault,
        Ok(()) => {
            let arguments = [c"sleep".as_ptr(), c"1000".as_ptr(), std::ptr::null()];
            // SAFETY: all words end with NUL and the list with a null pointer.
            unsafe { libc::execv(c"/bin/busybox".as_ptr(), arguments.as_ptr()) };
            anyhow::Error::from(io::Error::last_os_error()).context("cannot execute")
        }
    }
}

fn prepare(root: &Root, start: OwnedFd, number: i32) -> Result<()> {
    let none = std::ptr::null::<libc::c_char>();
    // SAFETY: every pointer is to a text that ends with NUL, or null where mount(2) ignores it.
    unsafe {
        checked(
            libc::mount(
                none,
                c"/".as_ptr(),
                none,
                libc::MS_REC | libc::MS_PRIVATE,
                none.cast(),
            ),
            "mount /",
        )?;
        checked(
            libc::mount(
                c"overlay".as_ptr(),
                root.mount.as_ptr(),
                c"overlay".as_ptr(),
                0,
                root.options.as_ptr().cast(),
            ),
            "mount overlay",
        )?;
        checked(libc::chdir(root.mount.as_ptr()), "chdir")?;
        let moved = libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr());
        checked(i32::try_from(moved)?, "pivot_root")?;
        checked(libc::umount2(c".".as_ptr(), libc::MNT_DETACH), "umount")?;
        checked(libc::chdir(c"/".as_ptr()), "chdir /")?;
    }
    fs::File::from(start)
        .read_exact(&mut [0])
        .context("never started")?;
    Netlink::new()?.ask(&[
        link_up(1),
        link_up(2),
        address(2, u8::try_from(number)? + 1),
        default_route(),
    ])
}

fn clone_into(cgroup: RawFd) -> Result<i32> {
    let namespaces = libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWCGROUP;
    // struct clone_args of clone3(2), version 2: eleven words of 64 bits.
    let mut arguments = [0_u64; 11];
    arguments[0] = u64::from(namespaces.cast_unsigned()) | CLONE_INTO_CGROUP;
    arguments[4] = u64::from(libc::SIGCHLD.cast_unsigned());
    arguments[10] = u64::try_from(cgroup)?;
    // SAFETY: without CLONE_VM it is a fork; this process has one thread, so no lock is held in the child.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            arguments.as_ptr(),
            size_of_val(&arguments),
        )
    };
    let pid = i32::try_from(pid)?;
    checked(pid, "clone3")?;
    Ok(pid)
}

fn checked(answer: i32, what: &'static str) -> Result<()> {
    if answer < 0 {
        return Err(io::Error::last_os_error()).context(what);
    }
    Ok(())
}

fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: pipe2 fills both, and nobody else owns them.
    unsafe {
        checked(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC), "pipe2")?;
        Ok((OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])))
    }
}

// === messages of rtnetlink(7) ===

const fn port(number: i32) -> i32 {
    100 + number
}

/// Starts a message: length and sequence are set when it is sent.
fn message(kind: u16, create: bool) -> Vec<u8> {
    let flags = libc::NLM_F_REQUEST
        | libc::NLM_F_ACK
        | if create {
            libc::NLM_F_CREATE | libc::NLM_F_EXCL
        } else {
            0
        };
    let mut bytes = vec![0; 4];
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(u16::try_from(flags).unwrap_or_default().to_ne_bytes());
    bytes.extend([0; 8]);
    bytes
}

/// struct ifinfomsg.
fn link(index: i32, up: bool) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    if up {
        bytes[8] = 1;
        bytes[12] = 1;
    }
    bytes
}

fn attribute(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    to.extend(length.to_ne_bytes());
    to.extend(kind.to_ne_bytes());
    to.extend(value);
    while !to.len().is_multiple_of(4) {
        to.push(0);
    }
}

fn link_up(index: i32) -> Vec<u8> {
    let mut bytes = message(libc::RTM_NEWLINK, false);
    bytes.extend(link(index, true));
    bytes
}

fn bridge() -> Vec<u8> {
    let mut info = Vec::new();
    attribute(&mut info, libc::IFLA_INFO_KIND, b"bridge");
    let mut bytes = message(libc::RTM_NEWLINK, true);
    bytes.extend(link(BRIDGE, true));
    attribute(&mut bytes, libc::IFLA_IFNAME, b"br0\0");
    attribute(&mut bytes, libc::IFLA_LINKINFO, &info);
    bytes
}

/// A pair whose far end is born in the namespace of the process, so that nothing has to be moved.
fn veth(number: i32, pid: i32) -> Vec<u8> {
    const VETH_INFO_PEER: u16 = 1;
    let mut peer = link(2, false).to_vec();
    attribute(&mut peer, libc::IFLA_IFNAME, b"eth0\0");
    attribute(&mut peer, libc::IFLA_NET_NS_PID, &pid.to_ne_bytes());
    let (mut data, mut info) = (Vec::new(), Vec::new());
    attribute(&mut data, VETH_INFO_PEER, &peer);
    attribute(&mut info, libc::IFLA_INFO_KIND, b"veth");
    attribute(&mut info, libc::IFLA_INFO_DATA, &data);
    let mut bytes = message(libc::RTM_NEWLINK, true);
    bytes.extend(link(port(number), true));
    attribute(
        &mut bytes,
        libc::IFLA_IFNAME,
        format!("v{number}\0").as_bytes(),
    );
    attribute(&mut bytes, libc::IFLA_MASTER, &BRIDGE.to_ne_bytes());
    attribute(&mut bytes, libc::IFLA_LINKINFO, &info);
    bytes
}

fn address(index: i32, last: u8) -> Vec<u8> {
    let mut bytes = message(libc::RTM_NEWADDR, true);
    // struct ifaddrmsg: AF_INET, /24.
    bytes.extend([2, 24, 0, 0]);
    bytes.extend(index.to_ne_bytes());
    attribute(&mut bytes, libc::IFA_LOCAL, &[10, 0, 0, last]);
    attribute(&mut bytes, libc::IFA_ADDRESS, &[10, 0, 0, last]);
    bytes
}

fn default_route() -> Vec<u8> {
    let mut bytes = message(libc::RTM_NEWROUTE, true);
    // struct rtmsg: AF_INET, main table, static, whole universe, unicast.
    bytes.extend([2, 0, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0]);
    attribute(&mut bytes, libc::RTA_GATEWAY, &[10, 0, 0, 1]);
    bytes
}

struct Netlink(OwnedFd);

impl Netlink {
    fn new() -> Result<Self> {
        // SAFETY: a new socket that nobody else owns.
        unsafe {
            let socket = libc::socket(
                libc::AF_NETLINK,
                libc::SOCK_RAW | libc::SOCK_CLOEXEC,
                libc::NETLINK_ROUTE,
            );
            checked(socket, "netlink socket")?;
            Ok(Self(OwnedFd::from_raw_fd(socket)))
        }
    }

    /// Sends all in one call and waits for all answers.
    fn ask(&mut self, messages: &[Vec<u8>]) -> Result<()> {
        let mut all = Vec::new();
        for message in messages {
            let at = all.len();
            all.extend(message);
            all[at..at + 4].copy_from_slice(&u32::try_from(message.len())?.to_ne_bytes());
        }
        self.send(&all)?;
        let mut open = messages.len();
        while open > 0 {
            let answer = self.hear()?;
            let mut at = 0;
            while at + 20 <= answer.len() {
                let length = word(&answer, at) as usize;
                let code = word(&answer, at + 16).cast_signed();
                if code != 0 {
                    return Err(io::Error::from_raw_os_error(-code)).context("netlink refused");
                }
                open -= 1;
                at += length.max(20).next_multiple_of(4);
            }
        }
        Ok(())
    }

    /// Asks until the kernel's worker has brought a port of the bridge up (`IFLA_OPERSTATE` 6, RFC 2863).
    fn wait_until_it_forwards(&mut self, index: i32) -> Result<()> {
        const IFLA_OPERSTATE: u16 = 16;
        let mut question = message(libc::RTM_GETLINK, false);
        // No acknowledgement beside the answer.
        question[6] = 1;
        question.extend(link(index, false));
        let length = u32::try_from(question.len())?;
        question[..4].copy_from_slice(&length.to_ne_bytes());
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until {
            self.send(&question)?;
            let answer = self.hear()?;
            let mut at = 32;
            while at + 4 <= answer.len() {
                let length = usize::from(u16::from_ne_bytes([answer[at], answer[at + 1]]));
                let kind = u16::from_ne_bytes([answer[at + 2], answer[at + 3]]);
                if kind == IFLA_OPERSTATE && answer[at + 4] == 6 {
                    return Ok(());
                }
                at += length.max(4).next_multiple_of(4);
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        bail!("port {index} never forwards");
    }

    fn send(&self, bytes: &[u8]) -> Result<()> {
        // SAFETY: the kernel reads `bytes` only during the call.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
        checked(i32::try_from(sent)?, "netlink send")
    }

    fn hear(&self) -> Result<Vec<u8>> {
        let mut buffer = vec![0_u8; 16 << 10];
        // SAFETY: the kernel writes at most the length of `buffer`, only during the call.
        let heard = unsafe {
            libc::recv(
                self.0.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                0,
            )
        };
        let heard = i32::try_from(heard)?;
        checked(heard, "netlink receive")?;
        buffer.truncate(usize::try_from(heard)?);
        Ok(buffer)
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..at + 4)
        .and_then(|four| four.try_into().ok())
        .map_or(0, u32::from_ne_bytes)
}
