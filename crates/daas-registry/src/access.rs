//! Who may do what, by project.

use crate::error::RegistryError;
use crate::name::Repository;
use crate::record::LoginRecord;
use crate::registry::Registry;
use daas_model::ProjectName;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What may be done with a repository, in the words of the Docker token protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Right {
    /// Read.
    Pull,
    /// Write.
    Push,
    /// Delete.
    Delete,
}

impl Right {
    /// Reads the words of a scope; `*` is everything, unknown ones are nothing.
    pub(crate) fn of_word(word: &str) -> &'static [Self] {
        match word {
            "pull" => &[Self::Pull],
            "push" => &[Self::Push],
            "delete" => &[Self::Delete],
            "*" => &[Self::Pull, Self::Push, Self::Delete],
            _ => &[],
        }
    }

    /// Returns the word of a scope.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
        }
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asker {
    /// Somebody with a login.
    Login(LoginRecord),
    /// A node of a stand of this project, known by the network that it asks from.
    Stand(ProjectName),
    /// Nobody known.
    Anybody,
}

impl fmt::Display for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Login(login) => write!(f, "login `{}`", login.name),
            Self::Stand(project) => write!(f, "a stand of project `{project}`"),
            Self::Anybody => f.write_str("nobody known"),
        }
    }
}

impl Registry {
    /// Tells whether `asker` has a right in a repository.
    ///
    /// # Errors
    /// [`RegistryError::Records`].
    pub fn may(
        &self,
        asker: &Asker,
        repository: &Repository,
        right: Right,
    ) -> Result<bool, RegistryError> {
        let space = repository.space();
        let own = match asker {
            Asker::Login(login) => {
                let of = login.project.as_ref();
                if of.is_none_or(|project| project.as_str() == space) {
                    return Ok(match right {
                        Right::Pull => true,
                        Right::Push => login.push,
                        Right::Delete => login.delete,
                    });
                }
                of
            }
            Asker::Stand(project) => {
                // A stand reads what is its own; to write it needs a login.
                if project.as_str() == space {
                    return Ok(right == Right::Pull);
                }
                Some(project)
            }
            Asker::Anybody => None,
        };
        if right != Right::Pull {
            return Ok(false);
        }
        if self.is_cache(space) {
            // What an outside registry gives to everybody is no secret of any project.
            return Ok(own.is_some());
        }
        let rules = self.space(space)?;
        Ok(rules.public || own.is_some_and(|project| rules.shared_with.contains(project)))
    }
}
