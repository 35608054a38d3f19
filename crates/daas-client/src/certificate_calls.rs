//! Calls about certificates.

use crate::client::{Call, Client};
use daas_api::endpoint;
use daas_api::{
    CertificateList, CertificateOrder, CertificateView, ClientList, ClientMade, ClientRequest,
    Failure, RootCertificates,
};

/// Every call fails as those of [`Client`] do: with what the daemon said, or the way to it.
#[expect(
    clippy::missing_errors_doc,
    reason = "the sentence above is for all of them"
)]
impl Client {
    /// Lists the certificates that are given or ordered.
    pub async fn certificates(&self) -> Result<CertificateList, Failure> {
        self.get(Call::new(&endpoint::CERTIFICATE_LIST, &[])).await
    }

    /// Shows a certificate with its chain.
    pub async fn certificate(&self, id: &str) -> Result<CertificateView, Failure> {
        self.get(Call::new(&endpoint::CERTIFICATE_SHOW, &[id]))
            .await
    }

    /// Orders a certificate.
    pub async fn issue_certificate(
        &self,
        order: &CertificateOrder,
    ) -> Result<CertificateView, Failure> {
        self.post(Call::new(&endpoint::CERTIFICATE_ISSUE, &[]), order)
            .await
    }

    /// Orders a certificate once more.
    pub async fn renew_certificate(&self, id: &str) -> Result<CertificateView, Failure> {
        self.get(Call::new(&endpoint::CERTIFICATE_RENEW, &[id]))
            .await
    }

    /// Takes a certificate back.
    pub async fn revoke_certificate(&self, id: &str) -> Result<CertificateView, Failure> {
        self.get(Call::new(&endpoint::CERTIFICATE_REVOKE, &[id]))
            .await
    }

    /// Forgets a certificate that was ordered.
    pub async fn forget_certificate(&self, id: &str) -> Result<(), Failure> {
        self.nothing(Call::new(&endpoint::CERTIFICATE_FORGET, &[id]))
            .await
    }

    /// Shows the roots of the private authority.
    pub async fn root_certificates(&self) -> Result<RootCertificates, Failure> {
        self.get(Call::new(&endpoint::CERTIFICATE_ROOT, &[])).await
    }

    /// Lists the clients' certificates.
    pub async fn client_certificates(&self) -> Result<ClientList, Failure> {
        self.get(Call::new(&endpoint::CERTIFICATE_CLIENTS, &[]))
            .await
    }

    /// Makes a client's certificate.
    pub async fn add_client_certificate(
        &self,
        request: &ClientRequest,
    ) -> Result<ClientMade, Failure> {
        self.post(Call::new(&endpoint::CERTIFICATE_CLIENT_ADD, &[]), request)
            .await
    }

    /// Takes a client's certificate back.
    pub async fn revoke_client_certificate(&self, name: &str) -> Result<(), Failure> {
        self.nothing(Call::new(&endpoint::CERTIFICATE_CLIENT_REVOKE, &[name]))
            .await
    }
}
