//! What is thrown away in time: a plan from rules, nothing else.

use crate::name::{Repository, Tag};
use daas_image::Digest;
use daas_model::pattern::fits;
use daas_model::{Span, slug};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A rule about the tags of a project's repositories. A tag goes when the first rule whose pattern it matches says so.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Which tags: `*` stands for any characters. Without it: manifests that have no tag.
    #[serde(default)]
    pub tags: Option<String>,
    /// How many of the newest stay in each repository, whatever else the rule says.
    #[serde(default)]
    pub keep: Option<u32>,
    /// They go only when they are older than this.
    #[serde(default)]
    pub older_than: Option<Span>,
    /// They go only when the branch is dead whose name, as a tag, stands where the pattern has its `*`.
    #[serde(default)]
    pub branch: bool,
}

/// One tag, or a manifest without one, as the plan sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) repository: Repository,
    pub(crate) tag: Option<Tag>,
    pub(crate) digest: Digest,
    pub(crate) since_ms: u64,
}

/// What is to go, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expiry {
    /// The repository.
    pub repository: Repository,
    /// The tag; without it the manifest itself.
    pub tag: Option<Tag>,
    /// The manifest.
    pub digest: Digest,
    /// Since when it is there, Unix milliseconds.
    pub since_ms: u64,
    /// Why it goes, or why it stays although a rule says that it should go.
    pub reason: String,
    /// Whether something uses it: then it stays.
    pub used: bool,
}

impl Rule {
    /// Tells whether the rule can ever throw something away by intention: one without a condition would take everything.
    #[must_use]
    pub fn says_something(&self) -> bool {
        self.keep.is_some() || self.older_than.is_some() || self.branch
    }

    fn is_about(&self, tag: Option<&Tag>) -> bool {
        match (&self.tags, tag) {
            (Some(pattern), Some(tag)) => fits(pattern, tag.as_str()),
            (None, None) => true,
            _ => false,
        }
    }
}

/// Returns what stands where the pattern has its first `*`.
fn starred<'a>(pattern: &str, text: &'a str) -> &'a str {
    let (before, after) = pattern.split_once('*').unwrap_or((pattern, ""));
    let rest = text.strip_prefix(before).unwrap_or(text);
    rest.strip_suffix(after).unwrap_or(rest)
}

/// Plans what goes. `used` says by whom something is used; what is used is in the plan too, with the reason why it stays.
pub(crate) fn plan(
    rules: &[Rule],
    candidates: &[Candidate],
    branches: Option<&BTreeSet<String>>,
    used: impl Fn(&Candidate) -> Option<String>,
    now_ms: u64,
) -> Vec<Expiry> {
    let mut groups: BTreeMap<(&Repository, usize), Vec<&Candidate>> = BTreeMap::new();
    for candidate in candidates {
        if let Some(rule) = rules
            .iter()
            .position(|r| r.is_about(candidate.tag.as_ref()))
        {
            groups
                .entry((&candidate.repository, rule))
                .or_default()
                .push(candidate);
        }
    }
    let alive: Option<BTreeSet<String>> = branches.map(|names| {
        names
            .iter()
            .flat_map(|name| [name.clone(), slug(name)])
            .collect()
    });
    let mut plan = Vec::new();
    for ((_, rule), mut group) in groups {
        let rule = &rules[rule];
        group.sort_by(|a, b| (b.since_ms, &b.tag).cmp(&(a.since_ms, &a.tag)));
        let kept = rule.keep.unwrap_or(0) as usize;
        for candidate in group.into_iter().skip(kept) {
            let Some(reason) = reason(rule, candidate, alive.as_ref(), now_ms) else {
                continue;
            };
            let user = used(candidate);
            plan.push(Expiry {
                repository: candidate.repository.clone(),
                tag: candidate.tag.clone(),
                digest: candidate.digest.clone(),
                since_ms: candidate.since_ms,
                used: user.is_some(),
                reason: user.map_or(reason, |by| format!("stays: used by {by}")),
            });
        }
    }
    plan
}

/// Returns why a rule lets a candidate go, or nothing if it stays.
fn reason(
    rule: &Rule,
    candidate: &Candidate,
    alive: Option<&BTreeSet<String>>,
    now_ms: u64,
) -> Option<String> {
    let mut reasons = Vec::new();
    if let Some(keep) = rule.keep {
        reasons.push(format!("not among the newest {keep}"));
    }
    if let Some(span) = rule.older_than {
        let age = now_ms.saturating_sub(candidate.since_ms);
        if u128::from(age) <= span.0.as_millis() {
            return None;
        }
        reasons.push(format!("older than {span}"));
    }
    if rule.branch {
        let pattern = rule.tags.as_deref()?;
        let branch = starred(pattern, candidate.tag.as_ref()?.as_str());
        // Nobody told which branches there are: none is known to be dead.
        if alive?.contains(branch) {
            return None;
        }
        reasons.push(format!("branch `{branch}` is gone"));
    }
    (!reasons.is_empty()).then(|| reasons.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 3600 * 1000;

    fn candidate(name: &str, tag: Option<&str>, day: u64) -> Candidate {
        Candidate {
            repository: Repository::parse(name).unwrap(),
            tag: tag.map(|t| Tag::parse(t).unwrap()),
            digest: Digest::of(format!("{name}{tag:?}{day}").as_bytes()),
            since_ms: day * DAY,
        }
    }

    fn rule(tags: Option<&str>, keep: Option<u32>, days: Option<u64>, branch: bool) -> Rule {
        Rule {
            tags: tags.map(str::to_owned),
            keep,
            older_than: days.map(|d| Span::secs(d * 24 * 3600)),
            branch,
        }
    }

    fn gone(rules: &[Rule], candidates: &[Candidate], branches: Option<&[&str]>) -> Vec<String> {
        let branches = branches.map(|b| b.iter().map(|n| (*n).to_owned()).collect());
        plan(rules, candidates, branches.as_ref(), |_| None, 100 * DAY)
            .into_iter()
            .map(|e| {
                let tag = e.tag.map_or("-".to_owned(), |t| t.to_string());
                format!("{}:{tag} {}", e.repository, e.reason)
            })
            .collect()
    }

    #[test]
    fn the_newest_stay_and_the_first_rule_that_fits_decides() {
        let tags = ["1.0", "1.1", "1.2", "pr-7", "pr-9", "main"];
        let all: Vec<Candidate> = tags
            .iter()
            .zip([10, 20, 90, 50, 99, 1])
            .map(|(tag, day)| candidate("shop/web", Some(tag), day))
            .chain([
                candidate("shop/web", None, 5),
                candidate("shop/web", None, 99),
            ])
            .collect();
        let rules = [
            rule(Some("main"), Some(1), None, false),
            rule(Some("pr-*"), None, Some(14), false),
            rule(Some("*"), Some(2), None, false),
            rule(None, None, Some(7), false),
        ];
        assert_eq!(
            gone(&rules, &all, None),
            [
                "shop/web:pr-7 older than 14d",
                "shop/web:1.0 not among the newest 2",
                "shop/web:- older than 7d",
            ]
        );
        assert!(gone(&[], &all, None).is_empty());
    }

    #[test]
    fn a_tag_of_a_dead_branch_goes_only_when_somebody_knows_that_it_is_dead() {
        let all = [
            candidate("shop/web", Some("branch-main"), 1),
            candidate("shop/web", Some("branch-feature-login"), 1),
            candidate("shop/web", Some("branch-old"), 1),
        ];
        let rules = [rule(Some("branch-*"), None, None, true)];
        assert!(gone(&rules, &all, None).is_empty());
        assert_eq!(
            gone(&rules, &all, Some(&["main", "Feature/Login"])),
            ["shop/web:branch-old branch `old` is gone"]
        );
    }

    #[test]
    fn what_is_used_stays_and_says_by_whom() {
        let all = [candidate("shop/web", Some("a"), 1)];
        let rules = [rule(Some("*"), Some(0), None, false)];
        let plan = plan(
            &rules,
            &all,
            None,
            |_| Some("stand `shop-1`".into()),
            100 * DAY,
        );
        assert!(plan[0].used && plan[0].reason == "stays: used by stand `shop-1`");
    }
}
