//! Page tokens: upstream's, so that clients may pass them on between the two.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use coracle_store::Revision;
use serde::{Deserialize, Serialize};

use crate::error::ApiError;

/// Where a list goes on.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// The revision that all pages are of; `None` goes on with the newest.
    pub revision: Option<Revision>,
    /// The key that the last page ended with.
    pub after: String,
}

#[derive(Serialize, Deserialize)]
struct Token {
    #[serde(rename = "v", default)]
    version: String,
    #[serde(rename = "rv", default)]
    revision: i64,
    #[serde(default)]
    start: String,
}

impl Page {
    /// The token that a client sends back; keys in it are relative to `prefix`.
    pub fn encode(&self, prefix: &str) -> String {
        let revision = self.revision.map_or(-1, |revision| revision.0 as i64);
        let start = format!("{}\0", self.after.strip_prefix(prefix).unwrap_or(&self.after));
        let token = Token { version: "meta.k8s.io/v1".to_owned(), revision, start };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).unwrap_or_default())
    }

    /// Reads a token.
    ///
    /// # Errors
    /// 400 for one that we never gave.
    pub fn decode(text: &str, prefix: &str) -> Result<Self, ApiError> {
        let bad = |what: String| ApiError::BadRequest(format!("invalid continue token: {what}"));
        let generic = |why: String| bad(format!("continue key is not valid: {why}"));
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|error| generic(base64_text(text, &error)))?;
        let token: Token =
            serde_json::from_slice(&bytes).map_err(|error| generic(json_text(&bytes, &error)))?;
        if token.version != "meta.k8s.io/v1" {
            let version = token.version;
            return Err(bad(format!(
                "continue key is not valid: server does not recognize this encoded version {version}"
            )));
        }
        if token.revision == 0 {
            return Err(bad(
                "continue key is not valid: incorrect encoded start resourceVersion (version meta.k8s.io/v1)"
                    .into(),
            ));
        }
        if token.start.is_empty() {
            return Err(bad(
                "continue key is not valid: encoded start key empty (version meta.k8s.io/v1)".into()
            ));
        }
        let path = token.start.strip_prefix('/').unwrap_or(&token.start);
        let climbs = path.split('/').any(|part| matches!(part, "" | "." | ".."));
        if climbs {
            return Err(generic(token.start));
        }
        let after = path.strip_suffix('\0').unwrap_or(path);
        let revision = u64::try_from(token.revision).ok().map(Revision);
        Ok(Self { revision, after: format!("{prefix}{after}") })
    }
}

// Go names the place of the first bad byte.
fn base64_text(text: &str, error: &base64::DecodeError) -> String {
    let at = match error {
        base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => *at,
        // The last quantum is short: Go counts from its start.
        _ => text.len() - text.len() % 4,
    };
    format!("illegal base64 data at input byte {at}")
}

fn json_text(bytes: &[u8], error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "unexpected end of JSON input".to_owned();
    }
    // Go reads bytes, and shows one as the letter of that number.
    match bytes.iter().find(|byte| !byte.is_ascii_whitespace()).map(|byte| char::from(*byte)) {
        Some(first) if first != '{' => format!("invalid character '{first}' looking for beginning of value"),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_as_it_was() {
        let page = Page { revision: Some(Revision(7)), after: "/registry/pods/default/a".to_owned() };
        let token = page.encode("/registry/pods/");
        assert_eq!(Page::decode(&token, "/registry/pods/").unwrap(), page);
    }

    fn check(json: &str, expected: &str) {
        let token = URL_SAFE_NO_PAD.encode(json);
        assert_eq!(Page::decode(&token, "/registry/pods/").unwrap_err().to_string(), expected);
    }

    #[test]
    fn forged_tokens_are_refused() {
        assert_eq!(
            Page::decode("abc", "/registry/pods/").unwrap_err().to_string(),
            "invalid continue token: continue key is not valid: invalid character 'i' looking for beginning of value"
        );
        check(
            r#"{"v":"x"}"#,
            "invalid continue token: continue key is not valid: server does not recognize this encoded version x",
        );
        check(
            r#"{"v":"meta.k8s.io/v1","rv":0,"start":"a"}"#,
            "invalid continue token: continue key is not valid: incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
        );
        check(
            r#"{"v":"meta.k8s.io/v1","rv":1,"start":"../secrets/a"}"#,
            "invalid continue token: continue key is not valid: ../secrets/a",
        );
    }
}
