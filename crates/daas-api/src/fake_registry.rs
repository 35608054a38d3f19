//! The registry of the fake: one repository `shop/web` with the tag `1`.

use crate::caller::Caller;
use crate::failure::Failure;
use crate::fake::FakePlatform;
use crate::platform::{Answer, Registry};
use crate::registry::{
    Collected, Expired, ExpiredList, LoginList, LoginMade, LoginRequest, LoginView, ManifestView,
    PublishRequest, RegistryInfo, RegistryProject, RegistryRules, RepositoryTag, RepositoryView,
    TagList,
};
use crate::system::PruneRequest;
use daas_model::{Kind, OWN_REGISTRY, ProjectName};

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn known(repository: &str) -> Result<(), Failure> {
    if repository == "shop/web" {
        return Ok(());
    }
    let message = format!("cannot find the repository `{repository}`");
    Err(
        Failure::new("registry-repository-not-found", Kind::NotFound, message)
            .hint("`daas registry list` shows repositories"),
    )
}

fn now<'a, T: Send + 'a>(result: Result<T, Failure>) -> Answer<'a, T> {
    Box::pin(std::future::ready(result))
}

fn manifest(repository: &str) -> ManifestView {
    ManifestView {
        repository: repository.to_owned(),
        digest: DIGEST.to_owned(),
        media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
        bytes: 528,
        total_bytes: 31_415_926,
        tags: vec!["1".to_owned()],
        parts: vec![DIGEST.to_owned()],
        children: Vec::new(),
        subject: None,
        artifact_type: None,
        referrers: Vec::new(),
        pushed_ms: 1_700_000_000_000,
        used_by: Some("stand `shop`".to_owned()),
    }
}

fn login(request: LoginRequest) -> LoginView {
    LoginView {
        name: request.name,
        project: request.project,
        push: request.push,
        delete: request.delete,
        expires_ms: None,
        created_ms: 1_700_000_000_000,
    }
}

impl Registry for FakePlatform {
    fn info(&self) -> Answer<'_, RegistryInfo> {
        now(Ok(RegistryInfo {
            listens: vec!["127.0.0.1:5050".to_owned()],
            inner_name: OWN_REGISTRY.to_owned(),
            names: vec!["127.0.0.1:5050".to_owned()],
            caches: Vec::new(),
            repositories: 1,
            uploads: 0,
        }))
    }

    fn repositories(&self) -> Answer<'_, Vec<RepositoryView>> {
        now(Ok(vec![RepositoryView {
            name: "shop/web".to_owned(),
            tags: 1,
            manifests: 1,
            bytes: 3 << 20,
            changed_ms: 1_700_000_000_000,
        }]))
    }

    fn tags<'a>(&'a self, repository: &'a str) -> Answer<'a, TagList> {
        now(known(repository).map(|()| TagList {
            items: vec![RepositoryTag {
                tag: "1".to_owned(),
                digest: DIGEST.to_owned(),
                media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
                bytes: 3 << 20,
                since_ms: 1_700_000_000_000,
            }],
        }))
    }

    fn manifest<'a>(&'a self, repository: &'a str, _: &'a str) -> Answer<'a, ManifestView> {
        now(known(repository).map(|()| manifest(repository)))
    }

    fn delete<'a>(
        &'a self,
        caller: &'a Caller,
        repository: &'a str,
        reference: &'a str,
    ) -> Answer<'a, ()> {
        self.ask(caller, format!("registry delete {repository} {reference}"));
        now(known(repository))
    }

    fn delete_repository<'a>(&'a self, caller: &'a Caller, repository: &'a str) -> Answer<'a, ()> {
        self.ask(caller, format!("registry delete {repository}"));
        now(known(repository))
    }

    fn publish<'a>(
        &'a self,
        caller: &'a Caller,
        request: PublishRequest,
    ) -> Answer<'a, ManifestView> {
        self.ask(
            caller,
            format!("publish {} {}", request.image, request.name),
        );
        now(Ok(manifest("shop/web")))
    }

    fn collect<'a>(&'a self, caller: &'a Caller, request: PruneRequest) -> Answer<'a, Collected> {
        self.ask(caller, format!("registry gc dry_run={}", request.dry_run));
        now(Ok(Collected {
            unlinked: vec![format!("shop/web@{DIGEST}")],
            blobs: vec![DIGEST.to_owned()],
            freed_bytes: 3 << 20,
        }))
    }

    fn project<'a>(&'a self, project: &'a ProjectName) -> Answer<'a, RegistryProject> {
        now(Ok(RegistryProject {
            project: project.clone(),
            used_bytes: 3 << 20,
            rules: RegistryRules::default(),
        }))
    }

    fn set_project<'a>(
        &'a self,
        caller: &'a Caller,
        project: &'a ProjectName,
        rules: RegistryRules,
    ) -> Answer<'a, RegistryProject> {
        let text = serde_json::to_string(&rules).unwrap_or_default();
        self.ask(caller, format!("registry rules of {project}: {text}"));
        now(Ok(RegistryProject {
            project: project.clone(),
            used_bytes: 3 << 20,
            rules,
        }))
    }

    fn expire<'a>(
        &'a self,
        caller: &'a Caller,
        project: &'a ProjectName,
        request: PruneRequest,
    ) -> Answer<'a, ExpiredList> {
        self.ask(
            caller,
            format!("registry retention {project} dry_run={}", request.dry_run),
        );
        now(Ok(ExpiredList {
            items: vec![Expired {
                name: "shop/web:pr-7".to_owned(),
                digest: DIGEST.to_owned(),
                reason: "older than 14d".to_owned(),
                used: false,
            }],
        }))
    }

    fn logins(&self) -> Answer<'_, LoginList> {
        now(Ok(LoginList {
            items: vec![login(LoginRequest {
                name: "ci".to_owned(),
                project: ProjectName::parse("shop").ok(),
                push: true,
                delete: false,
                expires_in: None,
            })],
        }))
    }

    fn add_login<'a>(&'a self, caller: &'a Caller, request: LoginRequest) -> Answer<'a, LoginMade> {
        self.ask(
            caller,
            format!("login {} push={}", request.name, request.push),
        );
        now(Ok(LoginMade {
            login: login(request),
            secret: "daas_reg_0123".to_owned(),
        }))
    }

    fn remove_login<'a>(&'a self, caller: &'a Caller, name: &'a str) -> Answer<'a, ()> {
        self.ask(caller, format!("remove login {name}"));
        now(if name == "ci" {
            Ok(())
        } else {
            let message = format!("cannot find the login `{name}`");
            Err(Failure::new(
                "registry-login-not-found",
                Kind::NotFound,
                message,
            ))
        })
    }
}
