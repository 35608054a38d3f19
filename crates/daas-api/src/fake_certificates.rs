//! The certificates of the fake: one for `*.dev.example.com`.

use crate::caller::Caller;
use crate::certificate::{
    CertificateList, CertificateOrder, CertificateState, CertificateView, ClientList, ClientMade,
    ClientRequest, ClientView, RootCertificate, RootCertificates,
};
use crate::failure::Failure;
use crate::fake::FakePlatform;
use crate::platform::{Answer, Certificates};
use daas_model::Kind;

const ID: &str = "*.dev.example.com";
const PEM: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";

fn now<'a, T: Send + 'a>(result: Result<T, Failure>) -> Answer<'a, T> {
    Box::pin(std::future::ready(result))
}

fn known(id: &str) -> Result<CertificateView, Failure> {
    if id == ID {
        return Ok(view(vec![ID.to_owned()], CertificateState::Valid));
    }
    let message = format!("no certificate `{id}`");
    Err(
        Failure::new("certificate-not-found", Kind::NotFound, message)
            .hint("`daas certificate list` shows certificates"),
    )
}

fn view(names: Vec<String>, state: CertificateState) -> CertificateView {
    CertificateView {
        id: names.first().cloned().unwrap_or_default(),
        names,
        state,
        source: "https://ca.example.com/directory".to_owned(),
        serial: Some("01".to_owned()),
        fingerprint: Some("e3b0".to_owned()),
        not_before_ms: Some(1_700_000_000_000),
        not_after_ms: Some(1_707_776_000_000),
        renew_ms: Some(1_705_184_000_000),
        fault: None,
        next_try_ms: None,
        chain: None,
    }
}

fn client(name: &str) -> ClientView {
    ClientView {
        name: name.to_owned(),
        serial: "02".to_owned(),
        fingerprint: "e3b1".to_owned(),
        created_ms: 1_700_000_000_000,
        not_after_ms: 1_707_776_000_000,
        revoked_ms: None,
    }
}

impl Certificates for FakePlatform {
    fn certificates(&self) -> Answer<'_, CertificateList> {
        now(known(ID).map(|one| CertificateList { items: vec![one] }))
    }

    fn certificate<'a>(&'a self, id: &'a str) -> Answer<'a, CertificateView> {
        now(known(id).map(|one| CertificateView {
            chain: Some(PEM.to_owned()),
            ..one
        }))
    }

    fn issue<'a>(&'a self, _: &'a Caller, order: CertificateOrder) -> Answer<'a, CertificateView> {
        now(Ok(view(order.names, CertificateState::Valid)))
    }

    fn renew<'a>(&'a self, _: &'a Caller, id: &'a str) -> Answer<'a, CertificateView> {
        now(known(id))
    }

    fn revoke<'a>(&'a self, _: &'a Caller, id: &'a str) -> Answer<'a, CertificateView> {
        now(known(id).map(|one| view(one.names, CertificateState::Revoked)))
    }

    fn forget<'a>(&'a self, _: &'a Caller, id: &'a str) -> Answer<'a, ()> {
        now(known(id).map(drop))
    }

    fn roots(&self) -> Answer<'_, RootCertificates> {
        now(Ok(RootCertificates {
            items: vec![RootCertificate {
                pem: PEM.to_owned(),
                subject: "O=DaaS, CN=DaaS private authority".to_owned(),
                names: vec!["localhost".to_owned()],
                not_after_ms: 2_000_000_000_000,
                fingerprint: "e3b2".to_owned(),
            }],
        }))
    }

    fn clients(&self) -> Answer<'_, ClientList> {
        now(Ok(ClientList {
            items: vec![client("laptop")],
        }))
    }

    fn add_client<'a>(&'a self, _: &'a Caller, request: ClientRequest) -> Answer<'a, ClientMade> {
        now(Ok(ClientMade {
            client: client(&request.name),
            certificate: PEM.to_owned(),
            key: "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n".to_owned(),
        }))
    }

    fn revoke_client<'a>(&'a self, _: &'a Caller, _: &'a str) -> Answer<'a, ()> {
        now(Ok(()))
    }
}
