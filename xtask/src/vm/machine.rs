//! One machine: starts, runs one command, ends.

use super::Kernel;
use super::cpio::Archive;
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The places of virtiofsd: Debian 12, and 13.
const VIRTIOFSD: [&str; 2] = ["/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd"];

/// What `init.sh` says on the console before it starts the command.
const UP: &str = "vm: up";

/// How long a machine may take until it says so: 2 s when nothing else runs, 20 s on a machine with much to do.
const BOOT_PATIENCE: Duration = Duration::from_secs(120);

/// How often a machine is booted that does not come up.
const BOOTS: u32 = 3;

/// The disk is a file with holes; only what is written costs.
const DISK_BYTES: u64 = 8 << 30;

/// What the kernel is told at its start.
const KERNEL_LINE: &str = "console=ttyS0 quiet panic=-1 reboot=t cgroup_no_v1=all mitigations=off tsc=reliable no_timer_check";

/// One command for a machine.
#[derive(Debug, Clone)]
pub struct Job {
    /// The program and its arguments; no word may hold a line break.
    pub command: Vec<String>,
    /// The whole environment of the program, with `PATH` and `HOME` added where missing.
    pub environment: Vec<(String, String)>,
    /// The folder that the program starts in.
    pub folder: PathBuf,
    /// How long the machine may live; then it is killed.
    pub limit: Duration,
    /// Its memory in MiB.
    pub memory_mib: u32,
    /// Whether systemd of the host's tree is the first process, with the command as a unit of its own.
    pub systemd: bool,
    /// Further words for the kernel's line.
    pub kernel_words: String,
}

/// How a machine ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The exit code of the command; 128 + signal when one killed it.
    pub code: i32,
    /// From the start of the machine to its end.
    pub took: Duration,
}

impl Job {
    /// Makes a job that starts in the current folder, with 1.5 GiB of memory and 10 minutes to live.
    #[must_use]
    pub fn new(command: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            command: command.into_iter().map(Into::into).collect(),
            environment: Vec::new(),
            folder: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
            limit: Duration::from_secs(600),
            memory_mib: 1536,
            systemd: false,
            kernel_words: String::new(),
        }
    }

    /// Boots a machine, runs the command in it and copies what it says to `out` as it says it.
    ///
    /// Blocks until the machine has ended; it does not outlive this call.
    ///
    /// # Errors
    /// When a program is missing, the machine does not come up, or it lives longer than the limit. The text then holds
    /// what the kernel said last.
    pub fn run(&self, kernel: &Kernel, out: &mut (dyn Write + Send)) -> Result<Ended> {
        let place = Place::new()?;
        let initramfs = place.0.join("initramfs");
        self.pack(&kernel.initramfs, &initramfs)?;
        let disk = place.0.join("disk");
        fs::File::create(&disk)?.set_len(DISK_BYTES)?;
        let made = Command::new("mkfs.ext4")
            .args([
                "-q",
                "-F",
                "-E",
                "lazy_itable_init=1,nodiscard",
                "-O",
                "^has_journal",
            ])
            .arg(&disk)
            .output()
            .context("cannot run mkfs.ext4")?;
        if !made.status.success() {
            bail!(
                "mkfs.ext4 failed: {}",
                String::from_utf8_lossy(&made.stderr)
            );
        }
        // An emulated timer that comes late can stop a kernel early in its boot; nothing of the job has run by then.
        for _ in 1..BOOTS {
            if let Some(ended) = self.live(kernel, &initramfs, &disk, &place.0, out)? {
                return Ok(ended);
            }
        }
        self.live(kernel, &initramfs, &disk, &place.0, out)?
            .with_context(|| {
                format!(
                    "the machine did not come up within {} s, {BOOTS} times",
                    BOOT_PATIENCE.as_secs()
                )
            })
    }

    /// Lives one life of the machine; nothing when it did not come up.
    fn live(
        &self,
        kernel: &Kernel,
        initramfs: &Path,
        disk: &Path,
        place: &Path,
        out: &mut (dyn Write + Send),
    ) -> Result<Option<Ended>> {
        let started = Instant::now();
        let _tree = lend_tree(place)?;
        let mut machine = self.boot(kernel, initramfs, disk, place)?;
        let said = machine.0.stdout.take().context("qemu has no output")?;
        let console = place.join("console");
        let limit = self.limit;
        let life = std::thread::scope(|scope| {
            let copying = scope.spawn(move || copy(said, out));
            let life = wait(&mut machine.0, &console, started, limit);
            // Ends the pipe, and with it the copying.
            machine.end();
            copying
                .join()
                .map_err(|_| anyhow::anyhow!("the copying of the output broke off"))??;
            life
        })?;
        let console = fs::read_to_string(console).unwrap_or_default();
        match life {
            Life::Ended => {}
            Life::NotUp => return Ok(None),
            Life::TooLong => bail!(
                "the machine was killed after {} s\n{}",
                limit.as_secs(),
                tail(&console)
            ),
        }
        let code = fs::read_to_string(place.join("code")).unwrap_or_default();
        let code = code.trim().parse().map_err(|_| {
            anyhow::anyhow!("the machine ended without an exit code\n{}", tail(&console))
        })?;
        Ok(Some(Ended {
            code,
            took: started.elapsed(),
        }))
    }

    /// Adds the job to the archive of the kernel.
    fn pack(&self, base: &Path, to: &Path) -> Result<()> {
        let mut words: Vec<String> = vec![
            "/usr/bin/env".into(),
            "-i".into(),
            format!("--chdir={}", self.folder.display()),
        ];
        for (key, value) in [
            (
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            ),
            ("HOME", "/root"),
        ] {
            if !self.environment.iter().any(|(name, _)| name == key) {
                words.push(format!("{key}={value}"));
            }
        }
        words.extend(
            self.environment
                .iter()
                .map(|(key, value)| format!("{key}={value}")),
        );
        words.extend(self.command.iter().cloned());
        if let Some(word) = words.iter().find(|word| word.contains('\n')) {
            bail!("a word of the command holds a line break: {word:?}");
        }
        words.push(String::new());
        let mut file = fs::File::create(to)?;
        file.write_all(
            &fs::read(base).with_context(|| format!("cannot read {}", base.display()))?,
        )?;
        let mut archive = Archive::new(file);
        archive.file("job/argv", 0o600, words.join("\n").as_bytes())?;
        if self.systemd {
            archive.file("job/systemd", 0o600, b"")?;
            archive.file("job/run.sh", 0o700, include_bytes!("run.sh"))?;
            archive.file(
                "job/vm-job.service",
                0o644,
                include_bytes!("vm-job.service"),
            )?;
        }
        archive.finish()?;
        Ok(())
    }

    fn boot(
        &self,
        kernel: &Kernel,
        initramfs: &Path,
        disk: &Path,
        place: &Path,
    ) -> Result<Guarded> {
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args([
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "max",
            "-smp",
            "2",
            "-machine",
            "q35",
        ])
        .args([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-nic",
            "none",
            "-no-reboot",
        ])
        .args(["-m", &self.memory_mib.to_string()])
        .args([
            "-object",
            &format!(
                "memory-backend-memfd,id=memory,size={}M,share=on",
                self.memory_mib
            ),
        ])
        .args(["-numa", "node,memdev=memory"])
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(initramfs)
        .arg("-append")
        .arg(format!("{KERNEL_LINE} {}", self.kernel_words))
        .arg("-serial")
        .arg(with_path("file:", &place.join("console"), ""))
        .arg("-chardev")
        .arg(with_path(
            "socket,id=tree,path=",
            &place.join("tree.sock"),
            "",
        ))
        .args([
            "-device",
            "vhost-user-fs-pci,chardev=tree,tag=host,queue-size=1024",
        ])
        .arg("-drive")
        .arg(with_path(
            "file=",
            disk,
            ",if=none,id=disk,format=raw,cache=unsafe,discard=unmap",
        ))
        .args(["-device", "virtio-blk-pci,drive=disk"])
        .args(["-device", "virtio-serial-pci,id=serial"])
        .args([
            "-chardev",
            // Not chardev stdio: it hangs up as soon as its stdin ends.
            "file,id=out,path=/dev/stdout",
            "-device",
            "virtserialport,chardev=out,name=out,nr=1",
        ])
        .arg("-chardev")
        .arg(with_path("file,id=code,path=", &place.join("code"), ""))
        .args(["-device", "virtserialport,chardev=code,name=code,nr=2"])
        .args(["-device", "virtio-rng-pci"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::from(fs::File::create(place.join("qemu.log"))?));
        let child = qemu
            .spawn()
            .context("cannot run qemu-system-x86_64; install qemu-system-x86")?;
        Ok(Guarded(child))
    }
}

fn with_path(before: &str, path: &Path, after: &str) -> OsString {
    let mut text = OsString::from(before);
    text.push(path);
    text.push(after);
    text
}

/// Starts the program that lends the host's tree to the machine.
fn lend_tree(place: &Path) -> Result<Guarded> {
    let program = VIRTIOFSD
        .iter()
        .find(|path| Path::new(path).exists())
        .context("no virtiofsd; install qemu-system-common or virtiofsd")?;
    let socket = place.join("tree.sock");
    let mut command = Command::new(program);
    if program.contains("libexec") {
        command
            .arg("--shared-dir=/")
            .arg("--cache=always")
            .arg("--sandbox=none");
    } else {
        command.args([
            "-f",
            "-o",
            "source=/",
            "-o",
            "cache=always",
            "-o",
            "sandbox=chroot",
            "-o",
            "log_level=err",
        ]);
    }
    let child = command
        .arg(with_path("--socket-path=", &socket, ""))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::from(fs::File::create(place.join("tree.log"))?))
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    let mut child = Guarded(child);
    let until = Instant::now() + Duration::from_secs(20);
    while !socket.exists() {
        if child.0.try_wait()?.is_some() || Instant::now() > until {
            bail!(
                "virtiofsd did not start: {}",
                fs::read_to_string(place.join("tree.log")).unwrap_or_default()
            );
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(child)
}

fn copy(mut from: impl Read, to: &mut (dyn Write + Send)) -> Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..read])?;
        to.flush()?;
    }
}

/// How the life of a machine went.
enum Life {
    Ended,
    NotUp,
    TooLong,
}

/// Waits for the end of a machine, for as long as it may take to come up and to live.
fn wait(machine: &mut Child, console: &Path, started: Instant, limit: Duration) -> Result<Life> {
    let mut up = false;
    loop {
        if machine.try_wait()?.is_some() {
            return Ok(Life::Ended);
        }
        up = up || fs::read_to_string(console).is_ok_and(|text| text.contains(UP));
        let age = started.elapsed();
        if !up && age > BOOT_PATIENCE.min(limit) {
            return Ok(Life::NotUp);
        }
        if age > limit {
            return Ok(Life::TooLong);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

/// A process that does not outlive its owner.
struct Guarded(Child);

impl Guarded {
    fn end(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.end();
    }
}

/// A folder for one machine, removed at its end.
struct Place(PathBuf);

impl Place {
    fn new() -> Result<Self> {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("daas-vm-{}-{number}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
