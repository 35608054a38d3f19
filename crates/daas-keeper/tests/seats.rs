//! Processes that wait to be told which node they are: nodes are the same whichever way they came to be, and nothing is left of those that nobody took.
#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

mod support;

use daas_keeper::protocol::Response;
use daas_model::NodeState;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use support::{Keeper, Machine, node_name, on_network, shell};

/// Everything that a program sees of itself and around it, without what differs from one start to the next.
const LOOK: &str = "
until grep -q up /sys/class/net/eth0/operstate; do sleep 0.01; done
awk '{ print $4, $5, $6 }' /proc/self/mountinfo | sort
sed 's/.* - //' /proc/self/mountinfo | awk '{ print $1, $2 }' | sort
grep -E '^(Uid|Gid|Groups|NSsid|NSpgid|Cap|Seccomp|NoNewPrivs|CoreDumping|Sig|Shd)' /proc/self/status
ls -ln /dev /dev/shm /dev/pts | awk '{ print $1, $2, $3, $4, $5, $6, $NF }' | grep -v '^total'
ls -l /proc/self/fd | awk '{ print $1, $NF }' | sed 's/\\[[0-9]*\\]//; s/proc\\/[0-9]*//' | grep -v '^total'
cat /proc/self/limits /proc/self/cgroup /proc/self/oom_score_adj
awk '{ print $1, $3 }' /proc/self/uid_map /proc/self/gid_map
cat /sys/class/net/eth0/address
ip addr show | sed 's/@if[0-9]*//; s/ qlen [0-9]*//'; ip route; ip -6 route
hostname; umask; pwd; env | sort; ls /
cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/core/somaxconn
stat -c '%a %u %g' / /dev /proc /sys /dev/shm /etc/hosts
for f in /proc/kcore /proc/keys /sys/firmware; do ls -ld $f | awk '{ print $1, $3, $4 }'; done
echo x > /proc/sys/kernel/hostname || echo no
cat /proc/1/comm
";

fn look(
    machine: &Machine,
    seats: u32,
    change: impl Fn(&mut daas_keeper::launch::NodeLaunch),
) -> String {
    let mut seed = machine.seed(&format!("look-{seats}"));
    seed.seats = seats;
    let keeper = machine.keeper_with(&seed, &[]);
    keeper.adopt();
    let mut node = on_network(shell(machine, "web", LOOK), 2);
    node.hosts = Some("127.0.0.1 localhost\n".to_owned());
    node.resolv_conf = Some("nameserver 127.0.0.11\n".to_owned());
    change(&mut node);
    let (code, log) = keeper.run(node);
    assert_eq!(code, 0, "{log}");
    let place = keeper.status().nodes[&node_name("web")]
        .cgroups
        .unified
        .clone();
    let sat = place.unwrap().ends_with("s-0");
    assert_eq!(sat, seats > 0, "which way it was born");
    keeper.destroy();
    log
}

/// Shows what differs, and only that.
fn same(sat: &str, born: &str) {
    let only = |of: &str, other: &str| -> Vec<String> {
        let known: Vec<&str> = other.lines().collect();
        let lines = of.lines().filter(|line| !known.contains(line));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(only(sat, born), only(born, sat));
    assert_eq!(sat, born);
}

#[test]
fn root_a_node_that_took_a_seat_is_like_one_that_was_born() {
    let machine = Machine::new();
    let before = machine.census();
    same(&look(&machine, 1, |_| ()), &look(&machine, 0, |_| ()));
    before.assert_same(&machine);
}

#[test]
fn root_so_is_one_with_a_user_an_init_a_read_only_root_and_more_rights() {
    let machine = Machine::new();
    let change = |node: &mut daas_keeper::launch::NodeLaunch| {
        node.uid = 33;
        node.gid = 33;
        node.groups = vec![7];
        node.init = true;
        node.read_only_root = true;
        node.rights.caps |= 1 << 12;
        node.cwd = "/made/if/missing".to_owned();
        node.env.push("A=b".to_owned());
        node.rlimits.insert("nofile".to_owned(), (100, 200));
    };
    same(&look(&machine, 1, change), &look(&machine, 0, change));
}

fn places(machine: &Machine, keeper: &Keeper) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(stand(machine, keeper))
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn stand(machine: &Machine, keeper: &Keeper) -> PathBuf {
    let root = daas_sys::cgroup::Root::find(&machine.cgroup_root).unwrap();
    root.stand(keeper.id.as_str()).unified().to_path_buf()
}

fn keeper_with_seats(machine: &Machine, seats: u32) -> Keeper {
    let mut seed = machine.seed("seats");
    seed.seats = seats;
    let keeper = machine.keeper_with(&seed, &[]);
    keeper.adopt();
    keeper
}

#[test]
fn root_what_needs_another_process_than_one_that_waits_is_born() {
    let machine = Machine::new();
    let before = machine.census();
    let keeper = keeper_with_seats(&machine, 1);
    let mut forwarding = on_network(
        shell(
            &machine,
            "forwarding",
            "cat /proc/sys/net/ipv4/ip_forward; sleep 1000",
        ),
        2,
    );
    forwarding
        .sysctls
        .insert("net.ipv4.ip_forward".to_owned(), "1".to_owned());
    keeper.start(vec![
        forwarding,
        shell(&machine, "alone", "sleep 1000"),
        on_network(shell(&machine, "plain", "sleep 1000"), 3),
        on_network(shell(&machine, "late", "sleep 1000"), 4),
    ]);
    keeper.wait_until(|| (keeper.log("forwarding") == "1\n").then_some(()));
    assert_eq!(
        places(&machine, &keeper),
        ["n-alone", "n-forwarding", "n-late", "s-0"]
    );
    keeper.destroy();
    before.assert_same(&machine);
}

#[test]
fn root_a_seat_that_nobody_takes_goes_and_one_that_dies_is_nobodys_loss() {
    let machine = Machine::new();
    let before = machine.census();
    let keeper = keeper_with_seats(&machine, 2);
    assert_eq!(places(&machine, &keeper), ["s-0", "s-1"]);
    let pid = fs::read_to_string(stand(&machine, &keeper).join("s-0/cgroup.procs")).unwrap();
    daas_sys::process::kill(pid.trim().parse().unwrap(), 9).unwrap();
    keeper.wait_until(|| {
        fs::read_to_string(stand(&machine, &keeper).join("s-0/cgroup.procs"))
            .unwrap()
            .is_empty()
            .then_some(())
    });
    keeper.start(vec![on_network(shell(&machine, "web", "sleep 1000"), 2)]);
    assert!(matches!(keeper.state("web"), NodeState::Running { .. }));
    keeper.start(vec![on_network(shell(&machine, "db", "sleep 1000"), 3)]);
    assert!(matches!(keeper.state("db"), NodeState::Running { .. }));
    keeper.destroy();

    let keeper = keeper_with_seats(&machine, 2);
    let until = Instant::now() + Duration::from_secs(60);
    while !places(&machine, &keeper).is_empty() {
        assert!(Instant::now() < until, "they stay");
        std::thread::sleep(Duration::from_millis(20));
    }
    keeper.start(vec![on_network(shell(&machine, "web", "sleep 1000"), 2)]);
    assert_eq!(places(&machine, &keeper), ["n-web"]);
    keeper.destroy();
    before.assert_same(&machine);
}

#[test]
fn root_a_stand_of_few_processes_has_all_of_them_for_its_nodes() {
    let machine = Machine::new();
    let before = machine.census();
    let mut seed = machine.seed("few");
    seed.seats = 2;
    let keeper = machine.keeper_with(&seed, &[]);
    let mut stand = keeper.stand();
    stand.limits.pids = 8;
    assert_eq!(
        keeper.ask(daas_keeper::protocol::Request::Adopt(stand)),
        Response::Done
    );
    assert_eq!(places(&machine, &keeper), Vec::<String>::new());
    keeper.destroy();
    before.assert_same(&machine);
}

#[test]
fn root_another_disk_than_the_one_that_seats_see_replaces_it() {
    let machine = Machine::new();
    let before = machine.census();
    let mut seed = machine.seed("disk");
    seed.seats = 2;
    let keeper = machine.keeper_with(&seed, &[]);
    let mut stand = keeper.stand();
    stand.limits.disk = daas_model::ByteSize::mib(64);
    assert_eq!(
        keeper.ask(daas_keeper::protocol::Request::Adopt(stand)),
        Response::Done
    );
    let (code, log) = keeper.run(on_network(
        shell(
            &machine,
            "web",
            "df -m / | awk 'NR == 2 && $2 < 65 { print \"small\" }'",
        ),
        2,
    ));
    assert_eq!((code, log.as_str()), (0, "small\n"));
    keeper.destroy();
    before.assert_same(&machine);
}
