//! Label selectors: of the query parameter and of `metav1.LabelSelector`.

use std::{fmt, str::FromStr};

use serde_json::Value;

use super::{
    MAX_BYTES, SelectorError,
    lexer::{Token, tokens},
};
use crate::{
    field::{FieldError, FieldPath, aggregate, go_quote},
    format,
};

/// How a requirement compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operator {
    /// `key in (a,b)`
    In,
    /// `key notin (a,b)`
    NotIn,
    /// `key=a`
    Equals,
    /// `key==a`
    DoubleEquals,
    /// `key!=a`
    NotEquals,
    /// `key>1`
    Greater,
    /// `key<1`
    Less,
    /// `key`
    Exists,
    /// `!key`
    DoesNotExist,
}

/// One condition on one label.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Requirement {
    key: String,
    operator: Operator,
    // Sorted, so that a lookup in a long list is cheap.
    values: Vec<String>,
}

/// A parsed label selector: nothing at all, or all of its requirements.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LabelSelector(Option<Vec<Requirement>>);

impl LabelSelector {
    /// Matches everything: the empty selector.
    pub const fn everything() -> Self {
        Self(Some(Vec::new()))
    }

    /// Matches nothing: what an absent `metav1.LabelSelector` is.
    pub const fn nothing() -> Self {
        Self(None)
    }

    /// Parses the form of query parameters: `app=web,tier in (a,b),!old`.
    ///
    /// # Errors
    /// Upstream's text.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        if text.len() > MAX_BYTES {
            return Err(SelectorError::too_long());
        }
        let mut parser = Parser { tokens: tokens(text), position: 0 };
        let mut requirements = parser.selector().map_err(SelectorError)?;
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self(Some(requirements)))
    }

    /// The selector that a `metav1.LabelSelector` means. `null` matches
    /// nothing, an empty one everything.
    ///
    /// # Errors
    /// Upstream's text for a bad operator, key or value.
    pub fn from_value(value: &Value) -> Result<Self, SelectorError> {
        if value.is_null() {
            return Ok(Self::nothing());
        }
        let mut requirements = Vec::new();
        for (key, value) in value.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
            let values = vec![value.as_str().unwrap_or_default().to_owned()];
            requirements.push(Requirement::new(key, Operator::Equals, values)?);
        }
        for term in value.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            let text = |field: &str| term.get(field).and_then(Value::as_str).unwrap_or_default();
            let operator = match text("operator") {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    let name = go_quote(other);
                    return Err(SelectorError(format!("{name} is not a valid label selector operator")));
                }
            };
            let values = term.get("values").and_then(Value::as_array).into_iter().flatten();
            let values = values.filter_map(Value::as_str).map(str::to_owned).collect();
            requirements.push(Requirement::new(text("key"), operator, values)?);
        }
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self(Some(requirements)))
    }

    /// The selector for exactly these labels; keys and values are not checked.
    pub fn from_labels<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let equal = |(key, value): (&str, &str)| Requirement {
            key: key.to_owned(),
            operator: Operator::Equals,
            values: vec![value.to_owned()],
        };
        let mut requirements: Vec<Requirement> = labels.into_iter().map(equal).collect();
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self(Some(requirements))
    }

    /// The selector for all of `requirements`.
    pub fn from_requirements(requirements: impl IntoIterator<Item = Requirement>) -> Self {
        let mut requirements: Vec<Requirement> = requirements.into_iter().collect();
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self(Some(requirements))
    }

    /// Whether it lets every object pass.
    pub fn is_everything(&self) -> bool {
        self.0.as_ref().is_some_and(Vec::is_empty)
    }

    /// Its requirements, all of which must hold; `None` matches nothing.
    pub fn requirements(&self) -> Option<&[Requirement]> {
        self.0.as_deref()
    }

    /// Whether labels match; `lookup` gives the value of a label.
    pub fn matches<'a>(&self, lookup: impl Fn(&str) -> Option<&'a str>) -> bool {
        match &self.0 {
            None => false,
            Some(requirements) => requirements.iter().all(|it| it.matches(lookup(&it.key))),
        }
    }

    /// The value that a label must have, where the selector pins one.
    pub fn exact(&self, key: &str) -> Option<&str> {
        let requirement = self.0.as_ref()?.iter().find(|it| it.key == key)?;
        match (requirement.operator, requirement.values.as_slice()) {
            (Operator::Equals | Operator::DoubleEquals | Operator::In, [value]) => Some(value),
            _ => None,
        }
    }
}

impl Requirement {
    /// A checked requirement.
    ///
    /// # Errors
    /// Upstream's text for a bad key, a bad value or a wrong number of values.
    pub fn new(key: &str, operator: Operator, mut values: Vec<String>) -> Result<Self, SelectorError> {
        use Operator::{DoesNotExist, DoubleEquals, Equals, Exists, Greater, In, Less, NotEquals, NotIn};
        let mut errors = Vec::new();
        errors.extend(bad_key(key, &FieldPath::new("key")));
        let path = FieldPath::new("values");
        let count = values.len();
        let detail = match operator {
            In | NotIn if count == 0 => "for 'in', 'notin' operators, values set can't be empty",
            Equals | DoubleEquals | NotEquals if count != 1 => {
                "exact-match compatibility requires one single value"
            }
            Exists | DoesNotExist if count != 0 => "values set must be empty for exists and does not exist",
            Greater | Less if count != 1 => "for 'Gt', 'Lt' operators, exactly one value is required",
            _ => "",
        };
        if !detail.is_empty() {
            errors.push(FieldError::invalid(&path, values.clone(), detail));
        }
        if matches!(operator, Greater | Less) {
            for (at, value) in values.iter().enumerate() {
                if value.parse::<i64>().is_err() {
                    let detail = "for 'Gt', 'Lt' operators, the value must be an integer";
                    errors.push(FieldError::invalid(&path.index(at), value.as_str(), detail));
                }
            }
        }
        for (at, value) in values.iter().enumerate() {
            let messages = format::label_value(value);
            if !messages.is_empty() {
                let path = path.index(at).key(key);
                errors.push(FieldError::invalid(&path, value.as_str(), messages.join("; ")));
            }
        }
        if !errors.is_empty() {
            return Err(SelectorError(aggregate(&errors)));
        }
        values.sort();
        Ok(Self { key: key.to_owned(), operator, values })
    }

    /// The label.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// How it compares.
    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// What it compares with, sorted.
    pub fn values(&self) -> &[String] {
        &self.values
    }

    /// Whether the label's value, if it is there, meets the requirement.
    pub fn matches(&self, value: Option<&str>) -> bool {
        let listed = |value: &str| self.values.binary_search_by(|it| it.as_str().cmp(value)).is_ok();
        match self.operator {
            Operator::In | Operator::Equals | Operator::DoubleEquals => value.is_some_and(listed),
            Operator::NotIn | Operator::NotEquals => !value.is_some_and(listed),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::Greater => self.numbers(value).is_some_and(|(actual, bound)| actual > bound),
            Operator::Less => self.numbers(value).is_some_and(|(actual, bound)| actual < bound),
        }
    }

    fn numbers(&self, value: Option<&str>) -> Option<(i64, i64)> {
        Some((value?.parse().ok()?, self.values.first()?.parse().ok()?))
    }
}

fn bad_key(key: &str, path: &FieldPath) -> Option<FieldError> {
    let messages = format::qualified_name(key);
    (!messages.is_empty()).then(|| FieldError::invalid(path, key, messages.join("; ")))
}

impl FromStr for LabelSelector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        Self::parse(text)
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, requirement) in self.0.iter().flatten().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            requirement.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, values) = (&self.key, self.values.join(","));
        match self.operator {
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
            Operator::Equals => write!(f, "{key}={values}"),
            Operator::DoubleEquals => write!(f, "{key}=={values}"),
            Operator::NotEquals => write!(f, "{key}!={values}"),
            Operator::Greater => write!(f, "{key}>{values}"),
            Operator::Less => write!(f, "{key}<{values}"),
            Operator::Exists => f.write_str(key),
            Operator::DoesNotExist => write!(f, "!{key}"),
        }
    }
}

struct Parser {
    tokens: Vec<(Token, String)>,
    position: usize,
}

impl Parser {
    // The token as an operator may stand there.
    fn raw(&self) -> (Token, &str) {
        self.tokens.get(self.position).map_or((Token::End, ""), |(token, text)| (*token, text))
    }

    // The token where `in` and `notin` are plain words.
    fn peek(&self) -> (Token, &str) {
        match self.raw() {
            (Token::In | Token::NotIn, text) => (Token::Identifier, text),
            other => other,
        }
    }

    fn take(&mut self) -> (Token, String) {
        let (token, text) = self.peek();
        let taken = (token, text.to_owned());
        self.position += 1;
        taken
    }

    fn selector(&mut self) -> Result<Vec<Requirement>, String> {
        let mut requirements = Vec::new();
        loop {
            match self.peek() {
                (Token::Identifier | Token::Not, _) => {
                    let found = self.requirement();
                    requirements.push(found.map_err(|it| format!("unable to parse requirement: {it}"))?);
                    match self.take() {
                        (Token::End, _) => return Ok(requirements),
                        (Token::Comma, _) => {
                            let (next, text) = self.peek();
                            if !matches!(next, Token::Identifier | Token::Not) {
                                return Err(format!("found '{text}', expected: identifier after ','"));
                            }
                        }
                        (_, text) => return Err(format!("found '{text}', expected: ',' or 'end of string'")),
                    }
                }
                (Token::End, _) => return Ok(requirements),
                (_, text) => {
                    return Err(format!("found '{text}', expected: !, identifier, or 'end of string'"));
                }
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let (mut token, mut key) = self.take();
        let absent = token == Token::Not;
        if absent {
            (token, key) = self.take();
        }
        if token != Token::Identifier {
            return Err(format!("found '{key}', expected: identifier"));
        }
        if let Some(error) = bad_key(&key, &FieldPath::default()) {
            return Err(error.to_string());
        }
        let operator = if absent {
            Operator::DoesNotExist
        } else if matches!(self.peek().0, Token::End | Token::Comma) {
            Operator::Exists
        } else {
            self.operator()?
        };
        let values = match operator {
            Operator::Exists | Operator::DoesNotExist => Vec::new(),
            Operator::In | Operator::NotIn => self.values()?,
            _ => vec![self.exact_value()?],
        };
        Requirement::new(&key, operator, values).map_err(|it| it.0)
    }

    fn operator(&mut self) -> Result<Operator, String> {
        let (token, text) = self.raw();
        let operator = match token {
            Token::In => Operator::In,
            Token::NotIn => Operator::NotIn,
            Token::Equals => Operator::Equals,
            Token::DoubleEquals => Operator::DoubleEquals,
            Token::NotEquals => Operator::NotEquals,
            Token::Greater => Operator::Greater,
            Token::Less => Operator::Less,
            _ => return Err(format!("found '{text}', expected: in, notin, =, ==, !=, gt, lt")),
        };
        self.position += 1;
        Ok(operator)
    }

    // `(a,b)`; each empty place between commas is the empty value.
    fn values(&mut self) -> Result<Vec<String>, String> {
        let (token, text) = self.take();
        if token != Token::Open {
            return Err(format!("found '{text}' expected: '('"));
        }
        let mut values = match self.peek() {
            (Token::Identifier | Token::Comma, _) => self.value_list()?,
            (Token::Close, _) => vec![String::new()],
            (_, text) => return Err(format!("found '{text}', expected: ',', ')' or identifier")),
        };
        self.position += 1;
        values.sort();
        values.dedup();
        Ok(values)
    }

    fn value_list(&mut self) -> Result<Vec<String>, String> {
        let mut values = Vec::new();
        loop {
            match self.take() {
                (Token::Identifier, text) => {
                    values.push(text);
                    match self.peek() {
                        (Token::Comma, _) => {}
                        (Token::Close, _) => return Ok(values),
                        (_, text) => return Err(format!("found '{text}', expected: ',' or ')'")),
                    }
                }
                (Token::Comma, _) => {
                    if values.is_empty() {
                        values.push(String::new());
                    }
                    match self.peek().0 {
                        Token::Close => {
                            values.push(String::new());
                            return Ok(values);
                        }
                        Token::Comma => values.push(String::new()),
                        _ => {}
                    }
                }
                (_, text) => return Err(format!("found '{text}', expected: ',', or identifier")),
            }
        }
    }

    fn exact_value(&mut self) -> Result<String, String> {
        if matches!(self.peek().0, Token::End | Token::Comma) {
            return Ok(String::new());
        }
        match self.take() {
            (Token::Identifier, text) => Ok(text),
            (_, text) => Err(format!("found '{text}', expected: identifier")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(text: &str) -> String {
        match LabelSelector::parse(text) {
            Ok(selector) => selector.to_string(),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn parses_as_upstream() {
        let bad_name = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and \
             end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for \
             validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
        let bad_value = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' \
             or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or \
             '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
        for (text, expected) in [
            ("", ""),
            ("app=web", "app=web"),
            ("x==a,  a != b", "a!=b,x==a"),
            ("b in (z,a,z),!c,d", "b in (a,z),!c,d"),
            ("a in (),b notin (,x)", "a in (),b notin (,x)"),
            ("in in (in)", "in in (in)"),
            ("a=", "a="),
            ("n>5,n<9", "n>5,n<9"),
            ("a=b\0=c", "a=b"),
            ("a==b=", "error: found '=', expected: ',' or 'end of string'"),
            ("a,", "error: found '', expected: identifier after ','"),
            (",a", "error: found ',', expected: !, identifier, or 'end of string'"),
            ("!", "error: unable to parse requirement: found '', expected: identifier"),
            ("!a=b", "error: found '=', expected: ',' or 'end of string'"),
            ("a=<b", "error: unable to parse requirement: found '<', expected: identifier"),
            ("a b", "error: unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
            ("a in b", "error: unable to parse requirement: found 'b' expected: '('"),
            ("a in (b", "error: unable to parse requirement: found '', expected: ',' or ')'"),
            ("a in (=)", "error: unable to parse requirement: found '=', expected: ',', ')' or identifier"),
            (
                "n>x",
                "error: unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, \
                 the value must be an integer",
            ),
            (
                "a_/b=c",
                "error: unable to parse requirement: <nil>: Invalid value: \"a_/b\": prefix part a lowercase RFC \
                 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and \
                 end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
                 '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            ),
        ] {
            assert_eq!(shown(text), expected, "{text:?}");
        }
        assert_eq!(
            shown("a$=b"),
            format!("error: unable to parse requirement: <nil>: Invalid value: \"a$\": {bad_name}")
        );
        assert_eq!(
            shown("a=b$"),
            format!("error: unable to parse requirement: values[0][a]: Invalid value: \"b$\": {bad_value}")
        );
        assert!(shown(&"a,".repeat(MAX_BYTES)).starts_with("error: the selector is longer"));
    }

    #[test]
    fn matches_labels() {
        let labels = [("app", "web"), ("n", "7"), ("empty", "")];
        let lookup = |key: &str| labels.iter().find(|it| it.0 == key).map(|it| it.1);
        for (text, expected) in [
            ("", true),
            ("app=web", true),
            ("app!=web", false),
            ("other!=web", true),
            ("app in (db,web)", true),
            ("app notin (db,web)", false),
            ("other notin (db)", true),
            ("app,!other", true),
            ("!app", false),
            ("n>6,n<8", true),
            ("n>7", false),
            ("app>1", false),
            ("other<1", false),
            ("empty=", true),
            ("other=", false),
        ] {
            let selector = LabelSelector::parse(text).expect(text);
            assert_eq!(selector.matches(lookup), expected, "{text}");
        }
        assert!(LabelSelector::everything().is_everything());
        assert!(!LabelSelector::nothing().matches(lookup));
    }

    #[test]
    fn reads_the_api_type() {
        let check = |value: Value, expected: &str| {
            let shown = match LabelSelector::from_value(&value) {
                Ok(selector) => selector.to_string(),
                Err(error) => format!("error: {error}"),
            };
            assert_eq!(shown, expected, "{value}");
        };
        check(json!({"matchLabels": {"b": "c", "a": "b"}}), "a=b,b=c");
        let expressions = json!({"matchExpressions": [
            {"key": "x", "operator": "NotIn", "values": ["q", "p"]}, {"key": "e", "operator": "Exists"}]});
        check(expressions, "e,x notin (p,q)");
        check(
            json!({"matchExpressions": [{"key": "x", "operator": "Near"}]}),
            "error: \"Near\" is not a valid label selector operator",
        );
        check(
            json!({"matchExpressions": [{"key": "x", "operator": "In"}]}),
            "error: values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty",
        );
        assert!(LabelSelector::from_value(&json!({})).expect("empty").is_everything());
        assert_eq!(LabelSelector::from_value(&Value::Null), Ok(LabelSelector::nothing()));
    }
}
