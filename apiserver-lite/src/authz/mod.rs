//! What a user may do.
//!
//! `system:masters` may everything, everybody may ask for the server's health
//! and version, who is authenticated also for what it serves and for what they
//! may, and nobody else may anything: roles are still to come.

use serde_json::{Value, json};

use crate::{
    authn::User,
    error::{ApiError, Subject},
    request::RequestInfo,
};

// The paths that upstream's `system:public-info-viewer` opens to all.
const PUBLIC: &[&str] = &["/healthz", "/livez", "/readyz", "/version", "/version/"];

// The paths that `system:discovery` opens to the authenticated. A star stands for what begins so.
const DISCOVERY: &[&str] = &[
    "/api",
    "/api/*",
    "/apis",
    "/apis/*",
    "/healthz",
    "/livez",
    "/openapi",
    "/openapi/*",
    "/readyz",
    "/version",
    "/version/",
];

// What `system:basic-user` lets the authenticated create: group and resources.
const REVIEWS: &[(&str, &[&str])] = &[
    ("authorization.k8s.io", &["selfsubjectaccessreviews", "selfsubjectrulesreviews"]),
    ("authentication.k8s.io", &["selfsubjectreviews"]),
];

/// Whether nothing is refused to `user`.
pub fn may_everything(user: &User) -> bool {
    user.is_in("system:masters")
}

/// What `user` may do to resources and to paths, as rules.
pub fn rules(user: &User) -> (Vec<Value>, Vec<Value>) {
    if may_everything(user) {
        let all = json!({ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"] });
        return (vec![all], vec![json!({ "verbs": ["*"], "nonResourceURLs": ["*"] })]);
    }
    if !user.is_in("system:authenticated") {
        return (Vec::new(), vec![json!({ "verbs": ["get"], "nonResourceURLs": PUBLIC })]);
    }
    let review = |(group, resources): &(&str, &[&str])| json!({ "verbs": ["create"], "apiGroups": [group], "resources": resources });
    let paths = [PUBLIC, DISCOVERY].map(|paths| json!({ "verbs": ["get"], "nonResourceURLs": paths }));
    (REVIEWS.iter().map(review).collect(), paths.to_vec())
}

fn is_open(user: &User, info: &RequestInfo) -> bool {
    let known = user.is_in("system:authenticated");
    if info.is_resource {
        let named = |(group, resources): &(&str, &[&str])| {
            *group == info.group && resources.contains(&info.resource.as_str())
        };
        return known && info.verb == "create" && info.subresource.is_empty() && REVIEWS.iter().any(named);
    }
    let path = info.path.as_str();
    let fits = |open: &&str| open.strip_suffix('*').map_or(*open == path, |start| path.starts_with(start));
    info.verb == "get" && (PUBLIC.contains(&path) || (known && DISCOVERY.iter().any(fits)))
}

/// Whether `user` may do what `info` asks.
///
/// # Errors
/// 403 in upstream's words.
pub fn allow(user: &User, info: &RequestInfo) -> Result<(), ApiError> {
    if may_everything(user) || is_open(user, info) {
        return Ok(());
    }
    Err(refusal(user, info.verb, info))
}

/// That `user` may not `verb` what `info` is about.
pub fn refusal(user: &User, verb: &str, info: &RequestInfo) -> ApiError {
    let who = &user.name;
    if !info.is_resource {
        return ApiError::ForbiddenPath {
            message: format!("forbidden: User {who:?} cannot {verb} path {:?}", info.path),
            subject: Subject::default(),
        };
    }
    let resource = if info.subresource.is_empty() {
        info.resource.clone()
    } else {
        format!("{}/{}", info.resource, info.subresource)
    };
    let scope = if info.namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace {:?}", info.namespace)
    };
    let reason =
        format!("User {who:?} cannot {verb} resource {resource:?} in API group {:?} {scope}", info.group);
    let subject = Subject { group: info.group.clone(), kind: info.resource.clone(), name: info.name.clone() };
    ApiError::Forbidden { subject, reason }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    fn check(user: &User, method: Method, path: &str, expected: &str) {
        let info = RequestInfo::parse(&method, path, None);
        let said = allow(user, &info).map_or_else(|error| error.to_string(), |()| "allowed".to_owned());
        assert_eq!(said, expected);
    }

    #[test]
    fn who_may_what() {
        let anonymous = User::anonymous();
        check(&anonymous, Method::GET, "/healthz", "allowed");
        check(&anonymous, Method::GET, "/version", "allowed");
        check(
            &anonymous,
            Method::POST,
            "/healthz",
            r#"forbidden: User "system:anonymous" cannot post path "/healthz""#,
        );
        check(
            &anonymous,
            Method::GET,
            "/api/v1/namespaces/default/pods",
            r#"pods is forbidden: User "system:anonymous" cannot list resource "pods" in API group "" in the namespace "default""#,
        );
        check(
            &User::authenticated("jo", &[]),
            Method::PUT,
            "/apis/apps/v1/namespaces/a/deployments/b/status",
            r#"deployments.apps "b" is forbidden: User "jo" cannot update resource "deployments/status" in API group "apps" in the namespace "a""#,
        );
        let jo = User::authenticated("jo", &[]);
        for path in ["/api", "/apis/apps/v1", "/openapi/v2", "/version"] {
            check(&jo, Method::GET, path, "allowed");
        }
        check(&jo, Method::GET, "/metrics", r#"forbidden: User "jo" cannot get path "/metrics""#);
        check(&jo, Method::POST, "/apis/authentication.k8s.io/v1/selfsubjectreviews", "allowed");
        check(
            &anonymous,
            Method::GET,
            "/api",
            r#"forbidden: User "system:anonymous" cannot get path "/api""#,
        );
        check(&User::authenticated("admin", &["system:masters"]), Method::DELETE, "/api/v1/nodes", "allowed");
    }
}
