//! Git over its own protocol and over SSH, from git's and OpenSSH's own servers in a world of the test's.

use crate::ground::{Answer, Builder, Place};
use crate::repository::Repository;
use crate::rights::{Keys, run};
use crate::world::{SERVER, World};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// A port of a network of the test's own: nobody else is there.
const SSH: u16 = 2222;
/// git-daemon(1): the default port.
const GIT: u16 = 9418;

fn add(builder: &mut Builder, place: &Place, url: &str, more: Value) -> Answer {
    let mut all = json!({"egress": "full"});
    for (key, value) in more.as_object().unwrap() {
        all[key] = value.clone();
    }
    builder.build(place, &format!("FROM scratch\nADD {url} /s\n"), all)
}

fn page(answer: &Answer) -> String {
    fs::read_to_string(answer.top().join("s/docs/page")).unwrap()
}

fn builder(place: &Place, world: &World) -> Builder {
    let program = world.machine(env!("CARGO_BIN_EXE_daas-build-alone"));
    place.builder_by(program, &[])
}

#[test]
fn root_a_repository_comes_over_gits_own_protocol_if_the_build_may_go_everywhere() {
    let (place, world, repository) = (Place::new(), World::new(), Repository::new());
    let base = format!("--base-path={}", repository.root().display());
    let daemon = [
        "daemon",
        "--export-all",
        "--reuseaddr",
        "--listen=203.0.113.1",
        &base,
    ];
    let server = world.serve("git", &daemon, GIT);
    let mut builder = builder(&place, &world);
    let url = format!("git://{SERVER}/app.git");
    assert_eq!(page(&add(&mut builder, &place, &url, json!({}))), "second");
    let tag = add(&mut builder, &place, &format!("{url}#v1"), json!({}));
    assert_eq!(page(&tag), "first");
    let none = add(
        &mut builder,
        &place,
        &format!("git://{SERVER}/none.git"),
        json!({}),
    );
    assert_eq!(none.failed().0, "fetch-git", "{}", none.value);
    // The proxy carries HTTP and nothing else, and who has no way out gets nothing.
    for egress in ["proxy", "none"] {
        let answer = add(&mut builder, &place, &url, json!({"egress": egress}));
        assert_eq!(answer.failed().0, "fetch-no-way-out");
        assert!(answer.hint().contains("full"), "{}", answer.value);
    }
    builder.end();
    drop(server);
    place.assert_clean();
}

/// A server of OpenSSH that lets one key in; returns what `known_hosts` says of it.
fn write_sshd(folder: &Path, keys: &Keys) -> String {
    run(
        "ssh-keygen",
        &["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", "host"],
        folder,
    );
    let own = fs::read_to_string(keys.folder().join("key.pub")).unwrap();
    fs::write(folder.join("allowed"), own).unwrap();
    let at = folder.display();
    let config = format!(
        "Port {SSH}\nListenAddress {SERVER}\nHostKey {at}/host\nAuthorizedKeysFile {at}/allowed\nPidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"
    );
    fs::write(folder.join("config"), config).unwrap();
    let public = fs::read_to_string(folder.join("host.pub")).unwrap();
    format!("[{SERVER}]:{SSH} {public}")
}

#[test]
fn root_a_repository_comes_over_ssh_by_the_agent_of_who_builds_from_a_server_whose_key_is_known() {
    let (place, world, repository) = (Place::new(), World::new(), Repository::new());
    let keys = Keys::new();
    let folder = tempfile::tempdir().unwrap();
    let known = write_sshd(folder.path(), &keys);
    // sshd(8) wants its folder for what has no rights; the package's service makes it at its start.
    fs::create_dir_all("/run/sshd").unwrap();
    let config = folder.path().join("config");
    let sshd = ["-D", "-f", config.to_str().unwrap()];
    let server = world.serve("/usr/sbin/sshd", &sshd, SSH);
    let mut builder = builder(&place, &world);
    let path = repository.root().join("app.git");
    let url = format!("ssh://root@{SERVER}:{SSH}{}", path.display());
    let ssh = json!({"default": keys.socket()});
    let answer = add(
        &mut builder,
        &place,
        &url,
        json!({"ssh": ssh, "secrets": {"SSH_KNOWN_HOSTS": known}}),
    );
    assert_eq!(page(&answer), "second");
    // A server that nobody knows, and one that has another key.
    let unknown = add(
        &mut builder,
        &place,
        &format!("{url}#v1"),
        json!({"ssh": ssh}),
    );
    assert!(
        unknown.hint().contains("SSH_KNOWN_HOSTS"),
        "{}",
        unknown.value
    );
    let other = fs::read_to_string(keys.folder().join("key.pub")).unwrap();
    let other = json!({"SSH_KNOWN_HOSTS": format!("[{SERVER}]:{SSH} {other}")});
    let wrong = add(
        &mut builder,
        &place,
        &format!("{url}#v1"),
        json!({"ssh": ssh, "secrets": other}),
    );
    assert!(
        wrong.hint().contains("Host key verification failed"),
        "{}",
        wrong.value
    );
    // Without an agent nobody is let in.
    let secrets = json!({"SSH_KNOWN_HOSTS": known});
    let stranger = add(
        &mut builder,
        &place,
        &format!("{url}#v1"),
        json!({"secrets": secrets}),
    );
    assert!(
        stranger.hint().contains("Permission denied"),
        "{}",
        stranger.value
    );
    // A form without a scheme means SSH's own port.
    let short = format!("root@{SERVER}:{}", path.display());
    let short = add(
        &mut builder,
        &place,
        &short,
        json!({"ssh": ssh, "secrets": secrets}),
    );
    assert!(short.value.get("failed").is_some(), "{}", short.value);
    builder.end();
    drop(server);
    place.assert_clean();
}
