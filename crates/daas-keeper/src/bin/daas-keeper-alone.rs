//! A keeper as a process of its own, for tests and measurements: `daas-keeper-alone keeper <seed.json>`, or
//! `daas-keeper-alone zygote`, which makes a keeper for each line of JSON on its standard input and prints its process id.

use std::io::{BufRead, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        ["keeper", path] => keeper(path),
        ["zygote"] => zygote(),
        _ => complain("usage: daas-keeper-alone keeper <seed.json> | zygote"),
    }
}

fn complain(text: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{text}");
    ExitCode::from(2)
}

fn keeper(path: &str) -> ExitCode {
    let seed = match std::fs::read(path)
        .map_err(|e| e.to_string())
        .and_then(|text| serde_json::from_slice(&text).map_err(|e| e.to_string()))
    {
        Ok(seed) => seed,
        Err(e) => return complain(&e),
    };
    match daas_keeper::run(seed) {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Err(failure) => complain(&failure.message),
    }
}

fn zygote() -> ExitCode {
    let handle = match daas_keeper::zygote::fork() {
        Ok(handle) => handle,
        Err(fault) => return complain(&fault.to_string()),
    };
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        let seed = match serde_json::from_str(&line) {
            Ok(seed) => seed,
            Err(e) => return complain(&e.to_string()),
        };
        let answer = match handle.make_keeper(&seed) {
            Ok(pid) => pid.to_string(),
            Err(failure) => failure.message,
        };
        if writeln!(std::io::stdout(), "{answer}").is_err() {
            break;
        }
    }
    ExitCode::SUCCESS
}
