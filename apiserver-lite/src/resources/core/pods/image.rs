//! Image references, as far as the API server reads them: for the default of
//! `imagePullPolicy`.

use std::sync::LazyLock;

use regex::Regex;

// The grammar of distribution's `reference`.
static REFERENCE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let part = "(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])";
    let domain = format!(r"(?:{part}(?:\.{part})*|\[(?:[a-fA-F0-9:]+)\])(?::[0-9]+)?");
    let path = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*";
    let tag = r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}";
    let algorithm = "[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*";
    let digest = format!("{algorithm}:[0-9a-fA-F]{{32,}}");
    Regex::new(&format!("^((?:{domain}/)?{path}(?:/{path})*)(?::({tag}))?(?:@({digest}))?$")).ok()
});

/// The default policy to pull an image: `Always` for what is, or means, the tag
/// `latest`. What is no image reference gets `IfNotPresent`; validation and the
/// node will tell.
pub fn pull_policy(image: &str) -> &'static str {
    if tag(image).as_deref() == Some("latest") { "Always" } else { "IfNotPresent" }
}

// The tag; `latest` where there is neither tag nor digest; `None` for a digest
// without a tag, and for what is no reference.
fn tag(image: &str) -> Option<String> {
    let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if image.len() == 64 && image.bytes().all(hexadecimal) {
        return None;
    }
    let (domain, rest) = domain(image);
    let name = rest.split(':').next().unwrap_or_default();
    if name.chars().any(char::is_uppercase) {
        return None;
    }
    let full = format!("{domain}/{rest}");
    let found = REFERENCE.as_ref()?.captures(&full)?;
    let digest = found.get(3).map(|digest| digest.as_str());
    if found.get(1).is_some_and(|name| name.len() > 255) || digest.is_some_and(|digest| !whole(digest)) {
        return None;
    }
    match (found.get(2), digest) {
        (Some(tag), _) => Some(tag.as_str().to_owned()),
        (None, None) => Some("latest".to_owned()),
        (None, Some(_)) => None,
    }
}

fn domain(image: &str) -> (String, String) {
    match image.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':']) || first == "localhost" || first.to_lowercase() != first =>
        {
            (first.to_owned(), rest.to_owned())
        }
        Some(_) => ("docker.io".to_owned(), image.to_owned()),
        None => ("docker.io".to_owned(), format!("library/{image}")),
    }
}

fn whole(digest: &str) -> bool {
    let length = match digest.split_once(':') {
        Some(("sha256", _)) => 64,
        Some(("sha384", _)) => 96,
        Some(("sha512", _)) => 128,
        _ => return false,
    };
    let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    digest.split_once(':').is_some_and(|(_, hash)| hash.len() == length && hash.bytes().all(hexadecimal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latest_is_always_pulled() {
        let sha = format!("sha256:{}", "a".repeat(64));
        let cases = [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1.27", "IfNotPresent"),
            ("registry.k8s.io/pause", "Always"),
            ("localhost:5000/a/b:v1", "IfNotPresent"),
            ("localhost:5000/a/b", "Always"),
            (&format!("nginx@{sha}"), "IfNotPresent"),
            (&format!("nginx:latest@{sha}"), "Always"),
            ("nginx@sha256:abc", "IfNotPresent"),
            ("Nginx", "IfNotPresent"),
            ("Registry/nginx", "Always"),
            (" ", "IfNotPresent"),
            ("", "IfNotPresent"),
            (&"a".repeat(64), "IfNotPresent"),
            ("a b", "IfNotPresent"),
        ];
        for (image, expected) in cases {
            assert_eq!(pull_policy(image), expected, "{image:?}");
        }
    }
}
