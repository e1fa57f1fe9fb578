//! Who sends a request.

pub mod certificate;
pub mod impersonation;

use std::collections::BTreeMap;

/// An authenticated user, or the anonymous one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: String,
    /// The uid, where the method gives one.
    pub uid: String,
    /// The groups.
    pub groups: Vec<String>,
    /// More that the method knows.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// A user with the group of all who are authenticated.
    pub fn authenticated(name: &str, groups: &[&str]) -> Self {
        let mut groups: Vec<String> = groups.iter().map(|&group| group.to_owned()).collect();
        groups.push("system:authenticated".to_owned());
        Self { name: name.to_owned(), groups, ..Self::default() }
    }

    /// Who says nothing of themselves.
    pub fn anonymous() -> Self {
        let groups = vec!["system:unauthenticated".to_owned()];
        Self { name: "system:anonymous".to_owned(), groups, ..Self::default() }
    }

    /// Whether the user is in a group.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|it| it == group)
    }
}

/// What a connection says of who is at its other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// It showed nothing.
    Unknown,
    /// It showed a certificate that we trust, or it is in this process.
    Known(std::sync::Arc<User>),
    /// It showed a certificate that we do not trust.
    Untrusted,
}

/// The user of a request: `None` is a 401.
pub fn identify(peer: &Peer, authorization: Option<&str>) -> Option<std::sync::Arc<User>> {
    match peer {
        Peer::Known(user) => Some(user.clone()),
        // A token of a kind that nobody here issues does not make anonymous.
        _ if authorization.is_some_and(bears_token) => None,
        Peer::Untrusted => None,
        Peer::Unknown => Some(std::sync::Arc::new(User::anonymous())),
    }
}

// Whether there is a token after `Bearer`.
fn bears_token(authorization: &str) -> bool {
    let mut words = authorization.trim().split(' ');
    let scheme = words.next().unwrap_or_default();
    scheme.eq_ignore_ascii_case("bearer") && words.next().is_some_and(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(authorization: Option<&str>, expected: Option<&str>) {
        let user = identify(&Peer::Unknown, authorization);
        assert_eq!(user.as_ref().map(|user| user.name.as_str()), expected, "{authorization:?}");
    }

    #[test]
    fn only_a_token_is_refused() {
        check(None, Some("system:anonymous"));
        check(Some("Basic dTpw"), Some("system:anonymous"));
        check(Some("Bearer "), Some("system:anonymous"));
        check(Some("Bearer  x"), Some("system:anonymous"));
        check(Some("bearer x"), None);
    }
}
