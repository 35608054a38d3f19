use super::error::IssueError;
use super::http::Https;
use super::settings::AcmeSettings;
use crate::record::AccountRecord;
use crate::seal::{Vault, hex_sha256};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use daas_store::Store;
use daas_tasks::Supervisor;
use instant_acme::{
    Account, AccountCredentials, Error as AcmeError, ExternalAccountKey, NewAccount,
};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::Mutex;

/// Our accounts, opened when they are needed.
pub(crate) struct Accounts {
    store: Store,
    vault: Arc<Vault>,
    tasks: Supervisor,
    opened: Mutex<HashMap<String, Account>>,
}

impl Accounts {
    pub(crate) fn new(store: Store, vault: Arc<Vault>, tasks: Supervisor) -> Self {
        Self {
            store,
            vault,
            tasks,
            opened: Mutex::default(),
        }
    }

    /// Returns the account at `at`, and makes it where there is none.
    pub(crate) async fn of(&self, at: &AcmeSettings) -> Result<Account, IssueError> {
        let mut opened = self.opened.lock().await;
        if let Some(account) = opened.get(&at.directory) {
            return Ok(account.clone());
        }
        let account = self.open(at).await?;
        opened.insert(at.directory.clone(), account.clone());
        Ok(account)
    }

    /// Forgets an account that its authority does not know any more.
    pub(crate) async fn forget(&self, directory: &str) -> Result<(), IssueError> {
        self.opened.lock().await.remove(directory);
        self.store.delete::<AccountRecord>(&key(directory)).await?;
        Ok(())
    }

    async fn open(&self, at: &AcmeSettings) -> Result<Account, IssueError> {
        let (key, action) = (key(&at.directory), "read the directory");
        let https = || {
            Https::new(at.roots.as_deref(), self.tasks.clone()).map_err(|error| {
                IssueError::Authority {
                    action,
                    authority: at.directory.clone(),
                    source: Box::new(error),
                }
            })
        };
        let failed = |action| move |error| IssueError::of(action, &at.directory, error);
        let place = format!("acme-account/{key}");
        if let Some(kept) = self.store.get::<AccountRecord>(&key)? {
            let text = self.vault.unseal(&place, &kept.value.credentials)?;
            let credentials: AccountCredentials =
                serde_json::from_slice(&text).map_err(|e| failed(action)(AcmeError::from(e)))?;
            let builder = Account::builder_with_http(Box::new(https()?));
            return builder
                .from_credentials(credentials)
                .await
                .map_err(failed(action));
        }
        let binding = at.binding.as_ref().map(|binding| {
            // Some authorities give it with padding, some in the other alphabet.
            let text: String = binding
                .key
                .trim()
                .trim_end_matches('=')
                .replace('+', "-")
                .replace('/', "_");
            let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).unwrap_or_default();
            ExternalAccountKey::new(binding.key_id.clone(), &bytes)
        });
        let contact: Vec<&str> = at.contact.iter().map(String::as_str).collect();
        let new = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let mut tries = 0;
        let (account, credentials) = loop {
            let builder = Account::builder_with_http(Box::new(https()?));
            match builder
                .create(&new, at.directory.clone(), binding.as_ref())
                .await
            {
                Err(error)
                    if super::order::is_bad_nonce(&error) && tries < super::order::NONCES =>
                {
                    tries += 1;
                }
                made => break made.map_err(failed("make an account"))?,
            }
        };
        let text = zeroize::Zeroizing::new(
            serde_json::to_vec(&credentials).map_err(|e| failed(action)(AcmeError::from(e)))?,
        );
        let record = AccountRecord {
            directory: at.directory.clone(),
            credentials: self.vault.seal(&place, &text),
        };
        self.store.put(&key, &record).await?;
        Ok(account)
    }
}

fn key(directory: &str) -> String {
    hex_sha256(directory.as_bytes())[..32].to_owned()
}
