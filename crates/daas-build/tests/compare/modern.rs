//! BuildKit of today as a judge of every case, if somebody has one: `DAAS_BUILDKIT` names the folder of `buildkitd` and `buildctl`.

use crate::case::{Case, Judge};
use crate::fixture::BaseImage;
use crate::tree::{Built, of_image};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) struct Modern {
    daemon: Child,
    programs: PathBuf,
    folder: PathBuf,
    address: String,
    images: Vec<(String, String)>,
}

impl Modern {
    pub(crate) fn start(folder: &Path, programs: PathBuf, images: &[BaseImage]) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let address = format!("unix://{}/b.sock", folder.display());
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let daemon = Command::new(programs.join("buildkitd"))
            .arg("--root")
            .arg(folder.join("root"))
            .args([
                "--addr",
                &address,
                "--oci-worker-net=host",
                "--oci-worker-binary=runc",
            ])
            .args([
                "--containerd-worker=false",
                "--oci-worker-snapshotter=overlayfs",
            ])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut modern = Self {
            daemon,
            programs,
            folder: folder.to_owned(),
            address,
            images: Vec::new(),
        };
        for (number, image) in images.iter().enumerate() {
            modern.layout(number, image);
        }
        let begun = Instant::now();
        while !modern
            .ask()
            .args(["debug", "workers"])
            .output()
            .unwrap()
            .status
            .success()
        {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "buildkitd does not answer"
            );
            std::thread::sleep(Duration::from_millis(200));
        }
        modern
    }

    /// Makes the image known as a further context of its name.
    fn layout(&mut self, number: usize, image: &BaseImage) {
        let layout = self.folder.join(format!("layout{number}"));
        let digest = image.write_layout(&layout);
        self.images.push((image.name.to_owned(), digest));
    }

    fn ask(&self) -> Command {
        let mut command = Command::new(self.programs.join("buildctl"));
        command.args(["--addr", &self.address]).stdin(Stdio::null());
        command
    }

    pub(crate) fn build(&self, case: &Case, context: &Path) -> Result<Built, String> {
        let at = |name: &str| self.folder.join(name);
        let file = at("file");
        std::fs::create_dir_all(&file).unwrap();
        std::fs::write(file.join("Dockerfile"), &case.text).unwrap();
        let output = at("image.tar");
        let mut command = self.ask();
        command.args(["build", "--frontend=dockerfile.v0", "--progress=plain"]);
        command.arg("--opt=force-network-mode=none");
        command
            .arg("--local")
            .arg(format!("context={}", context.display()));
        command
            .arg("--local")
            .arg(format!("dockerfile={}", file.display()));
        command
            .arg("--output")
            .arg(format!("type=docker,name=x:1,dest={}", output.display()));
        for (number, (name, digest)) in self.images.iter().enumerate() {
            command.arg("--oci-layout").arg(format!(
                "layout{number}={}",
                at(&format!("layout{number}")).display()
            ));
            command.arg(format!(
                "--opt=context:{name}=oci-layout://layout{number}@{digest}"
            ));
        }
        for (name, path) in &case.contexts {
            command
                .arg("--local")
                .arg(format!("{name}={}", context.join(path).display()));
            command.arg(format!("--opt=context:{name}=local:{name}"));
        }
        if let Some(target) = &case.target {
            command.arg(format!("--opt=target={target}"));
        }
        for (name, value) in &case.args {
            command.arg(format!("--opt=build-arg:{name}={value}"));
        }
        for (number, (name, value)) in case.secrets.iter().enumerate() {
            let secret = at(&format!("secret{number}"));
            std::fs::write(&secret, value).unwrap();
            command
                .arg("--secret")
                .arg(format!("id={name},src={}", secret.display()));
        }
        let said = command.output().unwrap();
        if !said.status.success() {
            let words = String::from_utf8_lossy(&said.stderr).into_owned();
            return Err(words.lines().rev().take(3).collect::<Vec<_>>().join(" | "));
        }
        Ok(of_image(&std::fs::read(&output).unwrap()))
    }

    /// Ends the daemon.
    pub(crate) fn end(self) {
        drop(self);
    }
}

/// Tells whether this judge can speak of a case: not of what is refused here on purpose.
pub(crate) fn judges(case: &Case) -> bool {
    !matches!(case.judge, Judge::Refused(_))
}

impl Drop for Modern {
    fn drop(&mut self) {
        let id = self.daemon.id().to_string();
        let _ = Command::new("kill").arg(id).status();
        let _ = self.daemon.wait();
    }
}
