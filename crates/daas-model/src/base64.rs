//! Base64 (RFC 4648 section 4) as every door, client and room reads and writes it.
//!
//! Not here: the alphabet for URLs, which only authorities of certificates speak (`daas-certs`).

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// What others write may leave bits over at its end.
const CONFIG: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true);
const PADDED: GeneralPurpose = GeneralPurpose::new(&STANDARD, CONFIG);
const BARE: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    CONFIG.with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// Writes bytes as text, with padding.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    PADDED.encode(bytes)
}

/// Reads text with the padding that belongs to it; nothing if it is no such text.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<u8>> {
    PADDED.decode(text).ok()
}

/// Reads text whatever padding is behind it, as credentials come (RFC 7617); nothing if it is no such text.
#[must_use]
pub fn decode_any_padding(text: &str) -> Option<Vec<u8>> {
    BARE.decode(text.trim_end_matches('=')).ok()
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
            assert_eq!(decode_any_padding(text).unwrap(), bytes.as_bytes());
            let bare = text.trim_end_matches('=');
            assert_eq!(decode_any_padding(bare).unwrap(), bytes.as_bytes());
        }
        for bad in ["Z", "Zg=", "Z===", "Zg==Zg==", "Zm9*", "===="] {
            assert_eq!(decode(bad), None, "{bad}");
        }
        assert_eq!(decode("Zm9"), None);
        assert_eq!(decode_any_padding("a b"), None);
        assert_eq!(decode("Zh==").unwrap(), b"f", "bits left over");
    }

    proptest! {
        #[test]
        fn what_is_coded_is_decoded(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(decode(&encode(&bytes)).unwrap(), bytes.clone());
            prop_assert_eq!(decode_any_padding(&encode(&bytes)).unwrap(), bytes);
        }
    }
}
