//! Calls about the registry.

use crate::client::{Call, Client};
use daas_api::endpoint;
use daas_api::{
    Collected, ExpiredList, Failure, LoginList, LoginMade, LoginRequest, ManifestView, Page,
    PageQuery, PruneRequest, PublishRequest, RegistryInfo, RegistryProject, RegistryRules,
    RepositoryView, TagList,
};
use daas_model::ProjectName;

/// Every call fails as those of [`Client`] do: with what the daemon said, or the way to it.
#[expect(
    clippy::missing_errors_doc,
    reason = "the sentence above is for all of them"
)]
impl Client {
    /// Tells where the registry is and how full.
    pub async fn registry(&self) -> Result<RegistryInfo, Failure> {
        self.get(Call::new(&endpoint::REGISTRY_INFO, &[])).await
    }

    /// Returns all repositories, page by page.
    pub async fn repositories(&self) -> Result<Vec<RepositoryView>, Failure> {
        let mut all = Vec::new();
        let mut query = PageQuery::default();
        loop {
            let page: Page<RepositoryView> = self
                .get(Call::new(&endpoint::REGISTRY_LIST, &[]).query(&query))
                .await?;
            all.extend(page.items);
            match page.next {
                None => return Ok(all),
                next => query.after = next,
            }
        }
    }

    /// Returns the tags of a repository.
    pub async fn repository_tags(&self, repository: &str) -> Result<TagList, Failure> {
        self.get(Call::new(&endpoint::REGISTRY_TAGS, &[repository]))
            .await
    }

    /// Shows a manifest by tag or digest.
    pub async fn manifest(
        &self,
        repository: &str,
        reference: &str,
    ) -> Result<ManifestView, Failure> {
        self.get(Call::new(
            &endpoint::REGISTRY_SHOW,
            &[repository, reference],
        ))
        .await
    }

    /// Deletes a tag, or by digest a manifest with its tags.
    pub async fn delete_manifest(&self, repository: &str, reference: &str) -> Result<(), Failure> {
        self.nothing(Call::new(
            &endpoint::REGISTRY_DELETE,
            &[repository, reference],
        ))
        .await
    }

    /// Deletes a repository with all that it has.
    pub async fn delete_repository(&self, repository: &str) -> Result<(), Failure> {
        self.nothing(Call::new(
            &endpoint::REGISTRY_DELETE_REPOSITORY,
            &[repository],
        ))
        .await
    }

    /// Puts an image of the store into the registry.
    pub async fn publish(&self, request: &PublishRequest) -> Result<ManifestView, Failure> {
        self.post(Call::new(&endpoint::REGISTRY_PUBLISH, &[]), request)
            .await
    }

    /// Collects garbage, or tells what would go.
    pub async fn collect_registry(&self, request: &PruneRequest) -> Result<Collected, Failure> {
        self.post(Call::new(&endpoint::REGISTRY_GC, &[]), request)
            .await
    }

    /// Shows a project's rules and how much it holds.
    pub async fn registry_project(
        &self,
        project: &ProjectName,
    ) -> Result<RegistryProject, Failure> {
        self.get(Call::new(&endpoint::REGISTRY_PROJECT, &[project.as_str()]))
            .await
    }

    /// Replaces the rules of a project.
    pub async fn set_registry_project(
        &self,
        project: &ProjectName,
        rules: &RegistryRules,
    ) -> Result<RegistryProject, Failure> {
        self.post(
            Call::new(&endpoint::REGISTRY_PROJECT_SET, &[project.as_str()]),
            rules,
        )
        .await
    }

    /// Throws away what the retention rules of a project say, or tells what would go.
    pub async fn expire(
        &self,
        project: &ProjectName,
        request: &PruneRequest,
    ) -> Result<ExpiredList, Failure> {
        self.post(
            Call::new(&endpoint::REGISTRY_RETENTION, &[project.as_str()]),
            request,
        )
        .await
    }

    /// Returns all logins.
    pub async fn logins(&self) -> Result<LoginList, Failure> {
        self.get(Call::new(&endpoint::REGISTRY_LOGINS, &[])).await
    }

    /// Makes a login.
    pub async fn add_login(&self, request: &LoginRequest) -> Result<LoginMade, Failure> {
        self.post(Call::new(&endpoint::REGISTRY_LOGIN_ADD, &[]), request)
            .await
    }

    /// Takes a login away.
    pub async fn remove_login(&self, name: &str) -> Result<(), Failure> {
        self.nothing(Call::new(&endpoint::REGISTRY_LOGIN_REMOVE, &[name]))
            .await
    }
}
