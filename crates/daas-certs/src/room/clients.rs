//! Who may control other machines: client certificates of the private authority.

use super::{Certificates, ClientMade};
use crate::clients::ZONE;
use crate::name::CertName;
use crate::notice::Notice;
use crate::pair::pem;
use crate::record::ClientRecord;
use crate::room_error::CertificatesError;
use daas_store::Batch;
use std::time::Duration;
use zeroize::Zeroizing;

impl Certificates {
    /// Makes a certificate by which the machine or person `name` proves who it is; an older one of this name ends at once.
    ///
    /// # Errors
    /// [`CertificatesError::ClientName`] if it is no label.
    pub async fn add_client(
        &self,
        name: &str,
        life: Duration,
    ) -> Result<ClientMade, CertificatesError> {
        let full = client_name(name)?;
        let now_ms = self.inner.clock.now_ms();
        let pair = self.inner.own.authority().client(&full, life, now_ms)?;
        let record = ClientRecord {
            name: name.to_owned(),
            serial: pair.facts().serial.clone(),
            fingerprint: pair.facts().fingerprint.clone(),
            at_ms: now_ms,
            not_after_ms: pair.facts().not_after_ms,
            revoked_ms: None,
        };
        let batch = Batch::new().put(name, &record)?;
        let notice = Notice::note(
            "client-certificate-issued",
            format!("client `{name}` has a certificate"),
        );
        self.inner.store.commit(self.noted(batch, notice)?).await?;
        self.know_clients()?;
        Ok(ClientMade {
            record,
            certificate: pair.chain_pem(),
            key: Zeroizing::new(pem("PRIVATE KEY", pair.key_der())),
        })
    }

    /// Returns the clients, by name.
    ///
    /// # Errors
    /// [`CertificatesError::Store`] if records cannot be read.
    pub fn clients(&self) -> Result<Vec<ClientRecord>, CertificatesError> {
        let all = self.inner.store.list::<ClientRecord>("")?;
        Ok(all.into_iter().map(|kept| kept.value).collect())
    }

    /// Takes a client's certificate back; its next handshake fails.
    ///
    /// # Errors
    /// [`CertificatesError::NotFound`] if there is none.
    pub async fn revoke_client(&self, name: &str) -> Result<(), CertificatesError> {
        let kept = self.inner.store.get::<ClientRecord>(name)?;
        let mut record = kept
            .ok_or_else(|| CertificatesError::NotFound {
                id: name.to_owned(),
            })?
            .value;
        record.revoked_ms.get_or_insert(self.inner.clock.now_ms());
        let batch = Batch::new().put(name, &record)?;
        let notice = Notice::note(
            "client-certificate-revoked",
            format!("client `{name}` is revoked"),
        );
        self.inner.store.commit(self.noted(batch, notice)?).await?;
        self.know_clients()
    }

    pub(super) fn know_clients(&self) -> Result<(), CertificatesError> {
        let clients = self.clients()?;
        self.inner.clients.set_known(clients.iter());
        Ok(())
    }
}

pub(super) fn client_name(name: &str) -> Result<CertName, CertificatesError> {
    let fault = || CertificatesError::ClientName {
        name: name.chars().take(80).collect(),
    };
    let label = !name.contains('.')
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    let full = CertName::parse(&format!("{name}.{ZONE}")).map_err(|_| fault())?;
    if label { Ok(full) } else { Err(fault()) }
}
