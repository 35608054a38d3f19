//! Calls about routes.

use crate::client::{Call, Client};
use daas_api::{EdgeQuery, EdgeSnippet, Failure, RouteList, TraefikConfig, endpoint};

impl Client {
    /// Returns the ways from outside to the services of all stands.
    ///
    /// # Errors
    /// What the daemon said, or the way to it.
    pub async fn routes(&self) -> Result<RouteList, Failure> {
        self.get(Call::new(&endpoint::ROUTE_LIST, &[])).await
    }

    /// Returns what Traefik's HTTP provider reads.
    ///
    /// # Errors
    /// As [`Client::routes`].
    pub async fn traefik(&self, query: &EdgeQuery) -> Result<TraefikConfig, Failure> {
        self.get(Call::new(&endpoint::ROUTE_TRAEFIK, &[]).query(query))
            .await
    }

    /// Returns a piece of configuration for `nginx` or `haproxy`.
    ///
    /// # Errors
    /// As [`Client::routes`].
    pub async fn edge_snippet(
        &self,
        edge: &str,
        query: &EdgeQuery,
    ) -> Result<EdgeSnippet, Failure> {
        self.get(Call::new(&endpoint::ROUTE_SNIPPET, &[edge]).query(query))
            .await
    }
}
