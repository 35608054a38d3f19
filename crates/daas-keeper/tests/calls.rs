//! System calls that a node must not have, made by a program inside a node.
#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

mod support;

use support::{Machine, python};

const EPERM: i32 = 1;
const ENOSYS: i32 = 38;
const SIGSYS: i32 = 31;

/// Call, as number and arguments, and what it must answer (arch/x86/entry/syscalls/syscall_64.tbl).
const CALLS: &[(&str, &str, i32)] = &[
    ("keyctl", "250:0:-3", EPERM),
    ("add_key", "248", EPERM),
    ("request_key", "249", EPERM),
    ("bpf", "321:0:0:0", EPERM),
    ("perf_event_open", "298", EPERM),
    ("userfaultfd", "323:0", EPERM),
    ("io_uring_setup", "425:1:0", EPERM),
    ("mount", "165", EPERM),
    ("umount2", "166", EPERM),
    ("open_tree", "428", EPERM),
    ("move_mount", "429", EPERM),
    ("fsopen", "430", EPERM),
    ("fsconfig", "431", EPERM),
    ("fsmount", "432", EPERM),
    ("fspick", "433", EPERM),
    ("mount_setattr", "442", EPERM),
    ("pivot_root", "155", EPERM),
    ("unshare(CLONE_NEWUSER)", "272:0x10000000", EPERM),
    ("unshare(CLONE_NEWNET)", "272:0x40000000", EPERM),
    ("setns", "308:0:0", EPERM),
    ("clone(CLONE_NEWUSER)", "56:0x10000011:0:0:0:0", EPERM),
    ("clone(CLONE_NEWNS)", "56:0x20011:0:0:0:0", EPERM),
    ("clone3", "435:0:0", ENOSYS),
    ("personality(ADDR_NO_RANDOMIZE)", "135:0x40000", EPERM),
    ("personality(READ_IMPLIES_EXEC)", "135:0x400000", EPERM),
    ("personality(what is it)", "135:0xffffffff", 0),
    ("socket(AF_VSOCK)", "41:40:1:0", EPERM),
    ("socket(AF_ALG)", "41:38:5:0", EPERM),
    (
        "socket(AF_ALG), more bits than the kernel takes",
        "41:0x100000026:5:0",
        EPERM,
    ),
    ("socket(AF_INET)", "41:2:2:0", 0),
    ("socket(AF_PACKET)", "41:17:3:0", 0),
    ("kexec_load", "246", EPERM),
    ("kexec_file_load", "320", EPERM),
    ("init_module", "175", EPERM),
    ("finit_module", "313", EPERM),
    ("delete_module", "176", EPERM),
    ("reboot", "169", EPERM),
    ("swapon", "167", EPERM),
    ("swapoff", "168", EPERM),
    ("acct", "163", EPERM),
    ("settimeofday", "164", EPERM),
    ("clock_settime", "227", EPERM),
    ("quotactl", "179", EPERM),
    ("quotactl_fd", "443", EPERM),
    ("nfsservctl", "180", EPERM),
    ("lookup_dcookie", "212", EPERM),
    ("open_by_handle_at", "304", EPERM),
    ("iopl", "172:3", EPERM),
    ("ioperm", "173", EPERM),
    ("kcmp", "312", EPERM),
    ("pidfd_getfd", "438", EPERM),
    ("process_madvise", "440", EPERM),
    ("vhangup", "153", EPERM),
    ("get_mempolicy", "239", EPERM),
    ("set_mempolicy", "238", EPERM),
    ("mbind", "237", EPERM),
    ("move_pages", "279", EPERM),
    ("migrate_pages", "256", EPERM),
    ("syslog", "103:3", EPERM),
    ("sethostname", "170", EPERM),
    ("setdomainname", "171", EPERM),
    ("fanotify_init", "300", EPERM),
    ("lsm_set_self_attr", "460", EPERM),
    ("ustat", "136", EPERM),
    ("sysfs", "139", EPERM),
    ("_sysctl", "156", EPERM),
    ("uselib", "134", EPERM),
    ("create_module", "174", EPERM),
    ("get_kernel_syms", "177", EPERM),
    ("query_module", "178", EPERM),
    ("getpid of x32", "0x40000027", ENOSYS),
    ("a number that no kernel has", "1000", ENOSYS),
    ("getpid of 32-bit programs", "i386", SIGSYS),
];

#[test]
fn root_system_calls_that_reach_beyond_a_node_are_refused_inside_a_real_one() {
    let machine = Machine::new();
    let keeper = machine.keeper("calls");
    keeper.adopt();
    let calls: Vec<String> = CALLS
        .iter()
        .map(|(_, call, _)| (*call).to_owned())
        .collect();
    let (code, log) = keeper.run(python(&machine, "web", "calls.py", &calls));
    assert_eq!(code, 0, "{log}");
    let answers: Vec<&str> = log.lines().collect();
    assert_eq!(answers.len(), CALLS.len(), "{log}");
    for ((name, call, wanted), answer) in CALLS.iter().zip(answers) {
        assert_eq!(answer, format!("{call} {wanted}"), "{name}");
    }
    keeper.destroy();
}
