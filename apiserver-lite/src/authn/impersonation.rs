//! Acting as another: the `Impersonate-*` headers.
//!
//! Who may do everything may act as anybody; the refusals of all others name the mode that upstream's
//! constrained impersonation (KEP-5284) tries first.

use std::collections::BTreeMap;

use http::HeaderMap;

use super::User;
use crate::{authz, error::ApiError, request::RequestInfo};

const USER: &str = "impersonate-user";
const UID: &str = "impersonate-uid";
const GROUP: &str = "impersonate-group";
const EXTRA: &str = "impersonate-extra-";

/// The user that `requestor` wants this request to be of, if another.
///
/// # Errors
/// 400 when the headers name no user, 403 in upstream's words.
pub fn wanted(headers: &HeaderMap, requestor: &User, info: &RequestInfo) -> Result<Option<User>, ApiError> {
    let wanted = named(headers);
    if wanted.name.is_empty() {
        let nothing = wanted.uid.is_empty() && wanted.groups.is_empty() && wanted.extra.is_empty();
        if nothing {
            return Ok(None);
        }
        let shown = shown(&wanted);
        return Err(ApiError::BadRequest(format!("requested {shown} without impersonating a user name")));
    }
    if !authz::may_everything(requestor) {
        return Err(refusal(&wanted, requestor, info));
    }
    Ok(Some(completed(wanted)))
}

fn named(headers: &HeaderMap) -> User {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let first = |name: &str| headers.get(name).map(text).unwrap_or_default();
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        if let Some(key) = name.as_str().strip_prefix(EXTRA) {
            extra.entry(crate::request::unescape(key, false)).or_default().push(text(value));
        }
    }
    let groups = headers.get_all(GROUP).iter().map(text).collect();
    User { name: first(USER), uid: first(UID), groups, extra }
}

enum Sort<'a> {
    Node,
    ServiceAccount { namespace: &'a str, name: &'a str },
    Other,
}

fn sort(name: &str) -> Sort<'_> {
    if name.strip_prefix("system:node:").is_some_and(|node| !node.is_empty()) {
        return Sort::Node;
    }
    match name.strip_prefix("system:serviceaccount:").and_then(|it| it.split_once(':')) {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains(':') => {
            Sort::ServiceAccount { namespace, name }
        }
        _ => Sort::Other,
    }
}

// The groups that come with being that user.
fn completed(mut user: User) -> User {
    let asked = !user.groups.is_empty();
    match sort(&user.name) {
        Sort::Node if !asked => user.groups.push("system:nodes".to_owned()),
        Sort::ServiceAccount { namespace, .. } if !asked => {
            let of_namespace = format!("system:serviceaccounts:{namespace}");
            user.groups = vec!["system:serviceaccounts".to_owned(), of_namespace];
        }
        _ => {}
    }
    let (known, unknown) = ("system:authenticated", "system:unauthenticated");
    if user.name == "system:anonymous" {
        if !user.is_in(unknown) {
            user.groups.push(unknown.to_owned());
        }
    } else if !user.is_in(known) && !user.is_in(unknown) {
        user.groups.push(known.to_owned());
    }
    user
}

fn refusal(wanted: &User, requestor: &User, info: &RequestInfo) -> ApiError {
    let only_name = wanted.uid.is_empty() && wanted.groups.is_empty() && wanted.extra.is_empty();
    let mode = match sort(&wanted.name) {
        Sort::Other => "user-info",
        Sort::Node if only_name => "arbitrary-node",
        Sort::ServiceAccount { .. } if only_name => "serviceaccount",
        Sort::Node => {
            let node = about("users", "", &wanted.name);
            return authz::refusal(requestor, "impersonate", &node);
        }
        Sort::ServiceAccount { namespace, name } => {
            let account = about("serviceaccounts", namespace, name);
            return authz::refusal(requestor, "impersonate", &account);
        }
    };
    authz::refusal(requestor, &format!("impersonate-on:{mode}:{}", info.verb), info)
}

fn about(resource: &str, namespace: &str, name: &str) -> RequestInfo {
    RequestInfo {
        is_resource: true,
        resource: resource.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        ..RequestInfo::default()
    }
}

// As Go prints the struct.
fn shown(user: &User) -> String {
    let list = |items: &[String]| {
        let quoted: Vec<String> = items.iter().map(|it| format!("{it:?}")).collect();
        format!("{{{}}}", quoted.join(", "))
    };
    let groups = if user.groups.is_empty() { "(nil)".to_owned() } else { list(&user.groups) };
    let extra = if user.extra.is_empty() {
        "(nil)".to_owned()
    } else {
        let pairs = user.extra.iter().map(|(key, values)| format!("{key:?}:[]string{}", list(values)));
        format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
    };
    format!(
        "&user.DefaultInfo{{Name:{:?}, UID:{:?}, Groups:[]string{groups}, Extra:map[string][]string{extra}}}",
        user.name, user.uid
    )
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue, Method};

    use super::*;

    fn check(requestor: &User, headers: &[(&'static str, &'static str)], expected: &str) {
        let mut sent = HeaderMap::new();
        for (name, value) in headers {
            sent.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let info = RequestInfo::parse(&Method::GET, "/api/v1/pods", None);
        let said = match wanted(&sent, requestor, &info) {
            Ok(None) => "nobody else".to_owned(),
            Ok(Some(user)) => format!("{} {} {:?} {:?}", user.name, user.uid, user.groups, user.extra),
            Err(error) => error.to_string(),
        };
        assert_eq!(said, expected, "{headers:?}");
    }

    #[test]
    fn whom_a_master_acts_as() {
        let master = User::authenticated("admin", &["system:masters"]);
        check(&master, &[], "nobody else");
        check(&master, &[("impersonate-user", "bob")], r#"bob  ["system:authenticated"] {}"#);
        check(
            &master,
            &[("impersonate-user", "bob"), ("impersonate-group", "a"), ("impersonate-extra-k%2fx", "v")],
            r#"bob  ["a", "system:authenticated"] {"k/x": ["v"]}"#,
        );
        check(
            &master,
            &[("impersonate-user", "system:serviceaccount:ns:sa"), ("impersonate-uid", "1")],
            r#"system:serviceaccount:ns:sa 1 ["system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"] {}"#,
        );
        check(
            &master,
            &[("impersonate-user", "system:anonymous")],
            r#"system:anonymous  ["system:unauthenticated"] {}"#,
        );
        check(
            &master,
            &[("impersonate-group", "system:masters")],
            r#"requested &user.DefaultInfo{Name:"", UID:"", Groups:[]string{"system:masters"}, Extra:map[string][]string(nil)} without impersonating a user name"#,
        );
    }

    #[test]
    fn others_act_as_nobody() {
        let user = User::authenticated("alice", &[]);
        let refused = |verb: &str, rest: &str| {
            format!(r#"pods is forbidden: User "alice" cannot {verb} resource "pods" in API group "" {rest}"#)
        };
        check(
            &user,
            &[("impersonate-user", "bob")],
            &refused("impersonate-on:user-info:list", "at the cluster scope"),
        );
        check(
            &user,
            &[("impersonate-user", "system:node:n")],
            &refused("impersonate-on:arbitrary-node:list", "at the cluster scope"),
        );
        check(
            &user,
            &[("impersonate-user", "system:serviceaccount:ns:sa"), ("impersonate-group", "g")],
            r#"serviceaccounts "sa" is forbidden: User "alice" cannot impersonate resource "serviceaccounts" in API group "" in the namespace "ns""#,
        );
    }
}
