//! The description as a Dockerfile: what changes rarely stands above what changes often, so that the cache holds.

use super::{Described, DescribedRun, FileOrigin, PackagesImage, quote};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The stage with the packages that the image needs.
const PACKAGES: &str = "packages";
/// The stage with the packages that building needs as well.
const TOOLS: &str = "tools";

impl Described {
    /// Writes the Dockerfile.
    ///
    /// The same description gives the same text. It needs nothing of DaaS: another builder fetches the packages with apt.
    #[must_use]
    pub fn dockerfile(&self) -> String {
        let mut out = format!(
            "# Made by DaaS of the description of service `{}`: change that and not this.\n",
            self.service
        );
        let final_base = if self.installs() {
            self.stage(
                &mut out,
                &quote::literal(&self.base),
                PACKAGES,
                &self.runtime(),
            );
            PACKAGES.to_owned()
        } else {
            quote::literal(&self.base)
        };
        let more = self.more_tools();
        let tools = if self.needs_tools() && !more.is_empty() {
            self.stage(&mut out, &final_base, TOOLS, &more);
            TOOLS
        } else {
            &final_base
        };
        self.languages(&mut out, tools);
        let _ = writeln!(out, "\nFROM {final_base}");
        self.image(&mut out);
        out
    }

    /// Returns the images that replace stages of the file, by the stage's name: those whose packages DaaS installs itself.
    ///
    /// None for a base that is no distribution: its packages are installed by the build, which needs a way out.
    #[must_use]
    pub fn stands_in(&self) -> BTreeMap<String, PackagesImage> {
        let mut found = BTreeMap::new();
        if !self.is_distribution() {
            return found;
        }
        let image = |packages: Vec<String>| PackagesImage {
            base: self.base.clone(),
            packages,
        };
        if self.installs() {
            found.insert(PACKAGES.to_owned(), image(self.runtime()));
        } else {
            // The bare base comes from the same sources as what is built on it, and needs no registry.
            found.insert(self.base.clone(), image(Vec::new()));
        }
        if self.needs_tools() && !self.more_tools().is_empty() {
            found.insert(TOOLS.to_owned(), image(self.tools()));
        }
        found
    }

    /// Tells whether the base is one whose packages DaaS can install from the machine's sources.
    #[must_use]
    pub fn is_distribution(&self) -> bool {
        self.base.starts_with("debian:") || self.base.starts_with("ubuntu:")
    }

    /// Tells whether the final image has packages of its own.
    fn installs(&self) -> bool {
        !self.runtime().is_empty()
    }

    fn needs_tools(&self) -> bool {
        !self.pip.is_empty() || !self.npm.is_empty() || !self.cargo.is_empty()
    }

    /// Returns the packages of the final image: those that are named, and what runs Python and JavaScript.
    fn runtime(&self) -> Vec<String> {
        let mut all = self.packages.clone();
        if self.is_distribution() {
            for (used, package) in [(&self.pip, "python3"), (&self.npm, "nodejs")] {
                if !used.is_empty() {
                    all.push(package.to_owned());
                }
            }
        }
        sorted(all)
    }

    /// Returns what building needs beyond that.
    fn more_tools(&self) -> Vec<String> {
        let mut all = self.build_packages.clone();
        if self.is_distribution() {
            for (used, packages) in [
                (&self.pip, &["ca-certificates", "python3-venv"][..]),
                (&self.npm, &["ca-certificates", "npm"]),
                (
                    &self.cargo,
                    &["ca-certificates", self.cargo_package(), "gcc", "libc6-dev"],
                ),
            ] {
                if !used.is_empty() {
                    all.extend(packages.iter().map(|p| (*p).to_owned()));
                }
            }
        }
        let runtime = self.runtime();
        let mut more = sorted(all);
        more.retain(|p| !runtime.contains(p));
        more
    }

    /// Returns the package with cargo. Debian 12's own is of 2022: it reads neither today's index nor today's edition, so the one
    /// that Debian keeps new for its browsers is taken.
    fn cargo_package(&self) -> &'static str {
        if self.base == "debian:bookworm" {
            "cargo-web"
        } else {
            "cargo"
        }
    }

    /// Returns all packages that building needs.
    pub(super) fn tools(&self) -> Vec<String> {
        let mut all = self.runtime();
        all.extend(self.more_tools());
        if !self.needs_tools() {
            all.extend(self.build_packages.iter().cloned());
        }
        sorted(all)
    }

    /// Writes a stage that adds packages.
    fn stage(&self, out: &mut String, base: &str, name: &str, packages: &[String]) {
        let _ = writeln!(out, "\nFROM {base} AS {name}");
        install(out, packages);
    }

    /// Writes a stage for each language; what they leave is copied, and their tools stay behind.
    fn languages(&self, out: &mut String, tools: &str) {
        if !self.pip.is_empty() {
            let _ = writeln!(out, "\nFROM {tools} AS pip");
            let (mut mounts, mut words) = (String::new(), Vec::new());
            for (number, entry) in self.pip.iter().enumerate() {
                match entry.strip_prefix("-r ") {
                    Some(file) => {
                        let target = format!("/run/requirements/{number}.txt");
                        let source = quote::literal(&format!("source={file}"));
                        let _ = write!(
                            mounts,
                            " \\\n    --mount=type=bind,{source},target={target}"
                        );
                        words.push(format!("--requirement {target}"));
                    }
                    None => words.push(quote::shell(entry)),
                }
            }
            let _ = writeln!(
                out,
                "RUN --mount=type=cache,target=/root/.cache/pip{mounts} \\\n    python3 -m venv /opt/venv \\\n && /opt/venv/bin/pip install{}",
                listed(&words)
            );
        }
        if !self.npm.is_empty() {
            let _ = writeln!(
                out,
                "\nFROM {tools} AS npm\nRUN --mount=type=cache,target=/root/.npm \\\n    npm install --global --prefix /opt/npm{}",
                listed(&self.npm.iter().map(|p| quote::shell(p)).collect::<Vec<_>>())
            );
        }
        if !self.cargo.is_empty() {
            let _ = writeln!(
                out,
                "\nFROM {tools} AS cargo\nRUN --mount=type=cache,target=/root/.cargo/registry \\\n    cargo install --root /opt/cargo{}",
                listed(
                    &self
                        .cargo
                        .iter()
                        .map(|p| quote::shell(p))
                        .collect::<Vec<_>>()
                )
            );
        }
    }

    /// Writes the last stage below its `FROM`.
    fn image(&self, out: &mut String) {
        self.make_user(out);
        if !self.pip.is_empty() {
            out.push_str(
                "COPY --link --from=pip /opt/venv /opt/venv\nENV PATH=/opt/venv/bin:$PATH\n",
            );
        }
        if !self.npm.is_empty() {
            out.push_str("COPY --link --from=npm /opt/npm /opt/npm\nENV PATH=/opt/npm/bin:$PATH NODE_PATH=/opt/npm/lib/node_modules\n");
        }
        if !self.cargo.is_empty() {
            out.push_str("COPY --link --from=cargo /opt/cargo/bin/ /usr/local/bin/\n");
        }
        pairs(out, "ENV", &self.env, quote::expanding);
        if let Some(workdir) = &self.workdir {
            let _ = writeln!(out, "WORKDIR {}", quote::literal(workdir));
        }
        self.write_files(out);
        for run in &self.run {
            write_run(out, run);
        }
        self.settings(out);
    }

    fn make_user(&self, out: &mut String) {
        if let Some((user, id)) = self.user.as_ref().and_then(|u| Some((u, u.id?))) {
            let name = &user.name;
            let _ = writeln!(
                out,
                "RUN groupadd --gid {id} {name} \\\n && useradd --uid {id} --gid {id} --create-home --shell /usr/sbin/nologin {name}"
            );
        }
    }

    fn write_files(&self, out: &mut String) {
        for file in &self.files {
            out.push_str("COPY");
            if let Some(owner) = &file.owner {
                let _ = write!(out, " --chown={}", quote::literal(owner));
            }
            if let Some(mode) = file.mode {
                let _ = write!(out, " --chmod={mode:04o}");
            }
            match &file.source {
                FileOrigin::Path(path) => {
                    let words = [path.clone(), file.target.clone()];
                    let _ = writeln!(out, " {}", quote::paths(&words));
                }
                FileOrigin::Text(text) => {
                    let (open, rest) = quote::heredoc(text);
                    let _ = writeln!(out, " {open} {}", quote::literal(&file.target));
                    out.push_str(&rest);
                }
            }
        }
    }

    /// Writes what makes no layer.
    fn settings(&self, out: &mut String) {
        if !self.expose.is_empty() {
            let _ = writeln!(out, "EXPOSE {}", self.expose.join(" "));
        }
        if !self.volumes.is_empty() {
            let _ = writeln!(out, "VOLUME {}", quote::exec(&self.volumes));
        }
        pairs(out, "LABEL", &self.labels, quote::literal);
        if let Some(user) = &self.user {
            let _ = writeln!(out, "USER {}", quote::literal(&user.name));
        }
        if let Some(entrypoint) = &self.entrypoint {
            let _ = writeln!(out, "ENTRYPOINT {}", quote::exec(entrypoint));
        }
        if let Some(command) = &self.command {
            let _ = writeln!(out, "CMD {}", quote::exec(command));
        }
    }
}

/// Writes the installation of packages with apt.
pub(super) fn install(out: &mut String, packages: &[String]) {
    if packages.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "RUN apt-get update \\\n && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends{} \\\n && rm -rf /var/lib/apt/lists/*",
        listed(packages)
    );
}

/// Writes one word in each line, so that a change shows as one line.
fn listed(words: &[String]) -> String {
    words.iter().fold(String::new(), |mut out, word| {
        let _ = write!(out, " \\\n      {word}");
        out
    })
}

fn pairs(out: &mut String, keyword: &str, pairs: &[(String, String)], quoted: fn(&str) -> String) {
    for (number, (name, value)) in pairs.iter().enumerate() {
        let begin = if number == 0 {
            keyword.to_owned()
        } else {
            " ".repeat(keyword.len())
        };
        let end = if number + 1 == pairs.len() { "" } else { " \\" };
        let value = if value.is_empty() {
            "\"\"".to_owned()
        } else {
            quoted(value)
        };
        let _ = writeln!(out, "{begin} {}={value}{end}", quote::literal(name));
    }
}

fn write_run(out: &mut String, run: &DescribedRun) {
    match run {
        DescribedRun::Exec(words) => {
            let _ = writeln!(out, "RUN {}", quote::exec(words));
        }
        DescribedRun::Shell(text) if is_simple(text) => {
            let _ = writeln!(out, "RUN {text}");
        }
        DescribedRun::Shell(text) => {
            // A script says itself what happens when a line fails; plain lines stop there.
            let text = if text.starts_with("#!") {
                text.clone()
            } else {
                format!("set -e\n{text}")
            };
            let (open, rest) = quote::heredoc(&text);
            let _ = writeln!(out, "RUN {open}");
            out.push_str(&rest);
        }
    }
}

/// Tells whether a line means the same behind `RUN` as in a shell.
fn is_simple(text: &str) -> bool {
    !text.contains(['\n', '\r'])
        && !text.contains("<<")
        && !text.ends_with(['\\', ' ', '\t'])
        && !text.starts_with(['[', '-', '#', ' ', '\t'])
}

fn sorted(mut words: Vec<String>) -> Vec<String> {
    words.sort();
    words.dedup();
    words
}
