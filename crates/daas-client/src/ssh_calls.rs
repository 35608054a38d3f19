//! Calls about the SSH door and its keys.

use crate::client::{Call, Client};
use daas_api::{Failure, SshInfo, SshKeyList, SshKeyRequest, SshKeyView, endpoint};

impl Client {
    /// Returns where the SSH door is, and the host's key.
    ///
    /// # Errors
    /// What the daemon said, or the way to it; so do all calls here.
    pub async fn ssh(&self) -> Result<SshInfo, Failure> {
        self.get(Call::new(&endpoint::SSH_INFO, &[])).await
    }

    /// Returns the keys that may sign in.
    ///
    /// # Errors
    /// As [`Client::ssh`].
    pub async fn ssh_keys(&self) -> Result<SshKeyList, Failure> {
        self.get(Call::new(&endpoint::SSH_KEYS, &[])).await
    }

    /// Lets a key sign in.
    ///
    /// # Errors
    /// As [`Client::ssh`].
    pub async fn add_ssh_key(&self, request: &SshKeyRequest) -> Result<SshKeyView, Failure> {
        self.post(Call::new(&endpoint::SSH_KEY_ADD, &[]), request)
            .await
    }

    /// Takes a key away.
    ///
    /// # Errors
    /// As [`Client::ssh`].
    pub async fn remove_ssh_key(&self, name: &str) -> Result<(), Failure> {
        self.nothing(Call::new(&endpoint::SSH_KEY_REMOVE, &[name]))
            .await
    }
}
