//! A place on the machine, and a builder in it.

use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A base in which everything is busybox; each Dockerfile goes on from here.
pub(crate) const BASE: &str = "FROM scratch AS base\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\",\"sh\",\"-c\",\"/bin/busybox --install -s /bin; mkdir /etc /tmp; echo root:x:0:0::/root:/bin/sh > /etc/passwd; echo www:x:33:34::/:/bin/sh >> /etc/passwd; echo root:x:0: > /etc/group; echo web:x:35: >> /etc/group\"]\n";

/// A place on the machine for one test, and a builder in it.
pub(crate) struct Place {
    pub(crate) dir: tempfile::TempDir,
    cgroup: String,
}

pub(crate) struct Builder {
    pub(crate) process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// What a build came to.
pub(crate) struct Answer {
    pub(crate) value: Value,
    pub(crate) events: Vec<Value>,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("daas-build-")
            .tempdir()
            .unwrap();
        let cgroup = format!(
            "daas-build-test-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let place = Self { dir, cgroup };
        fs::create_dir(place.context()).unwrap();
        fs::copy("/bin/busybox", place.context().join("busybox")).expect("install busybox-static");
        place
    }

    pub(crate) fn context(&self) -> PathBuf {
        self.dir.path().join("context")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.context().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn builder(&self) -> Builder {
        self.builder_that_reaches(&[])
    }

    /// A builder whose way out leads to these blocks, too.
    pub(crate) fn builder_that_reaches(&self, reachable: &[&str]) -> Builder {
        let program = Command::new(env!("CARGO_BIN_EXE_daas-build-alone"));
        self.builder_by(program, reachable)
    }

    /// A builder that begins as `program` says: in another network, for example; `words` are its further arguments.
    pub(crate) fn builder_by(&self, mut program: Command, words: &[&str]) -> Builder {
        let mut process = program
            .arg(self.state())
            .arg(&self.cgroup)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = process.stdin.take().unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert!(line.contains("ready"), "{line}");
        Builder {
            process,
            input,
            output,
        }
    }

    /// Asserts that nothing of any build is left: no keeper, no group of its own, no work.
    pub(crate) fn assert_clean(&self) {
        let stands: Vec<_> = fs::read_dir(self.state().join("stands"))
            .unwrap()
            .flatten()
            .map(|e| e.path())
            .collect();
        assert!(stands.is_empty(), "{stands:?}");
        let work = fs::read_dir(self.state().join("build/work"))
            .unwrap()
            .count();
        assert_eq!(work, 0);
        for root in [
            "/sys/fs/cgroup",
            "/sys/fs/cgroup/unified",
            "/sys/fs/cgroup/pids",
        ] {
            let group = Path::new(root).join(&self.cgroup);
            let children = fs::read_dir(&group)
                .map(|all| all.flatten().filter(|e| e.path().is_dir()).count())
                .unwrap_or(0);
            assert_eq!(children, 0, "{}", group.display());
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for root in fs::read_dir("/sys/fs/cgroup")
            .into_iter()
            .flatten()
            .flatten()
        {
            let _ = fs::remove_dir(root.path().join(&self.cgroup));
        }
        let _ = fs::remove_dir(Path::new("/sys/fs/cgroup").join(&self.cgroup));
    }
}

impl Builder {
    pub(crate) fn send(&mut self, request: &Value) {
        writeln!(self.input, "{request}").unwrap();
    }

    pub(crate) fn next(&mut self) -> Value {
        let mut line = String::new();
        assert!(
            self.output.read_line(&mut line).unwrap() > 0,
            "the builder ended"
        );
        serde_json::from_str(&line).unwrap()
    }

    pub(crate) fn build(&mut self, place: &Place, dockerfile: &str, more: Value) -> Answer {
        let mut request = json!({"id": 1, "dockerfile": dockerfile, "context": place.context()});
        for (key, value) in more.as_object().unwrap() {
            request[key] = value.clone();
        }
        self.send(&request);
        let mut events = Vec::new();
        loop {
            let line = self.next();
            match line.get("answer") {
                Some(value) => {
                    return Answer {
                        value: value.clone(),
                        events,
                    };
                }
                None => events.push(line["event"].clone()),
            }
        }
    }

    /// Ends it as its owner would, and waits.
    pub(crate) fn end(mut self) {
        drop(self.input);
        assert!(self.process.wait().unwrap().success());
    }
}

impl Answer {
    pub(crate) fn digest(&self) -> &str {
        self.value["digest"]
            .as_str()
            .unwrap_or_else(|| panic!("{}", self.value))
    }

    pub(crate) fn layers(&self) -> Vec<PathBuf> {
        self.value["layers"]
            .as_array()
            .unwrap_or_else(|| panic!("{}", self.value))
            .iter()
            .map(|l| PathBuf::from(l.as_str().unwrap()))
            .collect()
    }

    pub(crate) fn top(&self) -> PathBuf {
        self.layers().pop().unwrap()
    }

    pub(crate) fn output(&self) -> String {
        self.events
            .iter()
            .filter(|e| e.get("output").is_some())
            .map(|e| e["text"].as_str().unwrap())
            .collect()
    }

    pub(crate) fn cached(&self) -> Vec<bool> {
        self.events
            .iter()
            .filter_map(|e| e["cached"].as_bool())
            .collect()
    }

    pub(crate) fn hint(&self) -> &str {
        self.value["hint"].as_str().unwrap_or_default()
    }

    pub(crate) fn failed(&self) -> (&str, &str) {
        (
            self.value["failed"]
                .as_str()
                .unwrap_or_else(|| panic!("{}", self.value)),
            self.value["why"].as_str().unwrap(),
        )
    }
}
