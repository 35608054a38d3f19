//! What travels on a connection that was upgraded: the frames of an exec, the bytes of a forward.

use bytes::Bytes;
use daas_api::platform::{BoxDuplex, BoxRead, BoxWrite, ExecSession};
use daas_api::{Frame, WindowSize, read_frame, write_frame};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

/// The pieces in which output travels.
const PIECE: usize = 32 * 1024;

/// Carries an exec to its end: the program's, or the caller's, whichever comes first. Dropping the session ends the program.
pub(crate) async fn exec<T: AsyncRead + AsyncWrite + Send + 'static>(
    connection: T,
    session: ExecSession,
) {
    let (mut from, mut to) = tokio::io::split(connection);
    let ExecSession {
        stdin,
        stdout,
        stderr,
        resize,
        exit,
    } = session;
    let (frames, mut queue) = mpsc::channel::<Frame>(4);
    let input = carry_input(&mut from, stdin, resize);
    let output = async {
        tokio::join!(carry_output(stdout, frames.clone(), Frame::Stdout), async {
            if let Some(stderr) = stderr {
                carry_output(stderr, frames.clone(), Frame::Stderr).await;
            }
        });
        let last = match exit.await {
            Ok(code) => Frame::Exit(code),
            Err(failure) => Frame::Failed(Box::new(failure.to_problem())),
        };
        let _ = frames.send(last).await;
        drop(frames);
    };
    let writing = async {
        while let Some(frame) = queue.recv().await {
            write_frame(&mut to, &frame).await?;
        }
        to.shutdown().await
    };
    let ended: io::Result<()> = tokio::select! {
        // All output and the exit code are on their way.
        (written, ()) = async { tokio::join!(writing, output) } => written,
        // The caller is gone, and so is the reason for the program.
        () = input => Ok(()),
    };
    if let Err(error) = ended {
        tracing::debug!(error = %error, "the connection of an exec broke");
    }
}

/// Carries input until the caller hangs up. A program that reads no more loses its input and nothing else.
async fn carry_input<R: AsyncRead + Unpin>(
    from: &mut R,
    mut stdin: Option<BoxWrite>,
    resize: mpsc::Sender<WindowSize>,
) {
    loop {
        match read_frame(from).await {
            Ok(Some(Frame::Stdin(bytes))) => {
                if let Some(pipe) = &mut stdin
                    && pipe.write_all(&bytes).await.is_err()
                {
                    stdin = None;
                }
            }
            Ok(Some(Frame::StdinEnd)) => {
                if let Some(mut pipe) = stdin.take() {
                    let _ = pipe.shutdown().await;
                }
            }
            Ok(Some(Frame::Resize(size))) => {
                // A size that finds no room is followed by another, or the program has ended.
                let _ = resize.try_send(size);
            }
            Ok(
                Some(Frame::Stdout(_) | Frame::Stderr(_) | Frame::Exit(_) | Frame::Failed(_))
                | None,
            )
            | Err(_) => return,
        }
    }
}

async fn carry_output(mut pipe: BoxRead, frames: mpsc::Sender<Frame>, frame: fn(Bytes) -> Frame) {
    let mut piece = vec![0u8; PIECE];
    loop {
        // A terminal whose program has ended fails (EIO) where a pipe ends.
        match pipe.read(&mut piece).await {
            Ok(0) | Err(_) => return,
            Ok(n) => {
                if frames
                    .send(frame(Bytes::copy_from_slice(&piece[..n])))
                    .await
                    .is_err()
                {
                    return;
                }
            }
        }
    }
}

/// Carries bytes both ways until both sides have ended.
pub(crate) async fn forward<T: AsyncRead + AsyncWrite + Unpin>(
    mut connection: T,
    mut port: BoxDuplex,
) {
    if let Err(error) = tokio::io::copy_bidirectional(&mut connection, &mut port).await {
        tracing::debug!(error = %error, "a forwarded connection broke");
    }
}
