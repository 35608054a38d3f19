use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

/// Bytes in JSON: a string where they are UTF-8, `{"base64": "..."}` where they are not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BytesText(pub Vec<u8>);

/// The two forms on the wire.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
#[schema(title = "BytesText")]
enum Form {
    Text(String),
    Base64 { base64: String },
}

impl utoipa::PartialSchema for BytesText {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        Form::schema()
    }
}

impl ToSchema for BytesText {}

impl Serialize for BytesText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => Form::Base64 {
                base64: encode(&self.0),
            }
            .serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for BytesText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Form::deserialize(deserializer)? {
            Form::Text(text) => Ok(Self(text.into_bytes())),
            Form::Base64 { base64 } => decode(&base64)
                .map(Self)
                .ok_or_else(|| D::Error::custom("no base64 text (RFC 4648 section 4)")),
        }
    }
}

/// RFC 4648 section 4.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word = (0..3).fold(0u32, |word, i| {
            word << 8 | u32::from(group.get(i).copied().unwrap_or(0))
        });
        for i in 0..4 {
            let sextet = (word >> (18 - 6 * i) & 63) as usize;
            text.push(if i <= group.len() {
                char::from(ALPHABET[sextet])
            } else {
                '='
            });
        }
    }
    text
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.as_bytes();
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let groups = text.len() / 4;
    for (n, group) in text.chunks(4).enumerate() {
        let padding = group.iter().rev().take_while(|b| **b == b'=').count();
        if padding > 2 || (padding > 0 && n + 1 != groups) {
            return None;
        }
        let mut word = 0u32;
        for (i, byte) in group.iter().enumerate() {
            let sextet = if i >= 4 - padding {
                0
            } else {
                ALPHABET.iter().position(|a| a == byte)?
            };
            word = word << 6 | u32::try_from(sextet).ok()?;
        }
        bytes.extend_from_slice(&word.to_be_bytes()[1..4 - padding]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_vectors_of_rfc_4648() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text).unwrap(), bytes.as_bytes());
        }
        for bad in ["Z", "Zg=", "Z===", "Zg==Zg==", "Zm9*", "===="] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }

    #[test]
    fn text_stays_readable_on_the_wire() {
        assert_eq!(
            serde_json::to_string(&BytesText(b"services:\n".to_vec())).unwrap(),
            r#""services:\n""#
        );
        assert_eq!(
            serde_json::to_string(&BytesText(vec![0xff])).unwrap(),
            r#"{"base64":"/w=="}"#
        );
    }

    proptest! {
        #[test]
        fn bytes_survive_the_wire(bytes: Vec<u8>) {
            let json = serde_json::to_string(&BytesText(bytes.clone())).unwrap();
            prop_assert_eq!(serde_json::from_str::<BytesText>(&json).unwrap().0, bytes);
        }
    }
}
