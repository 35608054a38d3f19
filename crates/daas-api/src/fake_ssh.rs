//! The SSH door of the platform that is not there.

use crate::caller::Caller;
use crate::failure::Failure;
use crate::fake::FakePlatform;
use crate::platform::{Answer, Ssh};
use crate::ssh::{SshInfo, SshKeyList, SshKeyRequest, SshKeyView};
use daas_model::Kind;
use std::future::ready;

fn key() -> SshKeyView {
    SshKeyView {
        name: "anna".into(),
        kind: "ssh-ed25519".into(),
        fingerprint: "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU".into(),
        projects: Vec::new(),
        stands: vec!["shop-*".into()],
        origin: "added".into(),
        added_ms: Some(1_760_000_000_000),
    }
}

impl Ssh for FakePlatform {
    fn info(&self) -> Answer<'_, SshInfo> {
        Box::pin(ready(Ok(SshInfo {
            listens: vec!["127.0.0.1:2222".into()],
            known_as: vec!["[localhost]:2222".into(), "[127.0.0.1]:2222".into()],
            host_key: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA".into(),
            fingerprint: "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU".into(),
        })))
    }

    fn keys(&self) -> Answer<'_, SshKeyList> {
        Box::pin(ready(Ok(SshKeyList { items: vec![key()] })))
    }

    fn add_key<'a>(&'a self, _: &'a Caller, request: SshKeyRequest) -> Answer<'a, SshKeyView> {
        Box::pin(ready(Ok(SshKeyView {
            name: request.name,
            projects: request.projects,
            stands: request.stands,
            ..key()
        })))
    }

    fn remove_key<'a>(&'a self, _: &'a Caller, name: &'a str) -> Answer<'a, ()> {
        let known = name == key().name;
        let missing = || Failure::new("ssh-key-missing", Kind::NotFound, "there is no such key");
        Box::pin(ready(known.then_some(()).ok_or_else(missing)))
    }
}
