//! A server with its doors, for one test.

use daas_api::fake::FakePlatform;
use daas_client::{Address, Client};
use daas_server::{Role, Server, TcpDoor, Timers, Token, Tokens, UnixDoor};
use daas_tasks::Supervisor;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// A server on a unix socket and on TCP; it ends with the test.
pub(crate) struct House {
    pub(crate) platform: Arc<FakePlatform>,
    pub(crate) supervisor: Supervisor,
    pub(crate) socket: PathBuf,
    pub(crate) tcp: String,
    /// One token for each of [`Role::ALL`].
    pub(crate) tokens: Vec<Token>,
    _folder: tempfile::TempDir,
}

impl House {
    pub(crate) async fn open() -> Self {
        Self::with(Timers::local()).await
    }

    pub(crate) async fn with(timers: Timers) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let platform = Arc::new(FakePlatform::new());
        let supervisor = Supervisor::new();
        let server = Server::new(platform.clone(), supervisor.clone());
        let socket = folder.path().join("run/daas.sock");
        server.open_unix(UnixDoor::bind(&socket).expect("it is free"), timers);
        let tokens: Vec<Token> = Role::ALL
            .iter()
            .map(|_| Token::generate().expect("there is chance"))
            .collect();
        let lines: Vec<String> = Role::ALL
            .iter()
            .zip(&tokens)
            .map(|(role, token)| token.line(&role.to_string(), *role))
            .collect();
        let known = Tokens::parse(&lines.join("\n")).expect("they are good lines");
        let door = TcpDoor::bind(([127, 0, 0, 1], 0).into(), known)
            .await
            .expect("a port is free");
        let tcp = door.address().to_string();
        server.open_tcp(door, timers);
        Self {
            platform,
            supervisor,
            socket,
            tcp,
            tokens,
            _folder: folder,
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(Address::Unix(self.socket.clone()), None)
    }

    pub(crate) fn token(&self, role: Role) -> &str {
        let place = Role::ALL
            .iter()
            .position(|r| *r == role)
            .expect("all roles have one");
        self.tokens[place].reveal()
    }

    /// Sends raw bytes over the unix socket and returns all that comes until the other side closes.
    pub(crate) async fn raw(&self, request: &str) -> String {
        let mut stream = UnixStream::connect(&self.socket).await.expect("it listens");
        talk(&mut stream, request).await
    }

    /// Sends raw bytes over TCP and returns all that comes until the other side closes.
    pub(crate) async fn raw_tcp(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(&self.tcp).await.expect("it listens");
        talk(&mut stream, request).await
    }

    /// Ends the house and tells who did not finish.
    pub(crate) async fn close(&self) -> Vec<String> {
        self.supervisor.shutdown(Duration::from_secs(20)).await
    }
}

async fn talk<T: AsyncReadExt + AsyncWriteExt + Unpin>(stream: &mut T, request: &str) -> String {
    stream
        .write_all(request.as_bytes())
        .await
        .expect("it is read");
    let mut answer = Vec::new();
    // A reset after the answer is an end, too.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// Returns the status of a raw answer.
pub(crate) fn status(answer: &str) -> u16 {
    answer
        .split(' ')
        .nth(1)
        .and_then(|word| word.parse().ok())
        .unwrap_or(0)
}

/// Returns the problem of a raw answer.
pub(crate) fn problem(answer: &str) -> daas_api::Problem {
    let (head, body) = answer.split_once("\r\n\r\n").expect("it has a head");
    assert!(
        head.to_lowercase()
            .contains("content-type: application/problem+json"),
        "{answer}"
    );
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
}
