//! Calls about routes.

use crate::client::{Call, Client};
use daas_api::{Failure, RouteList, endpoint};

impl Client {
    /// Returns the ways from outside to the services of all stands.
    ///
    /// # Errors
    /// What the daemon said, or the way to it.
    pub async fn routes(&self) -> Result<RouteList, Failure> {
        self.get(Call::new(&endpoint::ROUTE_LIST, &[])).await
    }
}
