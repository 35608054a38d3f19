//! Names of addresses: what people write about a name is found under its addresses too, where their reverse zone is served here.
//!
//! Only names of the configuration and those that are kept are followed. Those of stands all lead to the ingress, whose address is not called after any of them;
//! a stand's own address is named by who names the stand.

use crate::book::zone_of;
use crate::contents::{Resource, Source};
use crate::dns::Books;
use crate::kind::RrType;
use crate::name::Name;
use crate::reverse::reverse_name;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Puts the pointers of `names` in place of their former ones, and makes the serials that follow.
pub(crate) fn follow(books: &mut Books, names: &[Name]) {
    let mut touched: BTreeMap<Arc<[u8]>, Vec<Name>> = BTreeMap::new();
    for name in names {
        let source = Source::Reverse(name.clone());
        let mut wanted: BTreeMap<Arc<[u8]>, Vec<Resource>> = BTreeMap::new();
        for (address, ttl) in addresses(books, name) {
            let back = reverse_name(address);
            if let Some(zone) = zone_of(books, &back).cloned() {
                let pointer = Resource::pointer(back, RrType::PTR, ttl, name);
                wanted.entry(zone).or_default().push(pointer);
            }
        }
        for (key, book) in books.iter_mut() {
            let records = wanted.remove(key).unwrap_or_default();
            let changed = book.contents.replace(&source, records);
            if !changed.is_empty() {
                touched.entry(key.clone()).or_default().extend(changed);
            }
        }
    }
    for (key, names) in touched {
        if let Some(book) = books.get_mut(&key) {
            book.turn(&names);
        }
    }
}

/// Returns the addresses that people wrote for a name, with their times.
fn addresses(books: &Books, name: &Name) -> Vec<(IpAddr, u32)> {
    // No address is called after a whole family of names.
    if name.is_wildcard() {
        return Vec::new();
    }
    let book = zone_of(books, name).and_then(|key| books.get(key));
    let records = book
        .into_iter()
        .flat_map(|book| book.contents.of_name(name));
    records
        .filter(|(source, _)| matches!(source, Source::Configuration | Source::Kept))
        .filter_map(|(_, record)| Some((address(record)?, record.ttl)))
        .collect()
}

fn address(record: &Resource) -> Option<IpAddr> {
    match record.kind {
        RrType::A => <[u8; 4]>::try_from(&*record.data).ok().map(IpAddr::from),
        RrType::AAAA => <[u8; 16]>::try_from(&*record.data).ok().map(IpAddr::from),
        _ => None,
    }
}
