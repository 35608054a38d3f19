//! Files and folders of the host, with the owners that a node may see.

use super::Keeper;
use crate::KeeperError;
use crate::desk;
use crate::launch::{BindOwners, IDS_PER_STAND};
use daas_sys::userns::{IdRange, create};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

impl Keeper {
    /// Opens a bind for a node that runs as `user` and `group` inside; says whether it is a folder.
    pub(super) fn bind_host(
        &self,
        path: &Path,
        owners: BindOwners,
        user: u32,
        group: u32,
    ) -> Result<(OwnedFd, bool), KeeperError> {
        let base = self.seed.uid_base;
        let (uids, gids) = match owners {
            BindOwners::AsOnHost => return Ok(desk::host_bind(path, self.desk.userns())?),
            BindOwners::RootIs(owner) => (vec![one(owner.uid, base)], vec![one(owner.gid, base)]),
            BindOwners::NodeIs { owner, others } => (
                swapped(owner.uid, user, others, base),
                swapped(owner.gid, group, others, base),
            ),
        };
        let map = create(&self.proof, &uids, &gids)?;
        Ok(desk::host_bind(path, map.as_fd())?)
    }
}

/// The map of a mount reads: owner on disk, owner as seen from the host; the stand's own map makes the latter an id inside.
fn one(disk: u32, seen: u32) -> IdRange {
    IdRange {
        inside: disk,
        outside: seen,
        count: 1,
    }
}

/// Returns a map in which `owner` on disk is `inside` of the stand at `base`, and all others lie from `others` on.
fn swapped(owner: u32, inside: u32, others: u32, base: u32) -> Vec<IdRange> {
    let below = IdRange {
        inside: others,
        outside: base,
        count: inside,
    };
    let above = IdRange {
        inside: others + inside + 1,
        outside: base + inside + 1,
        count: IDS_PER_STAND - inside - 1,
    };
    // Who owns it may be one of the others: a stand made the folder. Then he is himself, and nobody else.
    let own =
        (!(others..others + IDS_PER_STAND).contains(&owner)).then(|| one(owner, base + inside));
    [below, above]
        .into_iter()
        .filter(|range| range.count > 0)
        .chain(own)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(map: &[IdRange], disk: u32) -> Option<u32> {
        map.iter()
            .find(|r| (r.inside..r.inside + r.count).contains(&disk))
            .map(|r| r.outside + (disk - r.inside))
    }

    #[test]
    fn the_owner_is_the_node_and_everybody_else_is_nobody_of_the_host() {
        const OTHERS: u32 = 4_000_000_000;
        for inside in [0, 1, 999, IDS_PER_STAND - 1] {
            let map = swapped(1000, inside, OTHERS, 100_000);
            assert_eq!(seen(&map, 1000), Some(100_000 + inside));
            assert_eq!(seen(&map, 0), None, "root of the host is nobody inside");
            assert_eq!(seen(&map, 1001), None);
            let count: u32 = map.iter().map(|r| r.count).sum();
            assert_eq!(count, IDS_PER_STAND, "every id inside has one on disk");
            for id in [0, 1, 33, 998, 1000, IDS_PER_STAND - 1] {
                if id != inside {
                    assert_eq!(seen(&map, OTHERS + id), Some(100_000 + id));
                }
            }
        }
        let map = swapped(OTHERS + 5, 0, OTHERS, 100_000);
        assert_eq!(seen(&map, OTHERS + 5), Some(100_005));
        assert_eq!(seen(&map, OTHERS), None);
    }
}
