//! Requests that two readers could understand differently (threat S17) and paths with more than one form (S18): what the front counts is what
//! the back counts, and what is ambiguous gets 400 and the end of its connection.

use crate::backs::OtherBack;
use crate::house::{Back, House, OK};

/// What becomes of bytes: so many requests pass, or the last one is refused.
#[derive(Clone, Copy)]
enum Then {
    Pass(usize),
    /// So many pass before the one that is refused.
    Refuse(usize),
}
use Then::{Pass, Refuse};

const END: &str = "GET /end HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";

/// Requests; `\n` stands for CR LF, `¶` for a bare LF, `←` for a bare CR, `∅` for a zero byte, `→` for a tab.
const TABLE: &[(&str, Then)] = &[
    // Two lengths.
    (
        "POST / HTTP/1.1\nHost: a.test\nContent-Length: 5\nTransfer-Encoding: chunked\n\n0\n\n",
        Refuse(0),
    ),
    (
        "POST / HTTP/1.1\nHost: a.test\nTransfer-Encoding: chunked\nContent-Length: 5\n\n0\n\n",
        Refuse(0),
    ),
    (
        "POST / HTTP/1.1\nHost: a.test\nContent-Length: 5\nContent-Length: 6\n\nabcdef",
        Refuse(0),
    ),
    (
        "POST / HTTP/1.1\nHost: a.test\nContent-Length: 5\nContent-Length: 5\n\nabcde",
        Refuse(0),
    ),
    (
        "POST / HTTP/1.1\nHost: a.test\nContent-Length: 5, 5\n\nabcde",
        Refuse(0),
    ),
    (
        "POST / HTTP/1.1\nHost: a.test\nContent-Length: +5\n\nabcde",
        Refuse(0),
    ),
    (
        "POST / HTTP/1.1\nHost: a.test\nContent-Length: -5\n\nabcde",
        Refuse(0),
    ),
    (
        "POST / HTTP/1.1\nHost: a.test\nContent-Length: 0x5\n\nabcde",
        Refuse(0),
    ),
    (
        "POST / HTTP/1.1\nHost: a.test\nContent-Length: 5a\n\nabcde",
        Refuse(0),
    ),
    (
        "POST / HTTP/1.1\nHost: a.test\nContent-Length: 5 5\n\nabcde",
        Refuse(0),
    ),
    (
        "POST / HTTP/1.1\nHost: a.test\nContent-Length:\n\n",
        Refuse(0),
    ),
    (
        "POST / HTTP/1.1\nHost: a.test\nContent-Length: 99999999999999999999\n\n",
        Refuse(0),
    ),
    (
        "POST / HTTP/1.1\nHost: a.test\nContent_Length: 5\nContent-Length: 0\n\n",
        Refuse(0),
    ),
    (
        "POST / HTTP/1.1\nHost: a.test\nContent-Length : 5\n\nabcde",
        Refuse(0),
    ),
    (
        "POST / HTTP/1.1\nHost: a.test\n Content-Length: 5\n\nabcde",
        Refuse(0),
    ),
    (
        "POST / HTTP/1.1\nHost: a.test\nX: y\n Content-Length: 5\n\nabcde",
        Refuse(0),
    ),
    // Transfer encodings that some know and some do not.
    (
        "POST / HTTP/1.1\nHost: a.test\nTransfer-Encoding: xchunked\n\n0\n\n",
        Refuse(0),
    ),
    (
        "POST / HTTP/1.1\nHost: a.test\nTransfer-Encoding: chunked, identity\n\n0\n\n",
        Refuse(0),
    ),
    (
        "POST / HTTP/1.1\nHost: a.test\nTransfer-Encoding: identity, chunked\n\n0\n\n",
        Refuse(0),
    ),
    (
        "POST / HTTP/1.1\nHost: a.test\nTransfer-Encoding: gzip, chunked\n\n0\n\n",
        Refuse(0),
    ),
    (
        "POST / HTTP/1.1\nHost: a.test\nTransfer-Encoding: identity\nContent-Length: 2\n\nab",
        Refuse(0),
    ),
    (
        "POST / HTTP/1.1\nHost: a.test\nTransfer-Encoding: chunked\nTransfer-Encoding: chunked\n\n0\n\n",
        Refuse(0),
    ),
    (
        "POST / HTTP/1.1\nHost: a.test\nTransfer-Encoding: chunked\nTransfer-Encoding: x\n\n0\n\n",
        Refuse(0),
    ),
    (
        "POST / HTTP/1.1\nHost: a.test\nTransfer-Encoding : chunked\n\n0\n\n",
        Refuse(0),
    ),
    (
        "POST / HTTP/1.1\nHost: a.test\nTransfer_Encoding: chunked\nContent-Length: 5\n\n0\n\n",
        Refuse(0),
    ),
    (
        "POST / HTTP/1.1\nHost: a.test\nTransfer-Encoding: \"chunked\"\n\n0\n\n",
        Refuse(0),
    ),
    (
        "POST / HTTP/1.1\nHost: a.test\nTransfer-Encoding: chunked;q=1\n\n0\n\n",
        Refuse(0),
    ),
    (
        "POST / HTTP/1.1\nHost: a.test\nTransfer-Encoding:\n\n0\n\n",
        Refuse(0),
    ),
    (
        "POST / HTTP/1.0\nHost: a.test\nTransfer-Encoding: chunked\n\n0\n\n",
        Refuse(0),
    ),
    (
        "POST / HTTP/1.1\nHost: a.test\nTransfer-Encoding: chunked\u{b}\n\n0\n\n",
        Refuse(0),
    ),
    // Lines that end in their own way.
    ("GET / HTTP/1.1¶Host: a.test¶¶", Refuse(0)),
    ("GET / HTTP/1.1\nHost: a.test¶\n", Refuse(0)),
    ("GET / HTTP/1.1\nHost: a.test\n¶", Refuse(0)),
    (
        "GET / HTTP/1.1\nHost: a.test\nX: y←Content-Length: 5\n\nabcde",
        Refuse(0),
    ),
    (
        "GET / HTTP/1.1\nHost: a.test\nX: y¶Content-Length: 5\n\nabcde",
        Refuse(0),
    ),
    ("GET / HTTP/1.1\nHost: a.test\nX: y∅z\n\n", Refuse(0)),
    ("GET / HTTP/1.1\nHost: a.test\n←\n\n", Refuse(0)),
    ("GET / HTTP/1.1\nHost: a.test\n: empty\n\n", Refuse(0)),
    ("GET / HTTP/1.1\nHost: a.test\nno colon\n\n", Refuse(0)),
    ("GET / HTTP/1.1\nHost: a.test\nX(y): z\n\n", Refuse(0)),
    // Request lines.
    ("GET  / HTTP/1.1\nHost: a.test\n\n", Refuse(0)),
    ("GET / HTTP/1.1 \nHost: a.test\n\n", Refuse(0)),
    ("GET / HTTP/1.2\nHost: a.test\n\n", Refuse(0)),
    ("GET / http/1.1\nHost: a.test\n\n", Refuse(0)),
    ("GET / HTTP/2.0\nHost: a.test\n\n", Refuse(0)),
    ("GET /\n\n", Refuse(0)),
    ("GET /a b HTTP/1.1\nHost: a.test\n\n", Refuse(0)),
    ("GET /→ HTTP/1.1\nHost: a.test\n\n", Refuse(0)),
    ("GET a.test/ HTTP/1.1\nHost: a.test\n\n", Refuse(0)),
    ("G<T / HTTP/1.1\nHost: a.test\n\n", Refuse(0)),
    (" GET / HTTP/1.1\nHost: a.test\n\n", Refuse(0)),
    ("GET /#x HTTP/1.1\nHost: a.test\n\n", Refuse(0)),
    ("GET * HTTP/1.1\nHost: a.test\n\n", Refuse(0)),
    // Hosts.
    ("GET / HTTP/1.1\n\n", Refuse(0)),
    ("GET / HTTP/1.1\nHost: a.test\nHost: b.test\n\n", Refuse(0)),
    ("GET / HTTP/1.1\nHost: a.test\nHost: a.test\n\n", Refuse(0)),
    ("GET http://b.test/ HTTP/1.1\nHost: a.test\n\n", Refuse(0)),
    ("GET / HTTP/1.1\nHost: a.test, b.test\n\n", Refuse(0)),
    ("GET / HTTP/1.1\nHost: a.test/x\n\n", Refuse(0)),
    ("GET / HTTP/1.1\nHost: x@a.test\n\n", Refuse(0)),
    ("GET / HTTP/1.1\nHost: a%2etest\n\n", Refuse(0)),
    ("GET / HTTP/1.1\nHost:\n\n", Refuse(0)),
    // Paths.
    ("GET /../x HTTP/1.1\nHost: a.test\n\n", Refuse(0)),
    ("GET /a/%2e%2e/x HTTP/1.1\nHost: a.test\n\n", Refuse(0)),
    ("GET /a/..%2fx HTTP/1.1\nHost: a.test\n\n", Refuse(0)),
    ("GET /a/..;/x HTTP/1.1\nHost: a.test\n\n", Refuse(0)),
    ("GET /a\\b HTTP/1.1\nHost: a.test\n\n", Refuse(0)),
    ("GET /a%5cb HTTP/1.1\nHost: a.test\n\n", Refuse(0)),
    ("GET /%00 HTTP/1.1\nHost: a.test\n\n", Refuse(0)),
    ("GET /%0d%0aX:y HTTP/1.1\nHost: a.test\n\n", Refuse(0)),
    ("GET /%zz HTTP/1.1\nHost: a.test\n\n", Refuse(0)),
    // Expectations.
    (
        "POST / HTTP/1.1\nHost: a.test\nExpect: 200-maybe\nContent-Length: 1\n\na",
        Refuse(0),
    ),
    // One good request, then what was smuggled behind it.
    (
        "GET / HTTP/1.1\nHost: a.test\n\nGET /x HTTP/1.1\nHost: a.test\nContent-Length: 1\nContent-Length: 2\n\nab",
        Refuse(1),
    ),
    (
        "POST / HTTP/1.1\nHost: a.test\nContent-Length: 3\n\nabcXGET / HTTP/1.1¶\n\n",
        Refuse(1),
    ),
    // What looks strange and means one thing.
    (
        "POST / HTTP/1.1\nHost: a.test\nContent-Length: 5\n\nabcde",
        Pass(1),
    ),
    (
        "POST / HTTP/1.1\nHost: a.test\nContent-Length:   5→\n\nabcde",
        Pass(1),
    ),
    (
        "POST / HTTP/1.1\nHost: a.test\nContent-Length: 005\n\nabcde",
        Pass(1),
    ),
    (
        "POST / HTTP/1.1\nHost: a.test\nTransfer-Encoding: CHUNKED\n\n5\nabcde\n0\n\n",
        Pass(1),
    ),
    (
        "POST / HTTP/1.1\nHost: a.test\nTransfer-Encoding: chunked\n\n5;a=\"b;c\"\nabcde\n000\nX: y\n\n",
        Pass(1),
    ),
    (
        "GET / HTTP/1.1\nHost: a.test\nConnection: close, content-length, transfer-encoding\nX-A: 1\n\n",
        Pass(1),
    ),
    (
        "POST / HTTP/1.1\nHost: a.test\nConnection: content-length\nContent-Length: 33\n\nGET /smuggled HTTP/1.1\nHost: a\n\n",
        Pass(1),
    ),
    ("\nGET / HTTP/1.1\nHost: a.test\n\n", Pass(1)),
    ("GET http://a.test/x HTTP/1.1\nHost: a.test\n\n", Pass(1)),
    ("GET /a%2Fb//c HTTP/1.1\nHost: A.TEST.\n\n", Pass(1)),
    (
        "GET / HTTP/1.1\nHost: a.test\nUpgrade: h2c\nConnection: Upgrade, HTTP2-Settings\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\n\n",
        Pass(1),
    ),
    (
        "GET / HTTP/1.1\nHost: a.test\nUpgrade: websocket\nConnection: Upgrade\n\nGET /behind HTTP/1.1\nHost: a.test\n\n",
        Pass(2),
    ),
    (
        "GET /1 HTTP/1.1\nHost: a.test\n\nHEAD /2 HTTP/1.1\nHost: a.test\n\nDELETE /3 HTTP/1.1\nHost: a.test\n\n",
        Pass(3),
    ),
];

fn bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for c in text.chars() {
        match c {
            '\n' => out.extend(b"\r\n"),
            '¶' => out.push(b'\n'),
            '←' => out.push(b'\r'),
            '∅' => out.push(0),
            '→' => out.push(b'\t'),
            other => out.extend(other.to_string().bytes()),
        }
    }
    out
}

/// Returns the status of every answer in a stream whose bodies never look like one.
fn statuses(answers: &str) -> Vec<u16> {
    answers
        .match_indices("HTTP/1.1 ")
        .filter_map(|(at, _)| answers[at + 9..].split(' ').next()?.parse().ok())
        .filter(|status| *status >= 200)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_front_counts_what_the_back_counts_and_what_is_ambiguous_is_refused() {
    assert!(TABLE.len() >= 60);
    let house = House::new();
    for (text, then) in TABLE {
        let back = Back::new(OK).await;
        house.set(vec![house.route("a.test", &[back.address])]);
        let mut sent = bytes(text);
        let closes = text.contains("Connection: close");
        if !closes {
            sent.extend(END.bytes());
        }
        let answer = house.raw(&sent).await;
        let statuses = statuses(&answer);
        let passed = statuses.iter().filter(|status| **status == 200).count();
        let at_back = back.heads();
        assert_eq!(
            passed,
            at_back.len(),
            "{text:?}: front {statuses:?}, back {at_back:?}"
        );
        match then {
            Pass(count) => assert_eq!(
                statuses,
                vec![200; *count + usize::from(!closes)],
                "{text:?}: {answer}"
            ),
            Refuse(count) => {
                let mut wanted = vec![200; *count];
                wanted.push(400);
                assert_eq!(statuses, wanted, "{text:?}: {answer}");
            }
        }
        assert!(
            !at_back.iter().any(|head| head.contains("smuggled")),
            "{text:?}: {at_back:?}"
        );
    }
    house.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_of_other_makers_count_what_the_front_counts() {
    let house = House::new();
    for back in [
        OtherBack::nginx(),
        OtherBack::haproxy(),
        OtherBack::python(),
    ] {
        house.set(vec![house.route("a.test", &[back.address])]);
        let mut before = back.requests(0).len();
        for (text, then) in TABLE {
            let mut sent = bytes(text);
            let closes = text.contains("Connection: close");
            if !closes {
                sent.extend(END.bytes());
            }
            let answer = house.raw(&sent).await;
            let (passed, refused) = match then {
                Pass(count) => (*count + usize::from(!closes), 0),
                Refuse(count) => (*count, 1),
            };
            // What they say of a request is theirs; each is answered once.
            let statuses = statuses(&answer);
            assert_eq!(
                statuses.len(),
                passed + refused,
                "{}, {text:?}: {answer}",
                back.name
            );
            if refused == 1 {
                assert_eq!(statuses.last(), Some(&400), "{}, {text:?}", back.name);
            }
            let requests = back.requests(before + passed);
            assert_eq!(
                requests.len(),
                before + passed,
                "{}, {text:?}: {:?}",
                back.name,
                &requests[before..]
            );
            before = requests.len();
        }
        // One that was understood later would be there by now.
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        let requests = back.requests(before);
        assert_eq!(requests.len(), before, "{}", back.name);
        assert!(
            !requests.iter().any(|line| line.contains("smuggled")),
            "{}: {requests:?}",
            back.name
        );
    }
    house.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_whose_chunks_lie_never_arrives_whole() {
    let house = House::new();
    for chunks in [
        "5\nabcdeX\n0\n\n",
        "5x\nabcde\n0\n\n",
        "5¶abcde\n0\n\n",
        "ffffffffffffffff\nabc\n",
        "5\nabcde¶0\n\n",
        "-5\nabcde\n0\n\n",
        "\n\n",
        "5\nabcde\n0\nX y\u{1}\n\n",
    ] {
        let back = Back::new(OK).await;
        house.set(vec![house.route("a.test", &[back.address])]);
        let mut sent = bytes("POST / HTTP/1.1\nHost: a.test\nTransfer-Encoding: chunked\n\n");
        sent.extend(bytes(chunks));
        sent.extend(END.bytes());
        let answer = house.raw(&sent).await;
        assert!(!statuses(&answer).contains(&200), "{chunks:?}: {answer}");
        assert_eq!(back.heads(), Vec::<String>::new(), "{chunks:?}");
    }
    house.end().await;
}
