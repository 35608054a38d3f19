use crate::bytes_text::BytesText;
use crate::plan::{DiagnosticView, IgnoredView};
use daas_model::{ByteSize, Cpus, Egress, ProjectName, Span, StandKind};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// A project as the asker has it: its files and how they are to be read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProjectSource {
    /// The project's folder, absolute: relative paths of the file begin here.
    pub dir: String,
    /// The contents of all files that are read, by absolute path.
    #[serde(default)]
    pub contents: BTreeMap<String, BytesText>,
    /// The files given by `-f`, the later over the earlier; without any, the usual names are looked for in `dir`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// The project's name; otherwise `COMPOSE_PROJECT_NAME`, `name:` of the file, the folder's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project_name: Option<String>,
    /// The profiles that are on; `*` for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<String>,
    /// The asker's environment variables, as far as the files name them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// The files given by `--env-file`; without any, `.env` of `dir`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env_files: Vec<String>,
    /// How many nodes a service has, above the file.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scale: BTreeMap<String, u32>,
    /// What the stand is for: `test`, `review`, `job`, `build`, `service`, `production`.
    #[serde(default)]
    #[schema(value_type = String)]
    pub kind: StandKind,
    /// Limits above those of the file.
    #[serde(default)]
    pub limits: LimitsSource,
    /// The way out, above the file's: `none`, `proxy`, `full`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub egress: Option<Egress>,
    /// The time to live, above the file's: `30s`, `2h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub ttl: Option<Span>,
}

/// Limits that stand above those of the file, each alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitsSource {
    /// CPU time per time, in thousandths of one CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>)]
    pub cpus_milli: Option<Cpus>,
    /// Memory, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub memory_bytes: Option<ByteSize>,
    /// Processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
    /// Disk, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub disk_bytes: Option<ByteSize>,
}

/// What checking a project found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Checked {
    /// The project's name; nothing if it cannot be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub project: Option<ProjectName>,
    /// Whether a stand can be made of it: no diagnostic is an error.
    pub valid: bool,
    /// All faults and remarks, in the order of the text.
    pub diagnostics: Vec<DiagnosticView>,
    /// What has no effect here.
    #[serde(default)]
    pub ignored: Vec<IgnoredView>,
}
