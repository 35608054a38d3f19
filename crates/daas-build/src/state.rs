//! A stage as far as it is built.

use crate::transfer::{add, hex};
use daas_image::{Digest, History, Image, ImageConfig, Layer, Merged, Packed, Platform, rfc3339};
use daas_model::ByteSize;
use daas_spec::dockerfile::Scope;
use sha2::{Digest as _, Sha256};
use std::io;
use std::path::PathBuf;

/// Grows with every change of what the same instruction makes: older steps are then made anew.
const FORM: &[u8] = b"daas-build 1";

/// Layers, configuration and variables.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub(crate) layers: Vec<(Packed, Layer)>,
    pub(crate) config: ImageConfig,
    pub(crate) history: Vec<History>,
    pub(crate) scope: Scope,
    /// When the youngest step was made, in seconds since 1970.
    pub(crate) made: i64,
    /// Whether `CMD` was given by this file: an `ENTRYPOINT` forgets only the base's.
    pub(crate) own_command: bool,
}

impl State {
    pub(crate) fn new(scope: Scope) -> Self {
        let env = scope.image_env();
        Self {
            layers: Vec::new(),
            config: ImageConfig {
                env: env.iter().map(|(k, v)| format!("{k}={v}")).collect(),
                ..ImageConfig::default()
            },
            history: Vec::new(),
            scope,
            made: 0,
            own_command: false,
        }
    }

    /// Returns the folders to mount, topmost first.
    pub(crate) fn lowers(&self) -> Vec<PathBuf> {
        self.image()
            .lower_dirs()
            .into_iter()
            .map(ToOwned::to_owned)
            .collect()
    }

    pub(crate) fn merged(&self) -> io::Result<Merged> {
        Merged::open(self.lowers())
    }

    /// Returns the layers as an image, for what asks images; its digests mean nothing.
    pub(crate) fn image(&self) -> Image {
        Image {
            digest: Digest::of(b""),
            id: Digest::of(b""),
            config: self.config.clone(),
            platform: Platform::native(),
            created: None,
            history: Vec::new(),
            layers: self.layers.iter().map(|(_, layer)| layer.clone()).collect(),
            size: ByteSize(0),
        }
    }

    /// Begins the key of a step: what it is, and all content that it begins with.
    pub(crate) fn key(&self, project: &str, kind: &str) -> Key {
        let mut key = Key::new(project, kind);
        for (packed, _) in &self.layers {
            key.add(&[packed.diff_id.as_str().as_bytes()]);
        }
        key
    }

    /// Adds a layer and remembers by what.
    pub(crate) fn push(&mut self, packed: Packed, layer: Layer, made: i64, text: &str) {
        self.layers.push((packed, layer));
        self.made = self.made.max(made);
        self.note(text, false);
    }

    /// Remembers an instruction.
    pub(crate) fn note(&mut self, text: &str, empty: bool) {
        self.history.push(History {
            created: Some(time(self.made)),
            created_by: Some(text.to_owned()),
            comment: None,
            empty_layer: empty,
        });
    }

    /// The folder that relative paths begin at.
    pub(crate) fn working_dir(&self) -> &str {
        if self.config.working_dir.is_empty() {
            "/"
        } else {
            &self.config.working_dir
        }
    }

    /// Makes a path absolute.
    pub(crate) fn absolute(&self, path: &str) -> String {
        if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("{}/{path}", self.working_dir().trim_end_matches('/'))
        }
    }

    /// What runs a line of text.
    pub(crate) fn shell(&self) -> Vec<String> {
        if self.config.shell.is_empty() {
            // rules: shell here: what a Dockerfile's line is run by, inside the image, when it does not say (`SHELL`)
            vec!["/bin/sh".into(), "-c".into()]
        } else {
            self.config.shell.clone()
        }
    }
}

/// Seconds since 1970 as RFC 3339; times before are 1970.
pub(crate) fn time(seconds: i64) -> String {
    rfc3339(u64::try_from(seconds).unwrap_or(0))
}

/// The digest of everything that a step is made from.
pub(crate) struct Key(Sha256);

impl Key {
    /// Begins a key that does not depend on a stage.
    pub(crate) fn new(project: &str, kind: &str) -> Self {
        let mut sum = Sha256::new();
        // A project's steps are its own: another could put anything behind a key (threat S13).
        add(&mut sum, &[FORM, project.as_bytes(), kind.as_bytes()]);
        Self(sum)
    }

    pub(crate) fn add(&mut self, fields: &[&[u8]]) {
        self.0.update((fields.len() as u64).to_le_bytes());
        add(&mut self.0, fields);
    }

    pub(crate) fn texts<S: AsRef<str>>(&mut self, texts: impl IntoIterator<Item = S>) {
        let texts: Vec<S> = texts.into_iter().collect();
        let fields: Vec<&[u8]> = texts.iter().map(|t| t.as_ref().as_bytes()).collect();
        self.add(&fields);
    }

    pub(crate) fn finish(self) -> Digest {
        Digest::parse(&format!("sha256:{}", hex(&self.0.finalize())))
            .expect("64 hexadecimal digits are a digest")
    }
}
