//! The names that Go's types have, which its decode errors cite.

use coracle_api::schema::{Field, Shape, Struct};

/// Structs whose Go type embeds others: their name, the embedding's protobuf
/// numbers, and the names of the embedded types.
const EMBEDDED: &[(&str, &[u16], &[&str])] = &[
    ("Volume", &[2], &["VolumeSource"]),
    ("EphemeralContainer", &[1], &["EphemeralContainerCommon"]),
    ("PersistentVolumeSpec", &[2], &["PersistentVolumeSource"]),
    ("Probe", &[1], &["ProbeHandler"]),
    ("RuleWithOperations", &[2], &["Rule"]),
    ("NamedRuleWithOperations", &[2], &["RuleWithOperations"]),
    ("NamedRuleWithOperations", &[2, 2], &["RuleWithOperations", "Rule"]),
    ("DeviceClassConfiguration", &[1], &["DeviceConfiguration"]),
    ("DeviceClaimConfiguration", &[2], &["DeviceConfiguration"]),
    ("DeviceAllocationConfiguration", &[3], &["DeviceConfiguration"]),
    ("IngressRule", &[2], &["IngressRuleValue"]),
    ("SecretProjection", &[1], &["LocalObjectReference"]),
    ("SecretKeySelector", &[1], &["LocalObjectReference"]),
    ("SecretEnvSource", &[1], &["LocalObjectReference"]),
    ("ConfigMapVolumeSource", &[1], &["LocalObjectReference"]),
    ("ConfigMapProjection", &[1], &["LocalObjectReference"]),
    ("ConfigMapKeySelector", &[1], &["LocalObjectReference"]),
    ("ConfigMapEnvSource", &[1], &["LocalObjectReference"]),
];

/// The embedded types that hold the field in Go, the outermost first.
pub(super) fn embedded(schema: &Struct, field: &Field) -> &'static [&'static str] {
    if field.within.is_empty() {
        return &[];
    }
    let name = schema.go_name();
    let found = EMBEDDED.iter().find(|it| it.0 == name && it.1 == field.within);
    found.map_or(&[], |it| it.2)
}

/// Fields whose Go type is not what their shape tells: strings with a type of
/// their own, and lists and maps of them. `OWNER.FIELD TYPE` a line, as Go's
/// reflection over the API types has them; only errors read it.
const NAMED: &str = include_str!("go_types.txt");

/// The Go type of a value of this shape that stands in a field, or in a list
/// or map under it.
pub(super) fn go_type(shape: &Shape, within: Option<(&Struct, &Field)>) -> String {
    match within.and_then(|(owner, field)| named(owner, field, shape)) {
        Some(named) => named.to_owned(),
        None => of_shape(shape),
    }
}

fn named(owner: &Struct, field: &Field, shape: &Shape) -> Option<&'static str> {
    let entry = |line: &'static str| {
        let (path, go_type) = line.split_once(' ')?;
        let name = path.strip_prefix(owner.name.as_ref())?.strip_prefix('.')?;
        (name == field.name).then_some(go_type)
    };
    let go_type = NAMED.lines().find_map(entry)?;
    match &field.shape {
        whole if std::ptr::eq(whole, shape) => Some(go_type),
        Shape::List(list) if std::ptr::eq(&list.element, shape) => go_type.strip_prefix("[]"),
        Shape::Map(map) if std::ptr::eq(&map.value, shape) => go_type.split_once(']').map(|(_, value)| value),
        _ => None,
    }
}

fn of_shape(shape: &Shape) -> String {
    match shape {
        Shape::String => "string".to_owned(),
        Shape::Bool => "bool".to_owned(),
        Shape::Int32 => "int32".to_owned(),
        Shape::Int64 => "int64".to_owned(),
        Shape::Float64 => "float64".to_owned(),
        Shape::Bytes => "[]uint8".to_owned(),
        Shape::Time => "v1.Time".to_owned(),
        Shape::MicroTime => "v1.MicroTime".to_owned(),
        Shape::Duration => "v1.Duration".to_owned(),
        Shape::Quantity => "resource.Quantity".to_owned(),
        Shape::IntOrString => "intstr.IntOrString".to_owned(),
        Shape::FieldsV1 => "v1.FieldsV1".to_owned(),
        Shape::Any => "interface {}".to_owned(),
        Shape::Struct(schema) => {
            let mut parts = schema.name.rsplit('.');
            let (name, package) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            format!("{package}.{name}")
        }
        Shape::List(list) => format!("[]{}", of_shape(&list.element)),
        Shape::Map(map) => format!("map[string]{}", of_shape(&map.value)),
    }
}
