//! Values as Go's `%v` prints them, which upstream's messages do.

use std::fmt::Write;

use serde_json::Value;

/// Prints a tree as `%v` does an `interface{}`: `map[data:map[k:3] list:[a b]]`.
pub fn verbose(value: &Value) -> String {
    let mut out = String::new();
    write_value(&mut out, value);
    out
}

fn write_value(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("<nil>"),
        Value::Bool(it) => out.push_str(if *it { "true" } else { "false" }),
        Value::Number(it) => match (it.as_i64(), it.as_f64()) {
            (Some(int), _) => drop(write!(out, "{int}")),
            (None, Some(float)) => out.push_str(&shortest(float)),
            (None, None) => drop(write!(out, "{it}")),
        },
        Value::String(it) => out.push_str(it),
        Value::Array(list) => {
            out.push('[');
            for (index, element) in list.iter().enumerate() {
                if index > 0 {
                    out.push(' ');
                }
                write_value(out, element);
            }
            out.push(']');
        }
        Value::Object(map) => {
            out.push_str("map[");
            for (index, (key, element)) in map.iter().enumerate() {
                if index > 0 {
                    out.push(' ');
                }
                out.push_str(key);
                out.push(':');
                write_value(out, element);
            }
            out.push(']');
        }
    }
}

/// Prints a tree as `%#v` does.
pub fn syntax(value: &Value) -> String {
    let join = |parts: Vec<String>| parts.join(", ");
    match value {
        Value::String(it) => coracle_api::field::go_quote(it),
        Value::Array(list) => format!("[]interface {{}}{{{}}}", join(list.iter().map(syntax).collect())),
        Value::Object(map) => {
            let member = |(key, value): (&String, &Value)| {
                format!("{}:{}", coracle_api::field::go_quote(key), syntax(value))
            };
            format!("map[string]interface {{}}{{{}}}", join(map.iter().map(member).collect()))
        }
        Value::Null => "interface {}(nil)".to_owned(),
        other => verbose(other),
    }
}

// `%v` of a float64 is the shortest form that reads back, with an exponent
// below 1e-4 and from 1e21 on.
fn shortest(float: f64) -> String {
    let text = format!("{float:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..21).contains(&exponent) {
        return format!("{float}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// What Go calls the kind of a JSON value in decoding errors.
pub fn json_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The Go type that a JSON value is decoded to.
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "%!s(<nil>)",
        Value::Bool(_) => "bool",
        Value::Number(it) if it.is_i64() => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, expected: &str) {
        let value: Value = serde_json::from_str(json).expect("test JSON");
        assert_eq!(verbose(&value), expected, "{json}");
    }

    #[test]
    fn verbose_prints_as_go_does() {
        check(r#"{"b":["x",1,null],"a":{"t":true}}"#, "map[a:map[t:true] b:[x 1 <nil>]]");
        check("{}", "map[]");
        check("1.5", "1.5");
        check("1e21", "1e+21");
        check("100000.0", "100000");
        check("0.00001", "1e-05");
        check("18446744073709551615", "18446744073709552000");
    }
}
