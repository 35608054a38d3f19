//! Servers of other makers as back ends, which write down every request that they were asked.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server that runs until this is dropped.
pub(crate) struct OtherBack {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    log: PathBuf,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Drop for OtherBack {
    fn drop(&mut self) {
        // SIGTERM: nginx ends its worker with it.
        let pid = i32::try_from(self.child.id()).ok();
        if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

impl OtherBack {
    pub(crate) fn nginx() -> Self {
        Self::start("nginx", |folder, address| {
            let config = format!(
                "daemon off; master_process off; pid {0}/pid; error_log /dev/null crit;\nevents {{ }}\n\
                 http {{ log_format line '$request'; access_log {0}/log line;\n\
                 client_body_temp_path {0}/b; proxy_temp_path {0}/p; fastcgi_temp_path {0}/f; uwsgi_temp_path {0}/u; scgi_temp_path {0}/s;\n\
                 server {{ listen {address}; location / {{ return 200 ok; }} }} }}\n",
                folder.display()
            );
            std::fs::write(folder.join("conf"), config).unwrap();
            let mut command = Command::new("/usr/sbin/nginx");
            command
                .arg("-c")
                .arg(folder.join("conf"))
                .stdout(Stdio::null());
            command
        })
    }

    pub(crate) fn haproxy() -> Self {
        Self::start("haproxy", |folder, address| {
            let config = format!(
                "global\n  maxconn 200\n  log stdout format raw local0\ndefaults\n  mode http\n  log global\n  option dontlognull\n  log-format %{{+Q}}r\n  timeout client 5s\n  timeout server 5s\n  timeout connect 5s\n\
                 frontend all\n  bind {address}\n  http-request return status 200 content-type text/plain string ok\n"
            );
            std::fs::write(folder.join("conf"), config).unwrap();
            let mut command = Command::new("/usr/sbin/haproxy");
            let log = std::fs::File::create(folder.join("log")).unwrap();
            command
                .arg("-db")
                .arg("-f")
                .arg(folder.join("conf"))
                .stdout(log);
            command
        })
    }

    /// `python3 -m http.server`, as people start it.
    pub(crate) fn python() -> Self {
        Self::start("python", |folder, address| {
            let mut command = Command::new("python3");
            let log = std::fs::File::create(folder.join("log")).unwrap();
            command
                .args([
                    "-u",
                    "-m",
                    "http.server",
                    "--bind",
                    "127.0.0.1",
                    "--directory",
                ])
                .arg(folder)
                .arg(address.port().to_string())
                .stdout(Stdio::null())
                .stderr(log);
            command
        })
    }

    fn start(
        name: &'static str,
        command: impl FnOnce(&std::path::Path, SocketAddr) -> Command,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .unwrap();
        let mut command = command(folder.path(), address);
        if name != "python" {
            command.stderr(Stdio::null());
        }
        let child = command
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("cannot run {name}: {error}; tools/install-packages test")
            });
        let until = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < until, "{name} does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self {
            name,
            address,
            log: folder.path().join("log"),
            child,
            _folder: folder,
        }
    }

    /// Returns the lines of all requests so far, once there are `wanted`, or after a while. The one that asked whether it listens said nothing.
    pub(crate) fn requests(&self, wanted: usize) -> Vec<String> {
        let until = Instant::now() + Duration::from_secs(5);
        loop {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<String> = log
                .lines()
                // haproxy's word for a request that it refuses to read: a WebSocket without a key.
                .filter(|line| line.contains(" HTTP/") || line.contains("<BADREQ>"))
                .map(str::to_owned)
                .collect();
            if lines.len() >= wanted || Instant::now() > until {
                return lines;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
