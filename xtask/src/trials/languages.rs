//! Described services whose packages come from the registry of their language.

use crate::house::{Daemon, Project, Settings};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// A description in one language, and what its service then prints.
#[derive(Debug, Clone, Copy)]
pub struct Language {
    name: &'static str,
    description: &'static str,
    says: &'static str,
}

/// pip: a list in a file and a package by name; what makes virtual environments is not in the image.
pub const PYTHON: Language = Language {
    name: "pip",
    description: "      pip: [-r requirements.txt, six==1.17.0]\n      command: [python3, -c, \"import six, itsdangerous, os; print(six.__version__, itsdangerous.base64_encode('k'), os.path.exists('/usr/lib/python3/dist-packages/pip'))\"]\n",
    says: "1.17.0 b'aw' False",
};

/// npm: a package that a program requires; npm itself is not in the image.
pub const JAVASCRIPT: Language = Language {
    name: "npm",
    description: "      npm: [left-pad@1.3.0]\n      command: [node, -e, \"console.log(require('left-pad')('x', 3, '-'), require('fs').existsSync('/usr/bin/npm'))\"]\n",
    says: "--x false",
};

/// cargo: a program that is built and run by the next step; neither compiler nor cargo is in the image.
pub const RUST: Language = Language {
    name: "cargo",
    description: "      cargo: [huniq@2.7.0]\n      run: [\"printf 'a\\\\nb\\\\na\\\\n' | huniq > /seen\"]\n      command: [sh, -c, \"echo $$(cat /seen) $$(command -v cargo rustc gcc | wc -l)\"]\n",
    says: "a b 0",
};

/// Builds all of them.
///
/// # Errors
/// As [`language`].
pub fn languages(program: &Path) -> Result<String> {
    for one in [PYTHON, JAVASCRIPT, RUST] {
        language(program, &one).with_context(|| one.name)?;
    }
    Ok("pip, npm and cargo: built from their registries, run, tools left out".to_owned())
}

/// Brings a described service up that prints one line and ends.
///
/// # Errors
/// When it cannot be built, prints something else, or the machine's authorities are left in the image.
pub fn language(program: &Path, language: &Language) -> Result<()> {
    // Stands may reach what this machine reaches: registries may have addresses of the team's own network.
    let daemon = Daemon::start(Settings {
        program: program.to_owned(),
        configuration: "  spares: 0\negress:\n  allow: ['0.0.0.0/0', '::/0']\nbuilds:\n  certificates: /etc/ssl/certs/ca-certificates.crt\n".to_owned(),
        environment: Vec::new(),
    })?;
    let kept = Kept::of(language.name)?;
    kept.give(program, &daemon)?;
    let folder = daemon.place().join("lang");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("requirements.txt"), "itsdangerous==2.2.0\n")?;
    let text = format!(
        "name: lang\nx-daas: {{egress: proxy}}\nservices:\n  web:\n    x-daas:\n      base: debian:bookworm\n{}",
        language.description
    );
    let api = daemon.api().patient_for(Duration::from_secs(1800));
    api.up("lang", &Project::of_text(&folder, &text), 0)?;
    kept.take(program, &daemon)?;
    // It is up before it has said anything.
    let until = Instant::now() + Duration::from_secs(120);
    loop {
        let said = run(program, &daemon, &["stand", "logs", "lang"])?;
        if said.contains(language.says) {
            break;
        }
        ensure!(Instant::now() < until, "it said: {said}");
        std::thread::sleep(Duration::from_millis(50));
    }
    let image = run(program, &daemon, &["image", "show", "lang-web", "--json"])?;
    ensure!(
        !image.contains("authorities"),
        "the machine's authorities are in the image: {image}"
    );
    api.down("lang")
}

/// Images of packages take minutes to make, so they are kept between runs.
struct Kept {
    folder: PathBuf,
}

impl Kept {
    fn of(name: &str) -> Result<Self> {
        let base = std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
            .context("no home folder to keep images in")?;
        let folder = base.join("daas-test-packages").join(name);
        fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    /// Gives a daemon what earlier runs made.
    fn give(&self, program: &Path, daemon: &Daemon) -> Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if let Some(archive) = path.to_str().filter(|text| text.ends_with(".tar")) {
                run(program, daemon, &["image", "load", archive])?;
            }
        }
        Ok(())
    }

    /// Keeps what this run made.
    fn take(&self, program: &Path, daemon: &Daemon) -> Result<()> {
        let list = daemon.api().get("/images")?;
        let images = list["items"].as_array().context("a list without items")?;
        let names = images.iter().filter_map(|image| image["names"][0].as_str());
        for name in names.filter(|name| name.contains("daas-packages/")) {
            let file = name.replace(['/', ':'], "_");
            let archive = self.folder.join(format!("{file}.tar"));
            if archive.exists() {
                continue;
            }
            // Whoever runs beside this sees a whole archive or none.
            let part = self.folder.join(format!(".{}.part", std::process::id()));
            let output = part.to_str().context("a path that is no text")?;
            run(
                program,
                daemon,
                &["image", "save", name, "--output", output],
            )?;
            fs::rename(&part, &archive)?;
        }
        Ok(())
    }
}

/// Runs the command line beside a daemon, and returns what it printed.
fn run(program: &Path, daemon: &Daemon, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .env("DAAS_SOCKET", daemon.place().join("daas.sock"))
        .args(arguments)
        .output()
        .context("cannot run daas")?;
    ensure!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
