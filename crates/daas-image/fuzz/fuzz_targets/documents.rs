//! Any bytes as a manifest, index, configuration, credentials or digest: no panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| daas_image::fuzzing::documents(data));
