use crate::name::{FileName, VolumeName};
use crate::unit::ByteSize;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A named volume of a stand.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct VolumeSpec {
    /// Labels of the file.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// A user and a group of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostOwner {
    /// The user's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountSource {
    /// A named volume.
    Volume {
        /// Which.
        name: VolumeName,
        /// A folder inside of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subpath: Option<String>,
        /// Whether the image's files at the target do not fill an empty volume.
        #[serde(default)]
        nocopy: bool,
    },
    /// A volume of the node's own, which ends with it.
    Anonymous,
    /// A file or folder of the host: absolute, without `.` and `..`.
    Bind {
        /// The path on the host.
        path: String,
        /// Whether a missing folder is made.
        #[serde(default)]
        create: bool,
        /// Whose folder it is, unless it is root's: what the node's user writes is his, and nobody inside can write as root of the host.
        /// Set by who accepts the stand; nothing means that owners are the same numbers inside and on the host.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        owner: Option<HostOwner>,
    },
    /// Memory.
    Tmpfs {
        /// The most that it holds; half of the stand's memory where there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size: Option<ByteSize>,
        /// The folder's mode.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mode: Option<u32>,
    },
}

/// One mount of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// What.
    pub source: MountSource,
    /// Where inside the node: absolute.
    pub target: String,
    /// Whether the node may not write.
    #[serde(default)]
    pub read_only: bool,
}

/// A config or secret as one node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileGrant {
    /// Which.
    pub file: FileName,
    /// The absolute path inside the node.
    pub target: String,
    /// The owner inside the node.
    #[serde(default)]
    pub uid: u32,
    /// The group inside the node.
    #[serde(default)]
    pub gid: u32,
    /// The mode; 0444 where the file names none (Compose Specification, `secrets`).
    pub mode: u32,
}
