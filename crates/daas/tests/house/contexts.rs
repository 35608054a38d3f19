//! Contexts of builds that come from elsewhere: repositories, archives and Dockerfiles of the web, standard input.
#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

use crate::authority::Authority;
use crate::repository::Repository;
use crate::trials::program;
use crate::web::{Reply, Web};
use serde_json::json;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use xtask::house::Project;
use xtask::trials::Bed;

fn bed() -> Bed {
    Bed::configured(program(), "  spares: 0\negress: {allow: [127.0.0.2/32]}\n").unwrap()
}

/// A Dockerfile whose build fails if the file `from` of its context does not hold `word`.
fn wanting(from: &str, word: &str) -> String {
    let test = json!(["/bin/busybox", "grep", "-q", word, "/word"]);
    format!("FROM trial:latest\nCOPY {from} /word\nRUN {test}\n")
}

/// Runs the program in `folder` with `input`.
fn daas(bed: &Bed, folder: &Path, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(program())
        .args(arguments)
        .current_dir(folder)
        .env("DAAS_SOCKET", bed.daemon.place().join("daas.sock"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut to = child.stdin.take().unwrap();
    let input = input.to_vec();
    // What is not read to its end is refused: its words are looked at.
    let writing = std::thread::spawn(move || to.write_all(&input));
    let said = child.wait_with_output().unwrap();
    let _ = writing.join().unwrap();
    said
}

/// Packs what is in a folder by tar(1).
fn packed(folder: &Path, how: &str) -> Vec<u8> {
    let said = Command::new("tar")
        .args(["--create", how, "--file=-", "."])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(said.status.success());
    said.stdout
}

fn tree(bed: &Bed, files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir_in(bed.daemon.place()).unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn repository() -> Repository {
    let repository = Repository::new();
    repository.write("Dockerfile", &wanting("docs/page", "second"));
    repository.write("docs/Dockerfile", &wanting("page", "second"));
    repository.commit("files to build by");
    repository.publish();
    repository
}

/// Asserts that a command failed with this code; `what` is told if it did not.
fn assert_refused(said: &std::process::Output, code: &str, what: &str) {
    let words = String::from_utf8_lossy(&said.stderr);
    assert!(!said.status.success(), "{what}");
    assert!(words.contains(&format!("error[{code}]")), "{what}: {words}");
}

#[test]
fn root_a_context_comes_from_a_repository_an_archive_or_a_dockerfile_of_the_web() {
    let bed = bed();
    let files = tree(
        &bed,
        &[
            ("Dockerfile", &wanting("kept", "in the archive")),
            (
                "other.Dockerfile",
                &wanting("--from=more docs/page /word\nCOPY kept", "archive"),
            ),
            ("kept", "in the archive"),
            ("left", "out"),
            (".dockerignore", "left"),
        ],
    );
    let (gzip, xz) = (packed(files.path(), "--gzip"), packed(files.path(), "--xz"));
    let repository = repository();
    let git = repository.answering();
    let web = Web::serve(move |question| match question.target.as_str() {
        "/context.tar.gz" => Reply::file(gzip.clone(), &[]),
        "/context" => Reply::file(xz.clone(), &[]),
        "/Dockerfile" => Reply::file("FROM trial:latest\nRUN [\"/bin/busybox\", \"true\"]\n", &[]),
        _ => git(question),
    });
    let (app, here) = (web.url("/app.git"), bed.daemon.place());
    let more = format!("more={app}#v1");
    for arguments in [
        vec![app.clone()],
        vec![format!("{app}#main")],
        vec![format!("{app}#:docs")],
        vec![web.url("/context.tar.gz")],
        vec![web.url("/context")],
        vec![web.url("/Dockerfile")],
        vec![
            "--file=other.Dockerfile".into(),
            format!("--build-context={more}"),
            web.url("/context"),
        ],
    ] {
        let mut all = vec!["image", "build"];
        all.extend(arguments.iter().map(String::as_str));
        let said = daas(&bed, here, &all, b"");
        let words = String::from_utf8_lossy(&said.stderr);
        assert!(said.status.success(), "{arguments:?}: {words}");
        assert!(
            words.contains("[context] fetch http://127.0.0.2"),
            "{arguments:?}: {words}"
        );
    }
    for (arguments, code) in [
        (vec![format!("{app}#nowhere")], "fetch-no-reference"),
        (vec![web.url("/nothing")], "web-status"),
        (vec!["http://127.0.0.3:9/x".into()], "web-unreachable"),
        (vec![format!("{app}#v1")], "build-context"),
        (
            vec!["ssh://git@127.0.0.2/app.git".into()],
            "fetch-no-way-out",
        ),
        (
            vec!["ssh://-oProxyCommand=x/app.git".into()],
            "context-address",
        ),
        (
            vec![
                format!("--build-context=more={}", web.url("/Dockerfile")),
                app,
            ],
            "build-context",
        ),
    ] {
        let mut all = vec!["image", "build"];
        all.extend(arguments.iter().map(String::as_str));
        let said = daas(&bed, here, &all, b"");
        assert_refused(&said, code, &format!("{arguments:?}"));
    }
}

#[test]
fn root_a_context_comes_from_standard_input() {
    let bed = bed();
    let files = tree(
        &bed,
        &[
            ("Dockerfile", &wanting("kept", "in the archive")),
            ("other", &wanting("kept", "archive")),
            ("kept", "in the archive"),
        ],
    );
    let dockerfile = "FROM trial:latest\nCOPY <<EOF /word\nfrom nowhere\nEOF\n";
    let near = wanting("kept", "in the archive");
    for (arguments, input) in [
        (vec!["-"], packed(files.path(), "--no-auto-compress")),
        (vec!["-"], packed(files.path(), "--gzip")),
        (vec!["-"], packed(files.path(), "--bzip2")),
        (vec!["-"], packed(files.path(), "--zstd")),
        (vec!["-f", "other", "-"], packed(files.path(), "--xz")),
        (vec!["-"], dockerfile.into()),
        (vec!["-f", "-", "."], near.clone().into()),
    ] {
        let all = [&["image", "build"], arguments.as_slice()].concat();
        let said = daas(&bed, files.path(), &all, &input);
        let words = String::from_utf8_lossy(&said.stderr);
        assert!(said.status.success(), "{arguments:?}: {words}");
    }
    let archive = packed(files.path(), "--gzip");
    for (arguments, input, code) in [
        (vec!["-f", "-", "-"], archive.as_slice(), "stdin-twice"),
        (vec!["--build-context=x=.", "-"], &archive, "context-twice"),
        (vec!["-f", "nothing", "-"], &archive, "build-context"),
        (vec!["-"], &archive[..100], "build-context"),
        (vec!["-"], b"", "build-context"),
        (vec!["-"], &[b'#'; 2 << 20], "build-context"),
    ] {
        let all = [&["image", "build"], arguments.as_slice()].concat();
        let said = daas(&bed, files.path(), &all, input);
        assert_refused(&said, code, &format!("{arguments:?}"));
    }
}

#[test]
fn root_a_service_is_built_from_a_repository_by_the_daemon_and_by_the_command_line() {
    let bed = bed();
    let repository = repository();
    let web = repository.serve();
    let folder = tree(&bed, &[]);
    let compose = format!(
        "name: far\nservices:\n  web:\n    build: {{context: '{0}#main', additional_contexts: {{old: '{0}#v1'}}, dockerfile: far.Dockerfile}}\n    command: [/bin/busybox, sleep, '1000']\n",
        web.url("/app.git")
    );
    fs::write(folder.path().join("compose.yaml"), compose).unwrap();
    let text = "FROM trial:latest\nCOPY docs/page /new\nCOPY --from=old docs/page /old\n";
    repository.write("far.Dockerfile", text);
    repository.commit("a file for the service");
    repository.publish();
    let api = bed.api();
    let pages = || {
        let read = ["/bin/busybox", "cat", "/new", "/old"];
        String::from_utf8_lossy(&api.exec("far", "web", &read).unwrap().out).into_owned()
    };
    api.up("far", &Project::read(folder.path()).unwrap(), 0)
        .unwrap();
    assert_eq!(pages(), "secondfirst");
    repository.write("docs/page", "third");
    repository.commit("third");
    repository.publish();
    let up = ["stand", "up", "far", "--build"];
    let said = daas(&bed, folder.path(), &up, b"");
    assert!(
        said.status.success(),
        "{}",
        String::from_utf8_lossy(&said.stderr)
    );
    assert_eq!(pages(), "thirdfirst");
    api.down("far").unwrap();
}

#[test]
fn root_a_private_repository_is_a_context_for_who_has_its_token() {
    const TOKEN: &str = "tok-of-a-context-that-is-private";
    let authority = Authority::new();
    let trusted = tempfile::NamedTempFile::new().unwrap();
    fs::write(trusted.path(), authority.pem()).unwrap();
    let bed = Bed::configured(
        program(),
        &format!(
            "  spares: 0\negress: {{allow: [127.0.0.2/32]}}\nbuilds: {{certificates: {}}}\n",
            trusted.path().display()
        ),
    )
    .unwrap();
    let repository = repository();
    let git = repository.answering();
    // base64 of `x-access-token:` and the token
    let basic = "basic eC1hY2Nlc3MtdG9rZW46dG9rLW9mLWEtY29udGV4dC10aGF0LWlzLXByaXZhdGU=";
    let web = Web::serve_tls(
        authority.vouches_for("127.0.0.2"),
        move |question| match question.headers.get("authorization") {
            Some(said) if said == basic => git(question),
            _ => {
                let mut reply = Reply::status(401);
                let asks = ("WWW-Authenticate".into(), "Basic realm=\"git\"".into());
                reply.headers.push(asks);
                reply
            }
        },
    );
    let app = web.url("/app.git");
    let folder = tree(&bed, &[("token", TOKEN)]);
    let said = daas(&bed, folder.path(), &["image", "build", &app], b"");
    assert_refused(&said, "fetch-git", "without a token");
    let words = String::from_utf8_lossy(&said.stderr);
    assert!(words.contains("GIT_AUTH_TOKEN"), "{words}");
    let secret = format!("id=GIT_AUTH_TOKEN.{},src=token", web.address());
    let build = ["image", "build", "--secret", &secret, &app];
    let said = daas(&bed, folder.path(), &build, b"");
    let words = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "{words}");
    assert!(!words.contains(TOKEN), "{words}");
    // The same in a file.
    let compose = format!(
        "name: far\nservices:\n  web:\n    build: {{context: '{app}', secrets: [GIT_AUTH_TOKEN], no_cache: true}}\n    command: [/bin/busybox, sleep, '1000']\nsecrets: {{GIT_AUTH_TOKEN: {{file: ./token}}}}\n"
    );
    fs::write(folder.path().join("compose.yaml"), compose).unwrap();
    let said = daas(&bed, folder.path(), &["stand", "up", "far"], b"");
    let words = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "{words}");
    let read = ["/bin/busybox", "cat", "/word"];
    assert_eq!(bed.api().exec("far", "web", &read).unwrap().out, b"second");
    bed.api().down("far").unwrap();
}

#[test]
fn root_a_build_is_on_the_network_of_the_host_once_its_project_may() {
    let bed = bed();
    let folder = tree(
        &bed,
        &[(
            "Dockerfile",
            "FROM trial:latest\nRUN --network=host [\"/bin/busybox\", \"sh\", \"-c\", \"/bin/busybox readlink /proc/self/ns/net > /word\"]\n",
        )],
    );
    let compose =
        "name: near\nservices:\n  web:\n    build: .\n    command: [/bin/busybox, sleep, '1000']\n";
    fs::write(folder.path().join("compose.yaml"), compose).unwrap();
    let build = [
        "image",
        "build",
        "--project",
        "near",
        "--tag",
        "near:1",
        ".",
    ];
    let said = daas(&bed, folder.path(), &build, b"");
    let words = String::from_utf8_lossy(&said.stderr);
    assert!(!said.status.success());
    let hint = "daas project grant near host-namespace:network";
    assert!(
        words.contains("error[build-forbidden]")
            && words.contains("in line 2")
            && words.contains(hint),
        "{words}"
    );
    let said = daas(
        &bed,
        folder.path(),
        &["project", "grant", "near", "host-namespace:network"],
        b"",
    );
    assert!(
        said.status.success(),
        "{}",
        String::from_utf8_lossy(&said.stderr)
    );
    let api = bed.api();
    api.up("near", &Project::read(folder.path()).unwrap(), 0)
        .unwrap();
    let ran = api
        .exec("near", "web", &["/bin/busybox", "cat", "/word"])
        .unwrap();
    let own = fs::read_link("/proc/self/ns/net").unwrap();
    assert_eq!(
        String::from_utf8_lossy(&ran.out).trim(),
        own.to_str().unwrap()
    );
    api.down("near").unwrap();
    let words = ["image", "build", "--network", "host", "."];
    let said = daas(&bed, folder.path(), &words, b"");
    assert!(String::from_utf8_lossy(&said.stderr).contains("only a project can be granted it"));
}
