//! A server that answers every connection with its first argument, one after another, and makes no process for it: a forked child waits for
//! the kernel's next tick on a busy machine, which would be measured and is nobody's fault.
//!
//! Not part of xtask: `hostile` compiles it without libraries of its own, for the trial image.

use std::io::{Read, Write};

fn main() -> std::io::Result<()> {
    let words = std::env::args().nth(1).unwrap_or_default();
    let listener = std::net::TcpListener::bind(("0.0.0.0", 80))?;
    let answer = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{words}", words.len());
    for stream in listener.incoming() {
        let mut stream = stream?;
        let mut asked = [0; 1024];
        // Who hangs up too early gets no answer, and the next one does.
        let _ = stream.read(&mut asked).and_then(|_| stream.write_all(answer.as_bytes()));
    }
    Ok(())
}
