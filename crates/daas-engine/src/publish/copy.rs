//! Copies between two TCP connections until both sides have said all.

use rustix::net::Shutdown;
use rustix::pipe::{PipeFlags, SpliceFlags};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// One read: large enough for a request or an answer, small enough for thousands of connections.
const CHUNK: usize = 16 * 1024;
/// What is copied through our memory before a direction is worth a pipe and two more descriptors.
const SPLICE_AFTER: u64 = 256 * 1024;
/// The most that one splice moves; also the pipe's wanted size. The kernel's own bound for a user is 1 MiB.
const SPLICE: usize = 512 * 1024;

/// Bytes that went each way.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// Towards the stand.
    pub inward: AtomicU64,
    /// Out of the stand.
    pub outward: AtomicU64,
}

/// Copies both ways. A side that has said all is closed for writing on the other one; the rest goes on.
///
/// # Errors
/// The first error of either side. Then both are to be reset: a cut stream must not look like a whole one.
pub(crate) async fn both_ways(
    outer: &TcpStream,
    inner: &TcpStream,
    traffic: &Traffic,
) -> io::Result<()> {
    tokio::try_join!(
        one_way(outer, inner, &traffic.inward),
        one_way(inner, outer, &traffic.outward)
    )?;
    Ok(())
}

async fn one_way(from: &TcpStream, to: &TcpStream, count: &AtomicU64) -> io::Result<()> {
    if !through_memory(from, to, count).await? {
        through_pipe(from, to, count).await?;
    }
    match rustix::net::shutdown(to, Shutdown::Write) {
        // The other side has hung up in the meantime and wants to hear nothing more.
        Err(rustix::io::Errno::NOTCONN) => Ok(()),
        other => Ok(other?),
    }
}

/// Returns whether the stream has ended, and not only become long.
async fn through_memory(from: &TcpStream, to: &TcpStream, count: &AtomicU64) -> io::Result<bool> {
    let mut buffer = Vec::new();
    let mut total = 0;
    while total < SPLICE_AFTER {
        from.readable().await?;
        // Only a connection that has something to say holds a buffer.
        buffer.resize(CHUNK, 0);
        let length = match from.try_read(&mut buffer) {
            Ok(0) => return Ok(true),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                buffer = Vec::new();
                continue;
            }
            Err(error) => return Err(error),
        };
        let mut rest = &buffer[..length];
        while !rest.is_empty() {
            to.writable().await?;
            match to.try_write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        total += length as u64;
        count.fetch_add(length as u64, Ordering::Relaxed);
    }
    Ok(false)
}

/// Moves the rest of the stream inside the kernel.
async fn through_pipe(from: &TcpStream, to: &TcpStream, count: &AtomicU64) -> io::Result<()> {
    let pipe = Pipe::new()?;
    loop {
        // The pipe is empty here, so that "would block" can only mean the connection.
        let mut left = from
            .async_io(Interest::READABLE, || splice(from, &pipe.inlet, SPLICE))
            .await?;
        if left == 0 {
            return Ok(());
        }
        count.fetch_add(left as u64, Ordering::Relaxed);
        while left > 0 {
            left -= to
                .async_io(Interest::WRITABLE, || splice(&pipe.outlet, to, left))
                .await?;
        }
    }
}

struct Pipe {
    outlet: OwnedFd,
    inlet: OwnedFd,
}

impl Pipe {
    fn new() -> io::Result<Self> {
        let (outlet, inlet) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Only a wish: a user with many pipes gets small ones, which work too.
        let _ = rustix::pipe::fcntl_setpipe_size(&inlet, SPLICE);
        Ok(Self { outlet, inlet })
    }
}

fn splice(
    from: impl std::os::fd::AsFd,
    to: impl std::os::fd::AsFd,
    most: usize,
) -> io::Result<usize> {
    Ok(rustix::pipe::splice(
        from,
        None,
        to,
        None,
        most,
        SpliceFlags::NONBLOCK,
    )?)
}
