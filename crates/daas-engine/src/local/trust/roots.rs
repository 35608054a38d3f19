//! The platform's authorities in the forms in which lists of others want them.

use super::der::{self, CONTEXT_0, Element, Elements, INTEGER, OID, SEQUENCE, SET};
use daas_model::base64;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

/// The platform's authorities.
#[derive(Debug)]
pub(super) struct Roots {
    /// All, as PEM.
    pub(super) pem: String,
    /// Each as DER, with its PEM and the name by which OpenSSL finds it in a folder; those whose subject cannot be read are not among them.
    pub(super) each: Vec<Root>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) pem: String,
    pub(super) der: Vec<u8>,
    /// Eight hexadecimal digits: the beginning of the file's name in a folder that `openssl rehash` made.
    pub(super) hash: String,
}

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

impl Roots {
    pub(super) fn read(pem: String) -> Self {
        let one = |piece: &str| {
            let (body, _) = piece.split_once(END)?;
            let text: String = body.split_whitespace().collect();
            let der = base64::decode(&text)?;
            let hash = hash(subject(&der)?)?;
            Some(Root {
                pem: format!("{BEGIN}{body}{END}\n"),
                der,
                hash,
            })
        };
        let each = pem.split(BEGIN).skip(1).filter_map(one).collect();
        Self { pem, each }
    }
}

/// Returns the subject of a certificate (RFC 5280, section 4.1): the fifth thing behind the version.
fn subject(certificate: &[u8]) -> Option<Element<'_>> {
    let whole = Elements::of(certificate).tagged(SEQUENCE)?;
    let mut signed = whole.inside().tagged(SEQUENCE)?.inside();
    signed.tagged(CONTEXT_0);
    signed.tagged(INTEGER)?;
    let _algorithm = signed.tagged(SEQUENCE)?;
    let _issuer = signed.tagged(SEQUENCE)?;
    let _validity = signed.tagged(SEQUENCE)?;
    signed.tagged(SEQUENCE)
}

/// Returns `X509_NAME_hash` of a name: four bytes of SHA-1 over its canonical form, in which texts are UTF-8 in small letters with single spaces
/// (OpenSSL, `crypto/x509/x_name.c`). Nothing for texts that are neither ASCII nor UTF-8.
fn hash(name: Element<'_>) -> Option<String> {
    let mut canonical = Vec::new();
    for set in name.inside() {
        let mut attributes = Vec::new();
        for attribute in set.inside() {
            let mut parts = attribute.inside();
            let kind = parts.tagged(OID)?;
            let value = parts.next()?;
            let text = match value.tag {
                // UTF8String, PrintableString, TeletexString, IA5String, VisibleString.
                0x0c | 0x13 | 0x14 | 0x16 | 0x1a => std::str::from_utf8(value.content).ok()?,
                _ => return None,
            };
            let words: Vec<String> = text
                .split_ascii_whitespace()
                .map(str::to_ascii_lowercase)
                .collect();
            let both = [kind.whole, &der::write(0x0c, words.join(" ").as_bytes())].concat();
            attributes.extend(der::write(SEQUENCE, &both));
        }
        canonical.extend(der::write(SET, &attributes));
    }
    let sum = digest(&SHA1_FOR_LEGACY_USE_ONLY, &canonical);
    let first = sum.as_ref().first_chunk::<4>()?;
    Some(format!("{:08x}", u32::from_le_bytes(*first)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn openssl_finds_every_authority_of_this_machine_under_the_same_name() {
        let bundle = std::fs::read_to_string("/etc/ssl/certs/ca-certificates.crt").unwrap();
        let roots = Roots::read(bundle.clone());
        assert_eq!(roots.pem, bundle);
        // A few are written in BMPString, as no authority of ours is.
        assert!(roots.each.len() * 10 >= bundle.matches(BEGIN).count() * 9);
        let dir = tempfile::tempdir().unwrap();
        for root in roots.each.iter().step_by(9) {
            let path = dir.path().join("one.pem");
            std::fs::write(&path, &root.pem).unwrap();
            let said = Command::new("openssl")
                .args(["x509", "-noout", "-subject_hash", "-in"])
                .arg(&path)
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(said.stdout).unwrap().trim(), root.hash);
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_name() {
        let none = Roots::read(format!("{BEGIN}\nours\n{END}\n{BEGIN}\nMAA=\n{END}\n"));
        assert!(none.each.is_empty() && none.pem.contains("ours"));
    }
}
