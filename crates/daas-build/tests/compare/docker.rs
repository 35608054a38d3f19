//! A Docker daemon of our own, without network, in a folder of its own.

use crate::case::Case;
use crate::fixture::BaseImage;
use crate::tree::{Built, of_image};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Debian's client: it speaks to the BuildKit within the daemon without a plug-in.
const CLIENT: &str = "/usr/bin/docker";

pub(crate) struct Docker {
    child: Child,
    socket: String,
    folder: PathBuf,
}

impl Docker {
    pub(crate) fn start(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let at = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        let socket = format!("unix://{}", at("d.sock"));
        let child = Command::new("dockerd")
            .args([
                "--data-root",
                &at("data"),
                "--exec-root",
                &at("exec"),
                "--pidfile",
                &at("pid"),
            ])
            .args([
                "-H",
                &socket,
                "--bridge=none",
                "--iptables=false",
                "--ip-forward=false",
                "--ip-masq=false",
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let docker = Self {
            child,
            socket,
            folder: folder.to_owned(),
        };
        let begun = Instant::now();
        while !docker.ask(&["version"]).status.success() {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "dockerd does not answer"
            );
            std::thread::sleep(Duration::from_millis(200));
        }
        docker
    }

    fn ask(&self, args: &[&str]) -> Output {
        Command::new(CLIENT)
            .args(["-H", &self.socket])
            .args(args)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    pub(crate) fn load(&self, images: &[BaseImage]) {
        for image in images {
            let mut child = Command::new(CLIENT)
                .args(["-H", &self.socket, "load", "-q"])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            child
                .stdin
                .take()
                .unwrap()
                .write_all(&image.archive)
                .unwrap();
            assert!(child.wait().unwrap().success());
        }
    }

    /// Builds one case; a failure is the last words of the builder.
    pub(crate) fn build(
        &self,
        case: &Case,
        context: &Path,
        buildkit: bool,
    ) -> Result<Built, String> {
        let at = |name: &str| self.folder.join(name).to_str().unwrap().to_owned();
        let (file, id) = (at("Dockerfile"), at("id"));
        std::fs::write(&file, &case.text).unwrap();
        let _ = std::fs::remove_file(&id);
        let mut command = Command::new(CLIENT);
        command
            .args([
                "-H",
                &self.socket,
                "build",
                "--network=none",
                "--iidfile",
                &id,
                "-f",
                &file,
            ])
            .env("DOCKER_BUILDKIT", if buildkit { "1" } else { "0" })
            .stdin(Stdio::null());
        if let Some(target) = &case.target {
            command.arg(format!("--target={target}"));
        }
        for (name, value) in &case.args {
            command.arg(format!("--build-arg={name}={value}"));
        }
        for (number, (name, value)) in case.secrets.iter().enumerate() {
            let secret = at(&format!("secret{number}"));
            std::fs::write(&secret, value).unwrap();
            command.arg(format!("--secret=id={name},src={secret}"));
        }
        let said = command.arg(context).output().unwrap();
        if !said.status.success() {
            let words = String::from_utf8_lossy(&said.stderr).into_owned();
            return Err(words.lines().rev().take(3).collect::<Vec<_>>().join(" | "));
        }
        let image = std::fs::read_to_string(&id).unwrap();
        let archive = self.ask(&["save", image.trim()]);
        if !archive.status.success() {
            return Err(String::from_utf8_lossy(&archive.stderr).into_owned());
        }
        Ok(of_image(&archive.stdout))
    }

    /// Ends the daemon and what it has left mounted.
    pub(crate) fn end(self) {
        drop(self);
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let id = self.child.id().to_string();
        let _ = Command::new("kill").arg(id).status();
        let _ = self.child.wait();
    }
}
