//! What needs a process of its own: a real terminal, signals, forwarding.

use crate::house::{Daemon, Nobody};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

#[test]
fn what_leads_nowhere_is_told_before_it_is_opened() {
    let daemon = Daemon::open();
    daemon.platform.add_stand("shop");
    insta::assert_snapshot!(daemon.run(&["stand", "forward", "shop/nope", "0:80"]).all(&daemon), @"
    --- stderr
    error[node-not-found]: stand `shop` has no node `nope`
      hint: it has: db, web
    --- exit 3
    ");
    insta::assert_snapshot!(daemon.run(&["stand", "forward", "shop/web", "80/sctp"]).all(&daemon), @"
    --- stderr
    error: invalid value '80/sctp' for '<[[ADDRESS:]LOCAL:]PORT[/udp]>...': `80/sctp` is no port: write `8080`, `18080:8080`, `0.0.0.0:18080:8080`, `5353:53/udp`

    For more information, try '--help'.
    --- exit 2
    ");
}

/// The program of the other tests: the command line, on the process's own terminal.
#[test]
fn command_line_child() {
    let Ok(words) = std::env::var("DAAS_CLI_CHILD") else {
        return;
    };
    let arguments = std::iter::once("daas")
        .chain(words.split('\n'))
        .map(std::ffi::OsString::from);
    #[expect(clippy::exit, reason = "the exit code is what is tested")]
    std::process::exit(daas_cli::run(arguments, &Nobody, &daas_cli::Terminal::real()).into());
}

fn child(daemon: &Daemon, words: &[&str]) -> Command {
    let mut all = vec!["--socket", daemon.socket()];
    all.extend(words);
    let mut command = Command::new(std::env::current_exe().expect("this test runs"));
    command
        .args(["--exact", "terminal::command_line_child", "--nocapture"])
        .env("DAAS_CLI_CHILD", all.join("\n"));
    command
}

/// Reads lines until one begins with `start`; what the test harness says is passed by.
fn line_with(reader: &mut impl BufRead, start: &str) -> String {
    loop {
        let mut line = String::new();
        assert!(
            reader.read_line(&mut line).expect("it is text") > 0,
            "no line begins with {start}"
        );
        if let Some(place) = line.find(start) {
            return line[place..].trim_end().to_owned();
        }
    }
}

fn interrupt(child: &Child) {
    let pid = Pid::from_child(child);
    kill_process(pid, Signal::INT).expect("it runs");
}

#[test]
fn ports_here_lead_to_a_node_until_ctrl_c() {
    let daemon = Daemon::open();
    daemon.platform.add_stand("shop");
    let mut child = child(
        &daemon,
        &["stand", "forward", "shop/web", "0:80", "0:53/udp"],
    )
    .stdout(Stdio::piped())
    .stderr(Stdio::null())
    .spawn()
    .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    let address = |line: String| line.split('/').next().unwrap().to_owned();
    let tcp = address(line_with(&mut said, "127.0.0.1:"));
    let udp = address(line_with(&mut said, "127.0.0.1:"));
    for round in 0..3u8 {
        let mut stream = TcpStream::connect(&tcp).unwrap();
        stream.write_all(&[round; 5000]).unwrap();
        let mut back = [9; 5000];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(back, [round; 5000]);
    }
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for datagram in [&b"one"[..], b"", b"three"] {
        socket.send_to(datagram, &udp).unwrap();
        let mut back = [0; 100];
        let (n, _) = socket.recv_from(&mut back).unwrap();
        assert_eq!(&back[..n], datagram);
    }
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(daemon.asked()[0], "forward shop/web:80/tcp");
}

#[test]
fn a_follower_ends_at_ctrl_c_with_130() {
    let daemon = Daemon::open();
    daemon.platform.add_stand("shop");
    let mut child = child(&daemon, &["stand", "logs", "--follow", "shop", "web"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    line_with(&mut said, "GET / 200");
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn a_reader_that_leaves_ends_the_command_without_a_word() {
    let daemon = Daemon::open();
    daemon.platform.add_stand("shop");
    daemon.platform.put_archive("/big", vec![0; 4 << 20]);
    let mut child = child(&daemon, &["stand", "copy", "shop/web:/big", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The harness of the child speaks first; the first zero is the archive's.
    let mut stdout = child.stdout.take().unwrap();
    let mut byte = [1];
    while byte != [0] {
        stdout.read_exact(&mut byte).unwrap();
    }
    drop(stdout);
    let mut err = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut err)
        .unwrap();
    assert_eq!((child.wait().unwrap().code(), err.as_str()), (Some(0), ""));
}

/// A terminal: our end, and the other end for a child.
fn terminal(columns: u16, rows: u16) -> (File, File) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("there are terminals");
    grantpt(&ours)
        .and_then(|()| unlockpt(&ours))
        .expect("it is ours");
    let name = ptsname(&ours, Vec::new())
        .expect("it has a name")
        .into_string()
        .expect("it is text");
    let theirs = OpenOptions::new()
        .read(true)
        .write(true)
        .open(name)
        .expect("it opens");
    tcsetwinsize(
        &theirs,
        Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        },
    )
    .expect("it has a size");
    (File::from(ours), theirs)
}

#[test]
fn a_program_with_a_terminal_gets_keys_and_sizes_and_the_terminal_comes_back() {
    let daemon = Daemon::open();
    daemon.platform.add_stand("shop");
    let (ours, theirs) = terminal(80, 24);
    let before = rustix::termios::tcgetattr(&theirs).unwrap();
    let mut child = child(&daemon, &["stand", "exec", "-it", "shop/web", "size"])
        .stdin(theirs.try_clone().unwrap())
        .stdout(theirs.try_clone().unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(ours.try_clone().unwrap());
    assert_eq!(line_with(&mut said, "80x24"), "80x24");
    let during = rustix::termios::tcgetattr(&theirs).unwrap();
    assert!(
        !during
            .local_modes
            .contains(rustix::termios::LocalModes::ECHO | rustix::termios::LocalModes::ICANON)
    );
    tcsetwinsize(
        &theirs,
        Winsize {
            ws_row: 40,
            ws_col: 120,
            ws_xpixel: 0,
            ws_ypixel: 0,
        },
    )
    .unwrap();
    // The signal goes to who has the terminal as his own; here nobody has, so it is sent by hand.
    kill_process(Pid::from_child(&child), Signal::WINCH).unwrap();
    assert_eq!(line_with(&mut said, "120x40"), "120x40");
    // Ctrl-C is a key like any other: the program gets it, and we do not end by it.
    (&ours).write_all(b"\x03").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(7));
    let after = rustix::termios::tcgetattr(&theirs).unwrap();
    assert_eq!(after.local_modes, before.local_modes);
}

#[test]
fn a_terminal_without_input_stays_as_it_is_and_ctrl_c_hangs_up() {
    let daemon = Daemon::open();
    daemon.platform.add_stand("shop");
    let (_ours, theirs) = terminal(80, 24);
    let before = rustix::termios::tcgetattr(&theirs).unwrap();
    let mut child = child(&daemon, &["stand", "exec", "-t", "shop/web", "sleep"])
        .stdin(theirs.try_clone().unwrap())
        .stdout(theirs.try_clone().unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while !daemon.asked().iter().any(|asked| asked.starts_with("exec")) {
        std::thread::sleep(Duration::from_millis(10));
    }
    // Time for what comes behind the answer.
    std::thread::sleep(Duration::from_millis(200));
    let during = rustix::termios::tcgetattr(&theirs).unwrap();
    assert_eq!(during.local_modes, before.local_modes);
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn standard_input_reaches_a_program_to_its_end() {
    let daemon = Daemon::open();
    daemon.platform.add_stand("shop");
    let mut child = child(&daemon, &["stand", "exec", "-i", "shop/web", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let sent: Vec<u8> = (0..200_000u32).flat_map(u32::to_be_bytes).collect();
    let (mut to, mut from, copy) = (
        child.stdin.take().unwrap(),
        child.stdout.take().unwrap(),
        sent.clone(),
    );
    let writing = std::thread::spawn(move || to.write_all(&copy).unwrap());
    let mut got = Vec::new();
    from.read_to_end(&mut got).unwrap();
    writing.join().unwrap();
    // The test harness of the child says a line of its own before.
    assert!(got.ends_with(&sent), "{} bytes", got.len());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
