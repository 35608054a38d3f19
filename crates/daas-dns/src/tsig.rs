//! Messages signed by a shared key (RFC 8945).

use crate::error::DnsError;
use crate::kind::RrType;
use crate::name::Name;
use crate::request::{Header, Request};
use crate::wire::{Malformed, Reader};
use daas_model::base64;
use ring::hmac;
use std::fmt;
use std::io::Read;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// How far two clocks may differ, in seconds (RFC 8945 section 10).
const FUDGE: u16 = 300;
/// The class of TSIG records.
const CLASS_ANY: u16 = 255;
/// The most octets of a TSIG record of ours: two names, the fields, the longest MAC and the time of an error.
pub(crate) const MOST_TSIG: usize = 255 + 10 + 14 + 10 + 64 + 6 + 6;
/// The longest file of a key, in octets.
const MOST_FILE: u64 = 64 * 1024;

/// A key that a peer shares with us.
#[derive(Clone)]
pub struct TsigKey {
    pub(crate) name: Name,
    algorithm: Name,
    key: hmac::Key,
}

impl fmt::Debug for TsigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TsigKey")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl TsigKey {
    /// Makes a key.
    ///
    /// # Errors
    /// A sentence if the algorithm is none of `hmac-sha256`, `hmac-sha384` and `hmac-sha512`, or the secret is no base64 of 16 octets at least.
    pub fn new(name: Name, algorithm: &str, secret: &str) -> Result<Self, String> {
        let hash = match algorithm {
            "hmac-sha256" => hmac::HMAC_SHA256,
            "hmac-sha384" => hmac::HMAC_SHA384,
            "hmac-sha512" => hmac::HMAC_SHA512,
            other => {
                return Err(format!(
                    "the algorithm `{}` is not hmac-sha256, hmac-sha384 or hmac-sha512",
                    other.escape_debug()
                ));
            }
        };
        let secret = base64::decode(secret).ok_or("the secret is no base64")?;
        if secret.len() < 16 {
            return Err("the secret has less than 16 octets".into());
        }
        Ok(Self {
            name,
            algorithm: Name::parse(algorithm).map_err(|e| e.to_string())?,
            key: hmac::Key::new(hash, &secret),
        })
    }

    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Reads the keys of a file as `tsig-keygen` of BIND writes it.
    ///
    /// # Errors
    /// [`DnsError::Key`] if it cannot be read, others than its owner may read it, or it holds no key.
    pub fn read(path: &Path) -> Result<Vec<Self>, DnsError> {
        use std::os::unix::fs::MetadataExt;
        let fault = |action, source: Box<dyn std::error::Error + Send + Sync>| DnsError::Key {
            action,
            path: path.to_owned(),
            source,
        };
        let file = std::fs::File::open(path).map_err(|e| fault("open", e.into()))?;
        let mode = file
            .metadata()
            .map_err(|e| fault("look at", e.into()))?
            .mode();
        if mode & 0o077 != 0 {
            return Err(fault(
                "trust",
                format!(
                    "others may read it (mode {:o}); `chmod 600` it",
                    mode & 0o777
                )
                .into(),
            ));
        }
        let mut text = String::new();
        file.take(MOST_FILE)
            .read_to_string(&mut text)
            .map_err(|e| fault("read", e.into()))?;
        parse_keys(&text).map_err(|e| fault("understand", e.into()))
    }
}

/// Reads `key "name" { algorithm x; secret "y"; };`, any number of times.
fn parse_keys(text: &str) -> Result<Vec<TsigKey>, String> {
    let bare: String = text
        .lines()
        .map(|line| line.split(['#']).next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join(" ");
    let spaced = bare
        .replace('{', " { ")
        .replace('}', " } ")
        .replace(';', " ; ");
    let mut words = spaced
        .split_whitespace()
        .map(|word| word.trim_matches('"'))
        .filter(|word| *word != ";");
    let mut keys = Vec::new();
    while let Some(word) = words.next() {
        if word != "key" {
            return Err(format!(
                "`key` stands at the front, not `{}`",
                word.escape_debug()
            ));
        }
        let name = Name::parse(words.next().unwrap_or_default()).map_err(|e| e.to_string())?;
        if words.next() != Some("{") {
            return Err("`{` stands behind the key's name".into());
        }
        let (mut algorithm, mut secret) = (None, None);
        loop {
            match words.next() {
                Some("algorithm") => algorithm = words.next(),
                Some("secret") => secret = words.next(),
                Some("}") => break,
                _ => return Err("a key has `algorithm` and `secret`".into()),
            }
        }
        let (Some(algorithm), Some(secret)) = (algorithm, secret) else {
            return Err("a key has `algorithm` and `secret`".into());
        };
        keys.push(TsigKey::new(name, &algorithm.to_ascii_lowercase(), secret)?);
    }
    if keys.is_empty() {
        return Err("it holds no key".into());
    }
    Ok(keys)
}

/// Errors of a signature (RFC 8945 section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::enum_variant_names, reason = "the names of RFC 8945")]
pub(crate) enum TsigError {
    BadSig,
    BadKey,
    BadTime,
}

impl TsigError {
    fn code(self) -> u16 {
        match self {
            Self::BadSig => 16,
            Self::BadKey => 17,
            Self::BadTime => 18,
        }
    }
}

/// What was found out about a request's signature.
#[derive(Debug)]
pub(crate) enum Checked {
    /// It holds; answers are signed by this.
    Good(Session),
    /// It does not.
    Bad(Refused),
}

/// A signature that does not hold, and how to say so.
#[derive(Debug)]
pub(crate) struct Refused {
    error: TsigError,
    fields: Fields,
    /// Only an answer about the time is signed (RFC 8945 section 5.2.3).
    session: Option<Session>,
}

/// Signs the messages of one answer, each with what went before.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) key: TsigKey,
    last: Vec<u8>,
    first: bool,
}

/// Why an answer to a signed message is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unvouched {
    #[error("the answer is no message")]
    Malformed,
    #[error("the answer is not signed: does the server know the key?")]
    Unsigned,
    #[error("the server does not know the key by this name and algorithm (BADKEY)")]
    BadKey,
    #[error("the server has another secret for the key (BADSIG)")]
    BadSig,
    #[error("the server's clock is another one (BADTIME)")]
    BadTime,
    #[error("the signature of the answer does not hold")]
    Forged,
}

/// The fields of a TSIG record.
#[derive(Debug, Clone)]
struct Fields {
    name: Name,
    algorithm: Name,
    time: u64,
    fudge: u16,
    mac: Vec<u8>,
    original_id: u16,
    error: u16,
    other: Vec<u8>,
}

impl Fields {
    fn read(octets: &[u8], at: usize) -> Result<Self, Malformed> {
        let mut reader = Reader::at(octets, at);
        let name = reader.name()?;
        reader.u16()?;
        if reader.u16()? != CLASS_ANY || reader.u32()? != 0 {
            return Err(Malformed("a TSIG record of another class"));
        }
        reader.u16()?;
        let algorithm = reader.name()?;
        let time = u64::from(reader.u16()?) << 32 | u64::from(reader.u32()?);
        let fudge = reader.u16()?;
        let length = usize::from(reader.u16()?);
        let mac = reader.octets(length)?.to_vec();
        let original_id = reader.u16()?;
        let error = reader.u16()?;
        let length = usize::from(reader.u16()?);
        let other = reader.octets(length)?.to_vec();
        if !reader.is_at_end() {
            return Err(Malformed("octets behind the TSIG record"));
        }
        Ok(Self {
            name,
            algorithm,
            time,
            fudge,
            mac,
            original_id,
            error,
            other,
        })
    }

    /// Adds what a signature covers besides the message (RFC 8945 section 4.3.3).
    fn cover(&self, context: &mut hmac::Context) {
        context.update(self.name.wire());
        context.update(&CLASS_ANY.to_be_bytes());
        context.update(&[0; 4]);
        context.update(self.algorithm.wire());
        self.cover_time(context);
        context.update(&self.error.to_be_bytes());
        context.update(&length(&self.other));
        context.update(&self.other);
    }

    fn cover_time(&self, context: &mut hmac::Context) {
        context.update(&self.time.to_be_bytes()[2..]);
        context.update(&self.fudge.to_be_bytes());
    }

    /// Appends the record to a message.
    fn append(&self, message: &mut Vec<u8>) {
        message.extend_from_slice(self.name.wire());
        message.extend_from_slice(&RrType::TSIG.0.to_be_bytes());
        message.extend_from_slice(&CLASS_ANY.to_be_bytes());
        message.extend_from_slice(&[0; 4]);
        let mut data = self.algorithm.wire().to_vec();
        data.extend_from_slice(&self.time.to_be_bytes()[2..]);
        data.extend_from_slice(&self.fudge.to_be_bytes());
        data.extend_from_slice(&length(&self.mac));
        data.extend_from_slice(&self.mac);
        data.extend_from_slice(&self.original_id.to_be_bytes());
        data.extend_from_slice(&self.error.to_be_bytes());
        data.extend_from_slice(&length(&self.other));
        data.extend_from_slice(&self.other);
        message.extend_from_slice(&length(&data));
        message.extend_from_slice(&data);
        let count = u16::from_be_bytes([message[10], message[11]]) + 1;
        message[10..12].copy_from_slice(&count.to_be_bytes());
    }
}

fn length(octets: &[u8]) -> [u8; 2] {
    // Names, MACs and times: far below 65,536 octets.
    u16::try_from(octets.len())
        .unwrap_or(u16::MAX)
        .to_be_bytes()
}

fn unix_secs() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// Judges the signature of a request; nothing if it has none.
pub(crate) fn check(request: &Request<'_>, keys: &[TsigKey]) -> Result<Option<Checked>, Malformed> {
    check_at(request, keys, unix_secs())
}

fn check_at(
    request: &Request<'_>,
    keys: &[TsigKey],
    now: u64,
) -> Result<Option<Checked>, Malformed> {
    let Some(at) = request.tsig else {
        return Ok(None);
    };
    let fields = Fields::read(request.octets, at)?;
    let bad = |error, fields, session| {
        Ok(Some(Checked::Bad(Refused {
            error,
            fields,
            session,
        })))
    };
    let Some(key) = keys
        .iter()
        .find(|key| key.name == fields.name && key.algorithm == fields.algorithm)
    else {
        return bad(TsigError::BadKey, fields, None);
    };
    let mut context = hmac::Context::with_key(&key.key);
    cover_message(&mut context, request.octets, at, fields.original_id);
    fields.cover(&mut context);
    // A MAC that was cut short is one that can be guessed sooner: none is taken.
    if !equal(context.sign().as_ref(), &fields.mac) {
        return bad(TsigError::BadSig, fields, None);
    }
    let session = Session {
        key: key.clone(),
        last: fields.mac.clone(),
        first: true,
    };
    if now.abs_diff(fields.time) > u64::from(fields.fudge.min(FUDGE)) {
        return bad(TsigError::BadTime, fields, Some(session));
    }
    Ok(Some(Checked::Good(session)))
}

/// Covers a message as it was before its TSIG record at `at` came to it (RFC 8945 section 4.3.2).
fn cover_message(context: &mut hmac::Context, message: &[u8], at: usize, original_id: u16) {
    let mut header = [0; 12];
    header.copy_from_slice(&message[..12]);
    header[..2].copy_from_slice(&original_id.to_be_bytes());
    let additional = u16::from_be_bytes([header[10], header[11]]);
    header[10..].copy_from_slice(&additional.saturating_sub(1).to_be_bytes());
    context.update(&header);
    context.update(&message[12..at]);
}

/// Returns where the TSIG record of an answer begins: its last one.
fn last_tsig(answer: &[u8]) -> Result<Option<usize>, Malformed> {
    let header = Header::read(answer).ok_or(Malformed("no header"))?;
    let [questions, answers, authority, additional] = header.counts;
    let mut reader = Reader::at(answer, 12);
    for _ in 0..questions {
        reader.skip_name()?;
        reader.u32()?;
    }
    let mut last = None;
    for _ in 0..u32::from(answers) + u32::from(authority) + u32::from(additional) {
        let start = reader.place();
        reader.skip_name()?;
        let kind = RrType(reader.u16()?);
        reader.u16()?;
        reader.u32()?;
        let length = usize::from(reader.u16()?);
        reader.octets(length)?;
        last = (kind == RrType::TSIG).then_some(start);
    }
    if additional == 0 || !reader.is_at_end() {
        last = None;
    }
    Ok(last)
}

/// Compares in a time that tells nothing of where they differ.
fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |sum, (x, y)| sum | (x ^ y)) == 0
}

impl Refused {
    /// Adds the record that tells the error to an answer.
    pub(crate) fn seal(self, message: &mut Vec<u8>) {
        let now = unix_secs();
        match self.session {
            Some(mut session) => {
                let other = now.to_be_bytes()[2..].to_vec();
                session.sign_with(message, self.fields.time, self.error.code(), other);
            }
            None => Fields {
                time: self.fields.time,
                fudge: FUDGE,
                mac: Vec::new(),
                original_id: u16::from_be_bytes([message[0], message[1]]),
                error: self.error.code(),
                other: Vec::new(),
                name: self.fields.name,
                algorithm: self.fields.algorithm,
            }
            .append(message),
        }
    }
}

impl Session {
    /// Begins the signing of messages that nobody asked for, as a NOTIFY is.
    pub(crate) fn fresh(key: TsigKey) -> Self {
        Self {
            key,
            last: Vec::new(),
            first: true,
        }
    }

    /// Judges the one answer to the message that was signed last (RFC 8945, section 5.3): it must be signed by the same key, over that message's signature.
    pub(crate) fn check_answer(&self, answer: &[u8]) -> Result<(), Unvouched> {
        self.check_answer_at(answer, unix_secs())
    }

    fn check_answer_at(&self, answer: &[u8], now: u64) -> Result<(), Unvouched> {
        let at = last_tsig(answer).map_err(|_| Unvouched::Malformed)?;
        let at = at.ok_or(Unvouched::Unsigned)?;
        let fields = Fields::read(answer, at).map_err(|_| Unvouched::Malformed)?;
        let mut context = hmac::Context::with_key(&self.key.key);
        context.update(&length(&self.last));
        context.update(&self.last);
        cover_message(&mut context, answer, at, fields.original_id);
        fields.cover(&mut context);
        let of_key = fields.name == self.key.name && fields.algorithm == self.key.algorithm;
        let holds = of_key && equal(context.sign().as_ref(), &fields.mac);
        match fields.error {
            // Errors of the key are told without a signature (section 5.2): a hint for people, believed by nobody.
            16 => Err(Unvouched::BadSig),
            17 => Err(Unvouched::BadKey),
            _ if !holds => Err(Unvouched::Forged),
            18 => Err(Unvouched::BadTime),
            _ if now.abs_diff(fields.time) > u64::from(fields.fudge.min(FUDGE)) => {
                Err(Unvouched::BadTime)
            }
            _ => Ok(()),
        }
    }

    /// Signs a message and appends the record.
    pub(crate) fn sign(&mut self, message: &mut Vec<u8>) {
        self.sign_with(message, unix_secs(), 0, Vec::new());
    }

    fn sign_with(&mut self, message: &mut Vec<u8>, time: u64, error: u16, other: Vec<u8>) {
        let mut fields = Fields {
            name: self.key.name.clone(),
            algorithm: self.key.algorithm.clone(),
            time,
            fudge: FUDGE,
            mac: Vec::new(),
            original_id: u16::from_be_bytes([message[0], message[1]]),
            error,
            other,
        };
        let mut context = hmac::Context::with_key(&self.key.key);
        if !self.last.is_empty() {
            context.update(&length(&self.last));
            context.update(&self.last);
        }
        context.update(message);
        if self.first {
            fields.cover(&mut context);
        } else {
            // Messages behind the first cover only the time (RFC 8945 section 5.3.1).
            fields.cover_time(&mut context);
        }
        fields.mac = context.sign().as_ref().to_vec();
        self.last.clone_from(&fields.mac);
        self.first = false;
        fields.append(message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> TsigKey {
        TsigKey::new(
            Name::parse(name).unwrap(),
            "hmac-sha256",
            "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
        )
        .unwrap()
    }

    /// A signed query, as a client of ours would send it.
    fn signed(key: &TsigKey, time: u64) -> Vec<u8> {
        let mut message = vec![0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        message.extend_from_slice(b"\x01a\x00\x00\x06\x00\x01");
        Session::fresh(key.clone()).sign_with(&mut message, time, 0, Vec::new());
        message
    }

    fn judge(message: &[u8], keys: &[TsigKey], now: u64) -> Result<(), TsigError> {
        let request = Request::read(message).unwrap_or_else(|_| panic!("it is one"));
        match check_at(&request, keys, now).unwrap().unwrap() {
            Checked::Good(_) => Ok(()),
            Checked::Bad(refused) => Err(refused.error),
        }
    }

    #[test]
    fn a_signature_holds_for_its_key_its_message_and_its_time() {
        let message = signed(&key("k"), 1_000_000);
        assert_eq!(
            judge(&message, &[key("other"), key("k")], 1_000_000),
            Ok(())
        );
        assert_eq!(judge(&message, &[key("k")], 1_000_300), Ok(()));
        assert_eq!(
            judge(&message, &[key("k")], 1_000_301),
            Err(TsigError::BadTime)
        );
        assert_eq!(
            judge(&message, &[key("k")], 999_699),
            Err(TsigError::BadTime)
        );
        assert_eq!(
            judge(&message, &[key("other")], 1_000_000),
            Err(TsigError::BadKey)
        );
        for at in [2, 13, 15, 60] {
            let mut damaged = message.clone();
            damaged[at] ^= 1;
            let request = Request::read(&damaged);
            assert!(
                request.is_err() || judge(&damaged, &[key("k")], 1_000_000).is_err(),
                "{at}"
            );
        }
    }

    #[test]
    fn an_answer_holds_for_the_very_message_that_was_asked() {
        let time = 1_000_000;
        let ask = |id: u8| {
            let mut message = vec![id, 0, 0x28, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            let mut session = Session::fresh(key("k"));
            session.sign_with(&mut message, time, 0, Vec::new());
            (message, session)
        };
        let (asked, session) = ask(1);
        // The server has the asker's signature behind it when it signs.
        let answer = |of: &TsigKey, error: u16| {
            let mut message = vec![1, 0, 0xa8, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            let mut server = Session {
                key: of.clone(),
                ..session_of(&asked)
            };
            server.sign_with(&mut message, time, error, Vec::new());
            message
        };
        let good = answer(&key("k"), 0);
        assert_eq!(session.check_answer_at(&good, time), Ok(()));
        assert_eq!(
            session.check_answer_at(&good, time + 301),
            Err(Unvouched::BadTime)
        );
        assert_eq!(
            ask(2).1.check_answer_at(&good, time),
            Err(Unvouched::Forged)
        );
        for (error, told) in [
            (16, Unvouched::BadSig),
            (17, Unvouched::BadKey),
            (18, Unvouched::BadTime),
        ] {
            assert_eq!(
                session.check_answer_at(&answer(&key("k"), error), time),
                Err(told)
            );
        }
        let other = session.check_answer_at(&answer(&key("other"), 0), time);
        assert_eq!(other, Err(Unvouched::Forged));
        let unsigned = &good[..12];
        let mut bare = unsigned.to_vec();
        bare[11] = 0;
        assert_eq!(
            session.check_answer_at(&bare, time),
            Err(Unvouched::Unsigned)
        );
        for at in 0..good.len() {
            let mut damaged = good.clone();
            damaged[at] ^= 1;
            // The id is not covered: the original one is, and who sent the message compares the id itself.
            let changed = session.check_answer_at(&damaged, time);
            assert!(at < 2 || changed.is_err(), "{at}");
            assert!(session.check_answer_at(&good[..at], time).is_err(), "{at}");
        }
    }

    /// What a server has when it has checked a message.
    fn session_of(asked: &[u8]) -> Session {
        let at = last_tsig(asked).unwrap().unwrap();
        let fields = Fields::read(asked, at).unwrap();
        Session {
            last: fields.mac,
            ..Session::fresh(key("k"))
        }
    }

    #[test]
    fn keys_are_read_as_bind_writes_them() {
        let text = "# made by tsig-keygen\nkey \"ddns.example\" {\n\talgorithm hmac-sha256;\n\tsecret \"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\";\n};\n";
        let keys = parse_keys(&format!("{text}{}", text.replace("ddns", "other"))).unwrap();
        assert_eq!(
            keys.iter().map(|k| k.name.to_string()).collect::<Vec<_>>(),
            ["ddns.example.", "other.example."]
        );
        for bad in [
            "",
            "key x {",
            "key x { algorithm hmac-md5; secret \"MDEyMzQ1Njc4OTAxMjM0NTY3\"; };",
            "key x { algorithm hmac-sha256; secret \"eA==\"; };",
            "nonsense",
        ] {
            assert!(parse_keys(bad).is_err(), "{bad}");
        }
    }
}
