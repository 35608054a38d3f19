//! A project as the API takes it.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A folder with a compose file, and every text file beside it.
#[derive(Debug, Clone)]
pub struct Project {
    folder: PathBuf,
    contents: BTreeMap<String, String>,
}

impl Project {
    /// Reads the texts of a folder, not those of folders below it.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn read(folder: &Path) -> Result<Self> {
        let mut contents = BTreeMap::new();
        for entry in std::fs::read_dir(folder)
            .with_context(|| format!("cannot read {}", folder.display()))?
        {
            let path = entry?.path();
            // What is no text is not read by the compose reader either.
            if let Ok(text) = std::fs::read_to_string(&path) {
                contents.insert(path.display().to_string(), text);
            }
        }
        Ok(Self {
            folder: folder.to_owned(),
            contents,
        })
    }

    /// Makes a project of one compose file, in a folder that need not exist.
    #[must_use]
    pub fn of_text(folder: &Path, compose: &str) -> Self {
        let path = folder.join("compose.yaml").display().to_string();
        Self {
            folder: folder.to_owned(),
            contents: [(path, compose.to_owned())].into(),
        }
    }

    /// Returns it as `ProjectSource` of the API.
    #[must_use]
    pub fn source(&self) -> Value {
        json!({"dir": self.folder, "contents": self.contents})
    }
}
