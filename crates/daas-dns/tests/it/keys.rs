//! A shared key, as it is given to the tools of others.

use daas_dns::{Name, TsigKey};

/// The secret of every key of these tests.
const SECRET: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

/// Makes a key.
pub(crate) fn key(name: &str, algorithm: &str) -> TsigKey {
    TsigKey::new(Name::parse(name).unwrap(), algorithm, SECRET).unwrap()
}

/// Returns a key as `dig -y` and `nsupdate -y` take it.
pub(crate) fn argument(name: &str, algorithm: &str) -> String {
    format!("{algorithm}:{name}:{SECRET}")
}

/// Returns a key as the configuration of BIND takes it.
pub(crate) fn of_bind(name: &str) -> String {
    format!("key \"{name}\" {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n")
}
