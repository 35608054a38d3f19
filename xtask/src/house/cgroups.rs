use std::fs;
use std::path::Path;

/// Removes the folders of one name below every hierarchy's top, which a daemon leaves for the next; one that still holds something stays.
pub(crate) fn remove_cgroups(name: &str) {
    let top = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(top)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    for hierarchy in hierarchies.chain([top.to_owned()]) {
        let _ = fs::remove_dir(hierarchy.join(name));
    }
}
