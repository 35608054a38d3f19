//! `x-daas` of a service to a description; every fault is told where it stands.

use super::{Described, DescribedFile, DescribedRun, DescribedUser, FileOrigin};
use crate::dockerfile::exposed;
use crate::node::{At, Map, Node, Value};
use crate::report::Report;
use crate::template::short;
use crate::value;
use crate::words;
use daas_model::Diagnostic;

/// Reads the description of `service`; nothing if `x-daas` describes none, or names no base.
pub(super) fn described(report: &mut Report, service: &str, node: &Node) -> Option<Described> {
    let map = node.as_map()?;
    if map.entries.is_empty() {
        return None;
    }
    let Some(base) = map.get("base").filter(|b| !b.is_null()) else {
        report.error(
            node.at,
            "described-base",
            format!("service `{}` is described without a base", short(service)),
            "add for example `base: debian:bookworm`",
        );
        return None;
    };
    let mut reader = Reader {
        report,
        service,
        map,
    };
    let base = reader.base(base)?;
    Some(Described {
        service: service.to_owned(),
        base,
        packages: reader.packages("packages"),
        build_packages: reader.packages("build_packages"),
        pip: reader.list(
            "pip",
            is_pip,
            "write for example `flask==3.0`, or `-r requirements.txt`",
        ),
        npm: reader.list(
            "npm",
            is_npm,
            "write for example `express@4` or `@scope/name`",
        ),
        cargo: reader.list("cargo", is_cargo, "write for example `ripgrep@14.1.0`"),
        files: reader.files(),
        run: reader.run(),
        user: reader.user(),
        env: reader.pairs("env"),
        workdir: reader.path("workdir"),
        expose: reader.expose(),
        volumes: reader.volumes(),
        labels: reader.pairs("labels"),
        entrypoint: reader.command("entrypoint"),
        command: reader.command("command"),
    })
}

struct Reader<'r, 'n> {
    report: &'r mut Report,
    service: &'n str,
    map: &'n Map,
}

impl<'n> Reader<'_, 'n> {
    fn what(&self, key: &str) -> String {
        format!("`x-daas.{key}` of service `{}`", short(self.service))
    }

    fn wrong(&mut self, at: At, key: &str, text: &str, hint: &str) {
        let message = format!("{} holds `{}`", self.what(key), short(text));
        self.report.error(at, "described-value", message, hint);
    }

    fn base(&mut self, node: &Node) -> Option<String> {
        let what = self.what("base");
        let text = value::text(self.report, node, &what)?;
        if daas_model::ImageName::parse(text).is_err() {
            self.wrong(node.at, "base", text, "write for example `debian:bookworm`");
            return None;
        }
        Some(text.to_owned())
    }

    fn texts(&mut self, key: &str) -> Vec<(&'n str, At)> {
        let what = self.what(key);
        self.map
            .get(key)
            .map(|node| value::texts(self.report, node, &what))
            .unwrap_or_default()
    }

    fn list(&mut self, key: &str, good: fn(&str) -> bool, hint: &str) -> Vec<String> {
        let mut found = Vec::new();
        for (text, at) in self.texts(key) {
            if good(text) && text.len() <= 500 {
                found.push(text.to_owned());
            } else {
                self.wrong(at, key, text, hint);
            }
        }
        found
    }

    fn packages(&mut self, key: &str) -> Vec<String> {
        let mut found = self.list(
            key,
            is_package,
            "write a package of the distribution, `nginx` or `nginx=1.22.1-9`",
        );
        found.sort();
        found.dedup();
        found
    }

    fn pairs(&mut self, key: &str) -> Vec<(String, String)> {
        let what = self.what(key);
        let Some(node) = self.map.get(key) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for pair in value::pairs(self.report, node, &what) {
            let value = pair.value.unwrap_or_default();
            let named = !pair.name.is_empty()
                && !pair
                    .name
                    .contains(|c: char| c.is_whitespace() || c.is_control() || c == '=');
            if !named || value.contains(['\n', '\r', '\0']) {
                self.wrong(
                    pair.at,
                    key,
                    &pair.name,
                    "a name has no spaces and no `=`, and a value one line",
                );
            } else {
                found.push((pair.name, value));
            }
        }
        found
    }

    /// Reads a single path of the image.
    fn path(&mut self, key: &str) -> Option<String> {
        let what = self.what(key);
        let node = self.map.get(key)?;
        let text = value::text(self.report, node, &what)?;
        self.image_path(text, node.at, key)
    }

    fn image_path(&mut self, text: &str, at: At, key: &str) -> Option<String> {
        if !text.starts_with('/') || text.contains(char::is_control) {
            self.wrong(at, key, text, "write a path that begins with `/`");
            return None;
        }
        Some(text.to_owned())
    }

    fn volumes(&mut self) -> Vec<String> {
        self.texts("volumes")
            .into_iter()
            .filter_map(|(text, at)| self.image_path(text, at, "volumes"))
            .collect()
    }

    fn expose(&mut self) -> Vec<String> {
        let mut found = Vec::new();
        for (text, at) in self.texts("expose") {
            match exposed(text) {
                Ok(()) => found.push(text.to_owned()),
                Err(fault) => {
                    let hint = format!("{fault}; write for example `80` or `53/udp`");
                    self.wrong(at, "expose", text, &hint);
                }
            }
        }
        found
    }

    fn command(&mut self, key: &str) -> Option<Vec<String>> {
        let node = self.map.get(key).filter(|n| !n.is_null())?;
        self.words(node, key)
    }

    /// Returns program and arguments: a list as it stands, a text cut into words as in the rest of the file.
    fn words(&mut self, node: &Node, key: &str) -> Option<Vec<String>> {
        let what = self.what(key);
        let Value::Text(_) = &node.value else {
            let words = value::texts(self.report, node, &what);
            return Some(words.into_iter().map(|(w, _)| w.to_owned()).collect());
        };
        let text = value::text(self.report, node, &what)?;
        match words::split(text) {
            Ok(words) => Some(words),
            Err(fault) => {
                self.report.say(
                    node.at,
                    Diagnostic::error(
                        "command-quoting",
                        format!("{what} cannot be cut into words"),
                    )
                    .because(fault.to_string())
                    .hint("write it as a list, one word for each entry"),
                );
                None
            }
        }
    }

    fn run(&mut self) -> Vec<DescribedRun> {
        let what = self.what("run");
        let Some(node) = self.map.get("run") else {
            return Vec::new();
        };
        let items = match &node.value {
            Value::List(items) => items.as_slice(),
            Value::Text(_) => std::slice::from_ref(node),
            Value::Null | Value::Map(_) => {
                if !node.is_null() {
                    value::wrong(self.report, node, &what, "a list of commands");
                }
                return Vec::new();
            }
        };
        let mut found = Vec::new();
        for item in items {
            let entry = match &item.value {
                Value::List(_) => self
                    .words(item, "run")
                    .filter(|w| !w.is_empty())
                    .map(DescribedRun::Exec),
                _ => {
                    value::text(self.report, item, &what).map(|t| DescribedRun::Shell(t.to_owned()))
                }
            };
            match entry {
                Some(DescribedRun::Shell(text))
                    if text.trim().is_empty() || text.contains('\0') =>
                {
                    self.wrong(item.at, "run", &text, "write a command");
                }
                Some(entry) => found.push(entry),
                None => {}
            }
        }
        found
    }

    fn user(&mut self) -> Option<DescribedUser> {
        let what = self.what("user");
        let node = self.map.get("user").filter(|n| !n.is_null())?;
        if let Some(map) = node.as_map() {
            let name = map
                .get("name")
                .and_then(|n| value::text(self.report, n, &what))?;
            let id = map
                .get("id")
                .and_then(|n| value::integer(self.report, n, &what, 1, 65_533));
            if !is_user(name) {
                self.wrong(
                    node.at,
                    "user",
                    name,
                    "a name has small letters, digits, `-` and `_`",
                );
                return None;
            }
            return Some(DescribedUser {
                name: name.to_owned(),
                id,
            });
        }
        let name = value::text(self.report, node, &what)?;
        let parts = name.split(':').collect::<Vec<_>>();
        let good = |part: &&str| {
            is_user(part) || !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit())
        };
        if parts.len() > 2 || !parts.iter().all(good) {
            self.wrong(
                node.at,
                "user",
                name,
                "write `name`, `1000:1000`, or `{name: app, id: 1000}` to have it made",
            );
            return None;
        }
        Some(DescribedUser {
            name: name.to_owned(),
            id: None,
        })
    }

    fn files(&mut self) -> Vec<DescribedFile> {
        let what = self.what("files");
        let Some(node) = self.map.get("files") else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for item in value::list(self.report, node, &what) {
            let file = match &item.value {
                Value::Map(map) => self.file_map(map, item.at),
                _ => value::text(self.report, item, &what).and_then(|t| self.file_text(t, item.at)),
            };
            found.extend(file);
        }
        found
    }

    /// Reads `SOURCE:TARGET`.
    fn file_text(&mut self, text: &str, at: At) -> Option<DescribedFile> {
        let Some((source, target)) = text.split_once(':') else {
            self.wrong(
                at,
                "files",
                text,
                "write `./site:/var/www`, or `{source, target, owner, mode}`",
            );
            return None;
        };
        Some(DescribedFile {
            source: FileOrigin::Path(self.source(source, at)?),
            target: self.target(target, at)?,
            owner: None,
            mode: None,
        })
    }

    fn file_map(&mut self, map: &Map, at: At) -> Option<DescribedFile> {
        let what = self.what("files");
        let mut text = |key: &str| {
            map.get(key)
                .and_then(|n| value::text(self.report, n, &what))
        };
        let (source, content, target, owner) = (
            text("source"),
            text("content"),
            text("target"),
            text("owner"),
        );
        let mode = map
            .get("mode")
            .and_then(|n| value::mode(self.report, n, &what));
        let source = match (source, content) {
            (Some(path), None) => FileOrigin::Path(self.source(path, at)?),
            (None, Some(text)) => FileOrigin::Text(text.to_owned()),
            _ => {
                self.wrong(
                    at,
                    "files",
                    "{...}",
                    "give a file either `source` or `content`",
                );
                return None;
            }
        };
        let Some(target) = target else {
            self.wrong(at, "files", "{...}", "give the file a `target`");
            return None;
        };
        let owner = owner.map(str::to_owned);
        if let Some(owner) = owner
            .as_ref()
            .filter(|o| o.is_empty() || o.contains(|c: char| c.is_whitespace() || c == '$'))
        {
            self.wrong(at, "files", owner, "write `user`, `user:group` or numbers");
            return None;
        }
        Some(DescribedFile {
            source,
            target: self.target(target, at)?,
            owner,
            mode,
        })
    }

    /// Reads a path in the project's folder, which it does not leave.
    fn source(&mut self, text: &str, at: At) -> Option<String> {
        let clean = crate::dockerfile::clean(text);
        if text.is_empty()
            || clean.starts_with('/')
            || clean == ".."
            || clean.starts_with("../")
            || text.contains(char::is_control)
        {
            self.wrong(at, "files", text, "name a file below the project's folder");
            return None;
        }
        // A slash at the end says that it is a folder.
        Some(if text.ends_with('/') && clean != "." {
            format!("{clean}/")
        } else {
            clean
        })
    }

    fn target(&mut self, text: &str, at: At) -> Option<String> {
        if text.is_empty() || text.contains(char::is_control) || text.starts_with('~') {
            self.wrong(at, "files", text, "write a path of the image");
            return None;
        }
        Some(text.to_owned())
    }
}

/// A package's name (Debian Policy 5.6.1), maybe with an architecture and a version (5.6.12).
pub(super) fn is_package(text: &str) -> bool {
    let (name, version) = text
        .split_once('=')
        .map_or((text, None), |(n, v)| (n, Some(v)));
    let (name, arch) = name.split_once(':').unwrap_or((name, "any"));
    let word = |text: &str, more: &[u8]| {
        text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || more.contains(&b))
    };
    let good = |v: &str| {
        v.starts_with(|c: char| c.is_ascii_digit())
            && v.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b".+-:~".contains(&b))
    };
    word(name, b"+.-") && word(arch, b"-") && version.is_none_or(good)
}

/// A requirement of pip (PEP 508, PEP 440, or a URL), or `-r FILE`.
fn is_pip(text: &str) -> bool {
    if let Some(file) = text.strip_prefix("-r ") {
        let clean = crate::dockerfile::clean(file);
        return clean == file
            && !file.starts_with(['/', '.', '-'])
            && file
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b));
    }
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && !text.contains(|c: char| c.is_control() || c == '\'')
}

fn is_npm(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '@')
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"@/._-^~><=*:+#".contains(&b))
}

fn is_cargo(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"@._-+^~=".contains(&b))
}

fn is_user(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && text.len() <= 32
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b))
}
