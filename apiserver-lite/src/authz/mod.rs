//! What a user may do.
//!
//! `system:masters` may everything, everybody may ask for the server's health
//! and version, and nobody else may anything: roles are still to come.

use crate::{
    authn::User,
    error::{ApiError, Subject},
    request::RequestInfo,
};

// The paths that upstream's `system:public-info-viewer` opens to all.
const PUBLIC: &[&str] = &["/healthz", "/livez", "/readyz", "/version", "/version/"];

/// Whether `user` may do what `info` asks.
///
/// # Errors
/// 403 in upstream's words.
pub fn allow(user: &User, info: &RequestInfo) -> Result<(), ApiError> {
    if user.is_in("system:masters")
        || (!info.is_resource && info.verb == "get" && PUBLIC.contains(&info.path.as_str()))
    {
        return Ok(());
    }
    Err(refusal(user, info))
}

fn refusal(user: &User, info: &RequestInfo) -> ApiError {
    let who = &user.name;
    if !info.is_resource {
        return ApiError::ForbiddenPath {
            message: format!("forbidden: User {who:?} cannot {} path {:?}", info.verb, info.path),
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
    let reason = format!(
        "User {who:?} cannot {} resource {resource:?} in API group {:?} {scope}",
        info.verb, info.group
    );
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
        check(&User::authenticated("admin", &["system:masters"]), Method::DELETE, "/api/v1/nodes", "allowed");
    }
}
