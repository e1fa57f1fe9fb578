//! A custom resource of a test, by derive.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, CustomResource, CustomResourceExt,
    api::{Patch, PatchParams, PostParams},
    runtime::{conditions, wait::await_condition},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Outcome;

const PATIENCE: Duration = Duration::from_secs(30);

/// What a boat is to be.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[kube(
    group = "fleet.example.com",
    version = "v1",
    kind = "Boat",
    plural = "boats",
    shortname = "bo",
    namespaced
)]
#[kube(status = "BoatStatus", printcolumn = r#"{"name":"Crew","type":"integer","jsonPath":".spec.crew"}"#)]
#[kube(scale(spec_replicas_path = ".spec.crew", status_replicas_path = ".status.aboard"))]
#[kube(selectable = ".spec.port")]
pub struct BoatSpec {
    /// Where it lies.
    pub port: String,
    /// How many sail it.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 9))]
    pub crew: i32,
    /// What it carries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cargo: Vec<String>,
}

/// What a boat is.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
pub struct BoatStatus {
    /// How many are aboard.
    pub aboard: i32,
}

fn one() -> i32 {
    1
}

/// A boat in a port.
pub fn boat(name: &str, port: &str) -> Boat {
    Boat::new(name, BoatSpec { port: port.to_owned(), crew: 1, cargo: Vec::new() })
}

/// Applies a definition and waits until it is established.
pub async fn define(client: &Client, crd: &CustomResourceDefinition) -> Outcome {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let name = crd.metadata.name.clone().unwrap_or_default();
    api.patch(&name, &PatchParams::apply("test").force(), &Patch::Apply(crd)).await?;
    let established = await_condition(api, &name, conditions::is_crd_established());
    tokio::time::timeout(PATIENCE, established).await??;
    Ok(())
}

/// The boats of a namespace, defined first.
pub async fn boats(client: &Client) -> Outcome<Api<Boat>> {
    define(client, &Boat::crd()).await?;
    Ok(Api::default_namespaced(client.clone()))
}

/// Makes a boat.
pub async fn launch(boats: &Api<Boat>, name: &str, port: &str) -> Outcome<Boat> {
    Ok(boats.create(&PostParams::default(), &boat(name, port)).await?)
}
