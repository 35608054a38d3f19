//! A client of the API that blocks and carries nothing of the product: what it measures is the daemon.

use super::answer::Answer;
use super::exec::{self, Ran};
use super::project::Project;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longer than any single answer may take; a daemon that hangs becomes a failure and not a wait.
const PATIENCE: Duration = Duration::from_secs(60);

/// The API of one daemon.
#[derive(Debug, Clone)]
pub struct Api {
    socket: PathBuf,
    patience: Duration,
}

/// An answer that is no success, with its problem (RFC 9457).
#[derive(Debug, Clone)]
pub struct Refused {
    /// The status.
    pub status: u16,
    /// The problem, or whatever was said instead.
    pub problem: Value,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status, self.problem)
    }
}

impl std::error::Error for Refused {}

impl Api {
    /// Speaks to the daemon behind a socket.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
            patience: PATIENCE,
        }
    }

    /// Waits no longer than this for an answer, and for an operation.
    #[must_use]
    pub fn patient_for(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sends a request and reads the head of its answer.
    ///
    /// # Errors
    /// When the daemon is not there, or says what is not HTTP.
    pub fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer> {
        let mut stream = UnixStream::connect(&self.socket)
            .with_context(|| format!("cannot connect to {}", self.socket.display()))?;
        stream.set_read_timeout(Some(self.patience))?;
        let mut head = format!(
            "{method} /api/v1{path} HTTP/1.1\r\nHost: daas\r\nContent-Length: {}\r\n",
            body.len()
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        stream.write_all(&[head.as_bytes(), body].concat())?;
        Answer::read_head(stream)
    }

    fn json(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let bytes = body.map(Value::to_string).unwrap_or_default();
        let kind: &[_] = if body.is_some() {
            &[("Content-Type", "application/json")]
        } else {
            &[]
        };
        let mut answer = self.ask(method, path, kind, bytes.as_bytes())?;
        let mut text = String::new();
        answer
            .read_to_string(&mut text)
            .with_context(|| format!("{method} {path}"))?;
        let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        if answer.status >= 300 {
            return Err(anyhow::Error::from(Refused {
                status: answer.status,
                problem: value,
            }))
            .with_context(|| format!("{method} {path}"));
        }
        Ok(value)
    }

    /// Reads a value.
    ///
    /// # Errors
    /// [`Refused`], or the connection's own.
    pub fn get(&self, path: &str) -> Result<Value> {
        self.json("GET", path, None)
    }

    /// Asks for something.
    ///
    /// # Errors
    /// [`Refused`], or the connection's own.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.json("POST", path, Some(body))
    }

    /// Replaces something.
    ///
    /// # Errors
    /// [`Refused`], or the connection's own.
    pub fn put(&self, path: &str, body: &Value) -> Result<Value> {
        self.json("PUT", path, Some(body))
    }

    /// Removes something.
    ///
    /// # Errors
    /// [`Refused`], or the connection's own.
    pub fn delete(&self, path: &str) -> Result<Value> {
        self.json("DELETE", path, None)
    }

    /// Loads an image archive (`docker save` or OCI layout); returns the names.
    ///
    /// # Errors
    /// [`Refused`], or the connection's own.
    pub fn load_image(&self, archive: &[u8]) -> Result<Value> {
        let mut answer = self.ask(
            "POST",
            "/images/load",
            &[("Content-Type", "application/x-tar")],
            archive,
        )?;
        let mut text = String::new();
        answer.read_to_string(&mut text)?;
        if answer.status >= 300 {
            bail!("cannot load an image: {} {text}", answer.status);
        }
        Ok(serde_json::from_str(&text)?)
    }

    /// Asks for stands and waits until each is up; `count` 0 asks for one under its plain name.
    ///
    /// # Errors
    /// [`Refused`], the connection's own, or the problem of the operation that failed.
    pub fn up(&self, name: &str, project: &Project, count: u32) -> Result<()> {
        let mut request = json!({"name": name, "project": project.source()});
        if count > 0 {
            request["count"] = json!(count);
        }
        let accepted = self.post("/stands", &request)?;
        self.wait_all(&accepted)
    }

    /// Throws a stand away and waits until nothing of it is left.
    ///
    /// # Errors
    /// As [`Api::up`].
    pub fn down(&self, name: &str) -> Result<()> {
        let accepted = self.delete(&format!("/stands/{name}"))?;
        self.wait_all(&accepted)
    }

    /// Waits for every operation of an answer.
    ///
    /// # Errors
    /// The problem of the first that failed.
    pub fn wait_all(&self, accepted: &Value) -> Result<()> {
        for started in accepted["operations"]
            .as_array()
            .context("an answer without operations")?
        {
            self.wait(
                started["operation"]
                    .as_str()
                    .context("an operation without id")?,
            )?;
        }
        Ok(())
    }

    /// Follows one operation to its end.
    ///
    /// # Errors
    /// Its problem, if it failed.
    pub fn wait(&self, operation: &str) -> Result<Value> {
        let answer = self.ask(
            "GET",
            &format!("/operations/{operation}?follow=true"),
            &[("Accept", "application/x-ndjson")],
            &[],
        )?;
        if answer.status != 200 {
            bail!("cannot follow operation {operation}: {}", answer.status);
        }
        let until = Instant::now() + self.patience;
        let mut last = Value::Null;
        for line in BufReader::new(answer).lines() {
            let line = line.with_context(|| format!("operation {operation} hangs at {last}"))?;
            let Ok(value) = serde_json::from_str::<Value>(&line) else {
                continue;
            };
            last = value;
            match last["state"].as_str() {
                Some("done" | "replaced") => return Ok(last),
                Some("failed") => bail!("operation {operation} failed: {last}"),
                // A daemon that tries again and again tells so all the time.
                _ if Instant::now() > until => bail!("operation {operation} does not end: {last}"),
                _ => {}
            }
        }
        bail!("operation {operation} ended without an end: {last}")
    }

    /// Runs a program in a node, without input and terminal.
    ///
    /// # Errors
    /// When it cannot be run; its own exit code is no error.
    pub fn exec(&self, stand: &str, node: &str, command: &[&str]) -> Result<Ran> {
        let body = json!({"command": command}).to_string();
        let mut answer = self.ask(
            "POST",
            &format!("/stands/{stand}/nodes/{node}/exec"),
            &[
                ("Content-Type", "application/json"),
                ("Connection", "Upgrade"),
                ("Upgrade", "daas-exec/1"),
            ],
            body.as_bytes(),
        )?;
        if answer.status != 101 {
            let mut text = String::new();
            answer.read_to_string(&mut text)?;
            bail!("cannot run in {stand}/{node}: {} {text}", answer.status);
        }
        exec::read(&mut answer.into_connection())
    }
}
