//! Java's list of authorities (`cacerts`) with ours behind it.
//!
//! What is written is always the old form, JKS: Java reads it whatever the name of the default form is (`keystore.type.compat`), it needs no
//! cipher, and lists of Java 8 to 17 and of Debian have it. Lists since Java 18 are PKCS#12 without a password: their certificates are taken over.
//! A list with another password than the usual one, or whose certificates are enciphered, is somebody's own and left alone.

use super::der::{CONTEXT_0, Element, Elements, INTEGER, OCTETS, OID, SEQUENCE, SET};
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use std::collections::BTreeSet;

/// `JavaKeyStore.java` of the JDK: magic number, version with a kind of certificate in each entry, tag of a trusted certificate.
const MAGIC: [u8; 4] = [0xfe, 0xed, 0xfe, 0xed];
const VERSION: [u8; 4] = [0, 0, 0, 2];
const TRUSTED: [u8; 4] = [0, 0, 0, 2];
const DIGEST: usize = 20;
/// The password of every list that comes with a Java; it protects nothing.
const PASSWORD: &str = "changeit";

/// `pkcs7-data` (1.2.840.113549.1.7.1).
const DATA: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
/// `pkcs-12-certBag` (1.2.840.113549.1.12.10.1.3).
const CERT_BAG: [u8; 11] = [
    0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x0a, 0x01, 0x03,
];
/// `friendlyName` (1.2.840.113549.1.9.20).
const FRIENDLY_NAME: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x14];

/// Returns a list with certificates behind those that it has; nothing if it is none that can be read, or has another password.
pub(super) fn with_roots<'a>(
    store: &[u8],
    roots: impl Iterator<Item = &'a [u8]>,
) -> Option<Vec<u8>> {
    let mut list = if store.starts_with(&MAGIC) {
        List::of_jks(store)?
    } else {
        List::of_pkcs12(store)?
    };
    for (at, root) in roots.enumerate() {
        list.add(&format!("daas-root-{at}"), root)?;
    }
    list.write()
}

/// Entries as JKS has them.
#[derive(Default)]
struct List {
    count: u32,
    entries: Vec<u8>,
}

impl List {
    fn of_jks(store: &[u8]) -> Option<Self> {
        let (signed, sum) = store.split_at_checked(store.len().checked_sub(DIGEST)?)?;
        let (head, entries) = signed.split_at_checked(12)?;
        let known = head[4..8] == VERSION && sum == digest(signed);
        known.then(|| Self {
            count: u32::from_be_bytes([head[8], head[9], head[10], head[11]]),
            entries: entries.to_vec(),
        })
    }

    /// Reads PKCS#12 (RFC 7292, section 4) whose safes are all in the open.
    fn of_pkcs12(store: &[u8]) -> Option<Self> {
        let mut outer = Elements::of(store).tagged(SEQUENCE)?.inside();
        outer.tagged(INTEGER)?;
        let safes = data(outer.tagged(SEQUENCE)?)?;
        let mut list = Self::default();
        let mut taken = BTreeSet::new();
        for safe in Elements::of(safes).tagged(SEQUENCE)?.inside() {
            for bag in Elements::of(data(safe)?).tagged(SEQUENCE)?.inside() {
                let (name, certificate) = certificate(bag)?;
                let name = name.unwrap_or_else(|| "authority".into());
                let mut free = name.clone();
                let mut number = 0;
                while !taken.insert(free.clone()) {
                    number += 1;
                    free = format!("{name}-{number}");
                }
                list.add(&free, certificate)?;
            }
        }
        Some(list)
    }

    fn add(&mut self, alias: &str, certificate: &[u8]) -> Option<()> {
        self.count += 1;
        self.entries.extend(TRUSTED);
        text(&mut self.entries, alias)?;
        // When it came: nothing asks, and equal lists shall be equal files.
        self.entries.extend([0; 8]);
        text(&mut self.entries, "X.509")?;
        let length = u32::try_from(certificate.len()).ok()?;
        self.entries.extend(length.to_be_bytes());
        self.entries.extend_from_slice(certificate);
        Some(())
    }

    fn write(self) -> Option<Vec<u8>> {
        let mut bytes = [MAGIC, VERSION, self.count.to_be_bytes()].concat();
        bytes.extend(self.entries);
        let sum = digest(&bytes);
        bytes.extend(sum);
        Some(bytes)
    }
}

/// `DataOutput.writeUTF`, for names without zero bytes and outside of the basic plane.
fn text(bytes: &mut Vec<u8>, text: &str) -> Option<()> {
    bytes.extend(u16::try_from(text.len()).ok()?.to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
    Some(())
}

/// What protects a list: SHA-1 over the password in UTF-16, a joke, and the bytes.
fn digest(bytes: &[u8]) -> [u8; DIGEST] {
    let mut sum = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    for unit in PASSWORD.encode_utf16() {
        sum.update(&unit.to_be_bytes());
    }
    sum.update(b"Mighty Aphrodite");
    sum.update(bytes);
    sum.finish()
        .as_ref()
        .try_into()
        .expect("SHA-1 has twenty bytes")
}

/// Returns what a `ContentInfo` holds in the open; nothing where it is enciphered.
fn data(info: Element<'_>) -> Option<&[u8]> {
    let mut parts = info.inside();
    let kind = parts.tagged(OID)?;
    let held = parts.tagged(CONTEXT_0)?.inside().tagged(OCTETS)?;
    (kind.content == DATA).then_some(held.content)
}

/// Returns the certificate of a `SafeBag` and how it is called.
fn certificate(bag: Element<'_>) -> Option<(Option<String>, &[u8])> {
    let mut parts = bag.inside();
    if parts.tagged(OID)?.content != CERT_BAG {
        return None;
    }
    let mut held = parts.tagged(CONTEXT_0)?.inside().tagged(SEQUENCE)?.inside();
    held.tagged(OID)?;
    let der = held.tagged(CONTEXT_0)?.inside().tagged(OCTETS)?.content;
    let name = parts.tagged(SET).and_then(|set| {
        set.inside().find_map(|attribute| {
            let mut parts = attribute.inside();
            let kind = parts.tagged(OID)?.content;
            let value = parts.tagged(SET)?.inside().next()?.content;
            (kind == FRIENDLY_NAME).then(|| wide(value))
        })
    });
    Some((name, der))
}

/// Reads a BMPString; Java compares names in small letters.
fn wide(bytes: &[u8]) -> String {
    let units = bytes
        .chunks_exact(2)
        .map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    char::decode_utf16(units)
        .filter_map(Result::ok)
        .filter(|c| *c != '\0' && u32::from(*c) < 0x1_0000)
        .collect::<String>()
        .to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;
    use std::process::Command;

    fn keytool(store: &Path, words: &[&str]) -> String {
        let ran = Command::new("keytool")
            .args(words)
            .arg("-keystore")
            .arg(store)
            .args(["-storepass", PASSWORD, "-noprompt"])
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&ran.stdout).into_owned();
        assert!(ran.status.success(), "{told}");
        told
    }

    /// A certificate of nobody, as DER.
    fn certificate_of(dir: &Path, name: &str) -> Vec<u8> {
        let file = dir.join(format!("{name}.der"));
        let ran = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
            ])
            .args([
                "-nodes",
                "-days",
                "2",
                "-outform",
                "DER",
                "-keyout",
                "/dev/null",
            ])
            .args(["-subj", &format!("/CN={name}"), "-out"])
            .arg(&file)
            .output()
            .unwrap();
        assert!(ran.status.success());
        fs::read(file).unwrap()
    }

    fn list(dir: &Path, name: &str, more: &[&str]) -> Vec<u8> {
        let store = dir.join(name);
        for name in ["Theirs One", "Theirs Two"] {
            certificate_of(dir, name);
            let file = dir.join(format!("{name}.der"));
            let mut words = vec![
                "-importcert",
                "-alias",
                name,
                "-file",
                file.to_str().unwrap(),
            ];
            words.extend(more);
            keytool(&store, &words);
        }
        fs::read(store).unwrap()
    }

    #[test]
    fn javas_own_tool_reads_both_forms_with_our_authority_behind_theirs() {
        let dir = tempfile::tempdir().unwrap();
        let ours = certificate_of(dir.path(), "Ours");
        let open = [
            "-storetype",
            "PKCS12",
            "-J-Dkeystore.pkcs12.certProtectionAlgorithm=NONE",
            "-J-Dkeystore.pkcs12.macAlgorithm=NONE",
        ];
        for (name, more) in [("jks", &["-storetype", "JKS"][..]), ("open.p12", &open)] {
            let store = list(dir.path(), name, more);
            let made = with_roots(&store, [&ours[..]].into_iter()).unwrap();
            let path = dir.path().join("made");
            fs::write(&path, made).unwrap();
            let told = keytool(&path, &["-list"]);
            assert!(told.contains("contains 3 entries"), "{told}");
            for alias in ["theirs one", "theirs two", "daas-root-0"] {
                assert!(told.contains(alias), "{told}");
            }
        }
    }

    #[test]
    fn a_list_of_somebodys_own_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let ours = certificate_of(dir.path(), "Ours");
        let add = |store: &[u8]| with_roots(store, [&ours[..]].into_iter());
        assert_eq!(
            add(&list(dir.path(), "closed.p12", &["-storetype", "PKCS12"])),
            None
        );
        let jks = list(dir.path(), "jks", &["-storetype", "JKS"]);
        let mut other = jks.clone();
        *other.last_mut().unwrap() ^= 1;
        for bad in [
            &other[..],
            &jks[..jks.len() - 30],
            &MAGIC,
            b"",
            b"\x30\x03\x02\x01\x03",
        ] {
            assert_eq!(add(bad), None);
        }
    }
}
