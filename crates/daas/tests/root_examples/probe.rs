//! `probe.yaml` of an example: a list of things that must hold, in this order, each within a minute.

use crate::program::Program;
use serde::Deserialize;
use std::io::Read;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// After that a thing does not hold; on a quiet machine each takes a second at most.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// One thing that must hold. Exactly one of `get`, `post`, `put`, `exec`, `udp`, `exited`, `log` says what is looked at.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Probe {
    /// A URL; the host `stand` is the stand's address.
    get: Option<String>,
    post: Option<String>,
    put: Option<String>,
    /// What is sent with it.
    body: Option<String>,
    headers: Vec<String>,
    /// `name:password`.
    user: Option<String>,
    /// The answer's status; 200 without.
    status: Option<u16>,
    /// A header field of the answer, whole.
    header: Option<String>,
    /// The answer does not end by itself.
    stream: bool,
    /// A node, and what is run in it.
    exec: Option<Vec<String>>,
    /// Its exit code; 0 without.
    code: Option<i32>,
    /// A UDP port of the stand's address.
    udp: Option<u16>,
    send: String,
    /// A node that has ended well.
    exited: Option<String>,
    /// A node whose log is read.
    log: Option<String>,
    /// What must be in the answer, the output, the log.
    expect: Option<String>,
}

impl Probe {
    /// Reads those of an example.
    pub(crate) fn read(example: &Path) -> Result<Vec<Self>, String> {
        let path = example.join("probe.yaml");
        let text = std::fs::read_to_string(&path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        serde_saphyr::from_str(&text)
            .map_err(|error| format!("cannot understand {}: {error}", path.display()))
    }

    /// Looks until it holds, or for a minute.
    pub(crate) fn holds(
        &self,
        program: &Program,
        stand: &str,
        address: &str,
    ) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let Err(fault) = self.look(program, stand, address) else {
                return Ok(());
            };
            if Instant::now() > until {
                return Err(format!("{self:?} does not hold: {fault}"));
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn look(&self, program: &Program, stand: &str, address: &str) -> Result<(), String> {
        let seen = match self {
            Self { get: Some(url), .. } => self.http("GET", url, address)?,
            Self {
                post: Some(url), ..
            } => self.http("POST", url, address)?,
            Self { put: Some(url), .. } => self.http("PUT", url, address)?,
            Self {
                exec: Some(words), ..
            } => self.run(program, stand, words)?,
            Self {
                udp: Some(port), ..
            } => ask_udp(address, *port, &self.send)?,
            Self {
                exited: Some(node), ..
            } => return has_ended(program, stand, node),
            Self {
                log: Some(node), ..
            } => program.run(&["stand", "logs", stand, node])?,
            _ => return Err("the probe says nothing".into()),
        };
        match &self.expect {
            Some(text) if !seen.contains(text.as_str()) => {
                Err(format!("{text:?} is not in {seen:?}"))
            }
            _ => Ok(()),
        }
    }

    /// Asks by curl, which has no part in what is tested.
    fn http(&self, method: &str, url: &str, address: &str) -> Result<String, String> {
        let mut command = Command::new("curl");
        command.args([
            "--silent",
            "--show-error",
            "--insecure",
            "--include",
            "--no-buffer",
            "--noproxy",
            "*",
            "--max-time",
            "15",
            "--request",
            method,
        ]);
        for header in &self.headers {
            command.args(["--header", header]);
        }
        if let Some(user) = &self.user {
            command.args(["--user", user]);
        }
        if let Some(body) = &self.body {
            if body.starts_with('{') {
                command.args(["--header", "Content-Type: application/json"]);
            }
            command.args(["--data-binary", body]);
        }
        command
            .arg(url.replacen("//stand", &format!("//{address}"), 1))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let text = if self.stream {
            self.first_of(&mut command)?
        } else {
            whole(&mut command)?
        };
        let status = text.split(' ').nth(1).and_then(|word| word.parse().ok());
        if status != Some(self.status.unwrap_or(200)) {
            return Err(format!("status {status:?}: {text}"));
        }
        if let Some(header) = &self.header
            && !text
                .lines()
                .take_while(|line| !line.is_empty())
                .any(|line| line.eq_ignore_ascii_case(header))
        {
            return Err(format!("no header {header:?} in {text:?}"));
        }
        Ok(text)
    }

    /// Reads an answer that goes on, until it holds what is expected.
    fn first_of(&self, command: &mut Command) -> Result<String, String> {
        let mut child = command
            .spawn()
            .map_err(|error| format!("cannot run curl: {error}"))?;
        let mut from = child.stdout.take().ok_or("curl without output")?;
        let (mut text, mut part) = (String::new(), [0; 4096]);
        while !self
            .expect
            .as_ref()
            .is_some_and(|wanted| text.contains(wanted))
        {
            match from.read(&mut part) {
                Ok(read) if read > 0 => text += &String::from_utf8_lossy(&part[..read]),
                _ => break,
            }
        }
        // It may have ended by itself.
        let _ = child.kill();
        child
            .wait()
            .map_err(|error| format!("cannot wait for curl: {error}"))?;
        Ok(text)
    }

    fn run(&self, program: &Program, stand: &str, words: &[String]) -> Result<String, String> {
        let (node, command) = words.split_first().ok_or("`exec` names no node")?;
        let mut arguments = vec![
            "stand".to_owned(),
            "exec".to_owned(),
            format!("{stand}/{node}"),
            "--".to_owned(),
        ];
        arguments.extend_from_slice(command);
        let output = program.output(&arguments)?;
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        if output.status.code() == Some(self.code.unwrap_or(0)) {
            Ok(text)
        } else {
            Err(format!("{}: {text}", output.status))
        }
    }
}

fn whole(command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .map_err(|error| format!("cannot run curl: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn ask_udp(address: &str, port: u16, send: &str) -> Result<String, String> {
    let ask = || {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        socket.send_to(send.as_bytes(), (address, port))?;
        let mut answer = [0; 1024];
        let (length, _) = socket.recv_from(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
    };
    ask().map_err(|error: std::io::Error| format!("no answer on UDP port {port}: {error}"))
}

fn has_ended(program: &Program, stand: &str, node: &str) -> Result<(), String> {
    let view = program.run(&["stand", "show", stand, "--json"])?;
    let view: serde_json::Value =
        serde_json::from_str(&view).map_err(|error| format!("{error}: {view}"))?;
    let found = view["nodes"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|n| n["name"] == node)
        .ok_or_else(|| format!("no node {node}"))?;
    if found["status"] == "exited" && found["exit_code"] == 0 {
        Ok(())
    } else {
        Err(found.to_string())
    }
}
