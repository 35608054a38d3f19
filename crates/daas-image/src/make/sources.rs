use crate::ImageError;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Largest file of sources that is read, in bytes.
const MAX_SOURCES: u64 = 1 << 20;

/// One entry of apt's sources, in either form (sources.list(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Source {
    uris: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
    signed_by: Option<String>,
    trusted: bool,
}

impl Source {
    /// Whether it is a plain source of binary packages of `suite`, its updates or its security fixes.
    fn suites_of(&self, suite: &str) -> Vec<String> {
        let wanted = [
            suite.to_owned(),
            format!("{suite}-updates"),
            format!("{suite}-security"),
            format!("{suite}/updates"),
        ];
        self.suites
            .iter()
            .filter(|s| wanted.contains(s))
            .cloned()
            .collect()
    }

    fn deb822(&self, suites: &[String]) -> String {
        let mut text = format!(
            "Types: deb\nURIs: {}\nSuites: {}\nComponents: {}\n",
            self.uris.join(" "),
            suites.join(" "),
            self.components.join(" ")
        );
        if let Some(key) = &self.signed_by {
            text += &format!("Signed-By: {key}\n");
        }
        if self.trusted {
            text += "Trusted: yes\n";
        }
        text + "\n"
    }
}

/// Returns sources that name one mirror, `http://`, `https://` or `file://`.
pub(super) fn of_mirror(mirror: &str, distribution: &str, suite: &str) -> Result<String, String> {
    let scheme = ["http://", "https://", "file:///"]
        .iter()
        .any(|s| mirror.starts_with(s));
    if !scheme
        || mirror.len() > 1000
        || !mirror
            .bytes()
            .all(|b| b.is_ascii_graphic() && !b"\"'\\[]".contains(&b))
    {
        return Err(format!("`{}` is no URL of a mirror", mirror.escape_debug()));
    }
    let source = Source {
        uris: vec![mirror.into()],
        suites: vec![],
        components: vec!["main".into()],
        signed_by: Some(keyring(distribution).into()),
        trusted: false,
    };
    Ok(source.deb822(&[suite.to_owned()]))
}

/// Where the distributions' keyring packages put their keys.
fn keyring(distribution: &str) -> &'static str {
    if distribution == "ubuntu" {
        "/usr/share/keyrings/ubuntu-archive-keyring.gpg"
    } else {
        "/usr/share/keyrings/debian-archive-keyring.gpg"
    }
}

/// Returns the machine's own sources for `suite`; if it has only those of its own release, they are asked for `suite` instead.
pub(super) fn of_machine(distribution: &str, suite: &str) -> Result<String, ImageError> {
    let text = read_all(Path::new("/etc/apt"))?;
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    choose(&text, &release, distribution, suite).map_err(|why| ImageError::BadMake { why })
}

fn choose(
    files: &[(PathBuf, String)],
    release: &str,
    distribution: &str,
    suite: &str,
) -> Result<String, String> {
    let sources: Vec<Source> = files
        .iter()
        .flat_map(|(path, text)| {
            if path.extension().is_some_and(|e| e == "sources") {
                parse_deb822(text)
            } else {
                parse_list(text)
            }
        })
        .collect();
    let word = |key: &str| {
        release.lines().find_map(|l| {
            l.strip_prefix(key)?
                .strip_prefix('=')
                .map(|v| v.trim_matches('"').to_owned())
        })
    };
    let pick = |suite: &str| {
        sources
            .iter()
            .filter(|s| s.components.iter().any(|c| c == "main"))
            .map(|s| (s, s.suites_of(suite)))
            .filter(|(_, suites)| !suites.is_empty())
            .collect::<Vec<_>>()
    };
    let direct = pick(suite);
    if !direct.is_empty() {
        return Ok(direct.iter().map(|(s, suites)| s.deb822(suites)).collect());
    }
    // The mirror of this machine's release most often has the other releases of the same distribution.
    if let (Some(id), Some(own)) = (word("ID"), word("VERSION_CODENAME"))
        && id == distribution
    {
        let text: String = pick(&own)
            .iter()
            .map(|(s, suites)| {
                s.deb822(
                    &suites
                        .iter()
                        .map(|x| x.replacen(&own, suite, 1))
                        .collect::<Vec<_>>(),
                )
            })
            .collect();
        if !text.is_empty() {
            return Ok(text);
        }
    }
    Err(format!(
        "this machine's apt sources know nothing of {distribution} {suite}: name a mirror"
    ))
}

fn read_all(etc: &Path) -> Result<Vec<(PathBuf, String)>, ImageError> {
    let mut paths = vec![etc.join("sources.list")];
    let parts = etc.join("sources.list.d");
    if let Ok(entries) = std::fs::read_dir(&parts) {
        paths.extend(
            entries
                .filter_map(|e| e.ok().map(|e| e.path()))
                .filter(|p| p.extension().is_some_and(|e| e == "list" || e == "sources")),
        );
    }
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        let small = std::fs::metadata(&path).is_ok_and(|m| m.is_file() && m.len() <= MAX_SOURCES);
        if small {
            files.push((
                path.clone(),
                std::fs::read_to_string(&path).map_err(ImageError::io("read", &path))?,
            ));
        }
    }
    Ok(files)
}

/// One-line form: `deb [option=value ...] uri suite component...`.
fn parse_list(text: &str) -> Vec<Source> {
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some(rest) = line.strip_prefix("deb ").map(str::trim) else {
            continue;
        };
        let (options, rest) = match rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
            Some((options, rest)) => (options, rest),
            None => ("", rest),
        };
        let mut words = rest.split_whitespace().map(str::to_owned);
        let (Some(uri), Some(suite)) = (words.next(), words.next()) else {
            continue;
        };
        let option = |key: &str| {
            options
                .split_whitespace()
                .find_map(|o| o.strip_prefix(key)?.strip_prefix('=').map(str::to_owned))
        };
        found.push(Source {
            uris: vec![uri],
            suites: vec![suite],
            components: words.collect(),
            signed_by: option("signed-by"),
            trusted: option("trusted").as_deref() == Some("yes"),
        });
    }
    found
}

/// Stanza form (deb822).
fn parse_deb822(text: &str) -> Vec<Source> {
    let mut found = Vec::new();
    for stanza in text.replace("\r\n", "\n").split("\n\n") {
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in stanza.lines().filter(|l| !l.starts_with('#')) {
            if line.starts_with([' ', '\t']) {
                if let Some((_, value)) = fields.last_mut() {
                    value.push('\n');
                    value.push_str(line);
                }
            } else if let Some((key, value)) = line.split_once(':') {
                fields.push((key.trim().to_ascii_lowercase(), value.trim().to_owned()));
            }
        }
        let field = |key: &str| {
            fields
                .iter()
                .find(|(k, _)| k == key)
                .map(|(_, v)| v.clone())
        };
        let words = |key: &str| {
            field(key)
                .unwrap_or_default()
                .split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let off = field("enabled").is_some_and(|v| matches!(v.as_str(), "no" | "false" | "0"));
        if off || !words("types").iter().any(|t| t == "deb") || words("uris").is_empty() {
            continue;
        }
        found.push(Source {
            uris: words("uris"),
            suites: words("suites"),
            components: words("components"),
            signed_by: field("signed-by"),
            trusted: field("trusted").as_deref() == Some("yes"),
        });
    }
    found
}

/// Returns what this machine's apt says about reaching its mirror: proxies, certificates, tolerance for old indexes.
pub(super) fn machine_options() -> Vec<String> {
    let output = Command::new("apt-config")
        .arg("dump")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    output
        .map(|o| options_of(&String::from_utf8_lossy(&o.stdout)))
        .unwrap_or_default()
}

fn options_of(dump: &str) -> Vec<String> {
    const ENDS: [&str; 9] = [
        "::Proxy",
        "::CaInfo",
        "::Verify-Peer",
        "::Verify-Host",
        "::Check-Valid-Until",
        "::Check-Date",
        "::Retries",
        "::Timeout",
        "::ForceIPv4",
    ];
    let wanted = |key: &str| {
        key.starts_with("Acquire::")
            && !key.starts_with("Acquire::IndexTargets")
            && ENDS.iter().any(|e| key.ends_with(e))
    };
    dump.lines()
        .filter_map(|line| {
            let (key, value) = line.split_once(' ')?;
            let value = value.strip_prefix('"')?.strip_suffix("\";")?;
            (wanted(key) && !value.is_empty() && !value.contains('"'))
                .then(|| format!("{key} \"{value}\""))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEB822: &str = "# main\nTypes: deb deb-src\nURIs: http://a.test/debian\nSuites: bookworm bookworm-updates bookworm-backports\nComponents: main contrib\nSigned-By: /k.gpg\n\nEnabled: no\nTypes: deb\nURIs: http://off.test/\nSuites: bookworm\nComponents: main\n\nTypes: deb\nURIs: http://tool.test/\nSuites: bookworm\nComponents: stable\n";
    const LIST: &str = "# c\ndeb-src http://a.test/ bookworm main\ndeb [arch=amd64 signed-by=/s.gpg] http://sec.test/ bookworm-security main # x\n";
    const RELEASE: &str = "ID=debian\nVERSION_CODENAME=bookworm\n";

    fn files() -> Vec<(PathBuf, String)> {
        vec![
            ("/x/a.sources".into(), DEB822.into()),
            ("/x/b.list".into(), LIST.into()),
        ]
    }

    #[test]
    fn the_machines_sources_are_taken_without_backports_tools_and_what_is_off() {
        let text = choose(&files(), RELEASE, "debian", "bookworm").unwrap();
        assert_eq!(
            text,
            "Types: deb\nURIs: http://a.test/debian\nSuites: bookworm bookworm-updates\nComponents: main contrib\nSigned-By: /k.gpg\n\nTypes: deb\nURIs: http://sec.test/\nSuites: bookworm-security\nComponents: main\nSigned-By: /s.gpg\n\n"
        );
    }

    #[test]
    fn another_release_is_asked_of_the_same_mirrors_and_another_distribution_is_not() {
        let text = choose(&files(), RELEASE, "debian", "trixie").unwrap();
        assert!(
            text.contains("Suites: trixie trixie-updates\n")
                && text.contains("Suites: trixie-security\n"),
            "{text}"
        );
        assert!(choose(&files(), RELEASE, "ubuntu", "noble").is_err());
        assert!(choose(&[], RELEASE, "debian", "bookworm").is_err());
    }

    #[test]
    fn only_settings_about_reaching_the_mirror_are_passed_on() {
        let dump = "Acquire::http::Proxy \"http://p.test:3128\";\nAcquire::Check-Valid-Until \"false\";\nDPkg::Post-Invoke:: \"rm -rf /\";\nAcquire::https::CaInfo \"\";\nAcquire::Languages \"none\";\n";
        assert_eq!(
            options_of(dump),
            [
                "Acquire::http::Proxy \"http://p.test:3128\"",
                "Acquire::Check-Valid-Until \"false\""
            ]
        );
    }

    #[test]
    fn a_mirror_is_a_url_and_nothing_else() {
        assert!(
            of_mirror("http://m.test/debian", "debian", "trixie")
                .unwrap()
                .contains("URIs: http://m.test/debian\nSuites: trixie\n")
        );
        for bad in [
            "",
            "m.test",
            "ftp://x",
            "http://a b",
            "http://a\nTypes: x",
            "/etc/passwd",
            "http://a\"b",
            "-",
        ] {
            assert!(of_mirror(bad, "debian", "trixie").is_err(), "{bad:?}");
        }
    }
}
