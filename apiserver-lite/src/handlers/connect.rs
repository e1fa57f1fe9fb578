//! Subresources that lead to a running container or a process behind a
//! Service. What upstream says before it dials is said here; dialling comes
//! with the nodes that run containers.

use std::sync::Arc;

use coracle_api::Object;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::Value;

use super::Call;
use crate::{body::Body, codec, error::ApiError, resources::Row};

pub(super) async fn answer(call: &Call<'_>, row: &Arc<Row>) -> Result<Response<Body>, ApiError> {
    let plural: &str = &row.facts.plural;
    let name = &call.info.name;
    if plural == "services" {
        // Upstream looks for endpoints only: no Service, no endpoints.
        return Err(ApiError::Unavailable(format!("no endpoints available for service {name:?}")));
    }
    let record = call.registry().get(&call.target(row)).await?;
    let subresource = call.info.subresource.as_str();
    if plural == "pods" && matches!(subresource, "log" | "exec" | "attach") {
        let pod = codec::json::parse_stored(&record.bytes);
        container(&pod, call.info.query.get("container").unwrap_or_default())?;
        if pod.get_str(&["spec", "nodeName"]).is_empty() {
            if subresource == "log" {
                return Ok(empty());
            }
            return Err(ApiError::BadRequest(format!("pod {name} does not have a host assigned")));
        }
    }
    Err(ApiError::plain(501, &format!("{plural}/{subresource} is not served yet")))
}

// A pod that runs nowhere has said nothing.
fn empty() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

// Which container is meant must be clear.
fn container(pod: &Object, asked: &str) -> Result<(), ApiError> {
    let of = |field: &str| {
        let list = pod.get(&["spec", field]).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(|it| it["name"].as_str())
    };
    let names: Vec<&str> =
        of("initContainers").chain(of("containers")).chain(of("ephemeralContainers")).collect();
    let name = pod.name();
    let message = match (asked, of("containers").count()) {
        ("", 0) => format!("a container name must be specified for pod {name}"),
        ("", 1) => return Ok(()),
        ("", _) => {
            format!("a container name must be specified for pod {name}, choose one of: [{}]", names.join(" "))
        }
        _ if names.contains(&asked) => return Ok(()),
        _ => format!("container {asked} is not valid for pod {name}"),
    };
    Err(ApiError::BadRequest(message))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn which_container() {
        let pod = |containers: &[&str]| {
            let containers: Vec<Value> = containers.iter().map(|name| json!({ "name": name })).collect();
            let spec = json!({ "initContainers": [{ "name": "i" }], "containers": containers });
            Object::from_value(json!({ "metadata": { "name": "p" }, "spec": spec })).unwrap()
        };
        for (containers, asked, expected) in [
            (&["a"][..], "", "fine"),
            (&["a"], "i", "fine"),
            (&["a"], "b", "container b is not valid for pod p"),
            (&["a", "b"], "", "a container name must be specified for pod p, choose one of: [i a b]"),
            (&[], "", "a container name must be specified for pod p"),
        ] {
            let said =
                container(&pod(containers), asked).map_or_else(|it| it.to_string(), |()| "fine".into());
            assert_eq!(said, expected);
        }
    }
}
