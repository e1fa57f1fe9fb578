//! One operation of a path, in both forms of OpenAPI.

use serde_json::{Map, Value, json};

use super::Form;

/// A query parameter: its name and its type.
pub type Parameter = (&'static str, &'static str);

/// What a method does at a path.
pub struct Operation {
    /// `get`, `post`, ...
    pub method: &'static str,
    /// `x-kubernetes-action`
    pub action: &'static str,
    /// `operationId`
    pub id: String,
    /// `apps_v1`
    pub tag: String,
    /// `x-kubernetes-group-version-kind`
    pub kind: Value,
    /// Its query parameters.
    pub parameters: Vec<Parameter>,
    /// A reference to what its body is, and the media types of that.
    pub body: Option<(Value, Vec<&'static str>)>,
    /// A reference to what it answers; none where it answers with text.
    pub response: Option<Value>,
    /// The codes of success.
    pub codes: &'static [&'static str],
}

/// The media types of API objects.
pub const OBJECTS: [&str; 3] =
    ["application/json", "application/vnd.kubernetes.protobuf", "application/yaml"];

impl Operation {
    /// As the value of a path item's method.
    pub fn write(&self, form: Form) -> Value {
        let mut parameters: Vec<_> = self.parameters.iter().map(|it| query(form, it)).collect();
        let mut it = json!({
            "operationId": self.id,
            "tags": [self.tag],
            "x-kubernetes-action": self.action,
            "x-kubernetes-group-version-kind": self.kind,
            "responses": self.responses(form),
        });
        let mut body = self.body.as_ref();
        match form {
            // Swagger has media types beside the schemas, and the body among the
            // parameters.
            Form::V2 => {
                it["schemes"] = json!(["https"]);
                it["produces"] = if self.response.is_some() { json!(OBJECTS) } else { json!(["*/*"]) };
                it["consumes"] = match &body {
                    Some((_, types)) => json!(types),
                    None => json!(["*/*"]),
                };
                if let Some((schema, _)) = body.take() {
                    parameters
                        .push(json!({ "name": "body", "in": "body", "required": true, "schema": schema }));
                }
            }
            Form::V3 => {
                if let Some((schema, types)) = body {
                    let content = types.iter().map(|it| ((*it).to_owned(), json!({ "schema": schema })));
                    it["requestBody"] =
                        json!({ "content": content.collect::<Map<_, _>>(), "required": true });
                }
            }
        }
        if !parameters.is_empty() {
            it["parameters"] = parameters.into();
        }
        it
    }

    fn responses(&self, form: Form) -> Value {
        let mut all = Map::new();
        for code in self.codes {
            let text = match *code {
                "201" => "Created",
                "202" => "Accepted",
                _ => "OK",
            };
            let mut answer = json!({ "description": text });
            match (&self.response, form) {
                (Some(schema), Form::V2) => answer["schema"] = schema.clone(),
                (Some(schema), Form::V3) => {
                    let content = OBJECTS.iter().map(|it| ((*it).to_owned(), json!({ "schema": schema })));
                    answer["content"] = content.collect::<Map<_, _>>().into();
                }
                (None, Form::V2) => answer["schema"] = json!({ "type": "string" }),
                (None, Form::V3) => answer["content"] = json!({ "*/*": { "schema": { "type": "string" } } }),
            }
            all.insert((*code).to_owned(), answer);
        }
        all.insert("401".to_owned(), json!({ "description": "Unauthorized" }));
        all.into()
    }
}

/// A query parameter.
pub fn query(form: Form, (name, kind): &Parameter) -> Value {
    match form {
        Form::V2 => json!({ "name": name, "in": "query", "type": kind, "uniqueItems": true }),
        Form::V3 => json!({ "name": name, "in": "query", "schema": { "type": kind, "uniqueItems": true } }),
    }
}

/// A part of the path that is a parameter.
pub fn segment(form: Form, name: &str) -> Value {
    match form {
        Form::V2 => {
            json!({ "name": name, "in": "path", "required": true, "type": "string", "uniqueItems": true })
        }
        Form::V3 => json!({
            "name": name, "in": "path", "required": true, "schema": { "type": "string", "uniqueItems": true },
        }),
    }
}
