//! Any bytes as a layer: no panic, and nothing outside of the root changes. Needs root, as the applier does.
#![no_main]

use daas_image::{Budget, unpack};
use daas_model::ByteSize;
use libfuzzer_sys::{Corpus, fuzz_target};
use std::fs;
use std::path::{Path, PathBuf};

/// Makes the checksums of what looks like headers right, so that mutations get past the door.
fn mend(bytes: &mut [u8]) {
    for block in bytes.chunks_exact_mut(512).filter(|b| &b[257..262] == b"ustar") {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}

fn outside(dir: &Path) -> Vec<(PathBuf, u64, std::time::SystemTime)> {
    let mut found = Vec::new();
    for name in ["", "secret", "folder"] {
        let path = dir.join(name);
        let meta = fs::symlink_metadata(&path).unwrap();
        found.push((path.clone(), meta.len(), meta.modified().unwrap()));
        if meta.is_dir() {
            found.extend(fs::read_dir(path).unwrap().map(|e| (e.unwrap().path(), 0, std::time::UNIX_EPOCH)));
        }
    }
    found.sort();
    found
}

fuzz_target!(|data: &[u8]| -> Corpus {
    let mut bytes = data.to_vec();
    mend(&mut bytes);
    // In memory: 10^5 trees a minute would wear a disk.
    let prison = PathBuf::from(format!("/dev/shm/daas-fuzz-{}", std::process::id()));
    let root = prison.join("root");
    fs::create_dir_all(&root).unwrap();
    if !prison.join("folder").exists() {
        fs::write(prison.join("secret"), "secret").unwrap();
        fs::create_dir(prison.join("folder")).unwrap();
    }
    let before = outside(&prison);
    let budget = Budget { entries: 1000, bytes: ByteSize::mib(16), ratio_after: ByteSize::mib(1), depth: 40, ..Budget::default() };
    let result = unpack(bytes.as_slice(), &root, &budget);
    assert_eq!(outside(&prison), before);
    fs::remove_dir_all(&root).unwrap();
    fs::create_dir(&root).unwrap();
    if result.is_ok() || data.len() > 512 { Corpus::Keep } else { Corpus::Reject }
});
