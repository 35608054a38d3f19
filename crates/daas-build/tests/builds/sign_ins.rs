//! Files and repositories over TLS and behind a login.

use crate::authority::Authority;
use crate::ground::{Answer, Builder, Place};
use crate::repository::Repository;
use crate::web::{Question, Reply, Web};
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

const REACHABLE: [&str; 2] = ["127.0.0.2/32", "127.0.0.3/32"];
/// What must be seen nowhere.
const TOKEN: &str = "tok-correct-horse-battery";

/// A builder that trusts an authority besides the machine's own.
fn trusting(place: &Place, authority: &Authority) -> Builder {
    let file = place.dir.path().join("root.pem");
    fs::write(&file, authority.pem()).unwrap();
    let certificates = format!("certificates={}", file.display());
    let program = Command::new(env!("CARGO_BIN_EXE_daas-build-alone"));
    place.builder_by(program, &[REACHABLE[0], REACHABLE[1], &certificates])
}

fn add(builder: &mut Builder, place: &Place, line: &str, secrets: Value) -> Answer {
    let more = json!({"egress": "proxy", "secrets": secrets});
    builder.build(place, &format!("FROM scratch\n{line}\n"), more)
}

fn authorization(question: &Question) -> &str {
    question
        .headers
        .get("authorization")
        .map_or("", String::as_str)
}

/// Asserts that neither what was told of a build nor anything that is kept of it has the secret.
fn assert_secret(place: &Place, answers: &[&Answer], secret: &str) {
    for answer in answers {
        let told = format!("{} {:?}", answer.value, answer.events);
        assert!(!told.contains(secret), "{told}");
    }
    // The word comes by standard input: as an argument, other tests would see it.
    let mut grep = Command::new("grep")
        .args([
            "--recursive",
            "--files-with-matches",
            "--fixed-strings",
            "--file=-",
        ])
        .arg(place.state())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    grep.stdin
        .take()
        .unwrap()
        .write_all(secret.as_bytes())
        .unwrap();
    let found = grep.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
}

/// Tells whether any process of the machine has this word among its arguments.
fn is_argument(word: &str) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|of| fs::read(of.path().join("cmdline")).ok());
    let mut lines = lines.map(|line| String::from_utf8_lossy(&line).into_owned());
    lines.any(|line| line.contains(word))
}

#[test]
fn root_files_over_tls_are_taken_from_whom_a_trusted_authority_vouches_for() {
    let place = Place::new();
    let (ours, other) = (Authority::new(), Authority::new());
    let good = Web::serve_tls(ours.vouches_for("127.0.0.2"), |_| {
        Reply::file("over tls", &[])
    });
    let stranger = Web::serve_tls(other.vouches_for("127.0.0.2"), |_| Reply::file("no", &[]));
    let misnamed = Web::serve_tls(ours.vouches_for("elsewhere.test"), |_| {
        Reply::file("no", &[])
    });
    let expired = Web::serve_tls(ours.vouched_for("127.0.0.2"), |_| Reply::file("no", &[]));
    let (to_tls, plain) = (good.url("/x"), Web::serve(|_| Reply::file("no", &[])));
    let upwards = Web::serve(move |_| Reply::to(&to_tls));
    let to_plain = plain.url("/x");
    let downwards = Web::serve_tls(ours.vouches_for("127.0.0.2"), move |_| Reply::to(&to_plain));
    let mut builder = trusting(&place, &ours);
    for url in [good.url("/x"), upwards.url("/x")] {
        let answer = add(&mut builder, &place, &format!("ADD {url} /x"), json!({}));
        assert_eq!(fs::read(answer.top().join("x")).unwrap(), b"over tls");
    }
    for (url, code, word) in [
        (stranger.url("/x"), "web-unreachable", "UnknownIssuer"),
        (misnamed.url("/x"), "web-unreachable", "not valid for name"),
        (expired.url("/x"), "web-unreachable", "expired"),
        (downwards.url("/x"), "web-redirect", "gives TLS up"),
    ] {
        let answer = add(&mut builder, &place, &format!("ADD {url} /x"), json!({}));
        let (got, why) = answer.failed();
        assert_eq!(
            answer.hint().contains("certificate"),
            code == "web-unreachable",
            "{}",
            answer.value
        );
        assert!(got == code && why.contains(word), "{url}: {}", answer.value);
    }
    assert_eq!(plain.asked().len(), 0, "who gave TLS up was asked");
    builder.end();
    // Without the configuration nobody vouches for it.
    let mut builder = place.builder_that_reaches(&REACHABLE);
    let line = format!("ADD {} /x", good.url("/x?other"));
    let answer = add(&mut builder, &place, &line, json!({}));
    assert!(
        answer.failed().1.contains("UnknownIssuer"),
        "{}",
        answer.value
    );
    builder.end();
    place.assert_clean();
}

#[test]
fn root_a_file_is_fetched_by_the_token_of_its_host_which_no_other_host_sees() {
    let place = Place::new();
    let other = Web::serve_at("127.0.0.3", |_| Reply::file("from afar", &[]));
    let away = other.url("/afar");
    let web =
        Web::serve(
            move |question| match (authorization(question), question.target.as_str()) {
                (word, "/away") if word == format!("Bearer {TOKEN}") => Reply::to(&away),
                (word, _) if word == format!("Bearer {TOKEN}") => Reply::file("inner", &[]),
                ("Basic eDp5", _) => Reply::file("by header", &[]),
                _ => Reply::status(401),
            },
        );
    let mut builder = place.builder_that_reaches(&REACHABLE);
    let line = format!("ADD {} /x", web.url("/x"));
    let refused = add(&mut builder, &place, &line, json!({}));
    assert_eq!(refused.failed().0, "web-status");
    assert!(
        refused.hint().contains("HTTP_AUTH_TOKEN_"),
        "{}",
        refused.value
    );
    // The end of the line in the file is none of the token.
    let token = json!({"HTTP_AUTH_TOKEN_127.0.0.2": format!("{TOKEN}\n")});
    let answer = add(&mut builder, &place, &line, token.clone());
    assert_eq!(fs::read(answer.top().join("x")).unwrap(), b"inner");
    let redirected = add(
        &mut builder,
        &place,
        &format!("ADD {} /x", web.url("/away")),
        token,
    );
    assert_eq!(fs::read(redirected.top().join("x")).unwrap(), b"from afar");
    let told: Vec<_> = other
        .asked()
        .iter()
        .map(|q| authorization(q).to_owned())
        .collect();
    assert_eq!(told, [""]);
    let header = json!({"HTTP_AUTH_HEADER_127.0.0.2": "Basic eDp5"});
    let by_header = add(
        &mut builder,
        &place,
        &format!("ADD {} /x", web.url("/y")),
        header,
    );
    assert_eq!(fs::read(by_header.top().join("x")).unwrap(), b"by header");
    // The secret of another host is not sent, and one that is no header is refused before anybody is asked.
    let wrong = json!({"HTTP_AUTH_TOKEN_127.0.0.3": TOKEN});
    let unsent = add(
        &mut builder,
        &place,
        &format!("ADD {} /x", web.url("/z")),
        wrong,
    );
    assert_eq!(unsent.failed().0, "web-status");
    web.asked();
    let bad = json!({"HTTP_AUTH_TOKEN_127.0.0.2": format!("{TOKEN}\r\nX: y")});
    let bad = add(&mut builder, &place, &line, bad);
    assert_eq!((bad.failed().0, web.asked().len()), ("fetch-secret", 0));
    builder.end();
    assert_secret(&place, &[&refused, &answer, &redirected, &bad], TOKEN);
    place.assert_clean();
}

#[test]
fn root_a_private_repository_over_tls_is_cloned_with_its_submodules_by_a_token_that_nobody_sees() {
    // base64 of `x-access-token:` and the token, which GitHub and GitLab take
    const BASIC: &str = "basic eC1hY2Nlc3MtdG9rZW46dG9rLWNvcnJlY3QtaG9yc2UtYmF0dGVyeQ==";
    let place = Place::new();
    let authority = Authority::new();
    let (inner, outer) = (Repository::new(), Repository::new());
    let inside = inner.answering();
    let outside: Arc<OnceLock<Box<Answering>>> = Arc::default();
    let seen = Arc::new(AtomicUsize::new(0));
    let (asked, found) = (outside.clone(), seen.clone());
    let web = Web::serve_tls(authority.vouches_for("127.0.0.2"), move |question| {
        let encoded = BASIC.trim_start_matches("basic ");
        if is_argument(TOKEN) || is_argument(encoded) {
            found.fetch_add(1, Ordering::SeqCst);
        }
        if authorization(question) != BASIC {
            let mut reply = Reply::status(401);
            reply
                .headers
                .push(("WWW-Authenticate".into(), "Basic realm=\"git\"".into()));
            return reply;
        }
        match question.target.strip_prefix("/inner") {
            Some(target) => inside(&Question {
                target: target.to_owned(),
                ..question.clone()
            }),
            None => match asked.get() {
                Some(answer) => answer(question),
                None => Reply::status(500),
            },
        }
    });
    outer.add_module(&inner, &web.url("/inner/app.git"));
    let _ = outside.set(Box::new(outer.answering()));
    let mut builder = trusting(&place, &authority);
    let line = format!("ADD {} /s", web.url("/app.git"));
    let refused = add(&mut builder, &place, &line, json!({}));
    assert_eq!(refused.failed().0, "fetch-git");
    assert!(
        refused.hint().contains("GIT_AUTH_TOKEN."),
        "{}",
        refused.value
    );
    // Who names the host means the submodules there, too.
    let id = format!("GIT_AUTH_TOKEN.{}", web.address());
    let answer = add(&mut builder, &place, &line, json!({id: TOKEN}));
    let read = |name: &str| fs::read_to_string(answer.top().join("s").join(name)).unwrap();
    assert_eq!(
        (read("docs/page"), read("module/docs/page")),
        ("second".into(), "second".into())
    );
    // Who names none means the repository alone; what was built before is not asked for again.
    let general = json!({"GIT_AUTH_TOKEN": TOKEN});
    let anew = json!({"egress": "proxy", "secrets": general, "no_cache": true});
    let modules = builder.build(&place, &format!("FROM scratch\n{line}\n"), anew);
    assert_eq!(modules.failed().0, "fetch-git", "{}", modules.value);
    let alone = format!(
        "ADD --keep-git-dir=true {} /t",
        web.url("/inner/app.git#topic")
    );
    let answer = add(&mut builder, &place, &alone, general);
    assert_eq!(
        fs::read_to_string(answer.top().join("t/topic")).unwrap(),
        "here"
    );
    assert!(answer.top().join("t/.git/HEAD").exists());
    builder.end();
    assert_eq!(seen.load(Ordering::SeqCst), 0, "the token was an argument");
    assert_secret(&place, &[&refused, &answer], TOKEN);
    assert_secret(&place, &[&refused, &answer], BASIC);
    place.assert_clean();
}

type Answering = dyn Fn(&Question) -> Reply + Send + Sync;

#[test]
fn root_git_takes_a_token_neither_to_another_host_nor_without_tls() {
    let place = Place::new();
    let authority = Authority::new();
    let repository = Repository::new();
    let other = Web::serve_at("127.0.0.3", repository.answering());
    let away = other.url("");
    let plain = Web::serve(repository.answering());
    let web = Web::serve_tls(authority.vouches_for("127.0.0.2"), move |question| {
        Reply::to(&format!("{away}{}", question.target))
    });
    let mut builder = trusting(&place, &authority);
    let id = format!("GIT_AUTH_TOKEN.{}", web.address());
    let line = format!("ADD {} /s", web.url("/app.git"));
    let answer = add(&mut builder, &place, &line, json!({id: TOKEN}));
    assert_eq!(answer.failed().0, "fetch-git");
    assert_eq!(other.asked().len(), 0, "it was redirected");
    let line = format!("ADD {} /s", plain.url("/app.git"));
    let general = json!({"GIT_AUTH_TOKEN": TOKEN});
    add(&mut builder, &place, &line, general).digest();
    let told: Vec<_> = plain
        .asked()
        .iter()
        .map(|q| authorization(q).to_owned())
        .collect();
    assert!(
        !told.is_empty() && told.iter().all(String::is_empty),
        "{told:?}"
    );
    builder.end();
    assert_secret(&place, &[&answer], TOKEN);
    place.assert_clean();
}
