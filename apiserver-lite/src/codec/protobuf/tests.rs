use coracle_api::facts;
use serde_json::json;

use super::*;

fn field(number: u16, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    varint(&mut out, u64::from(number) << 3 | 2);
    varint(&mut out, bytes.len() as u64);
    out.extend_from_slice(bytes);
    out
}

fn number(number: u16, value: i64) -> Vec<u8> {
    let mut out = Vec::new();
    varint(&mut out, u64::from(number) << 3);
    varint(&mut out, value as u64);
    out
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn envelope(raw: &[u8]) -> Vec<u8> {
    let types = [field(1, b"v1"), field(2, b"X")].concat();
    [MAGIC.to_vec(), field(1, &types), field(2, raw)].concat()
}

fn check(plural: &str, raw: &[u8], expected: Value) {
    let resource = facts::RESOURCES.iter().find(|it| it.plural == plural).unwrap();
    let read = read(&envelope(raw), &resource.schema).unwrap();
    assert_eq!(Value::Object(read.object), expected);
    assert_eq!((read.api_version.as_str(), read.kind.as_str()), ("v1", "X"));
}

#[test]
fn objects_by_their_numbers() {
    let meta = field(1, &[field(1, b"a"), field(11, &[field(1, b"k"), field(2, b"v")].concat())].concat());
    let data = field(2, &[field(1, b"key"), field(2, b"\x00\xff")].concat());
    check(
        "secrets",
        &[meta.clone(), data, field(3, b"Opaque")].concat(),
        json!({ "metadata": { "name": "a", "labels": { "k": "v" } }, "data": { "key": "AP8=" }, "type": "Opaque" }),
    );
    // A port: targetPort is an IntOrString, port an int32 that may be negative.
    let target = [number(1, 1), field(3, b"web")].concat();
    let port = [number(3, -1), field(4, &target)].concat();
    check(
        "services",
        &field(2, &field(1, &port)),
        json!({ "spec": { "ports": [{ "port": -1, "targetPort": "web" }] } }),
    );
    // A volume's source is embedded: a message of its own on the wire.
    let empty_dir = field(2, &field(2, &field(1, b"Memory")));
    let volume = [field(1, b"v"), empty_dir].concat();
    check(
        "pods",
        &field(2, &field(1, &volume)),
        json!({ "spec": { "volumes": [{ "name": "v", "emptyDir": { "medium": "Memory" } }] } }),
    );
    let time = field(1, &field(8, &[number(1, 1_700_000_000), number(2, 5)].concat()));
    check("pods", &time, json!({ "metadata": { "creationTimestamp": "2023-11-14T22:13:20Z" } }));
}

#[test]
fn damaged_bodies_are_refused() {
    let resource = facts::RESOURCES.iter().find(|it| it.plural == "pods").unwrap();
    let whole = envelope(&field(1, &field(1, b"a")));
    for length in 0..whole.len() {
        let cut = read(&whole[..length], &resource.schema);
        assert!(length < 4 || cut.is_err() || length == 4 || cut.unwrap().object.is_empty(), "{length}");
    }
    assert_eq!(read(b"{}", &resource.schema), Err(ProtobufError::Magic));
    let wrong = envelope(&number(1, 5));
    assert!(matches!(read(&wrong, &resource.schema), Err(ProtobufError::WireType { .. })));
    let endless = [MAGIC, &[0xff; 20]].concat();
    assert_eq!(read(&endless, &resource.schema), Err(ProtobufError::Overflow));
}
