//! What hostile or broken nodes cost: their own stand, nobody else, with words that say what happened.
#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

mod support;

use daas_keeper::protocol::{EventKind, Request};
use daas_model::{ByteSize, Cpus, Limits, NodeState};
use support::{Keeper, Machine, node_name, shell};

fn adopt_with(keeper: &Keeper, limits: Limits) {
    let mut stand = keeper.stand();
    stand.limits = Limits {
        disk: ByteSize::mib(256),
        ..limits
    };
    keeper.ask(Request::Adopt(stand));
}

#[test]
fn root_a_fork_bomb_hits_the_stands_limit_and_is_named() {
    let machine = Machine::new();
    let keeper = machine.keeper("bomb");
    adopt_with(
        &keeper,
        Limits {
            pids: 64,
            ..Limits::default()
        },
    );
    let mut events = keeper.client();
    events.ask(Request::Subscribe).unwrap();
    keeper.start(vec![shell(
        &machine,
        "web",
        "bomb() { bomb | bomb & }; sleep 0.05; bomb; sleep 1000",
    )]);
    let told = keeper.events_until(&mut events, |e| matches!(e.kind, EventKind::PidsLimit));
    let text = &told.last().unwrap().text;
    assert!(
        text.contains("stand bomb is at its limit of 64 processes"),
        "{text}"
    );
    // It stays at its limit: that is no news.
    let until = std::time::Instant::now() + std::time::Duration::from_millis(3500);
    let mut again = Vec::new();
    while let Some(left) = until.checked_duration_since(std::time::Instant::now()) {
        again.extend(events.event(left).unwrap());
    }
    again.retain(|e| matches!(e.kind, EventKind::PidsLimit));
    assert!(again.is_empty(), "{again:?}");
    keeper.destroy();
}

#[test]
fn root_a_memory_hog_is_killed_alone_and_named() {
    let machine = Machine::new();
    let keeper = machine.keeper("hog");
    adopt_with(
        &keeper,
        Limits {
            memory: ByteSize::mib(96),
            ..Limits::default()
        },
    );
    let mut events = keeper.client();
    events.ask(Request::Subscribe).unwrap();
    let hog = "x=1234567890123456; while :; do x=$x$x; done";
    keeper.start(vec![
        shell(&machine, "calm", "exec sleep 1000"),
        shell(&machine, "db", hog),
    ]);
    let told = keeper.events_until(&mut events, |e| {
        matches!(e.kind, EventKind::NodeExited { .. })
    });
    assert!(
        matches!(
            told.last().unwrap().kind,
            EventKind::NodeExited {
                code: 137,
                oom: true,
                asked: false
            }
        ),
        "{told:#?}"
    );
    let mut told = told;
    if !told.iter().any(|e| matches!(e.kind, EventKind::OomKilled)) {
        told.extend(keeper.events_until(&mut events, |e| matches!(e.kind, EventKind::OomKilled)));
    }
    let oom = told
        .iter()
        .find(|e| matches!(e.kind, EventKind::OomKilled))
        .unwrap();
    assert!(
        oom.text
            .contains("stand hog is over its memory limit of 96 MiB"),
        "{}",
        oom.text
    );
    assert!(matches!(keeper.state("calm"), NodeState::Running { .. }));
    // The keeper can still launch.
    assert_eq!(
        keeper.run(shell(&machine, "after", "echo fine")).1,
        "fine\n"
    );
    keeper.destroy();
}

#[test]
fn root_a_nodes_own_limits_hold_under_the_stands() {
    let machine = Machine::new();
    let keeper = machine.keeper("own");
    adopt_with(&keeper, Limits::default());
    let mut events = keeper.client();
    events.ask(Request::Subscribe).unwrap();
    let mut hog = shell(
        &machine,
        "db",
        "x=1234567890123456; while :; do x=$x$x; done",
    );
    hog.limits.memory = Some(ByteSize::mib(48));
    keeper.start(vec![hog.clone()]);
    let told = keeper.events_until(&mut events, |e| matches!(e.kind, EventKind::OomKilled));
    assert_eq!(
        told.last().unwrap().text,
        "node db of stand own is over its memory limit of 48 MiB: the kernel killed a process of it"
    );
    keeper.wait_until(|| {
        matches!(
            keeper.state("db"),
            NodeState::Exited {
                code: 137,
                oom: true,
                ..
            }
        )
        .then_some(())
    });
    let mut below = hog;
    (below.node, below.init) = (node_name("below"), true);
    keeper.start(vec![below]);
    keeper.wait_until(|| {
        let state = keeper.state("below");
        matches!(
            state,
            NodeState::Exited {
                code: 137,
                oom: true,
                ..
            }
        )
        .then_some(())
    });
    let mut bomb = shell(
        &machine,
        "web",
        "for n in 1 2 3 4 5 6 7 8 9; do sleep 100 & done; wait",
    );
    bomb.limits.pids = Some(4);
    keeper.start(vec![bomb]);
    let told = keeper.events_until(&mut events, |e| matches!(e.kind, EventKind::PidsLimit));
    assert_eq!(
        told.last().unwrap().text,
        "node web of stand own is at its limit of 4 processes: a process could not be made"
    );
    let mut spin = shell(
        &machine,
        "spin",
        "i=0; end=$(($(date +%s) + 2)); while [ $(date +%s) -lt $end ]; do i=$((i+1)); done; cut -d' ' -f14-17 /proc/$$/stat",
    );
    spin.limits.cpus = Some(Cpus::parse("0.1").unwrap());
    let (code, log) = keeper.run(spin);
    assert_eq!(code, 0);
    let ticks: u64 = log
        .split_whitespace()
        .map(|t| t.parse::<u64>().unwrap())
        .sum();
    // At most 3 seconds of wall time at a tenth of a CPU are 30 ticks, and one period more; unlimited it would be about 200.
    assert!(ticks < 80, "{log}");
    keeper.destroy();
}

#[test]
fn root_the_stands_cpu_ceiling_holds_for_all_of_its_nodes_together() {
    let machine = Machine::new();
    let keeper = machine.keeper("ceiling");
    adopt_with(
        &keeper,
        Limits {
            cpus: Cpus::parse("0.2").unwrap(),
            ..Limits::default()
        },
    );
    let spin = "end=$(($(date +%s) + 3)); while [ $(date +%s) -lt $end ]; do :; done; cut -d' ' -f14-17 /proc/$$/stat";
    keeper.start(vec![
        shell(&machine, "one", spin),
        shell(&machine, "two", spin),
    ]);
    let ticks: u64 = ["one", "two"]
        .into_iter()
        .map(|node| {
            assert_eq!(keeper.exit_code(node), 0);
            keeper
                .log(node)
                .split_whitespace()
                .map(|t| t.parse::<u64>().unwrap())
                .sum::<u64>()
        })
        .sum();
    // 3 to 4 seconds at a fifth of a CPU are 80 ticks at most; unlimited it would be about 600.
    assert!(ticks < 150, "{ticks}");
    keeper.destroy();
}

#[test]
fn root_disk_and_inode_fillers_fill_their_own_disk_only() {
    let machine = Machine::new();
    let keeper = machine.keeper("filler");
    adopt_with(&keeper, Limits::default());
    let mut events = keeper.client();
    events.ask(Request::Subscribe).unwrap();
    keeper.start(vec![shell(&machine, "filler", "trap 'rm /big; exit' TERM; dd if=/dev/zero of=/big bs=1M count=400; while :; do sleep 0.02; done")]);
    let told = keeper.events_until(&mut events, |e| matches!(e.kind, EventKind::DiskFull));
    assert_eq!(
        told.last().unwrap().text,
        "stand filler has filled its disk of 256 MiB: no bytes are left"
    );
    keeper.ask(Request::Stop {
        node: node_name("filler"),
        grace: None,
    });
    let (_, log) = keeper.run(shell(&machine, "bytes", "dd if=/dev/zero of=/big bs=1M count=400; ls -l /big | awk '{print ($5 > 100000000), ($5 < 268435456)}'; rm /big"));
    assert!(
        log.contains("No space left on device") && log.ends_with("1 1\n"),
        "{log}"
    );
    let (_, log) = keeper.run(shell(&machine, "inodes", "mkdir /many; cd /many; i=0; while [ $i -lt 300 ]; do i=$((i+1)); touch $i.1 $i.2 $i.3 $i.4 $i.5 $i.6 $i.7 $i.8 $i.9 $i.a $i.b $i.c $i.d $i.e $i.f $i.g $i.h $i.i $i.j $i.k $i.l $i.m $i.n $i.o $i.p $i.q $i.r $i.s $i.t $i.u $i.v $i.w $i.x $i.y $i.z $i.aa $i.ab $i.ac $i.ad $i.ae $i.af $i.ag $i.ah $i.ai $i.aj $i.ak $i.al $i.am $i.an $i.ao $i.ap $i.aq $i.ar $i.as $i.at $i.au $i.av $i.aw $i.ax $i.ay $i.az 2>&1 || break; done; df -i / | awk 'NR>1 {print $4}'"));
    assert!(
        log.contains("No space left on device") && log.ends_with("\n0\n"),
        "{}",
        &log[log.len().saturating_sub(300)..]
    );
    keeper.destroy();
}

#[test]
fn root_who_goes_on_against_a_full_disk_is_slowed_until_there_is_room() {
    let machine = Machine::new();
    let keeper = machine.keeper("beating");
    adopt_with(&keeper, Limits::default());
    let quota = || {
        let below = |folder: &str, file: &str| {
            format!(
                "/sys/fs/cgroup/{folder}{}/beating/{file}",
                machine.cgroup_root
            )
        };
        let text = std::fs::read_to_string(below("", "cpu.max"))
            .or_else(|_| std::fs::read_to_string(below("cpu/", "cpu.cfs_quota_us")));
        text.unwrap().split_whitespace().next().unwrap().to_owned()
    };
    let ceiling = quota();
    let mut events = keeper.client();
    events.ask(Request::Subscribe).unwrap();
    let filler = "trap 'rm /big /more; exit' TERM; dd if=/dev/zero of=/big bs=1M count=400; while :; do dd if=/dev/zero of=/more bs=1M; done 2> /dev/null";
    keeper.start(vec![shell(&machine, "filler", filler)]);
    let told = keeper.events_until(&mut events, |e| matches!(e.kind, EventKind::Slowed));
    assert!(
        told.last()
            .unwrap()
            .text
            .starts_with("stand beating goes on against its full disk"),
        "{told:#?}"
    );
    assert_eq!(quota(), "1000");
    keeper.ask(Request::Stop {
        node: node_name("filler"),
        grace: None,
    });
    keeper.wait_until(|| (quota() == ceiling).then_some(()));
    keeper.destroy();
}

#[test]
fn root_a_log_flood_is_bounded_and_others_are_heard() {
    let machine = Machine::new();
    let keeper = machine.keeper("flood");
    adopt_with(&keeper, Limits::default());
    let mut flood = shell(
        &machine,
        "flood",
        "exec yes this line is written over and over again until somebody stops it",
    );
    flood.log.max_bytes = ByteSize::mib(1);
    flood.log.keep = 2;
    keeper.start(vec![
        flood,
        shell(
            &machine,
            "quiet",
            "while :; do echo still here; sleep 0.02; done",
        ),
    ]);
    keeper.wait_until(|| {
        (keeper.log("quiet").matches("still here").count() > 20
            && keeper.dir.join("logs/flood.log.1").exists())
        .then_some(())
    });
    let size: u64 = std::fs::read_dir(keeper.dir.join("logs"))
        .unwrap()
        .flatten()
        .filter(|e| e.file_name().to_string_lossy().starts_with("flood"))
        .map(|e| e.metadata().unwrap().len())
        .sum();
    assert!(size <= (2 << 20) + (256 << 10), "{size}");
    assert_eq!(
        keeper.ask(Request::Stop {
            node: node_name("flood"),
            grace: Some(daas_model::Span::default())
        }),
        daas_keeper::protocol::Response::Done
    );
    keeper.destroy();
}
