//! Builds on the real engine: a builder alone, busybox as everything.
#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

mod authority;
mod fetches;
mod ground;
mod repository;
mod rights;
mod sign_ins;
mod ways;
mod web;
mod world;

use ground::{BASE, Place};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

#[test]
fn root_what_did_not_change_is_taken_from_the_cache_and_gives_the_same_image() {
    let place = Place::new();
    place.write("a", "one");
    let mut builder = place.builder();
    let file = format!("{BASE}COPY a /a\nRUN cat /a > /b\nENV X=1\nCMD [\"cat\",\"/b\"]\n");
    let first = builder.build(&place, &file, json!({}));
    assert_eq!(first.cached(), [false; 4]);
    assert_eq!(fs::read_to_string(first.top().join("b")).unwrap(), "one");
    let second = builder.build(&place, &file, json!({}));
    assert_eq!(
        (second.cached(), second.digest()),
        (vec![true; 4], first.digest())
    );
    // Another time of a file is no other file.
    fs::File::open(place.context().join("a"))
        .unwrap()
        .set_modified(std::time::SystemTime::UNIX_EPOCH)
        .unwrap();
    assert_eq!(
        builder.build(&place, &file, json!({})).digest(),
        first.digest()
    );
    place.write("a", "two");
    let third = builder.build(&place, &file, json!({}));
    assert_eq!(third.cached(), [true, true, false, false]);
    assert_eq!(fs::read_to_string(third.top().join("b")).unwrap(), "two");
    // Another project finds nothing of it.
    let other = builder.build(&place, &file, json!({"project": "other"}));
    assert_eq!(other.cached(), [false; 4]);
    builder.end();
    place.assert_clean();
}

#[test]
fn root_with_source_date_epoch_the_same_input_gives_the_same_digest() {
    let place = Place::new();
    let mut builder = place.builder();
    let file = format!("{BASE}WORKDIR /w\nRUN date +%N > /dev/null; echo x > f; mkdir d\n");
    let more = json!({"args": {"SOURCE_DATE_EPOCH": "1700000000"}, "no_cache": true});
    let first = builder.build(&place, &file, more.clone());
    std::thread::sleep(Duration::from_millis(1100));
    let second = builder.build(&place, &file, more);
    assert_eq!(first.digest(), second.digest());
    assert_eq!(second.value["created"], "2023-11-14T22:13:20Z");
    assert_eq!(
        fs::metadata(second.top().join("w/f")).unwrap().mtime(),
        1_700_000_000
    );
    builder.end();
    place.assert_clean();
}

#[test]
fn root_a_layer_holds_what_a_command_wrote_and_nothing_of_its_mounts() {
    let place = Place::new();
    place.write("src/file", "from the context");
    let mut builder = place.builder();
    let file = format!(
        "{BASE}FROM base AS other\nRUN echo stage > /s\nFROM base\nRUN --network=none --mount=type=bind,source=src,target=/in --mount=type=bind,from=other,source=/s,target=/in2 --mount=type=tmpfs,target=/t --mount=type=cache,target=/root/.cache,id=c set -e; cat /in/file /in2; ! touch /in/x; touch /t/x; echo n >> /root/.cache/n; wc -l < /root/.cache/n; ip link | wc -l; chown 33:35 /tmp; ln /etc/group /etc/same; rm /etc/passwd\n"
    );
    let first = builder.build(&place, &file, json!({}));
    let output = first.output();
    assert!(
        output.contains("from the context") && output.contains("stage"),
        "{output}"
    );
    let top = first.top();
    let mut names: Vec<String> = fs::read_dir(&top)
        .unwrap()
        .flatten()
        .map(|e| e.file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["etc", "tmp"], "no place of a mount is in the layer");
    let meta = fs::metadata(top.join("tmp")).unwrap();
    assert_eq!((meta.uid(), meta.gid()), (33, 35));
    let gone = fs::symlink_metadata(top.join("etc/passwd")).unwrap();
    assert_eq!((gone.rdev(), gone.mode() & 0o170_000), (0, 0o020_000));
    // The cache outlives the build and counts for no key.
    let again = builder.build(&place, &file, json!({"no_cache": true}));
    assert!(again.output().contains("\n2\n"), "{}", again.output());
    builder.end();
    place.assert_clean();
}

#[test]
fn root_a_secret_lands_in_no_layer_history_key_or_file() {
    const SECRET: &str = "correct-horse-battery-staple";
    let place = Place::new();
    let mut builder = place.builder();
    let file = format!(
        "{BASE}RUN --mount=type=secret,id=tok --mount=type=secret,id=tok,env=TOK test \"$(cat /run/secrets/tok)\" = \"$TOK\" && wc -c < /run/secrets/tok\n"
    );
    let more = |secret: &str| json!({"secrets": {"tok": secret}, "names": ["t:1"], "args": {"PASSWORD": SECRET}});
    let first = builder.build(&place, &file, more(SECRET));
    assert!(
        first.output().contains(&SECRET.len().to_string()),
        "{}",
        first.value
    );
    // Another secret is no other step.
    let second = builder.build(&place, &file, more("other"));
    assert_eq!(
        (second.digest(), second.cached()),
        (first.digest(), vec![true; 3])
    );
    let missing = builder.build(
        &place,
        &format!("{BASE}RUN --mount=type=secret,id=no,required=true true"),
        json!({}),
    );
    assert!(
        missing.failed().1.contains("secret `no` was not given"),
        "{}",
        missing.value
    );
    builder.end();
    // The image has both statements: where it comes from, without values of arguments, and what is in it.
    let statements: Vec<_> = fs::read_dir(place.state().join("images/referrers"))
        .unwrap()
        .flatten()
        .flat_map(|of| fs::read_dir(of.path()).unwrap().flatten())
        .collect();
    assert_eq!(statements.len(), 2);
    let found = Command::new("grep")
        .args([
            "--recursive",
            "--files-with-matches",
            "--fixed-strings",
            SECRET,
        ])
        .arg(place.state())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    place.assert_clean();
}

#[test]
fn root_a_command_that_forks_fills_or_floods_is_stopped_by_its_ceiling_and_says_so() {
    let place = Place::new();
    let mut builder = place.builder();
    let mut stopped = |command: &str, limits: Value, words: &str| {
        let file = format!("{BASE}RUN {command}\n");
        let answer = builder.build(&place, &file, json!({"limits": limits, "quiet": true}));
        let (code, why) = answer.failed();
        assert_eq!(code, "build-ceiling", "{command}: {}", answer.value);
        assert!(why.contains(words), "{command}: {why}");
    };
    stopped(
        "dd if=/dev/zero of=/big bs=1M count=200",
        json!({"disk": 64 << 20}),
        "disk of 64 MiB",
    );
    stopped(
        "i=0; while [ $i -lt 400 ]; do sleep 30 & i=$((i+1)); done; wait",
        json!({"pids": 64}),
        "64 processes",
    );
    stopped(
        "yes a-line-that-is-repeated-for-ever",
        json!({}),
        "output of 64 MiB",
    );
    // What other builds have made is not touched.
    let fine = builder.build(&place, &format!("{BASE}RUN true\n"), json!({}));
    assert_eq!(fine.cached(), [true, true, false]);
    builder.end();
    place.assert_clean();
}

#[test]
fn root_a_killed_daemon_leaves_nothing_behind_and_finished_steps_stay_cached() {
    let place = Place::new();
    let mut builder = place.builder();
    let file = format!("{BASE}RUN echo done > /first\nRUN touch /began; sleep 600\n");
    builder.send(&json!({"id": 1, "dockerfile": file, "context": place.context()}));
    let until = Instant::now() + Duration::from_secs(60);
    while Instant::now() < until && builder.next()["event"]["began"] != json!(4) {}
    std::thread::sleep(Duration::from_millis(200));
    builder.process.kill().unwrap();
    builder.process.wait().unwrap();
    assert!(fs::read_dir(place.state().join("stands")).unwrap().count() > 0);
    let mut builder = place.builder();
    let again = builder.build(
        &place,
        &format!("{BASE}RUN echo done > /first\n"),
        json!({}),
    );
    assert_eq!(again.cached(), [true; 3]);
    builder.end();
    place.assert_clean();
}

#[test]
fn root_hostile_contexts_reach_nothing_outside() {
    let place = Place::new();
    let outside = place.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "untouched").unwrap();
    symlink(&outside, place.context().join("out")).unwrap();
    symlink("/etc", place.context().join("etc")).unwrap();
    symlink("../../outside/file", place.context().join("up")).unwrap();
    let mut builder = place.builder();
    for source in [
        "out/file",
        "etc/passwd",
        "up",
        "../outside/file",
        "/../../etc/passwd",
    ] {
        let answer = builder.build(
            &place,
            &format!("FROM scratch\nCOPY {source} /x\n"),
            json!({}),
        );
        let (code, why) = answer.failed();
        assert_eq!(code, "build-step", "{source}: {why}");
        assert!(
            why.contains("is not there") || why.contains("links"),
            "{source}: {why}"
        );
    }
    // A link of the image is followed inside of the image.
    let file = format!(
        "{BASE}RUN ln -s {} /evil; ln -s /etc /conf\nCOPY busybox /evil/file\nCOPY busybox /conf/new\n",
        outside.display()
    );
    let answer = builder.build(&place, &file, json!({}));
    assert!(answer.top().join("etc/new").exists(), "{}", answer.value);
    assert_eq!(
        fs::read_to_string(outside.join("file")).unwrap(),
        "untouched"
    );
    // Archives that lead out, or that are no archives at all.
    let write = |name: &str, entries: &[(&str, &str)]| {
        let path = place.dir.path().join(name);
        let mut tar = Vec::new();
        for (name, link) in entries {
            let mut header = [0u8; 512];
            header[..name.len()].copy_from_slice(name.as_bytes());
            header[100..107].copy_from_slice(b"0000777");
            header[108..115].copy_from_slice(b"0000000");
            header[116..123].copy_from_slice(b"0000000");
            header[124..135].copy_from_slice(b"00000000000");
            header[136..147].copy_from_slice(b"00000000000");
            header[156] = if link.is_empty() { b'0' } else { b'2' };
            header[157..157 + link.len()].copy_from_slice(link.as_bytes());
            header[257..265].copy_from_slice(b"ustar\x0000");
            header[148..156].fill(b' ');
            let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
            header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
            tar.extend_from_slice(&header);
        }
        tar.extend_from_slice(&[0; 1024]);
        fs::write(&path, tar).unwrap();
        path
    };
    let escapes = write("a.tar", &[("../outside/evil", "")]);
    let through = write("b.tar", &[("l", outside.to_str().unwrap()), ("l/evil", "")]);
    let hides = write("c.tar", &[(".wh.x", "")]);
    let junk = place.dir.path().join("junk");
    fs::write(&junk, vec![7; 4096]).unwrap();
    for archive in [&escapes, &hides, &junk] {
        let answer = builder.build(
            &place,
            "FROM scratch\nCOPY . /\n",
            json!({"context": archive}),
        );
        let text = answer.value.to_string();
        assert!(text.contains("error") || text.contains("failed"), "{text}");
    }
    // Through a link of the archive: inside of the context's own root.
    builder.build(
        &place,
        "FROM scratch\nCOPY . /\n",
        json!({"context": through}),
    );
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    builder.end();
    place.assert_clean();
}

#[test]
fn root_faults_of_a_dockerfile_and_of_a_command_are_told_with_their_line() {
    let place = Place::new();
    let mut builder = place.builder();
    let answer = builder.build(&place, "FROM scratch\nCOPPY a b\n", json!({}));
    assert_eq!(answer.failed().0, "build-dockerfile");
    assert!(
        answer.value["hint"]
            .as_str()
            .unwrap()
            .contains("Dockerfile:2"),
        "{}",
        answer.value
    );
    let answer = builder.build(
        &place,
        &format!("{BASE}RUN echo last words; exit 7\n"),
        json!({}),
    );
    let (code, why) = answer.failed();
    assert_eq!(code, "build-command-failed");
    assert!(
        why.contains("exit code 7") && why.contains("line 4"),
        "{why}"
    );
    assert!(
        answer.value["hint"]
            .as_str()
            .unwrap()
            .contains("last words")
    );
    let answer = builder.build(&place, "FROM scratch\n", json!({"platform": "linux/s390x"}));
    assert!(
        answer.failed().1.contains("this machine is"),
        "{}",
        answer.value
    );
    builder.end();
    place.assert_clean();
}

#[test]
fn root_an_archive_is_unpacked_by_add_and_a_bomb_is_refused() {
    let place = Place::new();
    let inner = place.dir.path().join("inner");
    fs::create_dir_all(inner.join("bin")).unwrap();
    fs::write(inner.join("bin/tool"), "tool").unwrap();
    let pack = |from: &Path, to: PathBuf| {
        let done = Command::new("tar")
            .args(["--create", "--gzip", "--owner=33", "--group=34", "--file"])
            .arg(to)
            .arg("--directory")
            .arg(from)
            .arg(".")
            .status()
            .unwrap();
        assert!(done.success());
    };
    pack(&inner, place.context().join("fine.tar.gz"));
    let zeros = place.dir.path().join("zeros");
    fs::create_dir(&zeros).unwrap();
    let file = fs::File::create(zeros.join("zero")).unwrap();
    file.set_len(400 << 20).unwrap();
    pack(&zeros, place.context().join("bomb.tar.gz"));
    let mut builder = place.builder();
    let answer = builder.build(&place, &format!("{BASE}ADD fine.tar.gz /opt/\n"), json!({}));
    let meta = fs::metadata(answer.top().join("opt/bin/tool")).unwrap();
    assert_eq!((meta.uid(), meta.gid()), (33, 34));
    let answer = builder.build(&place, "FROM scratch\nADD bomb.tar.gz /\n", json!({}));
    assert!(answer.failed().1.contains("bomb"), "{}", answer.value);
    // The two that only archives may have are bounded as well.
    for (program, name) in [("xz", "bomb.tar.xz"), ("bzip2", "bomb.tar.bz2")] {
        let packed = fs::File::create(place.context().join(name)).unwrap();
        let status = Command::new("tar")
            .args(["--create", "--file=-", "--use-compress-program", program])
            .args(["--directory", zeros.parent().unwrap().to_str().unwrap()])
            .arg(zeros.file_name().unwrap())
            .stdout(packed)
            .status()
            .unwrap();
        assert!(status.success(), "{program}");
        let answer = builder.build(&place, &format!("FROM scratch\nADD {name} /\n"), json!({}));
        assert!(answer.failed().1.contains("bomb"), "{}", answer.value);
    }
    builder.end();
    place.assert_clean();
}

#[test]
fn root_a_new_cache_begins_with_files_of_a_stage_and_goes_its_own_way() {
    let place = Place::new();
    let mut builder = place.builder();
    let file = |seed: &str, run: &str| {
        format!(
            "{BASE}FROM base AS seed\nRUN mkdir -p /seed/deep; echo {seed} > /seed/deep/file; chown 33:35 /seed/deep; chmod 2750 /seed/deep\nFROM base\nRUN --mount=type=cache,target=/c,from=seed,source=/seed {run}\n"
        )
    };
    let first = builder.build(
        &place,
        &file(
            "one",
            "cat /c/deep/file; stat -c '%u:%g %a' /c/deep; echo more > /c/more",
        ),
        json!({}),
    );
    first.digest();
    assert!(
        first.output().ends_with("one\n33:35 2750\n"),
        "{}",
        first.output()
    );
    let again = builder.build(&place, &file("one", "cat /c/deep/file /c/more"), json!({}));
    again.digest();
    assert!(
        again.output().ends_with("one\nmore\n"),
        "{}",
        again.output()
    );
    // Other files to begin with are another cache.
    let other = builder.build(&place, &file("two", "cat /c/deep/file; ls /c"), json!({}));
    other.digest();
    assert!(
        other.output().ends_with("two\ndeep\n"),
        "{}",
        other.output()
    );
    builder.end();
    place.assert_clean();
}

#[test]
fn root_secrets_are_hidden_in_what_commands_write() {
    let place = Place::new();
    let mut builder = place.builder();
    let run = "RUN --mount=type=secret,id=token printf 'begin '; cat /run/secrets/token; cat /run/secrets/token >&2; exit 3\n";
    let secret = json!({"secrets": {"token": "hunter2-and-more"}});
    let failed = builder.build(&place, &format!("{BASE}{run}"), secret);
    let output = failed.output();
    assert!(
        output.contains("begin ***") && !output.contains("hunter2"),
        "{output}"
    );
    assert!(
        !failed.value.to_string().contains("hunter2"),
        "{}",
        failed.value
    );
    builder.end();
    place.assert_clean();
}
