//! Our builder, as a process of its own that takes requests.

use crate::case::Case;
use crate::fixture::BaseImage;
use crate::tree::{self, Built};
use serde_json::{Map, Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Tests of one process run beside each other: each builder has a group of its own, which goes with it.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A builder that says nothing for so long has hung, or its task has died.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Ours {
    child: Child,
    requests: ChildStdin,
    lines: Receiver<Value>,
}

impl Ours {
    /// Starts the builder with its state in `state`, which holds the base images then.
    pub(crate) fn start(state: &Path, images: &[BaseImage]) -> Self {
        std::fs::create_dir_all(state).unwrap();
        {
            let store = daas_image::Store::open(&state.join("images")).unwrap();
            for image in images {
                let file = state.join("image.tar");
                std::fs::write(&file, &image.archive).unwrap();
                store.load(&file, None, &daas_image::Silent).unwrap();
                std::fs::remove_file(&file).unwrap();
            }
        }
        let mut child = Command::new(env!("CARGO_BIN_EXE_daas-build-alone"))
            .arg(state)
            .arg(format!(
                "daas-compare-{}-{}",
                std::process::id(),
                NEXT.fetch_add(1, Ordering::Relaxed)
            ))
            .arg("127.0.0.2/32")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let requests = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).unwrap());
            }
        });
        let ours = Self {
            child,
            requests,
            lines,
        };
        assert!(ours.hear(|line| line["ready"] == true).is_some());
        ours
    }

    fn hear(&self, wanted: impl Fn(&Value) -> bool) -> Option<Value> {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).ok()?;
            if wanted(&line) {
                return Some(line);
            }
        }
    }

    /// Builds one case; a failure is its code and its words.
    pub(crate) fn build(&self, case: &Case, context: &Path) -> Result<Built, String> {
        let pairs = |pairs: &[(String, String)]| -> Map<String, Value> {
            pairs.iter().map(|(k, v)| (k.clone(), json!(v))).collect()
        };
        let contexts: Map<String, Value> = case
            .contexts
            .iter()
            .map(|(name, path)| (name.clone(), json!(context.join(path))))
            .collect();
        let request = json!({
            "id": case.name, "dockerfile": case.text, "context": context, "args": pairs(&case.args),
            "secrets": pairs(&case.secrets), "contexts": contexts, "target": case.target, "quiet": true, "project": "compare",
            "egress": if case.web { "proxy" } else { "none" },
        });
        writeln!(&self.requests, "{request}").unwrap();
        let line = self
            .hear(|line| line["id"] == json!(case.name) && !line["answer"].is_null())
            .ok_or("the builder does not answer")?;
        let answer = &line["answer"];
        let Some(layers) = answer["layers"].as_array() else {
            return Err(answer.to_string());
        };
        let layers: Vec<String> = layers
            .iter()
            .map(|l| l.as_str().unwrap().to_owned())
            .collect();
        Ok(Built {
            tree: tree::of_layers(&layers),
            config: json!({"config": answer["config"]}),
        })
    }

    /// Ends the builder, which leaves nothing.
    pub(crate) fn end(mut self) {
        drop(self.requests);
        assert!(self.child.wait().unwrap().success());
    }
}
