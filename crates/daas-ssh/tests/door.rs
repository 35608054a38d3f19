//! The door with a house of paper: friendly clients, hostile ones, and those that only half do what they should.
#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

use daas_api::Failure;
use daas_api::platform::{Answer, BoxDuplex};
use daas_model::Kind;
use daas_ssh::{
    Deed, Door, End, HostKey, House, Keyring, Program, PublicKey, Rights, Room, Settings, Tweak,
    Visitor, Wish,
};
use daas_store::Store;
use daas_tasks::{BanRules, Bans, Supervisor};
use russh::client::{self, Handle};
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg};
use russh::{ChannelMsg, Sig};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// A house with one room, in which everything said comes back, and a signal ends it.
#[derive(Default)]
struct Paper {
    deeds: Mutex<Vec<String>>,
}

struct Echo;

impl House for Paper {
    fn enter<'a>(&'a self, visitor: &'a Visitor) -> Answer<'a, Arc<dyn Room>> {
        Box::pin(async move {
            if visitor.user == "echo" {
                return Ok(Arc::new(Echo) as Arc<dyn Room>);
            }
            Err(Failure::new("none", Kind::NotFound, "no such room").hint("try echo"))
        })
    }

    fn done(&self, visitor: &Visitor, deed: Deed) {
        let line = format!("{} {} {:?}", visitor.key, deed.what, deed.end);
        self.deeds.lock().unwrap().push(line);
    }
}

impl Room for Echo {
    fn notice(&self) -> Option<String> {
        None
    }

    fn run(&self, wish: Wish) -> Answer<'_, Program> {
        Box::pin(async move {
            // `deaf` reads nothing at all.
            let (ours, theirs) = tokio::io::duplex(8 * 1024);
            let (stdout, stdin) = tokio::io::split(ours);
            let (mut from, mut to) = tokio::io::split(theirs);
            let (tweaks, mut changes) = mpsc::channel(8);
            let end = async move {
                if wish.command.as_deref() == Some("deaf") {
                    std::future::pending::<()>().await;
                }
                tokio::select! {
                    _ = tokio::io::copy(&mut from, &mut to) => {
                        drop(to.shutdown().await);
                        Ok(End::Exited(3))
                    }
                    Some(Tweak::Signal(signal)) = changes.recv() => {
                        drop(to.shutdown().await);
                        Ok(End::Killed(signal))
                    }
                }
            };
            // Output and end are waited for one after the other: the copy must go on by itself.
            let end = tokio::spawn(end);
            Ok(Program {
                stdin: Box::pin(stdin),
                stdout: Box::pin(stdout),
                stderr: None,
                tweaks,
                end: Box::pin(async move { end.await.unwrap() }),
            })
        })
    }

    fn files(&self) -> Answer<'_, Program> {
        self.run(Wish::default())
    }

    fn connect<'a>(&'a self, host: &'a str, _: u16) -> Answer<'a, BoxDuplex> {
        Box::pin(async move {
            if host != "mirror" {
                return Err(Failure::new("none", Kind::NotFound, "nobody is there"));
            }
            let (ours, theirs) = tokio::io::duplex(1024);
            let (mut from, mut to) = tokio::io::split(theirs);
            drop(tokio::spawn(async move {
                drop(tokio::io::copy(&mut from, &mut to).await);
                drop(to.shutdown().await);
            }));
            Ok(Box::pin(ours) as BoxDuplex)
        })
    }
}

struct Yard {
    address: SocketAddr,
    house: Arc<Paper>,
    bans: Bans,
    tasks: Supervisor,
    _folder: tempfile::TempDir,
}

fn pair(number: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[number; 32]))
}

impl Yard {
    async fn new(settings: Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let line = pair(1).public_key().to_openssh().unwrap();
        PublicKey::parse(&line).unwrap();
        let keys = [("anna".to_owned(), line, Rights::default())];
        let keyring = Keyring::open(Store::open(folder.path()).unwrap(), keys, Vec::new()).unwrap();
        let rules = BanRules {
            after: 3,
            allow: Vec::new(),
            ..BanRules::default()
        };
        let (bans, _) = Bans::new(rules);
        let tasks = Supervisor::new();
        let house = Arc::new(Paper::default());
        let door = Door::new(
            settings,
            &HostKey::of_seed(&[9; 32]),
            keyring,
            house.clone(),
            bans.clone(),
            tasks.clone(),
        );
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        door.open(listener);
        Self {
            address,
            house,
            bans,
            tasks,
            _folder: folder,
        }
    }

    async fn stranger(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn client(&self, key: u8, user: &str) -> Option<Handle<Trusting>> {
        let config = Arc::new(client::Config::default());
        let mut handle = client::connect(config, self.address, Trusting).await.ok()?;
        let key = PrivateKeyWithHashAlg::new(Arc::new(pair(key)), None);
        let signed = handle.authenticate_publickey(user, key).await.ok()?;
        signed.success().then_some(handle)
    }

    async fn over(self) {
        let late = self.tasks.shutdown(Duration::from_secs(30)).await;
        assert!(late.is_empty(), "{late:?}");
    }
}

/// A client that believes any host.
struct Trusting;

impl client::Handler for Trusting {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        _: &russh::keys::PublicKeyOrCertificate,
    ) -> Result<bool, russh::Error> {
        Ok(true)
    }
}

/// Waits until the door has ended a connection.
async fn until_closed(client: &Handle<Trusting>) {
    for _ in 0..1200 {
        if client.is_closed() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the connection is still open");
}

/// Reads to the end; what came, however the connection ended.
async fn all_of(mut stream: TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut all)).await;
    drop(read.expect("the connection is closed"));
    all
}

#[tokio::test]
async fn whoever_does_not_sign_in_in_time_is_closed_whatever_he_says_until_then() {
    let yard = Yard::new(Settings {
        sign_in: Duration::from_millis(700),
        ..Settings::default()
    })
    .await;
    // Silence, half a banner, a banner and silence behind it.
    for said in [&b""[..], b"SSH-2.0-half", b"SSH-2.0-whole\r\n"] {
        let mut stream = yard.stranger().await;
        stream.write_all(said).await.unwrap();
        let heard = all_of(stream).await;
        assert!(heard.starts_with(b"SSH-2.0-daas\r\n"), "{said:?}");
    }
    yard.over().await;
}

#[tokio::test]
async fn garbage_and_huge_packets_are_closed_at_once_and_cost_no_memory() {
    let yard = Yard::new(Settings::default()).await;
    let hostile: [Vec<u8>; 6] = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        vec![b'x'; 100_000],
        b"SSH-1.5-old\r\n".to_vec(),
        // The length of a packet: four gigabytes, and none.
        b"SSH-2.0-x\r\n\xff\xff\xff\xff".to_vec(),
        b"SSH-2.0-x\r\n\0\0\0\0\0\0\0\0".to_vec(),
        // A packet of the right form that is no offer of algorithms.
        [&b"SSH-2.0-x\r\n\0\0\0\x0c\x0a\x14"[..], &[0xff; 10]].concat(),
    ];
    for said in hostile {
        let mut stream = yard.stranger().await;
        // Closed before all is said, maybe.
        drop(stream.write_all(&said).await);
        drop(stream.shutdown().await);
        let heard = all_of(stream).await;
        assert!(heard.len() < 4096, "{} bytes", heard.len());
    }
    // Nobody of these has tried a key.
    assert!(!yard.bans.is_banned("127.0.0.1".parse().unwrap()));
    assert!(yard.client(1, "echo").await.is_some());
    yard.over().await;
}

#[tokio::test]
async fn connections_are_counted_by_client_and_before_the_sign_in() {
    let yard = Yard::new(Settings {
        per_peer: 3,
        strangers: 2,
        ..Settings::default()
    })
    .await;
    let first = yard.client(1, "echo").await.unwrap();
    // Two strangers are all that are waited for.
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = yard.stranger().await;
        let mut banner = [0; 14];
        stream.read_exact(&mut banner).await.unwrap();
        held.push(stream);
    }
    assert_eq!(all_of(yard.stranger().await).await, b"");
    held.pop();
    // One left, and the door notices it: then there is room for a third one of this client.
    let again = loop {
        if let Some(client) = yard.client(1, "echo").await {
            break client;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(all_of(yard.stranger().await).await, b"");
    drop((first, again));
    yard.over().await;
}

#[tokio::test]
async fn who_comes_when_all_seats_are_taken_waits_until_one_is_free() {
    let yard = Yard::new(Settings {
        in_all: 2,
        ..Settings::default()
    })
    .await;
    let first = yard.client(1, "echo").await.unwrap();
    let _second = yard.client(1, "echo").await.unwrap();
    // The kernel has taken the connection, and nobody speaks to it.
    let mut third = yard.stranger().await;
    let mut banner = [0; 14];
    let early = tokio::time::timeout(Duration::from_millis(500), third.read(&mut banner)).await;
    assert!(early.is_err(), "{early:?}");
    drop(first);
    third.read_exact(&mut banner).await.unwrap();
    assert_eq!(&banner, b"SSH-2.0-daas\r\n");
    yard.over().await;
}

#[tokio::test]
async fn a_session_in_which_nothing_moves_for_too_long_is_ended() {
    let yard = Yard::new(Settings {
        idle: Duration::from_secs(3),
        ..Settings::default()
    })
    .await;
    let client = yard.client(1, "echo").await.unwrap();
    let mut channel = client.channel_open_session().await.unwrap();
    channel.exec(true, "cat").await.unwrap();
    let ended = async { while channel.wait().await.is_some() {} };
    let ended = tokio::time::timeout(Duration::from_secs(60), ended).await;
    assert!(ended.is_ok(), "it goes on");
    until_closed(&client).await;
    yard.over().await;
}

#[tokio::test]
async fn a_connection_without_a_session_is_ended_and_one_with_a_silent_session_stays() {
    let yard = Yard::new(Settings {
        empty: Duration::from_secs(3),
        ..Settings::default()
    })
    .await;
    // It has its session before the other one comes, which is then ended first if this one is.
    let busy = yard.client(1, "echo").await.unwrap();
    let mut channel = busy.channel_open_session().await.unwrap();
    channel.exec(true, "cat").await.unwrap();
    let empty = yard.client(1, "echo").await.unwrap();
    until_closed(&empty).await;
    channel.data(&b"still here"[..]).await.unwrap();
    loop {
        match channel.wait().await {
            Some(ChannelMsg::Data { data }) => break assert_eq!(&data[..], b"still here"),
            Some(_) => {}
            None => panic!("the session has ended"),
        }
    }
    yard.over().await;
}

#[tokio::test]
async fn a_session_is_told_in_words_and_ends_with_255_when_the_daemon_ends() {
    let yard = Yard::new(Settings::default()).await;
    let client = yard.client(1, "echo").await.unwrap();
    let mut channel = client.channel_open_session().await.unwrap();
    channel.exec(true, "cat").await.unwrap();
    channel.data(&b"x"[..]).await.unwrap();
    // Another one reads nothing and must not hold anybody up.
    let deaf = client.channel_open_session().await.unwrap();
    deaf.exec(true, "deaf").await.unwrap();
    while !matches!(channel.wait().await.unwrap(), ChannelMsg::Data { .. }) {}
    yard.tasks.ask_to_end();
    let (mut said, mut code) = (Vec::new(), None);
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::ExtendedData { data, ext: 1 } => said.extend_from_slice(&data),
            ChannelMsg::ExitStatus { exit_status } => code = Some(exit_status),
            _ => {}
        }
    }
    let said = String::from_utf8(said).unwrap();
    assert_eq!(
        said,
        "daas: the daemon ends or is replaced, and this session with it; the stand lives on\r\n"
    );
    assert_eq!(code, Some(255));
    until_closed(&client).await;
    let house = yard.house.clone();
    yard.over().await;
    let deeds = house.deeds.lock().unwrap().clone();
    assert!(
        deeds.contains(&"anna `cat` Some(CutOff)".into()),
        "{deeds:?}"
    );
}

#[tokio::test]
async fn an_unknown_key_is_a_failure_once_a_connection_and_three_are_a_ban() {
    let yard = Yard::new(Settings::default()).await;
    for _ in 0..3 {
        // Known rooms and unknown ones are the same to those who are not in.
        assert!(yard.client(2, "echo").await.is_none());
    }
    let me = "127.0.0.1".parse().unwrap();
    for _ in 0..600 {
        if yard.bans.is_banned(me) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(yard.bans.is_banned(me));
    assert_eq!(all_of(yard.stranger().await).await, b"");
    yard.over().await;
}

#[tokio::test]
async fn passwords_are_no_way_in_and_too_many_tries_end_the_connection() {
    let yard = Yard::new(Settings::default()).await;
    let config = Arc::new(client::Config::default());
    let mut handle = client::connect(config, yard.address, Trusting)
        .await
        .unwrap();
    let mut tries = 0;
    while let Ok(answer) = handle.authenticate_password("echo", "guess").await {
        assert!(!answer.success());
        tries += 1;
        assert!(tries < 20);
    }
    assert!(tries > 1);
    yard.over().await;
}

#[tokio::test]
async fn signals_reach_the_program_and_ends_are_told_by_code_or_name() {
    let yard = Yard::new(Settings::default()).await;
    let client = yard.client(1, "echo").await.unwrap();
    let mut channel = client.channel_open_session().await.unwrap();
    channel.exec(true, "cat").await.unwrap();
    channel.signal(Sig::Custom("USR2".into())).await.unwrap();
    let mut name = None;
    while let Some(message) = channel.wait().await {
        if let ChannelMsg::ExitSignal { signal_name, .. } = message {
            name = Some(signal_name);
        }
    }
    assert!(matches!(name, Some(Sig::Custom(name)) if name == "USR2"));
    let mut channel = client.channel_open_session().await.unwrap();
    channel.exec(true, "cat words").await.unwrap();
    channel.data(&b"back"[..]).await.unwrap();
    channel.eof().await.unwrap();
    let (mut said, mut code) = (Vec::new(), None);
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::Data { data } => said.extend_from_slice(&data),
            ChannelMsg::ExitStatus { exit_status } => code = Some(exit_status),
            _ => {}
        }
    }
    assert_eq!((said.as_slice(), code), (&b"back"[..], Some(3)));
    let deeds = yard.house.deeds.lock().unwrap().clone();
    assert_eq!(
        deeds,
        ["anna `cat` Some(Killed(12))", "anna `cat` Some(Exited(3))"]
    );
    yard.over().await;
}

#[tokio::test]
async fn a_program_that_does_not_read_stops_no_other_channel_of_its_connection() {
    let yard = Yard::new(Settings::default()).await;
    let client = yard.client(1, "echo").await.unwrap();
    let deaf = client.channel_open_session().await.unwrap();
    deaf.exec(true, "deaf").await.unwrap();
    // As much as goes; the other side takes no more than its windows, and this one waits.
    let much = vec![0; 16 << 20];
    let flood = tokio::time::timeout(Duration::from_secs(2), deaf.data(&much[..])).await;
    assert!(
        flood.is_err(),
        "16 MiB were taken for a program that reads nothing"
    );
    let forward = client
        .channel_open_direct_tcpip("mirror", 80, "127.0.0.1", 1)
        .await
        .unwrap();
    let mut stream = forward.into_stream();
    stream.write_all(b"through").await.unwrap();
    let mut back = [0; 7];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"through");
    yard.over().await;
}

#[tokio::test]
async fn what_is_not_served_is_refused_plainly_and_the_connection_goes_on() {
    let yard = Yard::new(Settings::default()).await;
    let client = yard.client(1, "echo").await.unwrap();
    assert!(client.tcpip_forward("127.0.0.1", 8080).await.is_err());
    assert!(
        client
            .channel_open_direct_tcpip("nowhere", 80, "127.0.0.1", 1)
            .await
            .is_err()
    );
    assert!(
        client
            .channel_open_direct_streamlocal("/run/daas/daas.sock")
            .await
            .is_err()
    );
    let mut channel = client.channel_open_session().await.unwrap();
    channel.request_subsystem(true, "netconf").await.unwrap();
    assert!(matches!(channel.wait().await, Some(ChannelMsg::Failure)));
    channel.agent_forward(true).await.unwrap();
    assert!(matches!(channel.wait().await, Some(ChannelMsg::Failure)));
    channel.set_env(true, "LD_PRELOAD", "/x").await.unwrap();
    assert!(matches!(channel.wait().await, Some(ChannelMsg::Failure)));
    channel.set_env(true, "LC_ALL", "C.UTF-8").await.unwrap();
    assert!(matches!(channel.wait().await, Some(ChannelMsg::Success)));
    // Channels are not without number, and those that were refused are not counted for ever.
    let mut open = Vec::new();
    while let Ok(channel) = client.channel_open_session().await {
        open.push(channel);
        assert!(open.len() < 1000);
    }
    assert!(open.len() >= 60, "{}", open.len());
    yard.over().await;
}

#[tokio::test]
async fn a_room_that_is_not_there_is_explained_on_standard_error() {
    let yard = Yard::new(Settings::default()).await;
    let client = yard.client(1, "other").await.unwrap();
    let mut channel = client.channel_open_session().await.unwrap();
    channel.exec(true, "true").await.unwrap();
    let (mut said, mut code) = (Vec::new(), None);
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::ExtendedData { data, ext: 1 } => said.extend_from_slice(&data),
            ChannelMsg::ExitStatus { exit_status } => code = Some(exit_status),
            _ => {}
        }
    }
    assert_eq!(
        (String::from_utf8(said).unwrap().as_str(), code),
        ("daas: no such room\r\n  hint: try echo\r\n", Some(255))
    );
    yard.over().await;
}
