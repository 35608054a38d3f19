//! The life of a stand: up, logs, exit codes, down, and nothing left.

mod support;

use daas_keeper::protocol::{Request, Response};
use support::{Machine, on_network, shell};

#[test]
fn root_a_node_runs_writes_ends_and_nothing_is_left() {
    let machine = Machine::new();
    let before = machine.census();
    let keeper = machine.keeper("one");
    keeper.adopt();
    let (code, log) = keeper.run(shell(
        &machine,
        "web",
        "echo hello; echo trouble >&2; exit 7",
    ));
    assert_eq!(code, 7);
    assert!(
        log.contains("hello\n") && log.contains("trouble\n"),
        "{log}"
    );
    assert_ne!(machine.census(), before);
    keeper.destroy();
    before.assert_same(&machine);
}

#[test]
fn root_three_nodes_are_up_at_once_and_know_each_other_by_name() {
    let machine = Machine::new();
    let before = machine.census();
    let keeper = machine.keeper("three");
    keeper.adopt();
    let serve = "echo I am $(hostname) > /var/www/index.html; exec httpd -f -p 80 -h /var/www";
    keeper.start(vec![
        on_network(shell(&machine, "web", serve), 2),
        on_network(shell(&machine, "db", serve), 3),
        on_network(shell(&machine, "client", "until wget -qO- http://web/ && wget -qO- http://db.three.test/; do sleep 0.05; done; nslookup nobody; echo code $?"), 4),
    ]);
    assert_eq!(keeper.exit_code("client"), 0);
    let log = keeper.log("client");
    assert!(
        log.contains("I am web\n") && log.contains("I am db\n"),
        "{log}"
    );
    assert!(log.contains("NXDOMAIN"), "{log}");
    assert_eq!(
        keeper.ask(Request::Remove {
            node: support::node_name("db")
        }),
        Response::Done
    );
    keeper.destroy();
    before.assert_same(&machine);
}
