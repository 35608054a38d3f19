//! What an image is made of: a software bill of materials in SPDX 2.3 (ISO/IEC 5962, JSON form).

use daas_image::{Image, Merged};
use rustix::fs::FileType;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

/// The most folders that are looked into, and how deep: a hostile tree comes to an end.
const MAX_FOLDERS: usize = 500_000;
const MAX_DEPTH: usize = 64;
/// The most packages that are listed.
const MAX_PACKAGES: usize = 100_000;
/// The most bytes of dpkg's list, and of the description of one package.
const MAX_STATUS: u64 = 64 << 20;
const MAX_DESCRIPTION: u64 = 1 << 20;

/// One package of an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    /// `deb`, `pypi` or `npm`: the type of its package URL.
    kind: &'static str,
    name: String,
    version: String,
    /// What stands behind the version in its package URL.
    qualifiers: String,
}

/// Lists the packages of `image` - those of dpkg, of pip and of npm - as an SPDX document.
///
/// The same image gives the same bytes. `name` is how a person names the image. Files that belong to no package are not listed.
///
/// # Errors
/// What reading the layers says; what is malformed in them is left out.
pub fn sbom(image: &Image, name: &str) -> io::Result<Vec<u8>> {
    let tree = Merged::open(image.lower_dirs())?;
    let mut packages = BTreeSet::new();
    debian(&tree, &mut packages)?;
    let mut walk = Walk {
        tree: &tree,
        folders: 0,
        packages: &mut packages,
    };
    walk.folder(&mut Vec::new())?;
    let created = image.created.as_deref().unwrap_or("1970-01-01T00:00:00Z");
    let document = document(name, image.digest.as_str(), created, &packages);
    serde_json::to_vec_pretty(&document).map_err(io::Error::other)
}

/// Lists the packages of dpkg in `image` with their versions. Blocks.
///
/// # Errors
/// What reading the layers says; what is malformed in them is left out.
pub fn debian_packages(image: &Image) -> io::Result<BTreeMap<String, String>> {
    let tree = Merged::open(image.lower_dirs())?;
    let mut packages = BTreeSet::new();
    debian(&tree, &mut packages)?;
    Ok(packages
        .into_iter()
        .map(|package| (package.name, package.version))
        .collect())
}

fn document(name: &str, digest: &str, created: &str, packages: &BTreeSet<Package>) -> Value {
    let mut listed = vec![json!({
        "SPDXID": "SPDXRef-Image", "name": name, "versionInfo": digest, "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false, "primaryPackagePurpose": "CONTAINER",
    })];
    let mut relations = vec![json!({
        "spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": "SPDXRef-Image",
    })];
    for (number, package) in packages.iter().enumerate() {
        let id = format!("SPDXRef-Package-{number}");
        listed.push(json!({
            "SPDXID": id, "name": package.name, "versionInfo": package.version, "downloadLocation": "NOASSERTION",
            "filesAnalyzed": false,
            "externalRefs": [{
                "referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": package.url(),
            }],
        }));
        relations.push(json!({
            "spdxElementId": "SPDXRef-Image", "relationshipType": "CONTAINS", "relatedSpdxElement": id,
        }));
    }
    json!({
        "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": name,
        "documentNamespace": format!("urn:daas:sbom:{digest}"),
        "creationInfo": {"created": created, "creators": [concat!("Tool: daas-", env!("CARGO_PKG_VERSION"))]},
        "packages": listed, "relationships": relations,
    })
}

impl Package {
    /// Returns its package URL (github.com/package-url/purl-spec).
    fn url(&self) -> String {
        let name: Vec<String> = self.name.split('/').map(escape).collect();
        let version = escape(&self.version);
        match self.kind {
            "deb" => {
                let (vendor, rest) = self.qualifiers.split_once('?').unwrap_or(("debian", ""));
                format!(
                    "pkg:deb/{}/{}@{version}?{rest}",
                    escape(vendor),
                    name.join("/")
                )
            }
            kind => format!("pkg:{kind}/{}@{version}", name.join("/")),
        }
    }
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Reads a regular file of the image; nothing if there is none, or if it is too big to be what it claims.
fn read(tree: &Merged, path: &str, most: u64) -> io::Result<Option<String>> {
    let Some(found) = tree.resolve(path.as_bytes())? else {
        return Ok(None);
    };
    if found.kind() != FileType::RegularFile {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    found.open()?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Ok(None);
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Reads dpkg's list of installed packages: one file, or one for each package as in images without a shell.
fn debian(tree: &Merged, packages: &mut BTreeSet<Package>) -> io::Result<()> {
    let release = read(tree, "/etc/os-release", MAX_DESCRIPTION)?.unwrap_or_default();
    let of_release = |key: &str| {
        release
            .lines()
            .find_map(|l| l.strip_prefix(key)?.strip_prefix('='))
            .map(|v| v.trim_matches('"').to_owned())
    };
    let vendor = of_release("ID").unwrap_or_else(|| "debian".to_owned());
    let distro = of_release("VERSION_ID")
        .map(|version| format!("&distro={}", escape(&format!("{vendor}-{version}"))))
        .unwrap_or_default();
    let mut texts: Vec<String> = read(tree, "/var/lib/dpkg/status", MAX_STATUS)?
        .into_iter()
        .collect();
    let parts: [&[u8]; 4] = [b"var", b"lib", b"dpkg", b"status.d"];
    for name in tree.list(&parts)?.unwrap_or_default() {
        let name = String::from_utf8_lossy(&name).into_owned();
        if !name.ends_with(".md5sums") {
            let path = format!("/var/lib/dpkg/status.d/{name}");
            texts.extend(read(tree, &path, MAX_DESCRIPTION)?);
        }
    }
    for stanza in texts.iter().flat_map(|t| t.split("\n\n")) {
        let field = |key: &str| {
            stanza
                .lines()
                .find_map(|l| l.strip_prefix(key)?.strip_prefix(':'))
                .map(str::trim)
        };
        let installed = field("Status").is_none_or(|s| s.ends_with(" installed"));
        if let (true, Some(name), Some(version)) = (installed, field("Package"), field("Version")) {
            let arch = escape(field("Architecture").unwrap_or("all"));
            add(
                packages,
                Package {
                    kind: "deb",
                    name: name.to_owned(),
                    version: version.to_owned(),
                    qualifiers: format!("{vendor}?arch={arch}{distro}"),
                },
            );
        }
    }
    Ok(())
}

fn add(packages: &mut BTreeSet<Package>, package: Package) {
    if packages.len() < MAX_PACKAGES && !package.name.is_empty() {
        packages.insert(package);
    }
}

/// A walk through all folders, for what pip and npm leave in theirs.
struct Walk<'w> {
    tree: &'w Merged,
    folders: usize,
    packages: &'w mut BTreeSet<Package>,
}

impl Walk<'_> {
    fn folder(&mut self, at: &mut Vec<Vec<u8>>) -> io::Result<()> {
        self.folders += 1;
        if self.folders > MAX_FOLDERS || at.len() > MAX_DEPTH {
            return Ok(());
        }
        let parts: Vec<&[u8]> = at.iter().map(Vec::as_slice).collect();
        let Some(mut names) = self.tree.list(&parts)? else {
            return Ok(());
        };
        names.sort();
        for name in names {
            at.push(name);
            let parts: Vec<&[u8]> = at.iter().map(Vec::as_slice).collect();
            let is_folder = self
                .tree
                .find(&parts)?
                .is_some_and(|f| f.kind() == FileType::Directory);
            if is_folder {
                self.describe(at)?;
                self.folder(at)?;
            }
            at.pop();
        }
        Ok(())
    }

    /// Looks whether a folder is a package of pip or npm.
    fn describe(&mut self, at: &[Vec<u8>]) -> io::Result<()> {
        let path = format!("/{}", String::from_utf8_lossy(&at.join(&b'/')));
        if path.ends_with(".dist-info") {
            let text = read(self.tree, &format!("{path}/METADATA"), MAX_DESCRIPTION)?;
            if let Some(package) = text.as_deref().and_then(of_metadata) {
                add(self.packages, package);
            }
        } else if is_node_package(at) {
            let text = read(self.tree, &format!("{path}/package.json"), MAX_DESCRIPTION)?;
            if let Some(package) = text.as_deref().and_then(of_package_json) {
                add(self.packages, package);
            }
        }
        Ok(())
    }
}

/// Tells whether a folder lies in `node_modules`, or in a scope of it.
fn is_node_package(at: &[Vec<u8>]) -> bool {
    let from_end = |n: usize| at.len().checked_sub(n).and_then(|i| at.get(i));
    let modules = Some(&b"node_modules"[..]);
    from_end(2).map(Vec::as_slice) == modules
        || from_end(3).map(Vec::as_slice) == modules
            && from_end(2).is_some_and(|scope| scope.starts_with(b"@"))
}

/// Reads the core metadata of a Python package (PEP 566): fields up to the first empty line.
fn of_metadata(text: &str) -> Option<Package> {
    let field = |key: &str| {
        text.lines()
            .take_while(|l| !l.is_empty())
            .find_map(|l| l.strip_prefix(key)?.strip_prefix(':'))
            .map(str::trim)
    };
    Some(Package {
        kind: "pypi",
        // Package URLs have Python's names in their normal form (PEP 503).
        name: field("Name")?.to_lowercase().replace(['_', '.'], "-"),
        version: field("Version")?.to_owned(),
        qualifiers: String::new(),
    })
}

fn of_package_json(text: &str) -> Option<Package> {
    let value: Value = serde_json::from_str(text).ok()?;
    Some(Package {
        kind: "npm",
        name: value["name"].as_str()?.to_owned(),
        version: value["version"].as_str()?.to_owned(),
        qualifiers: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use daas_image::Digest;
    use std::path::Path;

    fn put(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn packages_of_three_worlds_become_one_document() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        put(root, "etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n");
        put(
            root,
            "var/lib/dpkg/status",
            "Package: libstdc++6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:12.2.0-14\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n\nbroken\n",
        );
        put(
            root,
            "var/lib/dpkg/status.d/base",
            "Package: base-files\nVersion: 12.4+deb12u5\nArchitecture: all\n",
        );
        put(
            root,
            "opt/venv/lib/python3.11/site-packages/Flask_Thing-3.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: Flask_Thing\nVersion: 3.0\n\nName: not this\n",
        );
        put(
            root,
            "opt/npm/lib/node_modules/@scope/tool/package.json",
            r#"{"name": "@scope/tool", "version": "1.2.3"}"#,
        );
        put(
            root,
            "opt/npm/lib/node_modules/@scope/tool/node_modules/left/package.json",
            r#"{"name": "left", "version": "0.1"}"#,
        );
        put(
            root,
            "srv/app/package.json",
            r#"{"name": "not-installed", "version": "9"}"#,
        );
        put(root, "opt/npm/lib/node_modules/broken/package.json", "{");
        let tree = Merged::open([root]).unwrap();
        let mut packages = BTreeSet::new();
        debian(&tree, &mut packages).unwrap();
        Walk {
            tree: &tree,
            folders: 0,
            packages: &mut packages,
        }
        .folder(&mut Vec::new())
        .unwrap();
        let urls: Vec<String> = packages.iter().map(Package::url).collect();
        assert_eq!(
            urls,
            [
                "pkg:deb/debian/base-files@12.4%2Bdeb12u5?arch=all&distro=debian-12",
                "pkg:deb/debian/libstdc%2B%2B6@1%3A12.2.0-14?arch=amd64&distro=debian-12",
                "pkg:npm/%40scope/tool@1.2.3",
                "pkg:npm/left@0.1",
                "pkg:pypi/flask-thing@3.0",
            ]
        );
        let digest = Digest::of(b"x");
        let first = document(
            "shop/web:1",
            digest.as_str(),
            "2025-01-01T00:00:00Z",
            &packages,
        );
        assert_eq!(first["packages"].as_array().unwrap().len(), 6);
        assert_eq!(first["relationships"].as_array().unwrap().len(), 6);
        assert_eq!(first["packages"][1]["name"], "base-files");
        assert_eq!(first["spdxVersion"], "SPDX-2.3");
        let again = document(
            "shop/web:1",
            digest.as_str(),
            "2025-01-01T00:00:00Z",
            &packages,
        );
        assert_eq!(first.to_string(), again.to_string());
    }

    #[test]
    fn links_in_an_image_do_not_lead_out_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        put(
            dir.path(),
            "outside/status",
            "Package: secret\nVersion: 1\n",
        );
        std::fs::create_dir_all(root.join("var/lib/dpkg")).unwrap();
        std::os::unix::fs::symlink(
            "../../../../outside/status",
            root.join("var/lib/dpkg/status"),
        )
        .unwrap();
        let mut packages = BTreeSet::new();
        debian(&Merged::open([&root]).unwrap(), &mut packages).unwrap();
        assert!(packages.is_empty());
    }
}
