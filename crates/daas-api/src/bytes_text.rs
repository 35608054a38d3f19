use daas_model::base64;
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
                base64: base64::encode(&self.0),
            }
            .serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for BytesText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Form::deserialize(deserializer)? {
            Form::Text(text) => Ok(Self(text.into_bytes())),
            Form::Base64 { base64: text } => base64::decode(&text)
                .map(Self)
                .ok_or_else(|| D::Error::custom("no base64 text (RFC 4648 section 4)")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
