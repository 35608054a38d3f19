//! What a route does on the way: one rule after the other, as the project file says them.

use crate::house::{Back, House, OK, stand};
use daas_ingress::{Mood, Route, Rules, StandRoutes, Standing};
use daas_model::{ForwardAuth, Rate, Redirect, RouteSpec, ServiceName, Span, Subnet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

fn spec() -> RouteSpec {
    RouteSpec::new(ServiceName::parse("web").unwrap())
}

fn ruled(house: &House, back: &Back, spec: &RouteSpec) -> Route {
    let mut route = house.route("a.test", &[back.address]);
    route.path = spec.path.clone();
    route.rules = Arc::new(Rules::of(spec));
    route
}

async fn ask(house: &House, target: &str, more: &str) -> String {
    house
        .raw(
            format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n{more}Connection: close\r\n\r\n")
                .as_bytes(),
        )
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn prefixes_and_headers_are_changed_on_the_way() {
    let (house, back) = (House::new(), Back::new(OK).await);
    let mut spec = spec();
    spec.path = "/api".into();
    spec.strip_prefix = true;
    spec.add_prefix = Some("/v2".into());
    spec.request_headers = [
        ("x-from".into(), "outside".into()),
        ("x-secret".into(), String::new()),
    ]
    .into();
    spec.response_headers = [
        ("x-back".into(), String::new()),
        ("x-frame-options".into(), "DENY".into()),
    ]
    .into();
    house.set(vec![ruled(&house, &back, &spec)]);
    let answer = ask(&house, "/api/x?y=%20", "X-Secret: 1\r\n").await;
    assert!(
        answer.contains("x-frame-options: DENY") && !answer.contains("x-back"),
        "{answer}"
    );
    assert!(ask(&house, "/api", "").await.starts_with("HTTP/1.1 200"));
    assert!(ask(&house, "/other", "").await.starts_with("HTTP/1.1 404"));
    let heads = back.heads();
    assert!(
        heads[0].starts_with("GET /v2/x?y=%20 HTTP/1.1\r\n")
            && heads[0].contains("x-from: outside")
            && !heads[0].contains("secret"),
        "{}",
        heads[0]
    );
    assert!(heads[0].contains("x-forwarded-prefix: /api\r\n"));
    assert!(
        heads[1].starts_with("GET /v2/ HTTP/1.1\r\n"),
        "{}",
        heads[1]
    );
    house.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_keep_what_lies_behind_the_prefix() {
    let (house, back) = (House::new(), Back::new(OK).await);
    let mut spec = spec();
    spec.path = "/old".into();
    spec.redirect = Some(Redirect {
        to: "https://new.test/base/$path".into(),
        status: 308,
    });
    house.set(vec![ruled(&house, &back, &spec)]);
    let answer = ask(&house, "/old/a/b?c=d", "").await;
    assert!(
        answer.starts_with("HTTP/1.1 308")
            && answer.contains("location: https://new.test/base/a/b?c=d\r\n"),
        "{answer}"
    );
    assert!(back.heads().is_empty());
    house.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_do_not_pass_passwords_links_addresses_and_rates() {
    let (house, back) = (House::new(), Back::new(OK).await);
    let mut with_password = spec();
    with_password.basic_auth = [("Aladdin".into(), "open sesame".into())].into();
    house.set(vec![ruled(&house, &back, &with_password)]);
    let answer = ask(&house, "/", "").await;
    assert!(
        answer.starts_with("HTTP/1.1 401") && answer.contains("www-authenticate: Basic"),
        "{answer}"
    );
    assert!(
        ask(&house, "/", "Authorization: Basic QWxhZGRpbjp4\r\n")
            .await
            .starts_with("HTTP/1.1 401")
    );
    assert!(back.heads().is_empty());
    assert!(
        ask(
            &house,
            "/",
            "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n"
        )
        .await
        .starts_with("HTTP/1.1 200")
    );
    assert!(
        !back.heads()[0].to_lowercase().contains("authorization"),
        "the password stays at the door"
    );

    let mut by_link = spec();
    by_link.link_secret = Some("0123456789abcdef".into());
    house.set(vec![ruled(&house, &back, &by_link)]);
    assert!(ask(&house, "/", "").await.starts_with("HTTP/1.1 403"));
    assert!(
        ask(&house, "/?daas_key=0123456789abcdee", "")
            .await
            .starts_with("HTTP/1.1 403")
    );
    let opened = ask(&house, "/page?a=b&daas_key=0123456789abcdef", "").await;
    assert!(
        opened.starts_with("HTTP/1.1 303") && opened.contains("location: /page?a=b\r\n"),
        "{opened}"
    );
    let cookie = opened
        .split("set-cookie: ")
        .nth(1)
        .unwrap()
        .split(';')
        .next()
        .unwrap();
    assert!(
        !cookie.contains("0123456789abcdef"),
        "the cookie is not the secret"
    );
    assert!(
        ask(&house, "/page", &format!("Cookie: x=y; {cookie}\r\n"))
            .await
            .starts_with("HTTP/1.1 200")
    );
    let head = back.heads().pop().unwrap().to_lowercase();
    assert!(head.contains("cookie: x=y\r\n"), "{head}");

    let mut from_afar = spec();
    from_afar.allow = vec![Subnet::parse("10.0.0.0/8").unwrap()];
    house.set(vec![ruled(&house, &back, &from_afar)]);
    assert!(
        ask(&house, "/", "X-Forwarded-For: 10.0.0.1\r\n")
            .await
            .starts_with("HTTP/1.1 403")
    );

    let mut slowly = spec();
    slowly.rate = Some(Rate {
        requests: 2,
        per: Span::secs(1000),
    });
    house.set(vec![ruled(&house, &back, &slowly)]);
    assert!(ask(&house, "/", "").await.starts_with("HTTP/1.1 200"));
    // A change of the table does not give the allowance back.
    house.set(vec![ruled(&house, &back, &slowly)]);
    assert!(ask(&house, "/", "").await.starts_with("HTTP/1.1 200"));
    let answer = ask(&house, "/", "").await;
    assert!(
        answer.starts_with("HTTP/1.1 429") && answer.contains("retry-after: "),
        "{answer}"
    );
    house.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_judge_is_asked_and_his_headers_go_on() {
    let (house, back) = (House::new(), Back::new(OK).await);
    let yes = Back::new("HTTP/1.1 204 No Content\r\nX-User: ann\r\n\r\n").await;
    let no =
        Back::new("HTTP/1.1 302 Found\r\nLocation: /sign-in\r\nContent-Length: 0\r\n\r\n").await;
    let mut spec = spec();
    spec.forward_auth = Some(ForwardAuth {
        service: ServiceName::parse("auth").unwrap(),
        port: 1,
        path: "/check".into(),
        copy_headers: vec!["x-user".into(), "authorization".into()],
    });
    let mut route = ruled(&house, &back, &spec);
    route.judges = vec![house.upstream(yes.address)];
    house.set(vec![route.clone()]);
    assert!(
        ask(
            &house,
            "/p?q=r",
            "X-User: root\r\nAuthorization: Basic YTpi\r\nCookie: s=1\r\n"
        )
        .await
        .starts_with("HTTP/1.1 200")
    );
    let asked = &yes.heads()[0];
    assert!(
        asked.starts_with("GET /check HTTP/1.1\r\n")
            && asked.contains("x-forwarded-uri: /p?q=r\r\n")
            && asked.to_lowercase().contains("cookie: s=1\r\n")
            && asked.contains("authorization: Basic YTpi\r\n"),
        "{asked}"
    );
    let head = &back.heads()[0];
    assert!(
        head.contains("x-user: ann\r\n")
            && !head.contains("root")
            && !head.contains("authorization"),
        "{head}"
    );
    route.judges = vec![house.upstream(no.address)];
    house.set(vec![route.clone()]);
    let answer = ask(&house, "/", "").await;
    assert!(
        answer.starts_with("HTTP/1.1 302") && answer.contains("location: /sign-in"),
        "{answer}"
    );
    // A route that never had a judge: the next one of this one would be waited for.
    route.judges.clear();
    house.ingress.set(&stand(), None);
    house.set(vec![route]);
    assert!(
        ask(&house, "/", "").await.starts_with("HTTP/1.1 503"),
        "no judge, no way"
    );
    assert_eq!(back.heads().len(), 1);
    house.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_refused_whether_it_says_so_or_not() {
    let (house, back) = (House::new(), Back::new(OK).await);
    let mut spec = spec();
    spec.body_limit = Some(daas_model::ByteSize(4));
    house.set(vec![ruled(&house, &back, &spec)]);
    let said = house
        .raw(b"POST / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nContent-Length: 5\r\n\r\nabcde")
        .await;
    assert!(said.starts_with("HTTP/1.1 413"), "{said}");
    let unsaid = house.raw(b"POST / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n").await;
    assert!(unsaid.starts_with("HTTP/1.1 413"), "{unsaid}");
    // Who sends all before he reads hears it, too.
    let head = "POST / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n";
    let much = 16 << 20;
    let said = format!("{head}Content-Length: {much}\r\n\r\n{}", "a".repeat(much));
    let unsaid = format!(
        "{head}Transfer-Encoding: chunked\r\n\r\n{much:x}\r\n{}\r\n0\r\n\r\n",
        "a".repeat(much)
    );
    for upload in [said, unsaid] {
        let answer = house.raw(upload.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    }
    assert!(back.heads().is_empty());
    let fits = house.raw(b"POST / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nContent-Length: 4\r\n\r\nabcd").await;
    assert!(fits.starts_with("HTTP/1.1 200"), "{fits}");
    house.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn visitors_stay_with_their_replica_and_others_are_spread() {
    let house = House::new();
    let (one, two) = (Back::new(OK).await, Back::new(OK).await);
    let mut spec = spec();
    spec.sticky = true;
    let mut route = ruled(&house, &one, &spec);
    let mut second = house.upstream(two.address);
    second.node = "web-2".into();
    route.upstreams.push(second);
    house.set(vec![route]);
    let first = ask(&house, "/", "").await;
    let cookie = first
        .split("set-cookie: ")
        .nth(1)
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    for _ in 0..6 {
        let answer = ask(&house, "/", &format!("Cookie: {cookie}\r\n")).await;
        assert!(!answer.contains("set-cookie"), "{answer}");
    }
    let counts = [one.heads().len(), two.heads().len()];
    assert!(counts == [7, 0] || counts == [0, 7], "{counts:?}");
    for _ in 0..6 {
        ask(&house, "/", "").await;
    }
    assert!(one.heads().len() >= 3 && two.heads().len() >= 3);
    house.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_are_made_smaller_for_those_who_take_it() {
    let house = House::new();
    let text: &'static str = Box::leak(format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nETag: \"x\"\r\nContent-Length: 20000\r\n\r\n{}", "daas ".repeat(4000)).into_boxed_str());
    let back = Back::new(text).await;
    let mut spec = spec();
    spec.compress = true;
    house.set(vec![ruled(&house, &back, &spec)]);
    let plain = ask(&house, "/", "").await;
    assert!(plain.len() > 20000 && !plain.contains("content-encoding"));
    // A cache on the way must not give one visitor what was for another.
    assert!(plain.contains("vary: accept-encoding\r\n"), "{plain:.300}");
    let port = house.address.port();
    let output = tokio::task::spawn_blocking(move || {
        let mut curl = std::process::Command::new("curl");
        curl.args([
            "--silent",
            "--show-error",
            "--noproxy",
            "*",
            "--compressed",
            "--write-out",
            "%{size_download} %header{etag}",
            "--resolve",
            &format!("a.test:{port}:127.0.0.1"),
        ]);
        curl.arg(format!("http://a.test:{port}/")).output().unwrap()
    });
    let text = String::from_utf8(output.await.unwrap().stdout).unwrap();
    let (body, rest) = text.split_at(20000);
    assert_eq!(body, "daas ".repeat(4000));
    let (size, tag) = rest.split_once(' ').unwrap();
    assert!(size.parse::<u32>().unwrap() < 1000, "{size}");
    assert_eq!(tag, "W/\"x\"");
    house.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_to_a_sleeping_stand_waits_until_it_is_awake() {
    let called = Arc::new(AtomicUsize::new(0));
    let count = called.clone();
    let house = House::with(daas_ingress::Settings {
        workers: 2,
        visited: Some(Arc::new(move |_: &daas_model::StandName| {
            count.fetch_add(1, Ordering::SeqCst);
        })),
        ..daas_ingress::Settings::default()
    });
    let back = Back::new(OK).await;
    let standing = Standing {
        mood: Mood::Asleep,
        waits: Vec::new(),
    };
    let mut shut = spec();
    shut.basic_auth = [("ann".into(), "secret".into())].into();
    let mut guarded = house.route("b.test", &[]);
    guarded.rules = Arc::new(Rules::of(&shut));
    let routes = vec![house.route("a.test", &[]), guarded];
    house.ingress.set(
        &stand(),
        Some(StandRoutes {
            routes,
            standing,
            sleeps: true,
            ..StandRoutes::default()
        }),
    );
    // Whom a guard refuses wakes nobody, and counts for no visit.
    let refused = house
        .raw(b"GET / HTTP/1.1\r\nHost: b.test\r\nConnection: close\r\n\r\n")
        .await;
    assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
    assert_eq!(called.load(Ordering::SeqCst), 0);
    assert!(house.ingress.last_visit(&stand()).is_none());
    let asked = ask(&house, "/", "");
    let wake = async {
        while called.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let routes = vec![house.route("a.test", &[back.address])];
        house.ingress.set(
            &stand(),
            Some(StandRoutes {
                routes,
                sleeps: true,
                ..StandRoutes::default()
            }),
        );
    };
    let (answer, ()) = tokio::join!(asked, wake);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    house.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_only_node_is_replaced_waits_for_the_next_with_its_body() {
    let house = House::new();
    let (first, second) = (Back::new(OK).await, Back::new(OK).await);
    let post =
        b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nConnection: close\r\n\r\nwords";
    let with = |mood: Mood, upstreams: &[std::net::SocketAddr]| {
        let routes = vec![house.route("a.test", upstreams)];
        let standing = Standing {
            mood,
            waits: Vec::new(),
        };
        let told = StandRoutes {
            routes,
            standing,
            sleeps: false,
            ..StandRoutes::default()
        };
        house.ingress.set(&stand(), Some(told));
    };
    // Nobody has answered here yet: who comes is told at once what is missing.
    with(Mood::Starting, &[]);
    assert!(house.raw(post).await.starts_with("HTTP/1.1 503"));
    with(Mood::Up, &[first.address]);
    assert!(house.raw(post).await.starts_with("HTTP/1.1 200"));
    // The node goes, the stand is told of twice meanwhile, and another node comes.
    with(Mood::Starting, &[]);
    let mut waiting = Box::pin(house.raw(post));
    for mood in [Mood::Starting, Mood::Up] {
        with(mood, &[]);
        let soon = tokio::time::timeout(Duration::from_millis(50), &mut waiting).await;
        assert!(soon.is_err(), "{soon:?}");
    }
    with(Mood::Up, &[second.address]);
    assert!(waiting.await.starts_with("HTTP/1.1 200"));
    assert_eq!((first.heads().len(), second.heads().len()), (1, 1));
    // A person stopped it: nobody waits for that.
    with(Mood::Stopped, &[]);
    assert!(house.raw(post).await.starts_with("HTTP/1.1 503"));
    // Nor if he stopped this one node of a stand that goes on.
    with(Mood::Up, &[second.address]);
    let mut stopped = house.route("a.test", &[]);
    stopped.stopped = true;
    house.set(vec![stopped]);
    let answer = house.raw(post).await;
    assert!(
        answer.starts_with("HTTP/1.1 503")
            && answer.contains("503: web of shop-7 is stopped")
            && !answer.contains("retry-after"),
        "{answer}"
    );
    // And a stand that goes away leaves nobody waiting.
    with(Mood::Up, &[second.address]);
    with(Mood::Up, &[]);
    let mut late = Box::pin(house.raw(post));
    let soon = tokio::time::timeout(Duration::from_millis(50), &mut late).await;
    assert!(soon.is_err(), "{soon:?}");
    house.ingress.set(&stand(), None);
    assert!(late.await.starts_with("HTTP/1.1 404"));
    house.end().await;
}
