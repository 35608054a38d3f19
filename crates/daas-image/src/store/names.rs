use super::{Store, Temp};
use crate::{Digest, Image, ImageError};
use daas_model::ImageName;
use serde::{Deserialize, Serialize};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

/// A name and what it means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameInfo {
    /// The full name.
    pub name: ImageName,
    /// The manifest of the image for this machine.
    pub manifest: Digest,
    /// The index that the name means in its registry, if it has several platforms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<Digest>,
    /// Whether the registry gave it only for credentials: not everybody here may use it (threat S14).
    #[serde(default)]
    pub private: bool,
    /// When the name was set, in seconds since 1970.
    pub since: u64,
}

/// A name in the list of images.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The name and what it means.
    pub info: NameInfo,
    /// The image; nothing if a part of it is missing.
    pub image: Option<Image>,
}

impl Store {
    /// Lists all names with their images, sorted by name.
    ///
    /// # Errors
    /// As [`Store::names`]. An image that is damaged is no error here.
    pub fn list(&self) -> Result<Vec<Listed>, ImageError> {
        Ok(self
            .names()?
            .into_iter()
            .map(|info| Listed {
                image: self.image_of(&info.manifest).ok(),
                info,
            })
            .collect())
    }

    /// Gives the image that `from` means a further name, or moves the name `to` to it.
    ///
    /// # Errors
    /// [`ImageError::NotFound`] if `from` means nothing; [`ImageError::BadDocument`] if `to` has a digest, which only a registry can give.
    pub fn tag(&self, from: &ImageName, to: &ImageName) -> Result<(), ImageError> {
        let mut lease = self.lease();
        lease.add(super::ALL);
        let info = self.name_info(from)?.ok_or_else(|| ImageError::NotFound {
            name: Box::new(from.clone()),
        })?;
        if to.digest().is_some() {
            return Err(ImageError::BadDocument {
                what: format!("the name `{to}`"),
                why: "a digest is not given but follows from the content".into(),
            });
        }
        self.put_name(&NameInfo {
            name: to.clone(),
            since: crate::load::now(),
            ..info
        })
    }

    /// Takes a name away. What nothing else needs then goes at the next [`Store::gc`]; running stands keep what they use.
    ///
    /// # Errors
    /// [`ImageError::NotFound`], [`ImageError::Io`].
    pub fn remove(&self, name: &ImageName) -> Result<(), ImageError> {
        if self.drop_name(name)? {
            Ok(())
        } else {
            Err(ImageError::NotFound {
                name: Box::new(name.clone()),
            })
        }
    }

    fn name_path(&self, name: &ImageName) -> PathBuf {
        self.dir().join("names").join(format!(
            "{}.json",
            Digest::of(key_of(name).as_bytes()).hex()
        ))
    }

    /// Sets what `info.name` means.
    pub(crate) fn put_name(&self, info: &NameInfo) -> Result<(), ImageError> {
        let temp = Temp::new(self.temp_path());
        let path = temp.path().to_owned();
        let text = serde_json::to_vec_pretty(info).map_err(|e| ImageError::BadDocument {
            what: "the name".into(),
            why: e.to_string(),
        })?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(ImageError::io("make", &path))?;
        file.write_all(&text)
            .and_then(|()| file.sync_all())
            .map_err(ImageError::io("write", &path))?;
        temp.keep_as(&self.name_path(&info.name))?;
        self.inner.names_epoch.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// Sets what `info.name` means; durable only after [`Store::settle`].
    pub(crate) fn put_name_unsynced(&self, info: &NameInfo) -> Result<(), ImageError> {
        let text = serde_json::to_vec_pretty(info).map_err(|e| ImageError::BadDocument {
            what: "the name".into(),
            why: e.to_string(),
        })?;
        let temp = Temp::new(self.temp_path());
        crate::draft::write_new(temp.path(), &text)?;
        let place = self.name_path(&info.name);
        let file = place.file_name().unwrap_or_default().to_string_lossy();
        self.pledge(&format!("name-{file}"))?;
        temp.keep_unsynced_as(&place)?;
        self.inner.names_epoch.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    pub(crate) fn drop_name(&self, name: &ImageName) -> Result<bool, ImageError> {
        let path = self.name_path(name);
        match std::fs::remove_file(&path) {
            Ok(()) => {
                super::sync_dir(&self.dir().join("names"))?;
                Ok(true)
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(ImageError::io("remove", &path)(e)),
        }
    }

    /// Returns what `name` means here.
    ///
    /// A name with a digest is found under every tag of the same repository too, but never under another repository:
    /// who may read one may not read the other (threat S14).
    ///
    /// # Errors
    /// [`ImageError::Io`], [`ImageError::BadDocument`].
    pub fn name_info(&self, name: &ImageName) -> Result<Option<NameInfo>, ImageError> {
        let path = self.name_path(name);
        match std::fs::read(&path) {
            Ok(text) => return parse(&text, &path).map(Some),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(ImageError::io("read", &path)(e)),
        }
        let Some(digest) = name.digest() else {
            return Ok(None);
        };
        let same = |info: &NameInfo| {
            info.name.registry() == name.registry()
                && info.name.repository() == name.repository()
                && (info.manifest.as_str() == digest
                    || info.index.as_ref().is_some_and(|i| i.as_str() == digest))
        };
        Ok(self.names()?.into_iter().find(same))
    }

    /// Lists all names, sorted.
    ///
    /// # Errors
    /// [`ImageError::Io`], [`ImageError::BadDocument`].
    pub fn names(&self) -> Result<Vec<NameInfo>, ImageError> {
        let dir = self.dir().join("names");
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&dir).map_err(ImageError::io("list", &dir))? {
            let path = entry.map_err(ImageError::io("list", &dir))?.path();
            match std::fs::read(&path) {
                Ok(text) => names.push(parse(&text, &path)?),
                // Removed meanwhile.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(ImageError::io("read", &path)(e)),
            }
        }
        names.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(names)
    }
}

/// A digest says it all; the tag beside it is only for people.
fn key_of(name: &ImageName) -> String {
    match name.digest() {
        Some(digest) => format!("{}/{}@{digest}", name.registry(), name.repository()),
        None => name.to_string(),
    }
}

fn parse(text: &[u8], path: &std::path::Path) -> Result<NameInfo, ImageError> {
    serde_json::from_slice(text).map_err(|e| ImageError::BadDocument {
        what: format!("`{}`", path.display()),
        why: e.to_string(),
    })
}
