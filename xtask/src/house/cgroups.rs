use std::fs;
use std::path::Path;

/// Removes the folders of one name below every hierarchy's top, with that of the platform's own programs, which a daemon leaves for
/// the next; one that still holds something stays.
pub(crate) fn remove_cgroups(name: &str) {
    let top = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(top)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    for hierarchy in hierarchies.chain([top.to_owned()]) {
        let folder = hierarchy.join(name);
        let _ = fs::remove_dir(folder.join("keepers.group"));
        let _ = fs::remove_dir(folder);
    }
}
