//! Where an image's programs look for authorities.

use daas_image::Merged;
use daas_model::AUTHORITIES;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

/// Where programs of Fedora look besides where all do, and the default of OpenSSL on Fedora and Debian. Links are followed inside of the image.
const FURTHER: [&str; 3] = [
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/cert.pem",
    "/usr/lib/ssl/cert.pem",
];
/// Lists of Java that are not below a Java: Debian's and Fedora's.
const KEYSTORES: [&str; 2] = [
    "/etc/ssl/certs/java/cacerts",
    "/etc/pki/ca-trust/extracted/java/cacerts",
];
/// Folders of Javas.
const JAVAS: [&str; 2] = ["/usr/lib/jvm", "/opt/java"];
/// No `os-release` is longer.
const DESCRIPTION: u64 = 64 << 10;

/// Paths, links in them not followed yet.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    /// Bundles of the system.
    pub(super) bundles: Vec<String>,
    /// Where one is made if the system has none: what curl, Go and OpenSSL of the image's distribution read.
    pub(super) missing: Vec<&'static str>,
    /// Bundles that programs bring along: `certifi` of Python, OpenSSL of conda.
    pub(super) of_programs: Vec<String>,
    /// Lists of Java.
    pub(super) keystores: Vec<String>,
}

impl Places {
    pub(super) fn of(below: &Merged, environment: &BTreeMap<String, String>) -> io::Result<Self> {
        let mut places = Self {
            bundles: AUTHORITIES
                .iter()
                .chain(&FURTHER)
                .map(|p| (*p).to_owned())
                .collect(),
            missing: missing(&release(below)?),
            keystores: KEYSTORES.map(ToOwned::to_owned).into(),
            ..Self::default()
        };
        let mut javas: BTreeSet<String> =
            environment.get("JAVA_HOME").cloned().into_iter().collect();
        for folder in JAVAS {
            javas.extend(names(below, folder)?.map(|name| format!("{folder}/{name}")));
        }
        for prefix in prefixes(environment) {
            for name in ["cert.pem", "cacert.pem"] {
                places.of_programs.push(format!("{prefix}/ssl/{name}"));
            }
            for python in
                names(below, &format!("{prefix}/lib"))?.filter(|n| n.starts_with("python3"))
            {
                for packages in ["site-packages", "dist-packages"] {
                    let folder = format!("{prefix}/lib/{python}/{packages}");
                    places
                        .of_programs
                        .push(format!("{folder}/certifi/cacert.pem"));
                    places
                        .of_programs
                        .push(format!("{folder}/pip/_vendor/certifi/cacert.pem"));
                }
            }
            javas.insert(prefix);
        }
        for java in javas {
            places
                .keystores
                .push(format!("{java}/lib/security/cacerts"));
            places
                .keystores
                .push(format!("{java}/jre/lib/security/cacerts"));
        }
        Ok(places)
    }
}

/// Folders under which programs are installed: those above the folders of `PATH`, so that an image that puts a virtual environment first is understood.
fn prefixes(environment: &BTreeMap<String, String>) -> BTreeSet<String> {
    let path = environment.get("PATH").map_or("", String::as_str);
    let above = |folder: &str| {
        folder
            .trim_end_matches('/')
            .rsplit_once('/')
            .map(|(above, _)| above.to_owned())
    };
    path.split(':')
        .filter(|folder| folder.starts_with('/'))
        .filter_map(above)
        .chain(["/usr", "/usr/local"].map(ToOwned::to_owned))
        .filter(|prefix| !prefix.is_empty())
        .collect()
}

/// Lists a folder of the image, links followed; names that are no text are nobody's.
fn names(below: &Merged, folder: &str) -> io::Result<impl Iterator<Item = String> + use<>> {
    let listed = match below.land(folder.as_bytes()) {
        Ok((parts, Some(_))) => {
            let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            below.list(&slices)?
        }
        _ => None,
    };
    Ok(listed
        .unwrap_or_default()
        .into_iter()
        .filter_map(|name| String::from_utf8(name).ok()))
}

/// Returns what the image says of its distribution (os-release(5)).
fn release(below: &Merged) -> io::Result<String> {
    let mut text = Vec::new();
    for path in ["/etc/os-release", "/usr/lib/os-release"] {
        if let Ok((_, Some(found))) = below.land(path.as_bytes())
            && let Ok(file) = found.open()
        {
            file.take(DESCRIPTION).read_to_end(&mut text)?;
            break;
        }
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Returns where the programs of a distribution look.
fn missing(release: &str) -> Vec<&'static str> {
    let kin: BTreeSet<&str> = release
        .lines()
        .filter_map(|line| {
            line.strip_prefix("ID=")
                .or_else(|| line.strip_prefix("ID_LIKE="))
        })
        .flat_map(|words| words.trim_matches(['"', '\'']).split_whitespace())
        .collect();
    let is = |names: &[&str]| names.iter().any(|name| kin.contains(name));
    if is(&["fedora", "rhel", "centos"]) {
        vec!["/etc/pki/tls/certs/ca-bundle.crt", "/etc/pki/tls/cert.pem"]
    } else if is(&["debian", "ubuntu"]) {
        // Not the folder beside: the package `openssl` makes it a link.
        vec![
            "/etc/ssl/certs/ca-certificates.crt",
            "/usr/lib/ssl/cert.pem",
        ]
    } else if is(&["suse", "opensuse"]) {
        vec!["/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"]
    } else {
        vec!["/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/cert.pem"]
    }
}
