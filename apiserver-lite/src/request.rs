//! A request line, parsed once: what it asks for, in Kubernetes' terms.
//!
//! The rules are those of upstream's RequestInfo: `/api/VERSION/...` and
//! `/apis/GROUP/VERSION/...` are resource requests, all else is a path.

use http::Method;

/// What a request asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// The path as it came, percent-decoded.
    pub path: String,
    /// Whether it names a resource.
    pub is_resource: bool,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`,
    /// `deletecollection`; the method in lower case for paths.
    pub verb: &'static str,
    /// The API group; empty for core.
    pub group: String,
    /// The version.
    pub version: String,
    /// The namespace; empty for cluster-wide requests.
    pub namespace: String,
    /// The plural name of the resource.
    pub resource: String,
    /// The subresource.
    pub subresource: String,
    /// The object's name.
    pub name: String,
    /// What follows the subresource.
    pub rest: Vec<String>,
    /// The parameters.
    pub query: Query,
}

/// The parameters of a request, decoded, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Parses the part after the question mark. Pairs with broken escapes or semicolons are left out, as Go does.
    pub fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .filter_map(|pair| {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    let sound = !pair.contains(';') && sound(key) && sound(value);
                    sound.then(|| (unescape(key, true), unescape(value, true)))
                })
                .collect(),
        )
    }

    /// The first value of a parameter.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(it, _)| it == key).map(|(_, value)| value.as_str())
    }

    /// All values of a parameter.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(it, _)| it == key).map(|(_, value)| value.as_str())
    }
}

/// Decodes percent escapes; a broken one stays as it is.
pub fn unescape(text: &str, plus_is_space: bool) -> String {
    let plus = plus_is_space && text.contains('+');
    if !text.contains('%') && !plus {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escaped = (byte == b'%')
            .then(|| Some(hex(*bytes.get(at + 1)?)? << 4 | hex(*bytes.get(at + 2)?)?))
            .flatten();
        match escaped {
            Some(decoded) => {
                out.push(decoded);
                at += 3;
            }
            None => {
                out.push(if byte == b'+' && plus_is_space { b' ' } else { byte });
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

// Whether every percent sign is that of an escape.
fn sound(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| {
        let mut digits = rest.bytes();
        digits.next().and_then(hex).is_some() && digits.next().and_then(hex).is_some()
    })
}

fn hex(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|value| value as u8)
}

impl RequestInfo {
    /// Parses a request line.
    pub fn parse(method: &Method, path: &str, query: Option<&str>) -> Self {
        let path = unescape(path, false);
        // An empty part within is a part; an escaped slash is a slash.
        let parts: Vec<String> = path.trim_matches('/').split('/').map(str::to_owned).collect();
        let mut info = Self {
            path,
            verb: lower(method),
            query: Query::parse(query.unwrap_or_default()),
            ..Self::default()
        };
        info.resource_request(method, parts);
        info
    }

    fn resource_request(&mut self, method: &Method, parts: Vec<String>) {
        let grouped = match parts.first().map(String::as_str) {
            Some("api") => false,
            Some("apis") => true,
            _ => return,
        };
        let mut parts = parts.into_iter().skip(1);
        if grouped {
            let Some(group) = parts.next() else { return };
            self.group = group;
        }
        let Some(version) = parts.next() else { return };
        self.version = version;
        let mut rest: Vec<String> = parts.collect();
        if rest.is_empty() {
            return;
        }
        self.is_resource = true;
        self.verb = match *method {
            Method::POST => "create",
            Method::GET | Method::HEAD => "get",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE => "delete",
            _ => "",
        };
        // The deprecated /watch/ and the special /proxy/ prefix.
        let prefixed = matches!(rest.first().map(String::as_str), Some("watch" | "proxy")) && rest.len() > 1;
        let watching = prefixed && rest.first().is_some_and(|first| first == "watch");
        if prefixed {
            rest.remove(0);
            if watching {
                self.verb = "watch";
            }
        }
        let mut rest = if rest.first().is_some_and(|first| first == "namespaces") && rest.len() > 1 {
            self.namespace = rest[1].clone();
            // A path may go on to a resource in the namespace, or be about the
            // namespace itself: then its own subresources come next.
            let about_it = rest.len() == 2 || matches!(rest[2].as_str(), "status" | "finalize");
            if about_it { rest } else { rest.split_off(2) }
        } else {
            rest
        }
        .into_iter();
        self.resource = rest.next().unwrap_or_default();
        self.name = rest.next().unwrap_or_default();
        self.subresource = rest.next().unwrap_or_default();
        self.rest = rest.collect();
        self.collection_verb();
    }

    // No name: the verb is about the collection. A field selector on one name
    // is about that name.
    fn collection_verb(&mut self) {
        if !self.name.is_empty() || self.verb == "watch" {
            return;
        }
        if self.verb == "get" {
            self.verb = if self.watch_asked() { "watch" } else { "list" };
        } else if self.verb == "delete" {
            self.verb = "deletecollection";
        }
        if matches!(self.verb, "list" | "watch" | "deletecollection")
            && let Some(name) =
                self.query.get("fieldSelector").and_then(|text| text.strip_prefix("metadata.name="))
        {
            let name = name.trim_start_matches('=');
            if !name.is_empty() && !name.contains([',', '=']) {
                self.name = name.to_owned();
            }
        }
    }

    fn watch_asked(&self) -> bool {
        self.query
            .get("watch")
            .is_some_and(|value| !matches!(value, "0" | "false" | "False" | "FALSE" | "f" | "F"))
    }
}

fn lower(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::HEAD => "head",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::OPTIONS => "options",
        Method::CONNECT => "connect",
        Method::TRACE => "trace",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: Method, target: &str, expected: &str) {
        let (path, query) =
            target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let it = RequestInfo::parse(&method, path, query);
        let shown = if it.is_resource {
            let parts = [&it.group, &it.version, &it.namespace, &it.resource, &it.name, &it.subresource];
            format!("{} {}", it.verb, parts.map(String::as_str).join("|"))
        } else {
            format!("{} {}", it.verb, it.path)
        };
        assert_eq!(shown, expected, "{method} {target}");
    }

    #[test]
    fn request_lines() {
        check(Method::GET, "/api/v1/pods", "list |v1||pods||");
        check(Method::GET, "/api/v1/pods?watch=true", "watch |v1||pods||");
        check(Method::GET, "/api/v1/pods?watch=0", "list |v1||pods||");
        check(Method::GET, "/api/v1/watch/pods", "watch |v1||pods||");
        check(Method::GET, "/api/v1/namespaces/a/pods/b", "get |v1|a|pods|b|");
        check(Method::PUT, "/api/v1/namespaces/a/pods/b/status", "update |v1|a|pods|b|status");
        check(Method::GET, "/api/v1/namespaces/a", "get |v1|a|namespaces|a|");
        check(Method::PUT, "/api/v1/namespaces/a/finalize", "update |v1|a|namespaces|a|finalize");
        check(
            Method::DELETE,
            "/apis/apps/v1/namespaces/a/deployments",
            "deletecollection apps|v1|a|deployments||",
        );
        check(Method::GET, "/api/v1/pods?fieldSelector=metadata.name%3Dx", "list |v1||pods|x|");
        check(Method::GET, "/api/v1", "get /api/v1");
        check(Method::GET, "/apis", "get /apis");
        check(Method::POST, "/healthz", "post /healthz");
        check(Method::GET, "/api/v1/namespaces/a/pods/%zz", "get |v1|a|pods|%zz|");
        check(Method::GET, "/api/v1/namespaces/a/pods/b%2Fc", "get |v1|a|pods|b|c");
        check(Method::GET, "/api/v1/namespaces//pods", "list |v1||pods||");
        check(Method::GET, "/api//v1/pods/", "get |||v1|pods|");
        check(Method::GET, "/api/v1/pods?watch=true&x=%zz&a;b", "watch |v1||pods||");
    }
}
