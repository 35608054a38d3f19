#!/usr/bin/env python3
"""Runs a daemon as systemd does as far as sockets go: keeps what it stores (FDSTORE=1), gives it to the next one (LISTEN_FDS), restarts it at SIGHUP."""
import fcntl, os, signal, socket, sys

program, path = "@PROGRAM@", "@NOTIFY@"
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.bind(path)
notify.settimeout(0.05)
kept, wish = [], []
for number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda number, frame: wish.append(number))


def start():
    child = os.fork()
    if child:
        return child
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in kept]
    for number, fd in enumerate(high):
        os.dup2(fd, 3 + number)
    os.closerange(3 + len(kept), 4096)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    listen = {"NOTIFY_SOCKET": path, "LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(kept))}
    os.execve(program, [program] + sys.argv[1:], {**os.environ, **listen})


def end(child):
    os.kill(child, signal.SIGTERM)
    os.waitpid(child, 0)


child = start()
while True:
    try:
        text, fds, _, _ = socket.recv_fds(notify, 4096, 16)
        if b"FDSTORE=1" in text:
            kept.extend(fds)
    except TimeoutError:
        pass
    if signal.SIGTERM in wish:
        end(child)
        sys.exit(0)
    if signal.SIGHUP in wish:
        wish.remove(signal.SIGHUP)
        end(child)
        child = start()
        print("restarted with", len(kept), "sockets", flush=True)
    gone, status = os.waitpid(child, os.WNOHANG)
    if gone:
        print("the daemon ended by itself:", status, flush=True)
        sys.exit(1)
