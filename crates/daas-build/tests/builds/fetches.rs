//! `ADD` of files of the web and of git repositories.

use crate::ground::{Answer, Builder, Place};
use crate::repository::Repository;
use crate::web::{Question, Reply, Web};
use daas_image::Digest;
use serde_json::json;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const REACHABLE: &[&str] = &["127.0.0.2/32"];

fn add(builder: &mut Builder, place: &Place, line: &str) -> Answer {
    let more = json!({"egress": "proxy", "quiet": false});
    builder.build(place, &format!("FROM scratch\n{line}\n"), more)
}

#[test]
fn root_a_file_of_the_web_has_mode_0600_the_time_of_its_server_and_the_name_of_its_address() {
    let place = Place::new();
    let mut builder = place.builder_that_reaches(REACHABLE);
    let web = Web::serve(|question| match question.target.as_str() {
        "/a%20b.txt?x=1" => Reply::file(
            "hello",
            &[("Last-Modified", "Tue, 14 Nov 2023 22:13:20 GMT")],
        ),
        "/?named" => Reply::file(
            "named",
            &[("Content-Disposition", "attachment; filename=\"given.bin\"")],
        ),
        "/?nameless" => Reply::file("nameless", &[]),
        "/way" => Reply::to("/there/file.tar"),
        _ => Reply::file("plain", &[]),
    });
    let answer = add(
        &mut builder,
        &place,
        &format!(
            "ADD {} {} /d/",
            web.url("/a%20b.txt?x=1"),
            web.url("/?named")
        ),
    );
    let file = answer.top().join("d/a b.txt");
    let meta = fs::metadata(&file).unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"hello");
    assert_eq!(
        (meta.mode() & 0o7777, meta.uid(), meta.mtime()),
        (0o600, 0, 1_700_000_000)
    );
    let named = fs::metadata(answer.top().join("d/given.bin")).unwrap();
    assert_eq!((named.mode() & 0o7777, named.mtime()), (0o600, 0));
    // A redirect changes nothing of the name, and `--chmod` and `--chown` mean what they mean everywhere.
    let answer = add(
        &mut builder,
        &place,
        &format!("ADD --chmod=640 --chown=7:8 {} /d/", web.url("/way")),
    );
    let meta = fs::metadata(answer.top().join("d/way")).unwrap();
    assert_eq!(
        (meta.mode() & 0o7777, meta.uid(), meta.gid()),
        (0o640, 7, 8)
    );
    let answer = add(
        &mut builder,
        &place,
        &format!("ADD {} /d/x", web.url("/?nameless")),
    );
    assert_eq!(fs::read(answer.top().join("d/x")).unwrap(), b"nameless");
    let answer = add(
        &mut builder,
        &place,
        &format!("ADD {} /d/", web.url("/?nameless")),
    );
    assert_eq!(answer.failed().0, "fetch-nameless", "{}", answer.value);
    builder.end();
    place.assert_clean();
}

#[test]
fn root_a_file_is_asked_for_by_its_tag_and_with_a_checksum_not_at_all() {
    let place = Place::new();
    let mut builder = place.builder_that_reaches(REACHABLE);
    let version = Arc::new(AtomicUsize::new(1));
    let now = version.clone();
    let web = Web::serve(move |question| {
        let tag = format!("\"v{}\"", now.load(Ordering::SeqCst));
        match question.headers.get("if-none-match") {
            Some(told) if *told == tag => Reply::status(304),
            _ => Reply::file(format!("content {tag}"), &[("ETag", &tag)]),
        }
    });
    let tags = |asked: Vec<Question>| -> Vec<Option<String>> {
        asked
            .into_iter()
            .map(|mut q| q.headers.remove("if-none-match"))
            .collect()
    };
    let line = format!("ADD {} /x", web.url("/x"));
    let first = add(&mut builder, &place, &line);
    assert_eq!(tags(web.asked()), [None]);
    let again = add(&mut builder, &place, &line);
    assert_eq!(tags(web.asked()), [Some("\"v1\"".to_owned())]);
    assert_eq!(again.digest(), first.digest());
    assert_eq!(again.cached(), [true, true]);
    version.store(2, Ordering::SeqCst);
    let other = add(&mut builder, &place, &line);
    assert_ne!(other.digest(), first.digest());
    assert_eq!(fs::read(other.top().join("x")).unwrap(), b"content \"v2\"");
    web.asked();
    let known = Digest::of(b"content \"v2\"");
    let line = format!("ADD --checksum={known} {} /x", web.url("/x"));
    add(&mut builder, &place, &line).digest();
    assert_eq!(tags(web.asked()), []);
    // Another content than was promised is in no layer.
    version.store(3, Ordering::SeqCst);
    let wrong = Digest::of(b"something else");
    let answer = add(
        &mut builder,
        &place,
        &format!("ADD --checksum={wrong} {} /x", web.url("/x")),
    );
    let (code, why) = answer.failed();
    assert_eq!(code, "fetch-checksum");
    assert!(
        why.contains(wrong.as_str()) && why.contains("line 2"),
        "{why}"
    );
    builder.end();
    place.assert_clean();
}

#[test]
fn root_what_a_build_may_not_reach_is_not_fetched_whoever_leads_there() {
    let place = Place::new();
    let mut builder = place.builder_that_reaches(REACHABLE);
    let inner = std::net::TcpListener::bind("127.0.0.3:0").unwrap();
    let inward = format!("http://{}/secret", inner.local_addr().unwrap());
    let target = inward.clone();
    let web = Web::serve(move |question| match question.target.as_str() {
        "/inward" => Reply::to(&target),
        "/metadata" => Reply::to("http://169.254.169.254/latest/meta-data/"),
        "/file" => Reply::to("file:///etc/passwd"),
        "/circle" => Reply::to("/circle"),
        "/gone" => Reply::status(404),
        _ => Reply {
            told: Some(100),
            ..Reply::file("short", &[])
        },
    });
    for (url, code, words) in [
        (inward, "web-unreachable", "loopback"),
        (
            "http://169.254.169.254/x".to_owned(),
            "web-unreachable",
            "metadata",
        ),
        (
            "http://localhost:9/x".to_owned(),
            "web-unreachable",
            "loopback",
        ),
        ("http://10.1.2.3/x".to_owned(), "web-unreachable", "private"),
        (web.url("/inward"), "web-unreachable", "loopback"),
        (web.url("/metadata"), "web-unreachable", "metadata"),
        (web.url("/file"), "web-redirect", "no address"),
        (web.url("/circle"), "web-redirect", "more than 10 times"),
        (web.url("/gone"), "web-status", "404"),
        (web.url("/short"), "web-unreachable", "end"),
        (
            "https://user:word@example.test/x".to_owned(),
            "fetch-address",
            "password",
        ),
    ] {
        let answer = add(&mut builder, &place, &format!("ADD {url} /x"));
        let (got, why) = answer.failed();
        assert_eq!(got, code, "{url}: {why}");
        assert!(why.contains(words), "{url}: {why}");
    }
    assert_eq!(
        web.asked().iter().filter(|q| q.target == "/circle").count(),
        11
    );
    inner.set_nonblocking(true).unwrap();
    assert!(inner.accept().is_err(), "somebody was led inward");
    let answer = builder.build(
        &place,
        &format!("FROM scratch\nADD {} /x\n", web.url("/x")),
        json!({}),
    );
    assert_eq!(answer.failed().0, "fetch-no-way-out");
    builder.end();
    place.assert_clean();
}

#[test]
fn root_a_file_that_is_too_large_ends_the_build_and_fills_nothing() {
    let place = Place::new();
    let mut builder = place.builder_that_reaches(REACHABLE);
    let web = Web::serve(|question| {
        let whole = vec![0; 3 << 20];
        match question.target.as_str() {
            "/told" => Reply {
                told: Some(1 << 40),
                ..Reply::file("", &[])
            },
            _ => Reply::file(whole, &[]),
        }
    });
    for path in ["/told", "/comes"] {
        let dockerfile = format!("FROM scratch\nADD {} /x\n", web.url(path));
        let more = json!({"egress": "proxy", "limits": {"disk": 2 << 20}});
        let answer = builder.build(&place, &dockerfile, more);
        assert_eq!(answer.failed().0, "fetch-too-large", "{}", answer.value);
    }
    builder.end();
    place.assert_clean();
}

#[test]
fn root_archives_of_the_web_stay_archives_unless_they_are_to_be_unpacked_and_sources_may_be_mixed()
{
    let place = Place::new();
    place.write("local", "from here");
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(6);
    header.set_mode(0o751);
    archive
        .append_data(&mut header, "inside", &b"inside"[..])
        .unwrap();
    let archive = archive.into_inner().unwrap();
    let bytes = archive.clone();
    let web = Web::serve(move |_| Reply::file(bytes.clone(), &[]));
    let mut builder = place.builder_that_reaches(REACHABLE);
    let url = web.url("/a.tar");
    let answer = add(&mut builder, &place, &format!("ADD local {url} local /d/"));
    assert_eq!(fs::read(answer.top().join("d/a.tar")).unwrap(), archive);
    assert_eq!(
        fs::read(answer.top().join("d/local")).unwrap(),
        b"from here"
    );
    let answer = add(
        &mut builder,
        &place,
        &format!("ADD --unpack=true {url} /d/"),
    );
    let file = answer.top().join("d/inside");
    assert_eq!(fs::read(&file).unwrap(), b"inside");
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o751);
    builder.end();
    place.assert_clean();
}

#[test]
fn root_a_repository_is_added_by_branch_tag_commit_and_folder() {
    let place = Place::new();
    let repository = Repository::new();
    let web = repository.serve();
    let mut builder = place.builder_that_reaches(REACHABLE);
    let url = web.url("/app.git");
    let page = |answer: &Answer| fs::read_to_string(answer.top().join("s/docs/page")).unwrap();
    let main = add(&mut builder, &place, &format!("ADD {url} /s"));
    assert_eq!(page(&main), "second");
    assert!(!main.top().join("s/.git").exists());
    assert_eq!(
        fs::read_link(main.top().join("s/link")).unwrap(),
        std::path::Path::new("run.sh")
    );
    let program = fs::metadata(main.top().join("s/run.sh")).unwrap();
    assert_eq!((program.mode() & 0o7777, program.uid()), (0o755, 0));
    let tag = add(&mut builder, &place, &format!("ADD {url}#v1 /s"));
    assert_eq!(page(&tag), "first");
    let first = repository.name_of("v1");
    let commit = add(
        &mut builder,
        &place,
        &format!("ADD --checksum={first} {url}#{first} /s"),
    );
    assert_eq!(page(&commit), "first");
    let topic = add(
        &mut builder,
        &place,
        &format!("ADD {url}#refs/heads/topic /s"),
    );
    assert_eq!(fs::read(topic.top().join("s/topic")).unwrap(), b"here");
    let folder = add(&mut builder, &place, &format!("ADD {url}#topic:docs /s"));
    assert_eq!(fs::read(folder.top().join("s/page")).unwrap(), b"second");
    let kept = add(
        &mut builder,
        &place,
        &format!("ADD --keep-git-dir=true {url}#v1 /s"),
    );
    assert!(kept.top().join("s/.git/HEAD").is_file());
    // The same commit is asked for, and nothing of it is fetched again; a new one is.
    web.asked();
    let again = add(&mut builder, &place, &format!("ADD {url} /s"));
    assert_eq!(again.digest(), main.digest());
    assert!(
        web.asked()
            .iter()
            .all(|q| !String::from_utf8_lossy(&q.body).contains("command=fetch"))
    );
    repository.write("docs/page", "third");
    repository.commit("third");
    repository.publish();
    assert_eq!(
        page(&add(&mut builder, &place, &format!("ADD {url} /s"))),
        "third"
    );
    for (what, code) in [
        (format!("{url}#nowhere"), "fetch-no-reference"),
        (format!("{url}#{}", "0".repeat(40)), "fetch-no-reference"),
        (format!("{url}#main:nowhere"), "fetch-no-folder"),
        (format!("{url}#main:link"), "fetch-no-folder"),
        (web.url("/other.git"), "fetch-git"),
        ("git://127.0.0.2/app.git".to_owned(), "fetch-no-way-out"),
        (
            format!("--checksum={} {url}#topic", "0".repeat(40)),
            "fetch-checksum",
        ),
    ] {
        let answer = add(&mut builder, &place, &format!("ADD {what} /s"));
        assert_eq!(answer.failed().0, code, "{what}: {}", answer.value);
    }
    builder.end();
    place.assert_clean();
}

#[test]
fn root_submodules_come_along_and_lead_to_no_file_or_program() {
    let place = Place::new();
    let (inner, outer) = (Repository::new(), Repository::new());
    let (web, other) = (outer.serve(), inner.serve());
    outer.add_module(&inner, &other.url("/app.git"));
    let mut builder = place.builder_that_reaches(REACHABLE);
    let answer = add(
        &mut builder,
        &place,
        &format!("ADD {} /s", web.url("/app.git")),
    );
    assert_eq!(
        fs::read(answer.top().join("s/module/docs/page")).unwrap(),
        b"second"
    );
    assert!(!answer.top().join("s/module/.git").exists());
    for url in ["file:///usr/share", "ext::touch /work/made", "/usr/share"] {
        let hostile = Repository::new();
        hostile.add_module(&inner, url);
        let web = hostile.serve();
        let answer = add(
            &mut builder,
            &place,
            &format!("ADD {} /s", web.url("/app.git")),
        );
        assert_eq!(answer.failed().0, "fetch-git", "{url}: {}", answer.value);
    }
    builder.end();
    place.assert_clean();
}

#[test]
fn root_a_server_that_gives_only_whole_repositories_is_good_enough() {
    let place = Place::new();
    let repository = Repository::new();
    let web = repository.serve_plainly();
    let mut builder = place.builder_that_reaches(REACHABLE);
    let first = repository.name_of("v1");
    for (reference, text) in [
        ("main", "second"),
        ("v1", "first"),
        (first.as_str(), "first"),
    ] {
        let answer = add(
            &mut builder,
            &place,
            &format!("ADD {}#{reference} /s", web.url("/app.git")),
        );
        assert_eq!(
            fs::read_to_string(answer.top().join("s/docs/page")).unwrap(),
            text,
            "{reference}"
        );
    }
    builder.end();
    place.assert_clean();
}
