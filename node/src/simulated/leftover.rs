//! Nodes of an earlier, larger fleet: nobody plays them any more.

use std::time::Duration;

use coracle_controllers::framework::{Error, Setup};
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Preconditions},
};

use super::Config;

/// The annotation that says which fleet a node is of.
pub(super) const FLEET: &str = "coracle.dev/fleet";
const RETRY: Duration = Duration::from_secs(1);

/// Takes them away, once.
pub(super) fn start(setup: &mut Setup, config: &Config) {
    let (client, prefix, count) = (setup.client.clone(), config.prefix.clone(), config.count);
    setup.task(move |shutdown| async move {
        let removing = async {
            while let Err(error) = remove(&client, &prefix, count).await {
                tracing::debug!(%error, "nodes that are left over could not be removed");
                tokio::time::sleep(RETRY).await;
            }
        };
        tokio::select! {
            () = removing => {}
            () = shutdown.cancelled() => {}
        }
    });
}

async fn remove(client: &Client, prefix: &str, count: usize) -> Result<(), Error> {
    let api = Api::<Node>::all(client.clone());
    for node in api.list_metadata(&ListParams::default()).await?.items {
        let name = node.name_any();
        let of_fleet = node.annotations().get(FLEET).is_some_and(|fleet| fleet == prefix);
        if !of_fleet || number(&name, prefix).is_some_and(|number| (1..=count).contains(&number)) {
            continue;
        }
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: node.metadata.uid, resource_version: None }),
            ..DeleteParams::default()
        };
        match api.delete(&name, &params).await.map_err(Error::from) {
            Err(error) if !error.is_not_found() && !error.is_conflict() => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// The number in the name of a node of the fleet.
fn number(name: &str, prefix: &str) -> Option<usize> {
    name.strip_prefix(prefix)?.strip_prefix('-')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        let check =
            |name: &str, expected: Option<usize>| assert_eq!(number(name, "node"), expected, "{name}");
        check("node-12", Some(12));
        check("node-a", None);
        check("other-1", None);
        check("node1", None);
    }
}
