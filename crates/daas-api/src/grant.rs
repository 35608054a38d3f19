use daas_model::{Grant, ProjectName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// What an administrator granted to a project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantList {
    /// The project.
    #[schema(value_type = String)]
    pub project: ProjectName,
    /// The grants: `"privileged"`, `{"capability": "NET_ADMIN"}`, `{"host-path": "/srv"}`, `{"device": "/dev/x"}`,
    /// `{"sysctl": "net.x"}`, `{"host-namespace": "network"}`, `"unconfined"`.
    #[schema(value_type = Vec<Object>)]
    pub grants: BTreeSet<Grant>,
}
