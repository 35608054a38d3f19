//! Builds, cold and cached: ours beside Debian's docker.io (classic builder) and buildah, in one run, by the programs that people use.

use super::compose::Compose;
use super::say;
use crate::house::{Daemon, Settings, docker_archive};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What every base image is called.
const BASE: &str = "daas-bench:latest";

/// Six steps: two commands, a folder, files, and two that change only the configuration.
const STEPS: &str = "\
FROM daas-bench:latest
ENV ROUND=1
WORKDIR /app
COPY src .
RUN [\"/bin/busybox\", \"sh\", \"-c\", \"busybox cat * | busybox sha256sum > sums\"]
RUN [\"/bin/busybox\", \"sh\", \"-c\", \"busybox dd if=/dev/urandom of=blob bs=1M count=8 2>&1\"]
CMD [\"/bin/busybox\", \"cat\", \"/app/sums\"]
";

/// Three stages, of which two can be built beside each other.
const STAGES: &str = "\
FROM daas-bench:latest AS one
COPY src /src
RUN [\"/bin/busybox\", \"sh\", \"-c\", \"busybox cat /src/* | busybox sha256sum > /one; busybox sleep 0.3\"]
FROM daas-bench:latest AS two
COPY src /src
RUN [\"/bin/busybox\", \"sh\", \"-c\", \"busybox cat /src/* | busybox md5sum > /two; busybox sleep 0.3\"]
FROM daas-bench:latest
COPY --from=one /one /one
COPY --from=two /two /two
CMD [\"/bin/busybox\", \"cat\", \"/one\", \"/two\"]
";

/// Makes the command of one build: of which context, and whether what was built before counts.
type Asked<'a> = Box<dyn Fn(&Path, bool) -> Command + 'a>;

/// Who builds, and how a build is asked for.
struct Builder<'a> {
    name: &'static str,
    build: Asked<'a>,
}

/// Measures all builders and prints a table; `image` is a folder with busybox.
///
/// # Errors
/// When a builder does not start, or a build fails.
pub(super) fn run(rounds: usize, image: &Path) -> Result<()> {
    let place = tempfile::tempdir().context("cannot make a folder")?;
    let program = crate::programs::release_build()?;
    let daemon = Daemon::start(Settings {
        program: program.clone(),
        configuration: String::new(),
        environment: Vec::new(),
    })?;
    let archive = docker_archive(BASE, image, &json!({}))?;
    daemon.api().load_image(&archive)?;
    let docker = Compose::new(place.path(), image)?;
    let buildah = Buildah::new(place.path(), image)?;
    let socket = daemon.place().join("daas.sock");
    let builders = [
        Builder {
            name: "daas",
            build: Box::new(|context, cached| {
                let mut command = Command::new(&program);
                command.env("DAAS_SOCKET", &socket);
                command.args(["image", "build", "--progress", "quiet"]);
                command.args((!cached).then_some("--no-cache")).arg(context);
                command
            }),
        },
        Builder {
            name: "docker",
            build: Box::new(|context, cached| {
                let mut command = docker.docker(&["build", "--quiet"]);
                command.env("DOCKER_BUILDKIT", "0");
                command.args((!cached).then_some("--no-cache")).arg(context);
                command
            }),
        },
        Builder {
            name: "buildah",
            build: Box::new(|context, cached| buildah.build(context, cached)),
        },
    ];
    let mut text = String::from("ms, median (least to most)\n");
    for (what, dockerfile) in [("6 steps", STEPS), ("3 stages", STAGES)] {
        let context = context(place.path(), what, dockerfile)?;
        let mut figures = vec![[Vec::new(), Vec::new()]; builders.len()];
        for _ in 0..rounds {
            for (builder, figures) in builders.iter().zip(&mut figures) {
                for (cached, figures) in [false, true].into_iter().zip(figures.iter_mut()) {
                    std::thread::sleep(super::QUIET);
                    figures.push(timed((builder.build)(&context, cached))?);
                }
            }
        }
        for (which, word) in ["cold", "cached"].into_iter().enumerate() {
            let _ = write!(text, "{:18}", format!("{what}, {word}"));
            let against = median(&figures[1][which]);
            for (builder, figures) in builders.iter().zip(&figures) {
                let of = &figures[which];
                let least = of.iter().min().copied().unwrap_or_default();
                let most = of.iter().max().copied().unwrap_or_default();
                let _ = write!(
                    text,
                    "  {} {:.0} ({:.0} to {:.0})",
                    builder.name,
                    millis(median(of)),
                    millis(least),
                    millis(most)
                );
            }
            let ratio = millis(median(&figures[0][which])) / millis(against);
            let _ = writeln!(text, "  daas/docker {ratio:.2}");
        }
    }
    say(&text);
    Ok(())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// Makes a context of 41 files with its Dockerfile.
fn context(place: &Path, name: &str, dockerfile: &str) -> Result<PathBuf> {
    let context = place.join(name.replace(' ', "-"));
    fs::create_dir_all(context.join("src"))?;
    fs::write(context.join("Dockerfile"), dockerfile)?;
    for n in 0..41 {
        fs::write(
            context.join(format!("src/file-{n:02}.c")),
            format!("int f{n}(void) {{ return {n}; }}\n").repeat(200),
        )?;
    }
    Ok(context)
}

fn timed(mut command: Command) -> Result<Duration> {
    let started = Instant::now();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    let took = started.elapsed();
    ensure!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(took)
}

/// Debian's buildah with a store of its own.
struct Buildah {
    root: PathBuf,
}

impl Buildah {
    fn new(place: &Path, image: &Path) -> Result<Self> {
        let buildah = Self {
            root: place.join("buildah"),
        };
        // It wants a history in every image, so it builds its base itself.
        let file = place.join("Base");
        fs::write(&file, "FROM scratch\nCOPY . /\nENV PATH=/bin\n")?;
        let mut base = buildah.command("build");
        base.args(["--isolation", "chroot", "--tag", BASE, "--file"])
            .arg(&file)
            .arg(image);
        timed(base)?;
        Ok(buildah)
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new("buildah");
        command
            .arg("--root")
            .arg(self.root.join("root"))
            .arg("--runroot")
            .arg(self.root.join("run"))
            .args(["--storage-driver", "overlay", verb]);
        command
    }

    /// With chroot: its other ways need a runtime that takes this machine's cgroups.
    fn build(&self, context: &Path, cached: bool) -> Command {
        let mut command = self.command("build");
        command.args([
            "--isolation",
            "chroot",
            "--pull-never",
            "--quiet",
            "--layers",
        ]);
        command.args((!cached).then_some("--no-cache")).arg(context);
        command
    }
}

impl Drop for Buildah {
    fn drop(&mut self) {
        // Its store holds mounts until it is told to forget.
        let _ = self.command("rm").arg("--all").output();
        let _ = self.command("rmi").args(["--all", "--force"]).output();
    }
}
