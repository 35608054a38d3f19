use daas_model::{Span, Subnet};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Somebody who is kept out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BanView {
    /// Who: an address, or a block.
    #[schema(value_type = String)]
    pub net: Subnet,
    /// Since when, in milliseconds of the Unix clock.
    pub since_ms: u64,
    /// Until when, in milliseconds of the Unix clock; for good if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
    /// Why, in plain words.
    pub why: String,
    /// The how manyth ban in a row it is.
    pub times: u32,
}

/// Who is kept out, and who never is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct BanList {
    /// Who is kept out now, the oldest ban first.
    pub items: Vec<BanView>,
    /// Who is never banned: by the configuration, and by hand.
    #[schema(value_type = Vec<String>)]
    pub allowed: Vec<Subnet>,
}

/// Asks for somebody to be kept out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BanRequest {
    /// Who: an address, or a block such as `192.0.2.0/24`.
    #[schema(value_type = String)]
    pub net: Subnet,
    /// For how long, `2h`; for good if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub time: Option<Span>,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Names a peer or a block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct NetQuery {
    /// An address, or a block such as `192.0.2.0/24`.
    pub net: String,
}

/// Names a peer or a block that is never banned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AllowRequest {
    /// Who: an address, or a block such as `192.0.2.0/24`.
    #[schema(value_type = String)]
    pub net: Subnet,
}
