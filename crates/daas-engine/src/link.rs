//! One connection to a keeper: many questions at once, events beside them.

use crate::dial::StandNet;
use crate::error::EngineError;
use daas_keeper::client::socket_path;
use daas_keeper::protocol::{
    Asked, Event, Failure, Hello, MAX_FRAME, Request, Response, Told, VERSION,
};
use daas_model::StandId;
use daas_tasks::Supervisor;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};

/// How long a link outlives the request to end: a turn that is not done by then is done again by the next daemon.
const LINGER: std::time::Duration = std::time::Duration::from_millis(500);

type Answer = Result<Response, Failure>;

/// What a link tells whoever listens.
#[derive(Debug, Clone)]
pub(crate) enum Heard {
    /// The keeper says that something happened.
    Event(Event),
    /// The connection has ended: the keeper is gone.
    End,
}

/// One connection to a keeper. Dropping it ends the connection, not the keeper.
pub(crate) struct Link {
    pub(crate) hello: Hello,
    /// The router's network namespace; alive as long as the link, even when the keeper is not.
    pub(crate) net: Arc<StandNet>,
    /// The keeper's folder.
    pub(crate) dir: PathBuf,
    /// Whole frames for the writer task: an asker that is dropped leaves no half frame behind.
    writer: mpsc::Sender<Vec<u8>>,
    waiting: Arc<Mutex<Waiting>>,
    next: AtomicU64,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("keeper", &self.hello.keeper_id)
            .finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Waiting {
    ended: bool,
    asks: HashMap<u64, oneshot::Sender<Answer>>,
}

impl Link {
    /// Connects to the keeper in folder `dir`, says hello and subscribes to its events.
    pub(crate) async fn connect(
        dir: &Path,
        tasks: &Supervisor,
        mut hear: impl FnMut(Heard) + Send + 'static,
    ) -> Result<Self, EngineError> {
        let socket = socket_path(dir).map_err(EngineError::io("find", dir))?;
        let stream = UnixStream::connect(socket.path())
            .await
            .map_err(EngineError::io("connect to the keeper in", dir))?;
        let (mut reader, mut writer) = stream.into_split();
        let hello = Asked {
            id: 0,
            request: Request::Hello { version: VERSION },
        };
        send(&mut writer, &hello)
            .await
            .map_err(EngineError::io("speak with the keeper in", dir))?;
        let hello = loop {
            match receive(&mut reader)
                .await
                .map_err(EngineError::io("hear from the keeper in", dir))?
            {
                Told::Answer {
                    result: Ok(Response::Hello(hello)),
                    ..
                } => break hello,
                Told::Answer {
                    result: Err(failure),
                    ..
                } => return Err(EngineError::Refused { failure }),
                Told::Answer { .. } | Told::Event(_) => {}
            }
        };
        if hello.version != VERSION {
            let stand = hello
                .stand
                .as_ref()
                .map_or_else(|| hello.keeper_id.clone(), |(id, _)| id.clone());
            return Err(EngineError::Version {
                stand,
                theirs: hello.version,
                ours: VERSION,
            });
        }
        let namespace = format!("/proc/{}/ns/net", hello.pid);
        let net = StandNet::open(&namespace).map_err(EngineError::io("open", &namespace))?;
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        let name = format!("link to keeper {}", hello.keeper_id);
        let shared = waiting.clone();
        let listen = async move {
            while let Ok(told) = receive(&mut reader).await {
                match told {
                    Told::Answer { id, result } => {
                        let asker = lock(&shared).asks.remove(&id);
                        if let Some(asker) = asker {
                            // An asker that went away does not want to know.
                            let _ = asker.send(result);
                        }
                    }
                    Told::Event(event) => hear(Heard::Event(event)),
                }
            }
            let mut waiting = lock(&shared);
            waiting.ended = true;
            waiting.asks.clear();
            drop(waiting);
            hear(Heard::End);
        };
        let (frames, mut outgoing) = mpsc::channel::<Vec<u8>>(64);
        let write = async move {
            while let Some(frame) = outgoing.recv().await {
                if writer.write_all(&frame).await.is_err() {
                    break;
                }
            }
        };
        // No end at a shutdown: loops that drain still ask. The runtime drops both.
        tasks.run(name, |shutdown| async move {
            tokio::select! {
                () = listen => {}
                () = async { write.await; std::future::pending().await } => {}
                () = async { shutdown.asked().await; tokio::time::sleep(LINGER).await } => {}
            }
        });
        let link = Self {
            hello,
            net: Arc::new(net),
            dir: dir.to_owned(),
            writer: frames,
            waiting,
            next: AtomicU64::new(1),
        };
        link.ask(Request::Subscribe).await?;
        Ok(link)
    }

    fn stand(&self) -> StandId {
        self.hello.keeper_id.clone()
    }

    /// Asks and waits for the answer. Safe to drop: the answer is thrown away then, the work is done all the same.
    pub(crate) async fn ask(&self, request: Request) -> Result<Response, EngineError> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        {
            let mut waiting = lock(&self.waiting);
            if waiting.ended {
                return Err(EngineError::Gone {
                    stand: self.stand(),
                });
            }
            waiting.asks.insert(id, sender);
        }
        let frame = encode(&Asked { id, request });
        if self.writer.send(frame).await.is_err() {
            lock(&self.waiting).asks.remove(&id);
            return Err(EngineError::Gone {
                stand: self.stand(),
            });
        }
        match answer.await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(failure)) => Err(EngineError::Refused { failure }),
            Err(_) => Err(EngineError::Gone {
                stand: self.stand(),
            }),
        }
    }

    /// Tells whether the keeper has gone away.
    pub(crate) fn has_ended(&self) -> bool {
        lock(&self.waiting).ended
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn encode(asked: &Asked) -> Vec<u8> {
    let text = serde_json::to_vec(asked).expect("requests become JSON");
    let length = u32::try_from(text.len()).expect("a request is smaller than a frame may be");
    let mut frame = Vec::with_capacity(text.len() + 4);
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&text);
    frame
}

async fn send(writer: &mut OwnedWriteHalf, asked: &Asked) -> std::io::Result<()> {
    writer.write_all(&encode(asked)).await
}

async fn receive(reader: &mut OwnedReadHalf) -> std::io::Result<Told> {
    let length = reader.read_u32_le().await? as usize;
    if length > MAX_FRAME {
        return Err(std::io::Error::other(format!("a frame of {length} bytes")));
    }
    let mut text = vec![0; length];
    reader.read_exact(&mut text).await?;
    serde_json::from_slice(&text).map_err(std::io::Error::other)
}
