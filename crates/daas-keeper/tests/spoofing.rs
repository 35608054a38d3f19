//! A node cannot use another node's address, whatever frames it makes; the frames are real ones.
#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

mod support;

use daas_keeper::launch::{BridgeSubnet, InterfaceLaunch, NetworkLaunch, NodeLaunch};
use daas_keeper::protocol::Request;
use daas_model::Subnet;
use std::collections::BTreeSet;
use std::process::Command;
use support::{Keeper, Machine, network_name, node_name, python, shell};

const VICTIM: u8 = 2;
const CLIENT: u8 = 3;
const THIEF: u8 = 9;

/// A stand with one network of both kinds of addresses.
fn adopt(keeper: &Keeper) {
    let mut stand = keeper.stand();
    stand.networks[0].subnets.push(BridgeSubnet {
        subnet: Subnet::parse("fd00::/64").unwrap(),
        gateway: "fd00::1".parse().unwrap(),
    });
    keeper.ask(Request::Adopt(stand));
}

fn connected(mut node: NodeLaunch, last: u8) -> NodeLaunch {
    node.network = NetworkLaunch::Interfaces(vec![InterfaceLaunch {
        network: network_name("default"),
        ipv4: Some([10, 0, 0, last].into()),
        ipv6: Some(format!("fd00::{last}").parse().unwrap()),
        mac: [2, 0, 10, 0, 0, last],
        names: vec![],
        default_route: false,
    }]);
    node
}

fn thief(machine: &Machine) -> NodeLaunch {
    let arguments = [THIEF, VICTIM, CLIENT].map(|last| last.to_string());
    connected(python(machine, "thief", "thief.py", &arguments), THIEF)
}

/// Whose the words are that the victim heard.
fn heard(keeper: &Keeper) -> BTreeSet<String> {
    keeper
        .log("victim")
        .lines()
        .filter(|line| !line.starts_with("listening"))
        .map(str::to_owned)
        .collect()
}

/// The link address that the client believes the address to be at, as it last said.
fn believed(keeper: &Keeper, address: &str) -> Option<String> {
    let log = keeper.log("client");
    let last = log.rsplit("==\n").nth(1)?;
    last.lines()
        .find(|line| line.split_whitespace().next() == Some(address))
        .and_then(|line| {
            line.split_whitespace()
                .find(|word| word.matches(':').count() == 5)
        })
        .map(str::to_owned)
}

/// Waits until the thief has sent everything some more times, and everybody had the time to say what they saw.
fn more_rounds(keeper: &Keeper) {
    let said = |node: &str, what: &str| keeper.log(node).matches(what).count();
    let (rounds, looks, honest) = (
        said("thief", "round"),
        said("client", "=="),
        said("victim", "honest-6"),
    );
    keeper.wait_until(|| {
        (said("thief", "round") > rounds + 3
            && said("client", "==") > looks + 2
            && said("victim", "honest-6") > honest + 2)
            .then_some(())
    });
}

fn start_all(machine: &Machine, keeper: &Keeper, free: bool) {
    // It knows both neighbours before the thief begins, and looks on without asking again.
    let look = "ping -c 1 10.0.0.2 && ping -c 1 10.0.0.1 && ping6 -c 1 fd00::2; echo primed; while :; do ping6 -c 1 -W 1 fd00::1 > /dev/null & grep -v IP /proc/net/arp; ip -6 neigh | grep fd00; echo ==; sleep 0.2; done";
    keeper.start(vec![
        connected(python(machine, "victim", "listener.py", &[]), VICTIM),
        connected(shell(machine, "client", look), CLIENT),
    ]);
    keeper.wait_until(|| keeper.log("victim").contains("listening").then_some(()));
    keeper.wait_until(|| believed(keeper, "10.0.0.2").zip(believed(keeper, "fd00::2")));
    let mut thief = thief(machine);
    if free {
        thief.rights.caps |= daas_sys::caps::bit("NET_ADMIN").unwrap();
    }
    keeper.start(vec![thief]);
    more_rounds(keeper);
}

fn nobody_was_deceived(keeper: &Keeper) {
    for (address, mac) in [
        ("10.0.0.2", "02:00:0a:00:00:02"),
        ("10.0.0.1", "02:da:a5:00:00:0a"),
        ("fd00::2", "02:00:0a:00:00:02"),
    ] {
        assert_eq!(
            believed(keeper, address).as_deref(),
            Some(mac),
            "{address}: {}",
            keeper.log("client")
        );
    }
}

#[test]
fn root_forged_arp_answers_and_senders_reach_nobody() {
    let machine = Machine::new();
    let keeper = machine.keeper("forge");
    adopt(&keeper);
    start_all(&machine, &keeper, false);
    let honest = BTreeSet::from([
        "honest-4 10.0.0.9".to_owned(),
        "honest-6 fd00::9".to_owned(),
    ]);
    assert_eq!(heard(&keeper), honest);
    nobody_was_deceived(&keeper);

    // Without the guard the same frames deceive everybody: so it is the guard that this test sees.
    let unguarded = Command::new("nsenter")
        .args([
            "-t",
            &keeper.process.id().to_string(),
            "-n",
            "nft",
            "delete",
            "table",
            "bridge",
            "daas-guard",
        ])
        .status()
        .unwrap();
    assert!(unguarded.success());
    more_rounds(&keeper);
    let heard = heard(&keeper);
    for words in [
        "forged-4 10.0.0.3",
        "forged-4-mac 10.0.0.3",
        "forged-4-vlan 10.0.0.3",
        "forged-gateway 10.0.0.1",
        "forged-6 fd00::3",
        "unowned-4 10.0.0.77",
    ] {
        assert!(heard.contains(words), "{words}: {heard:?}");
    }
    for address in ["10.0.0.2", "10.0.0.1", "fd00::2"] {
        let until = std::time::Instant::now() + std::time::Duration::from_secs(120);
        while believed(&keeper, address).as_deref() != Some("02:00:0a:00:00:09") {
            assert!(
                std::time::Instant::now() < until,
                "{address} is at {:?}",
                believed(&keeper, address)
            );
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
    keeper.destroy();
}

#[test]
fn root_a_node_that_configures_its_network_may_use_free_addresses_and_no_others() {
    let machine = Machine::new();
    let keeper = machine.keeper("free");
    adopt(&keeper);
    start_all(&machine, &keeper, true);
    let expected = BTreeSet::from(
        [
            "honest-4 10.0.0.9",
            "honest-6 fd00::9",
            "unowned-4 10.0.0.77",
            "unowned-6 fd00::77",
        ]
        .map(str::to_owned),
    );
    assert_eq!(heard(&keeper), expected);
    nobody_was_deceived(&keeper);
    // What a node takes that is stopped, or changed its link address to another's, stays its owner's.
    keeper.ask(Request::Stop {
        node: node_name("thief"),
        grace: Some(daas_model::Span::default()),
    });
    let mut move_in = shell(
        &machine,
        "mover",
        "ip addr add 10.0.0.50/24 dev eth0; ping -c 1 -W 1 -I 10.0.0.50 10.0.0.2 > /dev/null && echo shared; ip addr add 10.0.0.9/24 dev eth0; ping -c 1 -W 1 -I 10.0.0.9 10.0.0.2 > /dev/null || echo stopped; ip link set eth0 address 02:00:0a:00:00:03; ping -c 1 -W 1 10.0.0.2 > /dev/null || echo stranger",
    );
    move_in.rights.caps |= daas_sys::caps::bit("NET_ADMIN").unwrap();
    let (_, log) = keeper.run(connected(move_in, 20));
    assert_eq!(log, "shared\nstopped\nstranger\n");
    nobody_was_deceived(&keeper);
    // It comes back to what is its own, by another port.
    keeper.start(vec![thief(&machine)]);
    more_rounds(&keeper);
    keeper.destroy();
}
