//! Defaults of a structural schema, and `null` where it may not stand.

use serde_json::{Map, Value};

use super::schema::Schema;

/// Brings `value` to what the schema makes of it: `null` goes from fields that
/// take none and have no default, and what is not set becomes its default.
pub fn complete(value: &mut Map<String, Value>, schema: &Schema) {
    drop_nulls(value, schema);
    fill(value, schema);
}

fn drop_nulls(map: &mut Map<String, Value>, schema: &Schema) {
    map.retain(|name, value| {
        let field = schema.field(name);
        let unwanted = |field: &Schema| !field.nullable && field.default.is_none();
        if value.is_null() && field.is_some_and(unwanted) {
            return false;
        }
        if let Some(field) = field {
            drop_nulls_below(value, field);
        }
        true
    });
}

fn drop_nulls_below(value: &mut Value, schema: &Schema) {
    match value {
        Value::Object(map) => drop_nulls(map, schema),
        Value::Array(items) => {
            if let Some(element) = &schema.items {
                items.iter_mut().for_each(|item| drop_nulls_below(item, element));
            }
        }
        _ => {}
    }
}

/// Sets what is not set to its default.
pub fn fill(map: &mut Map<String, Value>, schema: &Schema) {
    for (name, property) in &schema.properties {
        let Some(default) = &property.default else { continue };
        let unset = map.get(name.as_ref()).is_none_or(|value| value.is_null() && !property.nullable);
        if unset {
            map.insert(name.to_string(), (**default).clone());
        }
    }
    for (name, value) in map.iter_mut() {
        if let Some(property) = schema.property(name) {
            fill_below(value, property);
        } else if let Some(entry) = schema.entry() {
            fill_element(value, entry);
        }
    }
}

fn fill_element(value: &mut Value, schema: &Schema) {
    if value.is_null() && !schema.nullable {
        *value = schema.default.as_deref().cloned().unwrap_or_default();
    }
    fill_below(value, schema);
}

fn fill_below(value: &mut Value, schema: &Schema) {
    match value {
        Value::Object(map) => fill(map, schema),
        Value::Array(items) => {
            if let Some(element) = &schema.items {
                items.iter_mut().for_each(|item| fill_element(item, element));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(value: Value, expected: &Value) {
        let schema = Schema::parse(&json!({ "type": "object", "properties": {
            "a": { "type": "string", "default": "d" },
            "n": { "type": "string", "nullable": true, "default": "d" },
            "plain": { "type": "string" },
            "deep": { "type": "object", "properties": { "a": { "type": "integer", "default": 1 } } },
            "list": { "type": "array", "items": { "type": "object", "properties": { "a": { "type": "integer", "default": 1 } } } },
            "map": { "type": "object", "additionalProperties": { "type": "integer", "default": 7 } },
        } }));
        let Value::Object(mut map) = value else { return };
        complete(&mut map, &schema);
        assert_eq!(&Value::Object(map), expected);
    }

    #[test]
    fn what_is_not_set_is_its_default() {
        check(json!({}), &json!({ "a": "d", "n": "d" }));
        check(json!({ "a": "x", "n": null }), &json!({ "a": "x", "n": null }));
        check(json!({ "a": null, "plain": null }), &json!({ "a": "d", "n": "d" }));
        check(
            json!({ "deep": {}, "list": [{}, { "a": 2 }], "map": { "x": null, "y": 1 } }),
            &json!({ "a": "d", "n": "d", "deep": { "a": 1 }, "list": [{ "a": 1 }, { "a": 2 }], "map": { "x": 7, "y": 1 } }),
        );
    }
}
