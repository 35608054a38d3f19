//! `daas system install`: lets systemd keep the daemon running.

use crate::stop::Stop;
use crate::talk::Talk;
use daas_api::Failure;
use daas_model::Kind;
use daas_server::GROUP;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// Where the program lies for systemd: a place that no user's clean-up touches.
const PROGRAM: &str = "/usr/local/bin/daas";
/// The unit.
const UNIT: &str = "/etc/systemd/system/daas.service";
/// What systemd(1) makes when it is the init system (`sd_booted(3)`).
const BOOTED: &str = "/run/systemd/system";

/// The unit whose cgroup holds those of the stands.
const STANDS_UNIT: &str = "/etc/systemd/system/daas-stands.service";

/// The text of the stands' unit.
///
/// `Delegate=yes` makes its cgroup ours to divide (systemd.resource-control(5)). It is a unit of its own because a
/// divided cgroup v2 takes no process any more (kernel, cgroup-v2.rst, "No Internal Process Constraint"): in the
/// daemon's own group systemd could not start the next daemon. It has no process, and is kept because it remains
/// active (systemd.service(5), `RemainAfterExit=`).
const STANDS_TEXT: &str = "[Unit]
Description=DaaS: the cgroup of the stands
Documentation=man:daas(1)
DefaultDependencies=no
Before=daas.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
KillMode=none
Delegate=yes
TasksMax=infinity
";

/// The text of the daemon's unit.
///
/// `KillMode=process` lets keepers live on while the daemon restarts (systemd.kill(5)). `CPUWeight=` is ten units' (systemd.resource-control(5)):
/// a busy stand shall not keep the way to the others waiting (decision 29).
const UNIT_TEXT: &str = "[Unit]
Description=DaaS: isolated stands of projects
Documentation=man:daas(1)
Requires=daas-stands.service
After=network.target local-fs.target daas-stands.service

[Service]
Type=notify
NotifyAccess=main
Environment=DAAS_CGROUP=system.slice/daas-stands.service
ExecStart=/usr/local/bin/daas serve
Restart=always
RestartSec=1
KillMode=process
TasksMax=infinity
CPUWeight=1000
LimitNOFILE=1048576
OOMScoreAdjust=-500
FileDescriptorStoreMax=64
RuntimeDirectory=daas
RuntimeDirectoryPreserve=yes
TimeoutStopSec=30

[Install]
WantedBy=multi-user.target
";

/// One step, in words and as deed.
struct Step {
    words: String,
    deed: Deed,
}

enum Deed {
    Copy,
    Write(&'static str, &'static str),
    Run(&'static str, Vec<&'static str>),
    Remove(&'static str),
}

/// Installs: group, program, unit, start. Doing it again changes nothing that is right already.
pub(crate) fn install(dry_run: bool, talk: &Talk) -> Result<(), Stop> {
    let mut steps = Vec::new();
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    if !groups
        .lines()
        .any(|line| line.split(':').next() == Some(GROUP))
    {
        steps.push(Step {
            words: format!("make the group `{GROUP}`, whose members may use the socket"),
            deed: Deed::Run("groupadd", vec!["--system", GROUP]),
        });
    }
    let own = std::env::current_exe().map_err(Stop::io("find", "this program"))?;
    if own != Path::new(PROGRAM) {
        steps.push(Step {
            words: format!("copy {} to {PROGRAM}", own.display()),
            deed: Deed::Copy,
        });
    }
    for (path, text) in [(STANDS_UNIT, STANDS_TEXT), (UNIT, UNIT_TEXT)] {
        if fs::read_to_string(path).is_ok_and(|now| now == text) {
            talk.say(format!("{path} is as it should be"));
        } else {
            steps.push(Step {
                words: format!("write the unit {path}"),
                deed: Deed::Write(path, text),
            });
        }
    }
    steps.push(Step {
        words: "let systemd read its units again".into(),
        deed: Deed::Run("systemctl", vec!["daemon-reload"]),
    });
    steps.push(Step {
        words: "start the daemon now and with the machine".into(),
        deed: Deed::Run("systemctl", vec!["enable", "--now", "daas.service"]),
    });
    steps.push(Step {
        words: "let the daemon be this program, if it runs as another one".into(),
        deed: Deed::Run("systemctl", vec!["restart", "daas.service"]),
    });
    carry_out(&steps, dry_run, talk)
}

/// Undoes [`install`]; the state directory and the group stay.
pub(crate) fn uninstall(dry_run: bool, talk: &Talk) -> Result<(), Stop> {
    if !Path::new(UNIT).exists() {
        talk.say("it is not installed; nothing was changed");
        return Ok(());
    }
    let steps = [
        Step {
            words: "stop the daemon and start it no more with the machine; nodes that run live on"
                .into(),
            deed: Deed::Run("systemctl", vec!["disable", "--now", "daas.service"]),
        },
        Step {
            words: format!("remove the unit {UNIT}"),
            deed: Deed::Remove(UNIT),
        },
        Step {
            words: format!("remove the unit {STANDS_UNIT}"),
            deed: Deed::Remove(STANDS_UNIT),
        },
        Step {
            words: "let systemd read its units again".into(),
            deed: Deed::Run("systemctl", vec!["daemon-reload"]),
        },
        Step {
            words: format!("remove the program {PROGRAM}"),
            deed: Deed::Remove(PROGRAM),
        },
    ];
    carry_out(&steps, dry_run, talk)?;
    talk.say("stands, images and records stay in the state directory");
    Ok(())
}

fn carry_out(steps: &[Step], dry_run: bool, talk: &Talk) -> Result<(), Stop> {
    if dry_run {
        return talk.data(
            steps
                .iter()
                .map(|step| format!("{}\n", step.words))
                .collect::<String>(),
        );
    }
    if !Path::new(BOOTED).is_dir() {
        let failure = Failure::new(
            "install-without-systemd",
            Kind::Conflict,
            "cannot install: systemd does not run this machine",
        );
        return Err(failure
            .hint("run `daas serve` under what keeps programs running here")
            .into());
    }
    if !rustix::process::geteuid().is_root() {
        return Err(Failure::new(
            "install-not-root",
            Kind::Forbidden,
            "cannot install: only root may",
        )
        .hint("`sudo daas system install`")
        .into());
    }
    for step in steps {
        talk.say(&step.words);
        do_it(&step.deed)?;
    }
    Ok(())
}

fn do_it(deed: &Deed) -> Result<(), Stop> {
    match deed {
        Deed::Copy => {
            let own = std::env::current_exe().map_err(Stop::io("find", "this program"))?;
            // Beside it and renamed: a program that runs cannot be written over.
            let part = format!("{PROGRAM}.part");
            fs::copy(&own, &part).map_err(Stop::io("copy to", &part))?;
            fs::set_permissions(&part, fs::Permissions::from_mode(0o755))
                .map_err(Stop::io("set the mode of", &part))?;
            fs::rename(&part, PROGRAM).map_err(Stop::io("rename", &part))
        }
        Deed::Write(path, text) => fs::write(path, text).map_err(Stop::io("write", path)),
        Deed::Remove(path) => match fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Stop::io("remove", path)(error))
            }
            _ => Ok(()),
        },
        Deed::Run(program, arguments) => {
            let status = Command::new(program)
                .args(arguments)
                .status()
                .map_err(Stop::io("run", program))?;
            if status.success() {
                Ok(())
            } else {
                Err(Failure::new(
                    "install-step",
                    Kind::Outside,
                    format!(
                        "cannot finish `{program} {}`: it ended with {status}",
                        arguments.join(" ")
                    ),
                )
                .into())
            }
        }
    }
}
