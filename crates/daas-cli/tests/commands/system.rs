use crate::house::{Daemon, run};
use std::os::unix::fs::PermissionsExt;

#[test]
fn the_daemon_tells_of_itself() {
    let daemon = Daemon::open();
    insta::assert_snapshot!(daemon.run(&["system", "info"]).all(&daemon), @"
    version  0.1.0
    runs for 30 s (process 1)
    host     fake
    kernel   6.1.0
    cgroups  v2
    state    /var/lib/daas
    disk     60 GiB free of 100 GiB
    stands   0 with 0 running nodes
    images   0
    socket   /run/daas/daas.sock
    registry closed
    ssh      127.0.0.1:2222, [::1]:2222
    --- stderr
    --- exit 0
    ");
    insta::assert_snapshot!(daemon.run(&["system", "prune"]).all(&daemon), @"
    image old:1
    --- stderr
    freed 5 MiB
    --- exit 0
    ");
}

#[test]
fn the_doctor_looks_with_and_without_a_daemon() {
    let daemon = Daemon::open();
    insta::assert_snapshot!(daemon.run(&["doctor"]).all(&daemon), @"
          CHECK                                        FOUND
    ok    the kernel is new enough                     6.1.0
    warn  the neighbour table has room for 300 stands  net.ipv4.neigh.default.gc_thresh3 = 1024

    the neighbour table has room for 300 stands: sysctl -w net.ipv4.neigh.default.gc_thresh3=16384
    --- stderr
    --- exit 0
    ");
    insta::assert_snapshot!(run(&["--socket", "/nowhere/daas.sock", "doctor"]).all(&daemon), @"
          CHECK   FOUND
    warn  daemon  cannot reach the daemon at `/nowhere/daas.sock`: No such file or directory (os error 2)
    FAIL  kernel  2.6.32

    daemon: the daemon does not run: start it with `daas serve`, or keep it running with `daas system install`

    kernel: install a newer one
    --- stderr
    --- exit 1
    ");
}

#[test]
fn a_token_is_shown_once_and_its_sum_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("etc/tokens");
    let file = path.to_str().unwrap();
    let first = run(&["system", "token", "ci", "--file", file]);
    let second = run(&[
        "system", "token", "wall", "--role", "reader", "--file", file,
    ]);
    assert_eq!((first.code, second.code), (0, 0), "{first:?}");
    let text = std::fs::read_to_string(&path).unwrap();
    let tokens = daas_server::Tokens::parse(&text).unwrap();
    assert_eq!(
        tokens.identify(first.out().trim()).unwrap().role,
        daas_server::Role::Operator
    );
    assert_eq!(
        tokens.identify(second.out().trim()).unwrap().role,
        daas_server::Role::Reader
    );
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(!text.contains(first.out().trim()) && !first.err.contains(first.out().trim()));
    for bad in ["ci", "a b", ""] {
        assert_eq!(
            run(&["system", "token", bad, "--file", file]).code,
            2,
            "{bad}"
        );
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn an_installation_can_be_looked_at_first() {
    let said = run(&["system", "install", "--dry-run"]);
    assert_eq!(said.code, 0);
    assert!(
        said.out()
            .contains("write the unit /etc/systemd/system/daas.service"),
        "{said:?}"
    );
}
