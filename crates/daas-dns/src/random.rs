//! Numbers that nobody can guess.

use ring::rand::{SecureRandom, SystemRandom};

/// Fills octets from the kernel's generator.
pub(crate) fn fill(octets: &mut [u8]) {
    SystemRandom::new()
        .fill(octets)
        .expect("getrandom(2) fails on no kernel that runs this program");
}

/// Returns a number of 16 bits.
pub(crate) fn u16() -> u16 {
    let mut octets = [0; 2];
    fill(&mut octets);
    u16::from_be_bytes(octets)
}
