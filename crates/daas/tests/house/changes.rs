//! What a second `up` brings to a stand that runs.
#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

use crate::trials::program;
use xtask::trials::Bed;

/// A stand whose one node reads a config and a secret, and whose other node neither.
fn services(setting: &str, password: &str) -> String {
    format!(
        "  reader:\n    image: trial:latest\n    stop_signal: SIGKILL\n    command: [/bin/busybox, sleep, '1000']\n    configs: [{{source: setting, target: /etc/setting}}]\n    secrets: [password]\n  other:\n    image: trial:latest\n    command: [/bin/busybox, sleep, '1000']\nconfigs:\n  setting: {{content: '{setting}'}}\nsecrets:\n  password: {{content: '{password}'}}\n"
    )
}

fn pid(bed: &Bed, node: &str) -> u64 {
    let view = bed.api().get("/stands/changed").unwrap();
    let nodes = view["nodes"].as_array().unwrap();
    let node = nodes.iter().find(|n| n["name"] == node).unwrap();
    node["pid"].as_u64().unwrap()
}

#[test]
fn root_new_contents_of_configs_and_secrets_reach_who_reads_them_and_nobody_else() {
    let bed = Bed::new(program()).unwrap();
    let read = || {
        let both = [
            "/bin/busybox",
            "cat",
            "/etc/setting",
            "/run/secrets/password",
        ];
        let ran = bed.api().exec("changed", "reader", &both).unwrap();
        assert_eq!(ran.code, 0, "{ran:?}");
        String::from_utf8(ran.out).unwrap()
    };
    let up = |setting, password| {
        let project = bed.project(&services(setting, password));
        bed.api().up("changed", &project, 0).unwrap();
    };
    up("colour=red;", "first");
    assert_eq!(read(), "colour=red;first");
    let (reader, other) = (pid(&bed, "reader"), pid(&bed, "other"));
    up("colour=blue;", "first");
    assert_eq!(read(), "colour=blue;first");
    let newer = pid(&bed, "reader");
    assert_ne!(newer, reader);
    up("colour=blue;", "second");
    assert_eq!(read(), "colour=blue;second");
    assert_ne!(pid(&bed, "reader"), newer);
    assert_eq!(pid(&bed, "other"), other);
    // What has not changed starts nobody again.
    let last = pid(&bed, "reader");
    up("colour=blue;", "second");
    assert_eq!(pid(&bed, "reader"), last);
    bed.api().down("changed").unwrap();
    bed.nothing_is_left().unwrap();
}
