use daas_sys::caps;

/// All capabilities.
pub(crate) const ALL: u64 = caps::ALL;

/// Returns the bit of a capability, `CAP_` and case aside.
pub(crate) fn bit(name: &str) -> Option<u64> {
    let upper = name.to_ascii_uppercase();
    let plain = upper.strip_prefix("CAP_").unwrap_or(&upper);
    if plain == "ALL" {
        return Some(ALL);
    }
    caps::bit(plain)
}

/// Returns `default`, less `drop`, and `add`; names that do not exist give the name back.
///
/// The order is Docker's: `cap_add: [ALL]` with `cap_drop: [X]` is all but X, `cap_drop: [ALL]` with `cap_add: [X]` is X alone.
pub(crate) fn mask(default: u64, add: &[String], drop: &[String]) -> Result<u64, String> {
    let bits = |names: &[String]| -> Result<(bool, u64), String> {
        let mut all = false;
        let mut set = 0;
        for name in names {
            match bit(name).ok_or_else(|| name.clone())? {
                ALL => all = true,
                one => set |= one,
            }
        }
        Ok((all, set))
    };
    let (add_all, added) = bits(add)?;
    let (drop_all, dropped) = bits(drop)?;
    Ok(match (add_all, drop_all) {
        (true, _) => (ALL & !dropped) | added,
        (false, true) => added,
        (false, false) => (default & !dropped) | added,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropping_all_and_adding_one_leaves_one() {
        let one = |n: &str| vec![n.to_owned()];
        assert_eq!(mask(0b111, &one("NET_ADMIN"), &one("ALL")), Ok(1 << 12));
        assert_eq!(mask(0b111, &[], &one("CAP_CHOWN")), Ok(0b110));
        assert_eq!(
            mask(0b111, &one("all"), &one("SYS_ADMIN")),
            Ok(ALL & !(1 << 21))
        );
        assert_eq!(mask(0, &one("NO_SUCH"), &[]), Err("NO_SUCH".into()));
    }
}
