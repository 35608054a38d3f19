//! What of the host a command gets: its network by a grant, an SSH agent by whoever builds.

use crate::ground::{BASE, Place};
use serde_json::json;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

#[test]
fn root_the_network_of_the_host_is_for_projects_with_the_grant_and_nobody_else() {
    let place = Place::new();
    let mut builder = place.builder();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            use std::io::Write;
            let _ = stream.write_all(b"the host\n");
        }
    });
    let ask = format!("nc 127.0.0.1 {port} < /dev/null");
    let file = format!(
        "{BASE}FROM base AS other\nRUN --network=host touch /not-needed\nFROM base\nRUN touch /first\nRUN --network=host {ask} > /said\n"
    );
    let granted = json!({"project": "agents", "grants": ["host-namespace:network"]});
    let answer = builder.build(&place, &file, granted.clone());
    assert_eq!(
        fs::read_to_string(answer.top().join("said")).unwrap(),
        "the host\n"
    );

    // Another project, other grants, and no project are told where, and nothing is run.
    for more in [
        json!({"project": "others"}),
        json!({"project": "others", "grants": ["privileged", "host-namespace:pid"]}),
        json!({}),
    ] {
        let answer = builder.build(&place, &file, more);
        let (code, why) = answer.failed();
        assert_eq!(code, "build-forbidden");
        assert!(
            why.contains("nc 127.0.0.1") && why.contains("in line 8"),
            "{why}"
        );
        let hint = answer.value["hint"].as_str().unwrap();
        assert!(hint.contains("host-namespace:network"), "{hint}");
        assert_eq!(answer.events.len(), 0, "{:?}", answer.events);
    }
    // What is not needed asks for nothing, and a trigger of a base image asks when it fires.
    let unneeded = builder.build(
        &place,
        &file,
        json!({"target": "other", "project": "others"}),
    );
    assert!(unneeded.failed().1.contains("line 5"));
    let fine = file.replace("RUN --network=host nc", "RUN nc -w 1");
    let without = builder.build(
        &place,
        &fine.replace(" > /said", " > /said || true"),
        json!({}),
    );
    assert_eq!(fs::read_to_string(without.top().join("said")).unwrap(), "");
    let trigger = format!("{BASE}ONBUILD RUN --network=host {ask} > /said\n");
    let named = json!({"names": ["trigger:1"]});
    builder.build(&place, &trigger, named).digest();
    let uses = "FROM trigger:1\n";
    assert_eq!(
        builder.build(&place, uses, json!({})).failed().0,
        "build-forbidden"
    );
    let answer = builder.build(&place, uses, granted);
    assert_eq!(
        fs::read_to_string(answer.top().join("said")).unwrap(),
        "the host\n"
    );
    builder.end();
    place.assert_clean();
}

/// An agent of OpenSSH with one key.
pub(crate) struct Keys {
    agent: Child,
    folder: tempfile::TempDir,
}

pub(crate) fn run(program: &str, arguments: &[&str], folder: &Path) -> String {
    let said = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env("SSH_AUTH_SOCK", folder.join("socket"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(
        said.status.success(),
        "{program}: {}",
        String::from_utf8_lossy(&said.stderr)
    );
    String::from_utf8(said.stdout).unwrap()
}

impl Keys {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("socket");
        let mut agent = Command::new("ssh-agent")
            .args(["-D", "-a"])
            .arg(&at)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        while !at.exists() {
            assert!(agent.try_wait().unwrap().is_none(), "the agent ended");
            std::thread::yield_now();
        }
        run(
            "ssh-keygen",
            &["-q", "-t", "ed25519", "-N", "", "-C", "mine", "-f", "key"],
            folder.path(),
        );
        run("ssh-add", &["-q", "key"], folder.path());
        fs::remove_file(folder.path().join("key")).unwrap();
        Self { agent, folder }
    }

    /// Where `key.pub` is.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn socket(&self) -> String {
        self.folder
            .path()
            .join("socket")
            .to_str()
            .unwrap()
            .to_owned()
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let _ = self.agent.kill();
        let _ = self.agent.wait();
    }
}

/// Puts a program of this machine and its libraries into the context.
fn install(place: &Place, programs: &[&str]) {
    for program in programs {
        let list = run("ldd", &[program], Path::new("/"));
        let libraries = list.split_whitespace().filter(|word| word.starts_with('/'));
        for file in libraries.chain([*program]) {
            let to = place
                .context()
                .join("programs")
                .join(file.trim_start_matches('/'));
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(file, to).unwrap();
        }
    }
}

#[test]
fn root_a_command_signs_by_the_agent_of_who_builds_and_changes_nothing_of_it() {
    let place = Place::new();
    let keys = Keys::new();
    install(&place, &["/usr/bin/ssh-add", "/usr/bin/ssh-keygen"]);
    let public = fs::read_to_string(keys.folder.path().join("key.pub")).unwrap();
    place.write("key.pub", &public);
    let mut builder = place.builder();
    let file =
        |run: &str| format!("{BASE}FROM base\nCOPY programs /\nCOPY key.pub /key.pub\n{run}\n");
    let given = json!({"ssh": {"default": keys.socket()}});
    let sign = "RUN --mount=type=ssh echo word > /word && ssh-keygen -q -Y sign -f /key.pub -n file /word && ssh-add -L > /keys";
    let answer = builder.build(&place, &file(sign), given.clone());
    assert_eq!(
        fs::read_to_string(answer.top().join("keys")).unwrap(),
        public
    );
    // The signature is one: ssh-keygen itself says so, with the public key.
    let check = keys.folder.path();
    fs::copy(answer.top().join("word.sig"), check.join("word.sig")).unwrap();
    fs::write(check.join("allowed"), format!("me {public}")).unwrap();
    let verified = Command::new("ssh-keygen")
        .args([
            "-Y", "verify", "-f", "allowed", "-I", "me", "-n", "file", "-s", "word.sig",
        ])
        .current_dir(check)
        .stdin(fs::File::open(answer.top().join("word")).unwrap())
        .output()
        .unwrap();
    assert!(
        verified.status.success(),
        "{}",
        String::from_utf8_lossy(&verified.stderr)
    );
    // Nothing of the agent is in the image.
    assert!(!answer.top().join("run").exists());
    assert!(!answer.value["config"].to_string().contains("SSH_AUTH_SOCK"));
    // Keys are not removed, locked or added from inside.
    let deny = "RUN --mount=type=ssh ! ssh-add -q -D && ! ssh-add -x < /dev/null && ssh-add -l";
    builder.build(&place, &file(deny), given.clone()).digest();
    assert!(run("ssh-add", &["-l"], check).contains("mine"));
    // Others than root get the socket by asking for it, and only so.
    let users = "USER www\nRUN --mount=type=ssh,uid=33,mode=0600 ssh-add -l\nRUN --mount=type=ssh ! ssh-add -l";
    builder.build(&place, &file(users), given.clone()).digest();
    let places = "RUN --mount=type=ssh,target=/tmp/a --mount=type=ssh,id=other test \"$SSH_AUTH_SOCK\" = /tmp/a && test -S /run/buildkit/ssh_agent.1";
    let two = json!({"ssh": {"default": keys.socket(), "other": keys.socket()}});
    builder.build(&place, &file(places), two).digest();
    // Without one, what needs it is refused, and what does not goes on.
    let answer = builder.build(
        &place,
        &file("RUN --mount=type=ssh,required=true ssh-add -l"),
        json!({}),
    );
    let (code, why) = answer.failed();
    assert!(
        code == "build-step" && why.contains("`default` was not given"),
        "{why}"
    );
    builder
        .build(
            &place,
            &file("RUN --mount=type=ssh test -z \"$SSH_AUTH_SOCK\""),
            json!({}),
        )
        .digest();
    let gone = json!({"ssh": {"default": "/nowhere/agent"}});
    let answer = builder.build(&place, &file("RUN --mount=type=ssh true"), gone);
    assert_eq!(answer.failed().0, "build-io");
    builder.end();
    place.assert_clean();
}
