//! Git repositories of a test, served over HTTP by git itself.
#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

use crate::web::{Question, Reply, Web};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Runs git as a person with a fixed clock; returns what it says.
fn git(folder: &Path, arguments: &[&str]) -> String {
    let said = Command::new("git")
        .args([
            "-c",
            "protocol.file.allow=always",
            "-c",
            "init.defaultBranch=main",
        ])
        .args(["-c", "user.name=Test", "-c", "user.email=test@example.test"])
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_AUTHOR_DATE", "1700000000 +0000")
        .env("GIT_COMMITTER_DATE", "1700000000 +0000")
        .output()
        .unwrap();
    assert!(
        said.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&said.stderr)
    );
    String::from_utf8(said.stdout).unwrap().trim().to_owned()
}

/// A repository with a work tree, and below `app.git` what is served of it.
pub(crate) struct Repository {
    root: tempfile::TempDir,
}

impl Repository {
    /// Two commits on `main`, a branch `topic`, an annotated tag `v1` of the first commit, a program, a link, and a folder `docs`.
    pub(crate) fn new() -> Self {
        let repository = Self {
            root: tempfile::tempdir().unwrap(),
        };
        let work = repository.work();
        std::fs::create_dir(&work).unwrap();
        git(&work, &["init", "-q"]);
        repository.write("run.sh", "echo one");
        std::fs::set_permissions(work.join("run.sh"), PermissionsExt::from_mode(0o755)).unwrap();
        symlink("run.sh", work.join("link")).unwrap();
        repository.write("docs/page", "first");
        repository.commit("first");
        git(&work, &["tag", "-a", "-m", "one", "v1"]);
        repository.write("docs/page", "second");
        repository.commit("second");
        git(&work, &["checkout", "-q", "-b", "topic"]);
        repository.write("topic", "here");
        repository.commit("topic");
        git(&work, &["checkout", "-q", "main"]);
        repository.publish();
        repository
    }

    /// The folder of `app.git`.
    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    fn work(&self) -> PathBuf {
        self.root.path().join("work")
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.work().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn commit(&self, message: &str) {
        git(&self.work(), &["add", "-A"]);
        git(&self.work(), &["commit", "-q", "-m", message]);
    }

    pub(crate) fn name_of(&self, reference: &str) -> String {
        git(
            &self.work(),
            &["rev-parse", &format!("{reference}^{{commit}}")],
        )
    }

    /// Adds a submodule whose address is what `url` says; its files come from `other`.
    pub(crate) fn add_module(&self, other: &Self, url: &str) {
        let from = other.root.path().join("app.git");
        git(
            &self.work(),
            &[
                "submodule",
                "--quiet",
                "add",
                from.to_str().unwrap(),
                "module",
            ],
        );
        git(
            &self.work(),
            &["config", "-f", ".gitmodules", "submodule.module.url", url],
        );
        self.commit("a module");
        self.publish();
    }

    /// Lets what was committed be seen from outside.
    pub(crate) fn publish(&self) {
        let to = self.root.path().join("app.git");
        if !to.exists() {
            git(self.root.path(), &["init", "-q", "--bare", "app.git"]);
        }
        git(&self.work(), &["push", "-q", "--all", to.to_str().unwrap()]);
        git(
            &self.work(),
            &["push", "-q", "--tags", to.to_str().unwrap()],
        );
        git(&to, &["update-server-info"]);
    }

    /// Serves it as git does at `/<name>/app.git`.
    pub(crate) fn serve(&self) -> Web {
        Web::serve(self.answering())
    }

    /// Answers questions as git does.
    pub(crate) fn answering(&self) -> impl Fn(&Question) -> Reply + Send + Sync + use<> {
        let root = self.root.path().to_owned();
        move |question| backend(&root, question)
    }

    /// Serves its files and knows nothing of git: nothing shallow can be had there.
    pub(crate) fn serve_plainly(&self) -> Web {
        let root = self.root.path().to_owned();
        Web::serve(move |question| {
            let path = question.target.split('?').next().unwrap_or_default();
            match std::fs::read(root.join(path.trim_start_matches('/'))) {
                Ok(body) => Reply::file(body, &[]),
                Err(_) => Reply::status(404),
            }
        })
    }
}

/// Asks git-http-backend(1), which is a CGI program.
fn backend(root: &Path, question: &Question) -> Reply {
    let (path, query) = question
        .target
        .split_once('?')
        .unwrap_or((&question.target, ""));
    let header = |name: &str| question.headers.get(name).cloned().unwrap_or_default();
    let mut child = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("REQUEST_METHOD", &question.method)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", header("content-type"))
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(&question.body)
        .unwrap();
    let said = child.wait_with_output().unwrap().stdout;
    let end = said.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let mut reply = Reply::file(&said[end + 4..], &[]);
    for line in String::from_utf8_lossy(&said[..end]).lines() {
        let (name, value) = line.split_once(':').unwrap();
        match name {
            "Status" => reply.status = value.trim()[..3].parse().unwrap(),
            name => reply
                .headers
                .push((name.to_owned(), value.trim().to_owned())),
        }
    }
    reply
}
