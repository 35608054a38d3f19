use daas_model::{NodeName, StandName};
use std::collections::BTreeMap;
use std::fmt;

/// A stand that a user name may mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// Its name.
    pub stand: StandName,
    /// Its nodes.
    pub nodes: Vec<NodeName>,
}

/// The node that a user name means.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Meant {
    /// Its stand.
    pub stand: StandName,
    /// The node.
    pub node: NodeName,
}

/// A user name that means no node, or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameFault {
    /// No stand has such a name, or none that may be seen.
    NoStand {
        /// The name as it came.
        user: String,
    },
    /// The stand is there, and has no such service.
    NoNode {
        /// The stand.
        stand: StandName,
        /// What was looked for.
        wanted: String,
        /// What it has.
        has: Vec<NodeName>,
    },
    /// Several nodes are called so.
    Several {
        /// The name as it came.
        user: String,
        /// All of them, written so that they cannot be confused.
        all: Vec<Meant>,
    },
}

impl fmt::Display for Meant {
    /// `node.stand`, which is a user name that means no other: names of stands hold no dot.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.node, self.stand)
    }
}

impl fmt::Display for NameFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoStand { user } => write!(
                f,
                "no stand is meant by `{}`, or none that this key may enter",
                daas_model::visible(user)
            ),
            Self::NoNode { stand, wanted, has } if wanted.is_empty() => write!(
                f,
                "stand {stand} has several services, name one of them: {}",
                all(has)
            ),
            Self::NoNode { stand, wanted, has } => write!(
                f,
                "stand {stand} has no service {}; it has: {}",
                daas_model::visible(wanted),
                all(has)
            ),
            Self::Several { user, all: several } => write!(
                f,
                "`{}` means several: {}",
                daas_model::visible(user),
                all(several)
            ),
        }
    }
}

fn all(list: &[impl fmt::Display]) -> String {
    let words: Vec<String> = list.iter().map(ToString::to_string).collect();
    words.join(", ")
}

/// Finds the node that a user name means: `<stand>-<service>`, `<stand>-<service>-<n>`, `<service>.<stand>`, or `<stand>` alone if it
/// has one node. The first replica bears the plain name and is also meant by `-1` (decision 0005).
///
/// Names of stands and services may hold dashes, so that all that exists is looked at: what means two nodes is told, and never
/// guessed.
///
/// # Errors
/// [`NameFault`].
pub fn meant(user: &str, stands: &[Neighbour]) -> Result<Meant, NameFault> {
    // By the node: one that two spellings mean is meant once.
    let mut found = BTreeMap::new();
    let mut nearest: Option<(&Neighbour, &str)> = None;
    for there in stands {
        for wanted in services_of(user, there.stand.as_str()) {
            if let Some(node) = node_of(wanted, &there.nodes) {
                let meant = Meant {
                    stand: there.stand.clone(),
                    node: node.clone(),
                };
                found.insert(meant, ());
            }
            let longer = nearest
                .is_none_or(|(other, _)| there.stand.as_str().len() > other.stand.as_str().len());
            if longer {
                nearest = Some((there, wanted));
            }
        }
    }
    let mut all: Vec<Meant> = found.into_keys().collect();
    match (all.len(), nearest) {
        (1, _) => Ok(all.remove(0)),
        (0, Some((there, wanted))) => Err(NameFault::NoNode {
            stand: there.stand.clone(),
            wanted: wanted.to_owned(),
            has: there.nodes.clone(),
        }),
        (0, None) => Err(NameFault::NoStand {
            user: user.to_owned(),
        }),
        (_, _) => Err(NameFault::Several {
            user: user.to_owned(),
            all,
        }),
    }
}

/// Returns what a user name may say of the service, if it can mean this stand.
fn services_of<'u>(user: &'u str, stand: &str) -> impl Iterator<Item = &'u str> {
    let alone = (user == stand).then_some("");
    let dashed = user
        .strip_prefix(stand)
        .and_then(|rest| rest.strip_prefix('-'));
    let dotted = user
        .strip_suffix(stand)
        .and_then(|rest| rest.strip_suffix('.'));
    let named = dashed.into_iter().chain(dotted);
    alone
        .into_iter()
        .chain(named.filter(|wanted| !wanted.is_empty()))
}

fn node_of<'n>(wanted: &str, nodes: &'n [NodeName]) -> Option<&'n NodeName> {
    if wanted.is_empty() {
        return match nodes {
            [only] => Some(only),
            _ => None,
        };
    }
    let named = |name: &str| nodes.iter().find(|node| node.as_str() == name);
    named(wanted).or_else(|| wanted.strip_suffix("-1").and_then(named))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn there(list: &[(&str, &[&str])]) -> Vec<Neighbour> {
        list.iter()
            .map(|(stand, nodes)| Neighbour {
                stand: StandName::parse(stand).unwrap(),
                nodes: nodes.iter().map(|n| NodeName::parse(n).unwrap()).collect(),
            })
            .collect()
    }

    fn said(user: &str, stands: &[Neighbour]) -> String {
        match meant(user, stands) {
            Ok(meant) => format!("{}/{}", meant.stand, meant.node),
            Err(fault) => fault.to_string(),
        }
    }

    #[test]
    fn a_user_name_is_looked_up_in_what_exists() {
        let stands = there(&[
            ("shop", &["7-web", "db"]),
            ("shop-7", &["web", "web-2", "my.api", "db"]),
            ("solo", &["app"]),
        ]);
        for (user, answer) in [
            ("shop-7-db", "shop-7/db"),
            ("shop-db", "shop/db"),
            ("db.shop", "shop/db"),
            ("db.shop-7", "shop-7/db"),
            ("my.api.shop-7", "shop-7/my.api"),
            ("shop-7-my.api", "shop-7/my.api"),
            ("shop-7-web-2", "shop-7/web-2"),
            ("web-2.shop-7", "shop-7/web-2"),
            ("shop-7-db-1", "shop-7/db"),
            ("solo", "solo/app"),
            ("solo-app-1", "solo/app"),
            (
                "shop-7-web",
                "`shop-7-web` means several: 7-web.shop, web.shop-7",
            ),
            ("web.shop-7", "shop-7/web"),
            ("7-web.shop", "shop/7-web"),
            (
                "shop-7-wb",
                "stand shop-7 has no service wb; it has: web, web-2, my.api, db",
            ),
            (
                "shop-7",
                "stand shop-7 has several services, name one of them: web, web-2, my.api, db",
            ),
            (
                "crm-web",
                "no stand is meant by `crm-web`, or none that this key may enter",
            ),
            (
                "",
                "no stand is meant by ``, or none that this key may enter",
            ),
            (
                "shop-7-\u{1b}[2J",
                "stand shop-7 has no service \\u{1b}[2J; it has: web, web-2, my.api, db",
            ),
        ] {
            assert_eq!(said(user, &stands), answer, "{user}");
        }
    }

    proptest! {
        #[test]
        fn the_dotted_name_of_a_node_means_that_node_whatever_else_exists(
            stands in proptest::collection::btree_map("[a-c0-1][a-c0-1-]{0,5}", proptest::collection::btree_set("[a-c0-1_][a-c0-1._-]{0,5}", 1..4), 1..6)
        ) {
            let all: Vec<Neighbour> = stands
                .iter()
                .map(|(stand, nodes)| Neighbour {
                    stand: StandName::parse(stand).unwrap(),
                    nodes: nodes.iter().map(|n| NodeName::parse(n).unwrap()).collect(),
                })
                .collect();
            for one in &all {
                for node in &one.nodes {
                    let wanted = Meant { stand: one.stand.clone(), node: node.clone() };
                    match meant(&wanted.to_string(), &all) {
                        Ok(found) => prop_assert_eq!(found, wanted),
                        // `a-b.c` may also be node `b.c` of stand `a`.
                        Err(NameFault::Several { all, .. }) => prop_assert!(all.contains(&wanted)),
                        Err(other) => prop_assert!(false, "{}", other),
                    }
                }
            }
        }

        #[test]
        fn no_user_name_makes_it_panic(user: String) {
            let _ = meant(&user, &there(&[("shop-7", &["web"]), ("a", &["b", "c"])]));
        }
    }
}
