//! System call filters: Docker's default profile as a decision tree.
//!
//! The profile is moby's `seccomp/default.json` for x86-64 (github.com/moby/profiles, June 2026; `cargo xtask seccomp` compares). It is compiled by ourselves and not by `seccompiler`, whose linear chain of
//! 350 comparisons the kernel walks once for each of 470 system calls when a filter is loaded (to build its cache of constant answers): that is half a
//! millisecond for each start of a node. A tree of the same answers is nine comparisons deep.

use crate::caps;
use crate::fault::check;
use std::io;

#[cfg(not(target_arch = "x86_64"))]
compile_error!("the system call table is that of x86-64; another machine needs a table of its own");

/// A compiled filter.
#[derive(Debug, Clone)]
pub struct Filter(Vec<libc::sock_filter>);

impl Filter {
    /// Compiles Docker's default profile for a process with these capabilities.
    #[must_use]
    pub fn docker_default(capabilities: u64) -> Self {
        compile(&answers(capabilities))
    }

    /// Puts the filter in force for the calling process and its children, for good.
    ///
    /// # Errors
    /// `EACCES` without `no_new_privs` and without `CAP_SYS_ADMIN`.
    pub fn apply(&self) -> io::Result<()> {
        let len = u16::try_from(self.0.len()).map_err(io::Error::other)?;
        let program = libc::sock_fprog {
            len,
            filter: self.0.as_ptr().cast_mut(),
        };
        // SAFETY: the kernel reads `len` instructions from a live vector and changes none.
        check(unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                0,
                &raw const program,
            )
        })
        .map(|_| ())
    }
}

/// What happens to one system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is carried out.
    Allowed,
    /// It fails with this error number.
    Refused(u16),
    /// The process ends.
    Fatal,
}

impl Filter {
    /// Tells what the kernel will answer to system call `number` of x86-64 with this first argument: runs the program as the kernel does.
    #[must_use]
    pub fn verdict(&self, number: u32, argument: u64) -> Verdict {
        self.run(AUDIT_ARCH_X86_64, number, argument)
    }

    fn run(&self, arch: u32, number: u32, argument: u64) -> Verdict {
        let low = argument & u64::from(u32::MAX);
        let (mut at, mut word) = (0usize, 0u32);
        while let Some(step) = self.0.get(at) {
            at += 1;
            let choose = |yes: bool| usize::from(if yes { step.jt } else { step.jf });
            match (step.code, step.k) {
                (LOAD_WORD, AT_NUMBER) => word = number,
                (LOAD_WORD, AT_ARCH) => word = arch,
                (LOAD_WORD, AT_ARGUMENT_0) => word = u32::try_from(low).unwrap_or(u32::MAX),
                (JUMP_EQUAL, k) => at += choose(word == k),
                (JUMP_AT_LEAST, k) => at += choose(word >= k),
                (JUMP, k) => at += k as usize,
                (AND, k) => word &= k,
                (RETURN, RET_ALLOW) => return Verdict::Allowed,
                (RETURN, k) if k & 0xffff_0000 == RET_ERRNO => {
                    return Verdict::Refused(u16::try_from(k & 0xffff).unwrap_or(u16::MAX));
                }
                _ => return Verdict::Fatal,
            }
        }
        Verdict::Fatal
    }
}

/// What the filter answers to one system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Allow,
    /// It exists and is not allowed: EPERM.
    Deny,
    /// As if the kernel had never heard of it: programs fall back to older ways.
    Unknown,
    /// clone(2): allowed without flags for new namespaces.
    Clone,
    /// socket(2): allowed but for AF_VSOCK, which reaches the hypervisor, and AF_ALG, the kernel's cryptography, a frequent way to holes in it.
    Socket,
    /// personality(2): allowed for the usual ones.
    Personality,
}

/// The first number of which this table knows nothing.
const UNKNOWN_FROM: u32 = 467;

fn answers(capabilities: u64) -> Vec<Answer> {
    let mut table = vec![Answer::Deny; UNKNOWN_FROM as usize];
    let mut put = |calls: &[libc::c_long], answer: Answer| {
        for call in calls {
            if let Some(place) = usize::try_from(*call).ok().and_then(|at| table.get_mut(at)) {
                *place = answer;
            }
        }
    };
    put(ALWAYS, Answer::Allow);
    put(ALWAYS_BY_NUMBER, Answer::Allow);
    put(&[libc::SYS_clone], Answer::Clone);
    // Its flags are in memory, where a filter cannot look: the C library falls back to clone (moby#42681).
    put(&[libc::SYS_clone3], Answer::Unknown);
    put(&[libc::SYS_socket], Answer::Socket);
    put(&[libc::SYS_personality], Answer::Personality);
    for (name, calls) in WITH_CAPABILITY {
        if caps::bit(name).is_some_and(|bit| capabilities & bit != 0) {
            put(calls, Answer::Allow);
        }
    }
    table
}

const LOAD_WORD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

const AT_NUMBER: u32 = 0;
const AT_ARCH: u32 = 4;
/// The low half of the first argument (`struct seccomp_data`, little endian).
const AT_ARGUMENT_0: u32 = 16;
const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;

const RET_ALLOW: u32 = 0x7fff_0000;
const RET_ERRNO: u32 = 0x0005_0000;
const RET_KILL_PROCESS: u32 = 0x8000_0000;
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET, as in moby's profile.
const NEW_NAMESPACES: u32 = 0x7e02_0000;
const AF_ALG: u32 = 38;
const AF_VSOCK: u32 = 40;
/// PER_LINUX, PER_LINUX32, UNAME26 of both, and the question what it is.
const PERSONALITIES: [u32; 5] = [0, 8, 0x20000, 0x20008, 0xffff_ffff];

fn op(code: u16, k: u32) -> libc::sock_filter {
    libc::sock_filter {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

fn branch(code: u16, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

fn compile(table: &[Answer]) -> Filter {
    // Runs of equal answers: (first number, answer); the last run is everything that the table does not know, x32 numbers included.
    let mut runs: Vec<(u32, Answer)> = Vec::new();
    for (number, answer) in (0u32..).zip(table.iter().chain([&Answer::Unknown])) {
        if runs.last().is_none_or(|(_, last)| last != answer) {
            runs.push((number, *answer));
        }
    }
    let mut program = vec![
        op(LOAD_WORD, AT_ARCH),
        branch(JUMP_EQUAL, AUDIT_ARCH_X86_64, 1, 0),
        op(RETURN, RET_KILL_PROCESS),
        op(LOAD_WORD, AT_NUMBER),
    ];
    tree(&runs, &mut program);
    Filter(program)
}

fn tree(runs: &[(u32, Answer)], program: &mut Vec<libc::sock_filter>) {
    let (left, right) = runs.split_at(runs.len() / 2);
    let Some((from, _)) = right.first() else {
        return;
    };
    if left.is_empty() {
        leaf(
            runs.first().map_or(Answer::Deny, |(_, answer)| *answer),
            program,
        );
        return;
    }
    let mut low = Vec::new();
    tree(left, &mut low);
    match u8::try_from(low.len()) {
        Ok(distance) => program.push(branch(JUMP_AT_LEAST, *from, distance, 0)),
        Err(_) => {
            program.push(branch(JUMP_AT_LEAST, *from, 0, 1));
            program.push(op(JUMP, u32::try_from(low.len()).unwrap_or(u32::MAX)));
        }
    }
    program.append(&mut low);
    tree(right, program);
}

fn leaf(answer: Answer, program: &mut Vec<libc::sock_filter>) {
    let (allow, deny) = (op(RETURN, RET_ALLOW), op(RETURN, RET_ERRNO | EPERM));
    match answer {
        Answer::Allow => program.push(allow),
        Answer::Deny => program.push(deny),
        Answer::Unknown => program.push(op(RETURN, RET_ERRNO | ENOSYS)),
        Answer::Clone => {
            program.extend([
                op(LOAD_WORD, AT_ARGUMENT_0),
                op(AND, NEW_NAMESPACES),
                branch(JUMP_EQUAL, 0, 0, 1),
                allow,
                deny,
            ]);
        }
        Answer::Socket => {
            program.extend([
                op(LOAD_WORD, AT_ARGUMENT_0),
                branch(JUMP_EQUAL, AF_ALG, 2, 0),
                branch(JUMP_EQUAL, AF_VSOCK, 1, 0),
                allow,
                deny,
            ]);
        }
        Answer::Personality => {
            program.push(op(LOAD_WORD, AT_ARGUMENT_0));
            for kind in PERSONALITIES {
                program.extend([branch(JUMP_EQUAL, kind, 0, 1), allow]);
            }
            program.push(deny);
        }
    }
}

/// Allowed only with a capability, by its name.
const WITH_CAPABILITY: &[(&str, &[libc::c_long])] = &[
    ("DAC_READ_SEARCH", &[libc::SYS_open_by_handle_at]),
    (
        "SYS_ADMIN",
        &[
            libc::SYS_bpf,
            libc::SYS_clone,
            libc::SYS_clone3,
            libc::SYS_fanotify_init,
            libc::SYS_fsconfig,
            libc::SYS_fsmount,
            libc::SYS_fsopen,
            libc::SYS_fspick,
            libc::SYS_lookup_dcookie,
            459, // lsm_get_self_attr
            460, // lsm_set_self_attr
            461, // lsm_list_modules
            libc::SYS_mount,
            libc::SYS_mount_setattr,
            libc::SYS_move_mount,
            libc::SYS_open_tree,
            libc::SYS_perf_event_open,
            libc::SYS_quotactl,
            libc::SYS_quotactl_fd,
            libc::SYS_setdomainname,
            libc::SYS_sethostname,
            libc::SYS_setns,
            libc::SYS_syslog,
            libc::SYS_umount2,
            libc::SYS_unshare,
        ],
    ),
    ("SYS_BOOT", &[libc::SYS_reboot]),
    ("SYS_CHROOT", &[libc::SYS_chroot]),
    (
        "SYS_MODULE",
        &[
            libc::SYS_delete_module,
            libc::SYS_init_module,
            libc::SYS_finit_module,
        ],
    ),
    ("SYS_PACCT", &[libc::SYS_acct]),
    (
        "SYS_PTRACE",
        &[
            libc::SYS_kcmp,
            libc::SYS_pidfd_getfd,
            libc::SYS_process_madvise,
        ],
    ),
    ("SYS_RAWIO", &[libc::SYS_iopl, libc::SYS_ioperm]),
    (
        "SYS_TIME",
        &[libc::SYS_settimeofday, libc::SYS_clock_settime],
    ),
    ("SYS_TTY_CONFIG", &[libc::SYS_vhangup]),
    (
        "SYS_NICE",
        &[
            libc::SYS_get_mempolicy,
            libc::SYS_mbind,
            libc::SYS_set_mempolicy,
            libc::SYS_set_mempolicy_home_node,
        ],
    ),
    ("SYSLOG", &[libc::SYS_syslog]),
    ("BPF", &[libc::SYS_bpf]),
    ("PERFMON", &[libc::SYS_perf_event_open]),
];

macro_rules! calls {
    ($($name:ident)*) => { &[$(libc::$name),*] };
}

/// Allowed to everybody. ptrace and process_vm_* are, because kernels from 4.8 on cannot be tricked past a filter by them.
const ALWAYS: &[libc::c_long] = calls![
    SYS_accept SYS_accept4 SYS_access SYS_adjtimex SYS_alarm SYS_arch_prctl SYS_bind SYS_brk SYS_capget SYS_capset SYS_chdir SYS_chmod SYS_chown
    SYS_clock_adjtime SYS_clock_getres SYS_clock_gettime SYS_clock_nanosleep SYS_close SYS_close_range SYS_connect SYS_copy_file_range SYS_creat
    SYS_dup SYS_dup2 SYS_dup3 SYS_epoll_create SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_ctl_old SYS_epoll_pwait SYS_epoll_pwait2 SYS_epoll_wait
    SYS_epoll_wait_old SYS_eventfd SYS_eventfd2 SYS_execve SYS_execveat SYS_exit SYS_exit_group SYS_faccessat SYS_faccessat2 SYS_fadvise64
    SYS_fallocate SYS_fanotify_mark SYS_fchdir SYS_fchmod SYS_fchmodat SYS_fchmodat2 SYS_fchown SYS_fchownat SYS_fcntl SYS_fdatasync SYS_fgetxattr
    SYS_flistxattr SYS_flock SYS_fork SYS_fremovexattr SYS_fsetxattr SYS_fstat SYS_fstatfs SYS_fsync SYS_ftruncate SYS_futex SYS_futex_waitv
    SYS_futimesat SYS_getcpu SYS_getcwd SYS_getdents SYS_getdents64 SYS_getegid SYS_geteuid SYS_getgid SYS_getgroups SYS_getitimer SYS_getpeername
    SYS_getpgid SYS_getpgrp SYS_getpid SYS_getppid SYS_getpriority SYS_getrandom SYS_getresgid SYS_getresuid SYS_getrlimit SYS_get_robust_list
    SYS_getrusage SYS_getsid SYS_getsockname SYS_getsockopt SYS_get_thread_area SYS_gettid SYS_gettimeofday SYS_getuid SYS_getxattr
    SYS_inotify_add_watch SYS_inotify_init SYS_inotify_init1 SYS_inotify_rm_watch SYS_io_cancel SYS_ioctl SYS_io_destroy SYS_io_getevents
    SYS_ioprio_get SYS_ioprio_set SYS_io_setup SYS_io_submit SYS_kill SYS_landlock_add_rule SYS_landlock_create_ruleset
    SYS_landlock_restrict_self SYS_lchown SYS_lgetxattr SYS_link SYS_linkat SYS_listen SYS_listxattr SYS_llistxattr SYS_lremovexattr SYS_lseek
    SYS_lsetxattr SYS_lstat SYS_madvise SYS_membarrier SYS_memfd_create SYS_memfd_secret SYS_mincore SYS_mkdir SYS_mkdirat SYS_mknod SYS_mknodat
    SYS_mlock SYS_mlock2 SYS_mlockall SYS_mmap SYS_modify_ldt SYS_mprotect SYS_mq_getsetattr SYS_mq_notify SYS_mq_open SYS_mq_timedreceive
    SYS_mq_timedsend SYS_mq_unlink SYS_mremap SYS_mseal SYS_msgctl SYS_msgget SYS_msgrcv SYS_msgsnd SYS_msync SYS_munlock SYS_munlockall SYS_munmap
    SYS_name_to_handle_at SYS_nanosleep SYS_newfstatat SYS_open SYS_openat SYS_openat2 SYS_pause SYS_pidfd_open SYS_pidfd_send_signal SYS_pipe
    SYS_pipe2 SYS_pkey_alloc SYS_pkey_free SYS_pkey_mprotect SYS_poll SYS_ppoll SYS_prctl SYS_pread64 SYS_preadv SYS_preadv2 SYS_prlimit64
    SYS_process_mrelease SYS_process_vm_readv SYS_process_vm_writev SYS_pselect6 SYS_ptrace SYS_pwrite64 SYS_pwritev SYS_pwritev2 SYS_read
    SYS_readahead SYS_readlink SYS_readlinkat SYS_readv SYS_recvfrom SYS_recvmmsg SYS_recvmsg SYS_remap_file_pages SYS_removexattr SYS_rename
    SYS_renameat SYS_renameat2 SYS_restart_syscall SYS_rmdir SYS_rseq SYS_rt_sigaction SYS_rt_sigpending SYS_rt_sigprocmask SYS_rt_sigqueueinfo
    SYS_rt_sigreturn SYS_rt_sigsuspend SYS_rt_sigtimedwait SYS_rt_tgsigqueueinfo SYS_sched_getaffinity SYS_sched_getattr SYS_sched_getparam
    SYS_sched_get_priority_max SYS_sched_get_priority_min SYS_sched_getscheduler SYS_sched_rr_get_interval SYS_sched_setaffinity
    SYS_sched_setattr SYS_sched_setparam SYS_sched_setscheduler SYS_sched_yield SYS_seccomp SYS_select SYS_semctl SYS_semget SYS_semop
    SYS_semtimedop SYS_sendfile SYS_sendmmsg SYS_sendmsg SYS_sendto SYS_setfsgid SYS_setfsuid SYS_setgid SYS_setgroups SYS_setitimer SYS_setpgid
    SYS_setpriority SYS_setregid SYS_setresgid SYS_setresuid SYS_setreuid SYS_setrlimit SYS_set_robust_list SYS_setsid SYS_setsockopt
    SYS_set_thread_area SYS_set_tid_address SYS_setuid SYS_setxattr SYS_shmat SYS_shmctl SYS_shmdt SYS_shmget SYS_shutdown SYS_sigaltstack
    SYS_signalfd SYS_signalfd4 SYS_socketpair SYS_splice SYS_stat SYS_statfs SYS_statx SYS_symlink SYS_symlinkat SYS_sync SYS_sync_file_range
    SYS_syncfs SYS_sysinfo SYS_tee SYS_tgkill SYS_time SYS_timer_create SYS_timer_delete SYS_timer_getoverrun SYS_timer_gettime
    SYS_timer_settime SYS_timerfd_create SYS_timerfd_gettime SYS_timerfd_settime SYS_times SYS_tkill SYS_truncate SYS_umask SYS_uname SYS_unlink
    SYS_unlinkat SYS_utime SYS_utimensat SYS_utimes SYS_vfork SYS_vmsplice SYS_wait4 SYS_waitid SYS_write SYS_writev
];

/// Allowed to everybody, without a name in the libc crate: io_pgetevents, uretprobe, cachestat, map_shadow_stack, futex_wake, futex_wait,
/// futex_requeue, statmount, listmount, setxattrat, getxattrat, listxattrat, removexattrat (linux/arch/x86/entry/syscalls/syscall_64.tbl).
const ALWAYS_BY_NUMBER: &[libc::c_long] = &[
    333, 335, 451, 453, 454, 455, 456, 457, 458, 463, 464, 465, 466,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_answers_every_number_as_the_table_does() {
        for capabilities in [0, caps::ALL, caps::bit("SYS_CHROOT").unwrap()] {
            let table = answers(capabilities);
            let filter = compile(&table);
            assert!(filter.0.len() < 1500, "{}", filter.0.len());
            for number in 0..2000 {
                let want = match table
                    .get(number as usize)
                    .copied()
                    .unwrap_or(Answer::Unknown)
                {
                    Answer::Allow | Answer::Clone | Answer::Socket | Answer::Personality => {
                        Verdict::Allowed
                    }
                    Answer::Deny => Verdict::Refused(1),
                    Answer::Unknown => Verdict::Refused(38),
                };
                assert_eq!(filter.verdict(number, 0), want, "{number}");
            }
            // x32 numbers, and 32-bit programs.
            assert_eq!(filter.verdict(0x4000_0001, 0), Verdict::Refused(38));
            assert_eq!(filter.run(0x4000_0003, 1, 0), Verdict::Fatal);
        }
    }

    #[test]
    fn arguments_decide_clone_socket_and_personality() {
        let filter = Filter::docker_default(0);
        let ask = |call: libc::c_long, argument: u64| {
            filter.verdict(u32::try_from(call).unwrap(), argument)
        };
        let (allowed, denied) = (Verdict::Allowed, Verdict::Refused(1));
        assert_eq!(ask(libc::SYS_clone, 17), allowed);
        assert_eq!(ask(libc::SYS_clone, 0x1000_0000), denied, "CLONE_NEWUSER");
        assert_eq!(ask(libc::SYS_clone3, 0), Verdict::Refused(38));
        assert_eq!(ask(libc::SYS_socket, 2), allowed);
        assert_eq!(ask(libc::SYS_socket, AF_VSOCK.into()), denied);
        assert_eq!(ask(libc::SYS_socket, AF_ALG.into()), denied);
        assert_eq!(
            ask(libc::SYS_socket, 1 << 32 | u64::from(AF_ALG)),
            denied,
            "the kernel takes 32 bits"
        );
        assert_eq!(ask(libc::SYS_personality, 8), allowed);
        assert_eq!(
            ask(libc::SYS_personality, 0x0004_0000),
            denied,
            "ADDR_NO_RANDOMIZE"
        );
        for call in [
            libc::SYS_mount,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_bpf,
            libc::SYS_keyctl,
            libc::SYS_io_uring_setup,
            libc::SYS_kexec_load,
        ] {
            assert_eq!(ask(call, 0), denied, "{call}");
        }
    }
}
