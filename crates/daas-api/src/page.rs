use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// The most items of one page, and how many come unasked.
pub const MAX_PAGE: usize = 500;

/// Which part of a list is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    /// The most items, 1 to 500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Only items behind this one: the `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// A part of a list. The `Link` header names the next part, too (RFC 8288).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The items in the order of their keys.
    pub items: Vec<T>,
    /// Where the next part begins; nothing at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// Cuts the asked part out of the whole list; `key` gives each item its place.
    #[must_use]
    pub fn cut(mut items: Vec<T>, query: &PageQuery, key: impl Fn(&T) -> String) -> Self {
        items.sort_by_cached_key(&key);
        if let Some(after) = &query.after {
            items.retain(|item| key(item) > *after);
        }
        let limit = query.limit.unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE);
        let more = items.len() > limit;
        items.truncate(limit);
        let next = if more { items.last().map(key) } else { None };
        Self { items, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walking_the_pages_gives_every_item_once() {
        let all: Vec<u32> = (0..23).rev().collect();
        let key = |n: &u32| format!("{n:03}");
        let mut seen = Vec::new();
        let mut query = PageQuery {
            limit: Some(5),
            after: None,
        };
        loop {
            let page = Page::cut(all.clone(), &query, key);
            seen.extend(page.items);
            let Some(next) = page.next else { break };
            query.after = Some(next);
        }
        assert_eq!(seen, (0..23).collect::<Vec<_>>());
    }

    #[test]
    fn a_limit_of_nothing_gives_one_and_a_huge_one_gives_the_most() {
        let key = |n: &u32| format!("{n:05}");
        let size = |limit| {
            Page::cut(
                (0..2000).collect(),
                &PageQuery {
                    limit: Some(limit),
                    after: None,
                },
                key,
            )
            .items
            .len()
        };
        assert_eq!((size(0), size(usize::MAX)), (1, MAX_PAGE));
    }
}
