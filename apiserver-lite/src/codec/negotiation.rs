//! Which format an answer is to have, and which one a body is in.

use coracle_api::{
    Resource,
    status::{Details, Status},
};
use http::{HeaderMap, header};

use crate::{error::ApiError, request::Query};

/// The media type of protobuf.
pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// The media types, as errors list them, the default first.
pub const MEDIA_TYPES: &[&str] = &["application/json", "application/yaml", PROTOBUF];

/// The media types of watches. Nothing streams YAML.
pub const STREAM_TYPES: &[&str] =
    &["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];

/// The encoding of an answer or a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `application/json`
    Json,
    /// `application/yaml`
    Yaml,
    /// `application/vnd.kubernetes.protobuf`
    Protobuf,
}

/// The encoding of a request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// `application/json`
    Json,
    /// `application/yaml`
    Yaml,
    /// `application/vnd.kubernetes.protobuf`
    Protobuf,
}

/// What an answer shows of objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// The objects themselves.
    Whole,
    /// `meta.k8s.io` `Table` in this version.
    Table(String),
    /// `meta.k8s.io` `PartialObjectMetadata` in this version.
    Partial(String),
    /// `meta.k8s.io` `PartialObjectMetadataList` in this version.
    PartialList(String),
}

/// What a client accepts best of what is to be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The encoding.
    pub format: Format,
    /// The form.
    pub form: Form,
    /// Indented, for people.
    pub pretty: bool,
    /// `stream=watch` stands in the content type of the answer.
    pub stream: bool,
}

impl Output {
    /// JSON, as it is: for errors before anything was negotiated.
    pub const JSON: Self = Self { format: Format::Json, form: Form::Whole, pretty: false, stream: false };
}

/// What an endpoint has to offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// What it can turn objects into.
    pub forms: Forms,
    /// Whether objects as they are have a protobuf encoding: custom ones do
    /// not, though their metadata has.
    pub protobuf: bool,
}

impl Offer {
    /// What there is of objects of this kind.
    pub fn of(facts: &Resource, forms: Forms) -> Self {
        Self { forms, protobuf: facts.schema.fields.iter().any(|field| field.number != 0) }
    }
}

impl From<Forms> for Offer {
    fn from(forms: Forms) -> Self {
        Self { forms, protobuf: true }
    }
}

/// What an endpoint can turn objects into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forms {
    /// Only themselves.
    Whole,
    /// Metadata of objects that have no table: what is stored nowhere.
    Unstored,
    /// Tables and metadata of single objects.
    Object,
    /// Tables and metadata of lists.
    List,
}

struct Clause<'a> {
    kind: &'a str,
    subkind: &'a str,
    quality: f32,
    parameters: Vec<(&'a str, &'a str)>,
}

/// Chooses the format of an answer.
///
/// # Errors
/// 406 when the client accepts none of ours.
pub fn output(headers: &HeaderMap, query: &Query, offer: impl Into<Offer>) -> Result<Output, ApiError> {
    let offer = offer.into();
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let pretty = pretty(headers, query);
    if accept.is_empty() || accept == "*/*" || accept == "application/json" {
        return Ok(Output { pretty, ..Output::JSON });
    }
    if offer.forms != Forms::Whole {
        route(accept, offer.forms)?;
    }
    let mut clauses: Vec<Clause<'_>> = accept.split(',').filter_map(clause).collect();
    clauses.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    for clause in &clauses {
        for format in [Format::Json, Format::Yaml, Format::Protobuf] {
            if let Some(mut output) = clause.accepts(format, offer) {
                output.pretty |= pretty;
                return Ok(output);
            }
        }
    }
    Err(ApiError::NotAcceptable(owned(MEDIA_TYPES)))
}

/// Chooses the format of a watch.
///
/// # Errors
/// 406, also when the client would have it as YAML.
pub fn stream(headers: &HeaderMap, query: &Query, facts: &Resource) -> Result<Output, ApiError> {
    let refused = || ApiError::NotAcceptable(owned(STREAM_TYPES));
    match output(headers, query, Offer::of(facts, Forms::List)) {
        Ok(output) if output.format == Format::Yaml => Err(refused()),
        Err(ApiError::NotAcceptable(_)) => Err(refused()),
        chosen => chosen,
    }
}

fn owned(types: &[&str]) -> Vec<String> {
    types.iter().map(|&it| it.to_owned()).collect()
}

/// Upstream's router turns types away that no endpoint has, before anybody
/// looks at their parameters. It knows no wildcard but `*/*`.
///
/// # Errors
/// 406
pub fn route(accept: &str, forms: Forms) -> Result<(), ApiError> {
    let media = |clause: &str| clause.split(';').next().unwrap_or_default().trim().to_owned();
    if accept.split(',').map(media).any(|it| it == "*/*" || MEDIA_TYPES.contains(&it.as_str())) {
        return Ok(());
    }
    let streams: &[&str] = if forms == Forms::List { STREAM_TYPES } else { &[] };
    let available = [MEDIA_TYPES, streams].concat().join(", ");
    let message = format!("406: Not Acceptable\n\nAvailable representations: {available}");
    let status = Status::failure(406, "NotAcceptable", message, Some(Details::default()));
    Err(ApiError::Status(Box::new(status)))
}

fn clause(text: &str) -> Option<Clause<'_>> {
    let mut parts = text.split(';').map(str::trim);
    let (kind, subkind) = parts.next()?.split_once('/')?;
    let mut quality = 1.0;
    let mut parameters = Vec::new();
    for part in parts {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        if name == "q" {
            quality = value.parse().unwrap_or(1.0);
        } else {
            parameters.push((name.trim(), value.trim()));
        }
    }
    Some(Clause { kind, subkind, quality, parameters })
}

impl Clause<'_> {
    fn accepts(&self, format: Format, offer: Offer) -> Option<Output> {
        let subkind = match format {
            Format::Json => "json",
            Format::Yaml => "yaml",
            Format::Protobuf => "vnd.kubernetes.protobuf",
        };
        let fits = match (self.kind, self.subkind) {
            ("*", "*") | ("application", "*") => true,
            ("application", named) => named == subkind,
            _ => false,
        };
        if !fits {
            return None;
        }
        let parameter =
            |name: &str| self.parameters.iter().find(|(it, _)| *it == name).map(|(_, value)| *value);
        let stream = match parameter("stream") {
            None | Some("") => false,
            Some("watch") => true,
            Some(_) => return None,
        };
        let form = match (parameter("as"), parameter("g"), parameter("v")) {
            (None, None, None) if format == Format::Protobuf && !offer.protobuf => return None,
            (None, None, None) => Form::Whole,
            // A table has no protobuf encoding.
            (Some("Table"), ..) if format == Format::Protobuf => return None,
            (Some(kind), Some("meta.k8s.io"), Some(version @ ("v1" | "v1beta1"))) => {
                transformed(kind, version, offer.forms)?
            }
            _ => return None,
        };
        Some(Output { format, form, pretty: parameter("pretty") == Some("1"), stream })
    }
}

// Whether an object or a list has that form is seen when it is made.
fn transformed(kind: &str, version: &str, forms: Forms) -> Option<Form> {
    let version = version.to_owned();
    match kind {
        _ if forms == Forms::Whole => None,
        "Table" if forms == Forms::Unstored => None,
        "Table" => Some(Form::Table(version)),
        "PartialObjectMetadata" => Some(Form::Partial(version)),
        "PartialObjectMetadataList" => Some(Form::PartialList(version)),
        _ => None,
    }
}

/// Whether JSON is to be indented: people's tools get that without asking.
pub fn pretty(headers: &HeaderMap, query: &Query) -> bool {
    if let Some(asked) = query.get("pretty").filter(|asked| !asked.is_empty()) {
        return matches!(asked, "1" | "t" | "T" | "true" | "TRUE" | "True");
    }
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    ["curl", "Wget", "Mozilla/5.0"].iter().any(|tool| agent.starts_with(tool))
}

/// The format of a request's body.
///
/// # Errors
/// 415 for one that is not read here.
pub fn input(headers: &HeaderMap) -> Result<Input, ApiError> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match media.as_str() {
        "" | "application/json" => Ok(Input::Json),
        "application/yaml" => Ok(Input::Yaml),
        "application/vnd.kubernetes.protobuf" => Ok(Input::Protobuf),
        _ => Err(ApiError::UnsupportedMediaType(owned(MEDIA_TYPES))),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn check(accept: &str, forms: Forms, expected: &str) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_str(accept).unwrap());
        let said = match output(&headers, &Query::default(), forms) {
            Ok(output) => format!("{:?} {:?}", output.format, output.form),
            Err(error) => error.status().message,
        };
        assert_eq!(said, expected, "{accept}");
    }

    #[test]
    fn accept_headers() {
        check("", Forms::Object, "Json Whole");
        check("application/yaml", Forms::Object, "Yaml Whole");
        check("application/yaml;q=0.5, application/json;q=0.9", Forms::Object, "Json Whole");
        check("application/vnd.kubernetes.protobuf,application/json", Forms::Object, "Protobuf Whole");
        check(
            "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/json",
            Forms::List,
            "Json Whole",
        );
        check(
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
            Forms::List,
            "Json Table(\"v1\")",
        );
        check("application/json;as=Table;v=v2;g=meta.k8s.io,application/json", Forms::List, "Json Whole");
        check("application/json;as=Other;v=v1;g=meta.k8s.io,*/*", Forms::List, "Json Whole");
        check(
            "text/html",
            Forms::Object,
            "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, \
             application/vnd.kubernetes.protobuf",
        );
        check(
            "application/*",
            Forms::Object,
            "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, \
             application/vnd.kubernetes.protobuf",
        );
        check("application/*", Forms::Whole, "Json Whole");
        check(
            "text/html",
            Forms::List,
            "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, \
             application/vnd.kubernetes.protobuf, application/json;stream=watch, \
             application/vnd.kubernetes.protobuf;stream=watch",
        );
        let none = "only the following media types are accepted: application/json, application/yaml, \
                    application/vnd.kubernetes.protobuf";
        check("text/html", Forms::Whole, none);
        check("application/json;as=Table;v=v2;g=meta.k8s.io", Forms::List, none);
        check("application/json;stream=foo", Forms::List, none);
        check("application/json;as=Table;v=v1;g=meta.k8s.io", Forms::Whole, none);
        check(
            "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
            Forms::Object,
            "Json PartialList(\"v1\")",
        );
    }

    #[test]
    fn yaml_is_not_streamed() {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/yaml"));
        assert_eq!(
            stream(&headers, &Query::default(), coracle_api::facts::RESOURCES[0]).unwrap_err().to_string(),
            "only the following media types are accepted: application/json;stream=watch, \
             application/vnd.kubernetes.protobuf;stream=watch"
        );
    }

    #[test]
    fn content_types() {
        for (given, expected) in [
            ("", Some(Input::Json)),
            ("application/json; charset=utf-8", Some(Input::Json)),
            ("Application/YAML", Some(Input::Yaml)),
            ("text/plain", None),
            ("application/*", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(given).unwrap());
            assert_eq!(input(&headers).ok(), expected, "{given}");
        }
    }
}
