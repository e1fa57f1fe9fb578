//! What plain scalars mean in YAML 1.1, as Go's yaml package has it.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Number, Value};

/// The value of a scalar with that tag (`int` of `!!int`; empty when untagged).
/// Only plain scalars are looked at for what they may be.
pub(super) fn value(text: &str, plain: bool, tag: &str) -> Result<Value, String> {
    match tag {
        "binary" => binary(text),
        "str" | "timestamp" => Ok(Value::from(text)),
        "" if !plain => Ok(Value::from(text)),
        "" => Ok(resolve(text)?),
        "int" | "float" | "bool" | "null" => {
            let value = resolve(text)?;
            let found = kind(&value);
            if found == tag || (found == "int" && tag == "float") {
                return Ok(value);
            }
            Err(format!("yaml: cannot decode !!{found} `{text}` as a !!{tag}"))
        }
        // A type of its own: its text.
        _ => Ok(Value::from(text)),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        _ => "str",
    }
}

fn binary(text: &str) -> Result<Value, String> {
    let packed: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    match STANDARD.decode(packed) {
        Ok(bytes) => Ok(Value::from(String::from_utf8_lossy(&bytes))),
        Err(_) => Err("yaml: !!binary value contains invalid base64 data".to_owned()),
    }
}

fn resolve(text: &str) -> Result<Value, String> {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Ok(Value::Bool(true));
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Ok(Value::Bool(false));
        }
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        // JSON has no such numbers.
        ".nan" | ".NaN" | ".NAN" => return Err("json: unsupported value: NaN".to_owned()),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Err("json: unsupported value: +Inf".to_owned());
        }
        "-.inf" | "-.Inf" | "-.INF" => return Err("json: unsupported value: -Inf".to_owned()),
        _ => {}
    }
    let number = match text.as_bytes().first() {
        Some(b'0'..=b'9' | b'+' | b'-' | b'.') => number(&text.replace('_', "")),
        _ => None,
    };
    Ok(number.unwrap_or_else(|| Value::from(text)))
}

/// Whether a reader of YAML might take that plain text for something else than
/// text.
pub(super) fn is_ambiguous(text: &str) -> bool {
    let numeric = text.bytes().next().is_some_and(|byte| byte.is_ascii_digit() || b"+-.".contains(&byte));
    // A date, a time in base 60, and what 1.2 calls a number.
    let digits = text.bytes().any(|byte| byte.is_ascii_digit());
    let charset = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.:_ ".contains(&byte));
    let loose = numeric && digits && charset;
    loose || !matches!(resolve(text), Ok(Value::String(_)))
}

fn number(text: &str) -> Option<Value> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if let Some(magnitude) = integer(digits) {
        return if negative {
            0i64.checked_sub_unsigned(magnitude).map(Value::from)
        } else {
            Some(Value::from(magnitude))
        };
    }
    float(text)
}

// Go's integers: 0x1f, 0o17, 0b11, and 017 in base 8.
fn integer(digits: &str) -> Option<u64> {
    let prefixed = |prefix: [&str; 2], radix: u32| {
        let rest = prefix.iter().find_map(|prefix| digits.strip_prefix(prefix))?;
        // A second sign is no digit.
        if rest.starts_with(['+', '-']) { None } else { u64::from_str_radix(rest, radix).ok() }
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let leading = digits.len() > 1 && digits.starts_with('0');
    prefixed(["0x", "0X"], 16)
        .or_else(|| prefixed(["0b", "0B"], 2))
        .or_else(|| prefixed(["0o", "0O"], 8))
        .or_else(|| if leading { u64::from_str_radix(digits, 8).ok() } else { digits.parse().ok() })
}

fn float(text: &str) -> Option<Value> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let form = digits.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    if !form || !digits.bytes().any(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: f64 = text.parse().ok()?;
    // Go writes whole floats without a point.
    if number.fract() == 0.0 && number.abs() < 1e15 {
        return Some(Value::from(number as i64));
    }
    Number::from_f64(number).map(Value::Number)
}
