//! Which resources the API serves.

use kube::{
    Client,
    core::ApiResource,
    discovery::{ApiCapabilities, Discovery, Scope},
};

use super::Error;

/// A resource that the API serves, in its most stable version.
#[derive(Debug, Clone)]
pub struct Served {
    /// Its names.
    pub resource: ApiResource,
    /// Its objects are in namespaces.
    pub namespaced: bool,
    /// What can be done with it.
    pub verbs: Vec<String>,
}

impl Served {
    /// True when all of `verbs` can be done.
    pub fn supports(&self, verbs: &[&str]) -> bool {
        verbs.iter().all(|verb| self.verbs.iter().any(|v| v == verb))
    }
}

/// Asks the API what it serves.
/// # Errors
/// The API refused or did not answer.
pub async fn discover(client: &Client) -> Result<Vec<Served>, Error> {
    let discovery = match Discovery::new(client.clone()).run_aggregated().await {
        Ok(discovery) => discovery,
        // Servers before 1.26, and some aggregated ones, know only the old way.
        Err(_) => Discovery::new(client.clone()).run().await?,
    };
    let groups = discovery.groups().flat_map(|group| group.resources_by_stability());
    Ok(groups.map(served).collect())
}

fn served((resource, capabilities): (ApiResource, ApiCapabilities)) -> Served {
    let namespaced = capabilities.scope == Scope::Namespaced;
    Served { resource, namespaced, verbs: capabilities.operations }
}
