//! Connections that become something else.

use crate::house::House;
use bytes::Bytes;
use daas_api::platform::BoxDuplex;
use daas_api::{ExecRequest, Frame, WindowSize, read_frame, write_frame};
use daas_model::{NodeName, Protocol, StandName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn shop() -> (StandName, NodeName) {
    (
        StandName::parse("shop").expect("it is a good name"),
        NodeName::parse("web").expect("it is a good name"),
    )
}

async fn exec(house: &House, request: ExecRequest) -> BoxDuplex {
    house.platform.add_stand("shop");
    let (stand, node) = shop();
    house
        .client()
        .exec(&stand, &node, &request)
        .await
        .expect("it runs")
}

fn words(command: &[&str]) -> ExecRequest {
    ExecRequest {
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        ..ExecRequest::default()
    }
}

/// Reads to the end: standard output, standard error, and the last frame.
async fn to_end(connection: &mut BoxDuplex) -> (String, String, Option<Frame>) {
    let (mut out, mut err, mut last) = (Vec::new(), Vec::new(), None);
    while let Some(frame) = read_frame(connection).await.expect("it is whole") {
        match frame {
            Frame::Stdout(bytes) => out.extend_from_slice(&bytes),
            Frame::Stderr(bytes) => err.extend_from_slice(&bytes),
            frame => last = Some(frame),
        }
    }
    (
        String::from_utf8_lossy(&out).into_owned(),
        String::from_utf8_lossy(&err).into_owned(),
        last,
    )
}

#[tokio::test]
async fn a_program_says_its_words_on_both_pipes_and_its_code_at_the_end() {
    let house = House::open().await;
    let mut connection = exec(&house, words(&["say", "good", "bad"])).await;
    assert_eq!(
        to_end(&mut connection).await,
        ("good".into(), "bad".into(), Some(Frame::Exit(0)))
    );
    let mut connection = exec(&house, words(&["exit", "42"])).await;
    assert_eq!(
        to_end(&mut connection).await,
        (String::new(), String::new(), Some(Frame::Exit(42)))
    );
    let mut connection = exec(&house, words(&["nonsense"])).await;
    assert!(
        matches!(to_end(&mut connection).await.2, Some(Frame::Failed(problem)) if problem.code == "exec-not-found")
    );
}

#[tokio::test]
async fn what_goes_in_comes_out_until_the_end_of_file() {
    let house = House::open().await;
    let mut connection = exec(
        &house,
        ExecRequest {
            stdin: true,
            ..words(&["cat"])
        },
    )
    .await;
    let (mut from, mut to) = tokio::io::split(&mut connection);
    let sent: Vec<u8> = (0..1_000_000u32).flat_map(u32::to_le_bytes).collect();
    let sending = async {
        write_frame(&mut to, &Frame::Stdin(Bytes::from(sent.clone())))
            .await
            .unwrap();
        write_frame(&mut to, &Frame::StdinEnd).await.unwrap();
    };
    let receiving = async {
        let mut got = Vec::new();
        loop {
            match read_frame(&mut from).await.unwrap() {
                Some(Frame::Stdout(bytes)) => got.extend_from_slice(&bytes),
                other => return (got, other),
            }
        }
    };
    let ((), (got, last)) = tokio::join!(sending, receiving);
    assert!(got == sent && last == Some(Frame::Exit(0)));
}

#[tokio::test]
async fn a_terminal_hears_of_its_sizes() {
    let house = House::open().await;
    let size = |columns, rows| WindowSize { columns, rows };
    let mut connection = exec(
        &house,
        ExecRequest {
            stdin: true,
            tty: true,
            size: Some(size(80, 24)),
            ..words(&["size"])
        },
    )
    .await;
    for (wanted, next) in [("80x24\n", size(100, 30)), ("100x30\n", size(120, 40))] {
        assert_eq!(
            read_frame(&mut connection).await.unwrap(),
            Some(Frame::Stdout(Bytes::from(wanted)))
        );
        write_frame(&mut connection, &Frame::Resize(next))
            .await
            .unwrap();
    }
    write_frame(&mut connection, &Frame::Stdin(Bytes::from_static(b"q")))
        .await
        .unwrap();
    assert_eq!(to_end(&mut connection).await.2, Some(Frame::Exit(7)));
}

#[tokio::test]
async fn a_program_ends_with_its_caller_and_a_caller_with_the_daemon() {
    let house = House::open().await;
    let running = || {
        house
            .supervisor
            .status()
            .iter()
            .filter(|task| task.name.starts_with("exec in"))
            .count()
    };
    let connection = exec(&house, words(&["sleep"])).await;
    assert_eq!(running(), 1);
    drop(connection);
    while running() > 0 {
        tokio::task::yield_now().await;
    }
    let mut connection = exec(&house, words(&["sleep"])).await;
    assert!(house.close().await.is_empty());
    assert_eq!(to_end(&mut connection).await.2, None);
}

#[tokio::test]
async fn a_caller_who_speaks_nonsense_ends_his_program() {
    let house = House::open().await;
    let mut connection = exec(&house, words(&["sleep"])).await;
    connection
        .write_all(b"\xff\xff\xff\xff\xff\xff")
        .await
        .unwrap();
    // An end or a reset, and no word.
    assert!(matches!(
        read_frame(&mut connection).await,
        Ok(None) | Err(_)
    ));
}

#[tokio::test]
async fn a_port_is_forwarded_byte_by_byte() {
    let house = House::open().await;
    house.platform.add_stand("shop");
    let (stand, node) = shop();
    let mut connection = house
        .client()
        .forward(&stand, &node, 8080, Protocol::Tcp)
        .await
        .unwrap();
    for n in 0..100u32 {
        connection.write_all(&n.to_be_bytes()).await.unwrap();
        assert_eq!(connection.read_u32().await.unwrap(), n);
    }
    connection.shutdown().await.unwrap();
    assert_eq!(connection.read(&mut [0; 8]).await.unwrap(), 0);
    let failure = house
        .client()
        .forward(&stand, &node, 1, Protocol::Udp)
        .await
        .err()
        .unwrap();
    assert_eq!(
        (failure.code(), failure.causes()),
        ("port-refused", &["connection refused".to_owned()][..])
    );
}

#[tokio::test]
async fn a_program_in_a_node_that_is_not_there_is_a_plain_problem() {
    let house = House::open().await;
    let (stand, node) = shop();
    let failure = house
        .client()
        .exec(&stand, &node, &words(&["ls"]))
        .await
        .err()
        .unwrap();
    assert_eq!(failure.code(), "stand-not-found");
    house.platform.add_stand("shop");
    for command in [&[][..], &[""]] {
        assert_eq!(
            house
                .client()
                .exec(&stand, &node, &words(command))
                .await
                .err()
                .unwrap()
                .code(),
            "exec-without-command"
        );
    }
}
