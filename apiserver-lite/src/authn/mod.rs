//! Who sends a request.

pub mod certificate;
pub mod impersonation;
pub mod issuer;
pub mod openid;
pub mod service_account;

use std::{collections::BTreeMap, sync::Arc};

use crate::registry::Registry;

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

    /// The API server itself, when it writes.
    pub fn server() -> Self {
        Self::authenticated("system:apiserver", &["system:masters"])
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
    Known(Arc<User>),
    /// It showed a certificate that we do not trust.
    Untrusted,
}

/// The user of a request: `None` is a 401.
pub async fn identify(registry: &Registry, peer: &Peer, authorization: Option<&str>) -> Option<Arc<User>> {
    if let Peer::Known(user) = peer {
        return Some(user.clone());
    }
    // A token that is not good does not make anonymous.
    if let Some(token) = authorization.and_then(bearer) {
        let known = service_account::authenticate(registry, token, service_account::AUDIENCES).await;
        return known.ok().map(|known| Arc::new(known.user));
    }
    match peer {
        Peer::Unknown => Some(Arc::new(User::anonymous())),
        _ => None,
    }
}

fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

#[cfg(test)]
mod tests;
