//! Calls about who is kept out.

use crate::client::{Call, Client};
use daas_api::{AllowRequest, BanList, BanRequest, BanView, Failure, NetQuery, endpoint};
use daas_model::Subnet;

impl Client {
    /// Returns who is kept out, and who never is.
    ///
    /// # Errors
    /// What the daemon said, or the way to it; so do all calls here.
    pub async fn bans(&self) -> Result<BanList, Failure> {
        self.get(Call::new(&endpoint::BAN_LIST, &[])).await
    }

    /// Keeps somebody out.
    ///
    /// # Errors
    /// As [`Client::bans`].
    pub async fn ban(&self, request: &BanRequest) -> Result<BanView, Failure> {
        self.post(Call::new(&endpoint::BAN_ADD, &[]), request).await
    }

    /// Lets somebody in again.
    ///
    /// # Errors
    /// As [`Client::bans`].
    pub async fn unban(&self, net: Subnet) -> Result<(), Failure> {
        let query = NetQuery {
            net: net.to_string(),
        };
        self.nothing(Call::new(&endpoint::BAN_REMOVE, &[]).query(&query))
            .await
    }

    /// Says that somebody is never banned.
    ///
    /// # Errors
    /// As [`Client::bans`].
    pub async fn allow(&self, net: Subnet) -> Result<BanList, Failure> {
        let request = AllowRequest { net };
        self.post(Call::new(&endpoint::BAN_ALLOW, &[]), &request)
            .await
    }

    /// Takes that back.
    ///
    /// # Errors
    /// As [`Client::bans`].
    pub async fn disallow(&self, net: Subnet) -> Result<(), Failure> {
        let query = NetQuery {
            net: net.to_string(),
        };
        self.nothing(Call::new(&endpoint::BAN_DISALLOW, &[]).query(&query))
            .await
    }
}
