//! Names, units, image names and subnets: what parses prints to itself and is a safe path component where it is a name.

#![no_main]

use daas_model::{ByteSize, Cpus, ImageName, NodeName, Span, StandName, Subnet, VolumeName};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for name in [StandName::parse(text).map(String::from), NodeName::parse(text).map(String::from), VolumeName::parse(text).map(String::from)].into_iter().flatten() {
        assert!(name == text && !name.contains('/') && !name.starts_with(['.', '-']) && !name.is_empty() && name.len() <= 63);
    }
    if let Ok(image) = ImageName::parse(text) {
        assert_eq!(ImageName::parse(&image.to_string()).as_ref(), Ok(&image));
        assert_eq!(ImageName::parse(&image.familiar()).as_ref(), Ok(&image));
    }
    if let Ok(span) = Span::parse(text) {
        assert_eq!(Span::parse(&span.to_string()), Ok(span));
    }
    if let Ok(subnet) = Subnet::parse(text) {
        assert!(subnet.contains(subnet.address));
        assert_eq!(Subnet::parse(&subnet.to_string()), Ok(subnet));
    }
    let _ = (ByteSize::parse(text), Cpus::parse(text));
});
