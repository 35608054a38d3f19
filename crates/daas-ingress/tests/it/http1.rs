use crate::house::{Back, House, OK, stand};
use daas_ingress::{Mood, StandRoutes, Standing, Wait};
use std::time::Instant;

fn get(host: &str, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_reaches_the_node_and_its_answer_the_visitor() {
    let (house, back) = (House::new(), Back::new(OK).await);
    house.set(vec![house.route("a.test", &[back.address])]);
    let answer = house.raw(&get("A.test:80", "/x?y=1")).await;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nok"),
        "{answer}"
    );
    let heads = back.heads();
    assert_eq!(heads.len(), 1);
    let head = &heads[0];
    assert!(head.starts_with("GET /x?y=1 HTTP/1.1\r\n"), "{head}");
    for line in [
        "host: A.test:80",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-proto: http",
        "x-forwarded-host: A.test:80",
        "x-real-ip: 127.0.0.1",
    ] {
        assert!(head.contains(line), "{line} in {head}");
    }
    assert!(!head.to_lowercase().contains("connection:"), "{head}");
    house.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_share_one_connection_to_the_node() {
    let (house, back) = (House::new(), Back::new(OK).await);
    house.set(vec![house.route("a.test", &[back.address])]);
    let mut all = Vec::new();
    for n in 0..50 {
        all.extend(format!("GET /{n} HTTP/1.1\r\nHost: a.test\r\n\r\n").into_bytes());
    }
    all.extend(get("a.test", "/last"));
    let answer = house.raw(&all).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 51);
    assert_eq!(back.heads().len(), 51);
    house.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_too_early_is_told_what_is_missing_in_his_own_form() {
    let house = House::new();
    let standing = Standing {
        mood: Mood::Starting,
        waits: vec![Wait {
            node: "postgres".into(),
            what: "is still starting".into(),
            since: Some(Instant::now()),
        }],
    };
    let routes = vec![house.route("a.test", &[])];
    house.ingress.set(
        &stand(),
        Some(StandRoutes {
            routes,
            standing,
            sleeps: false,
            ..StandRoutes::default()
        }),
    );
    let text = house.raw(&get("a.test", "/")).await;
    assert!(
        text.starts_with("HTTP/1.1 503")
            && text.contains("postgres of shop-7 is still starting: 0 s"),
        "{text}"
    );
    assert!(text.contains("retry-after: 1"));
    let html = house
        .raw(
            b"GET / HTTP/1.1\r\nHost: a.test\r\nAccept: text/html,*/*\r\nConnection: close\r\n\r\n",
        )
        .await;
    assert!(
        html.contains("<p>postgres of shop-7 is still starting: 0 s</p>"),
        "{html}"
    );
    let json = house.raw(b"GET / HTTP/1.1\r\nHost: a.test\r\nAccept: application/json\r\nConnection: close\r\n\r\n").await;
    let body: serde_json::Value =
        serde_json::from_str(json.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(body["code"], "stand-starting");
    let unknown = house.raw(&get("b.test", "/")).await;
    assert!(
        unknown.starts_with("HTTP/1.1 404")
            && !unknown.contains("shop")
            && !unknown.contains("a.test"),
        "{unknown}"
    );
    house.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_can_be_sent_twice_survives_a_node_that_hangs_up() {
    let house = House::new();
    // One that answers once per connection, and hangs up without a word on the next request.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                let _ = stream.read(&mut buffer).await;
                let _ = stream.write_all(OK.as_bytes()).await;
                let _ = stream.read(&mut buffer).await;
            });
        }
    });
    house.set(vec![house.route("a.test", &[address])]);
    let mut all = Vec::new();
    for n in 0..9 {
        all.extend(format!("GET /{n} HTTP/1.1\r\nHost: a.test\r\n\r\n").into_bytes());
    }
    all.extend(get("a.test", "/last"));
    let answer = house.raw(&all).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 10, "{answer}");
    task.abort();
    house.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_no_http_is_told_as_that() {
    let house = House::new();
    for words in [
        "what do you want?\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nBad Name: 1\r\nContent-Length: 2\r\n\r\nok",
    ] {
        let back = Back::new(words).await;
        house.set(vec![house.route("a.test", &[back.address])]);
        let answer = house.raw(&get("a.test", "/")).await;
        assert!(
            answer.starts_with("HTTP/1.1 502") && answer.contains("x-daas-error: node-malformed"),
            "{words:?}: {answer}"
        );
    }
    house.end().await;
}
