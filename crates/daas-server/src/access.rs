use crate::door::GROUP;
use daas_api::{Caller, Failure};
use daas_model::Kind;
use hyper::http::Extensions;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a route asks of whoever calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Reads what anybody with a foot in the door may see.
    Read,
    /// Makes, changes, uses and throws away.
    Operate,
    /// Decides what others may do.
    Administer,
}

/// What a caller may do; each role may do what the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May read.
    Reader,
    /// May operate: members of the group `daas`.
    Operator,
    /// May administer: root, and the daemon's own user.
    Administrator,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Reader, Self::Operator, Self::Administrator];

    /// Tells whether the role may do what `access` asks.
    #[must_use]
    pub fn may(self, access: Access) -> bool {
        match access {
            Access::Read => true,
            Access::Operate => self >= Self::Operator,
            Access::Administer => self >= Self::Administrator,
        }
    }

    /// Reads the word for it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.to_string() == text)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Reader => "reader",
            Self::Operator => "operator",
            Self::Administrator => "administrator",
        })
    }
}

/// Who calls, and what he may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Who.
    pub caller: Caller,
    /// What he may do.
    pub role: Role,
}

impl Identity {
    /// Tells whether he may do what `access` asks.
    pub(crate) fn must(&self, access: Access) -> Result<(), Failure> {
        if self.role.may(access) {
            return Ok(());
        }
        let needed = match access {
            Access::Read => Role::Reader,
            Access::Operate => Role::Operator,
            Access::Administer => Role::Administrator,
        };
        let message = format!(
            "cannot do this as {} with the role {}",
            self.caller, self.role
        );
        Err(Failure::new("access-denied", Kind::Forbidden, message).hint(format!("it takes the role {needed}; on the unix socket root is administrator and the group `{GROUP}` operates")))
    }
}

/// Marks a request of a process that has no business here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stranger;

/// Tells whether whoever sent a request may pass a route that asks for `access`.
pub(crate) fn admit(access: Access, extensions: &Extensions) -> Result<(), Failure> {
    match extensions.get::<Identity>() {
        Some(identity) => identity.must(access),
        None if extensions.get::<Stranger>().is_some() => Err(Failure::new("caller-unknown", Kind::Forbidden, "cannot answer to this user")
            .hint(format!("an administrator adds him to the group: `usermod -aG {GROUP} <user>`"))),
        None => Err(Failure::new("token-missing", Kind::Forbidden, "cannot answer without a valid token")
            .hint("send `Authorization: Bearer <token>`; an administrator makes one with `daas system token`")
            .with_status(401)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_may_do_what_it_may_and_no_more() {
        let may = |role: Role| {
            [Access::Read, Access::Operate, Access::Administer].map(|access| role.may(access))
        };
        assert_eq!(
            Role::ALL.map(may),
            [
                [true, false, false],
                [true, true, false],
                [true, true, true]
            ]
        );
        assert!(
            Role::ALL
                .into_iter()
                .all(|role| Role::parse(&role.to_string()) == Some(role))
        );
    }

    #[test]
    fn who_is_nobody_passes_nowhere() {
        for access in [Access::Read, Access::Operate, Access::Administer] {
            let mut extensions = Extensions::new();
            assert_eq!(
                admit(access, &extensions).unwrap_err().to_problem().status,
                401
            );
            extensions.insert(Stranger);
            assert_eq!(
                admit(access, &extensions).unwrap_err().to_problem().status,
                403
            );
        }
    }
}
