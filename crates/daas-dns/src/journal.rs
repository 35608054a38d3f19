//! What changed from one serial of a zone to the next, for transfers of differences (RFC 1995), and how serials compare (RFC 1982).

use crate::data::Data;
use crate::kind::RrType;
use crate::name::Name;

/// How many changes a zone remembers; a secondary that is further behind gets the whole zone.
pub(crate) const MOST_DIFFERENCES: usize = 512;

/// One record, as transfers carry it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row {
    pub(crate) name: Name,
    pub(crate) kind: RrType,
    pub(crate) ttl: u32,
    pub(crate) data: Data,
}

/// The difference of two serials; both SOA records are told apart from the rest because they frame it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) old_soa: Row,
    pub(crate) new_soa: Row,
    pub(crate) removed: Vec<Row>,
    pub(crate) added: Vec<Row>,
}

/// Tells whether serial `a` is newer than `b` (RFC 1982 section 3.2).
pub(crate) fn is_newer(a: u32, b: u32) -> bool {
    a != b && a.wrapping_sub(b) < 1 << 31
}

/// Returns the serial behind `old`: the time if that is newer, so that serials tell their age, and one more otherwise.
pub(crate) fn next_serial(old: u32, now_secs: u32) -> u32 {
    if is_newer(now_secs, old) {
        now_secs
    } else {
        old.wrapping_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_go_round_and_never_back() {
        assert!(is_newer(1, 0) && !is_newer(0, 1) && !is_newer(7, 7));
        assert!(is_newer(0, u32::MAX) && is_newer(5, u32::MAX - 5));
        assert!(!is_newer(u32::MAX, 0));
        assert_eq!(next_serial(10, 100), 100);
        assert_eq!(next_serial(100, 100), 101);
        assert_eq!(next_serial(100, 10), 101);
        assert_eq!(next_serial(u32::MAX, u32::MAX - 3), 0);
    }
}
