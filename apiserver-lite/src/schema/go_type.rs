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

/// The Go type of a value; `field` is the field that it stands in, or under.
pub(super) fn go_type(shape: &Shape, field: Option<(&Struct, &Field)>) -> String {
    match shape {
        Shape::String => string_type(field),
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
        Shape::List(list) => format!("[]{}", go_type(&list.element, field)),
        Shape::Map(map) if matches!(map.value, Shape::Quantity) => "v1.ResourceList".to_owned(),
        Shape::Map(map) => format!("map[string]{}", go_type(&map.value, None)),
    }
}

// A string in Go is often of a named type; which one upstream does not publish.
fn string_type(_field: Option<(&Struct, &Field)>) -> String {
    "string".to_owned()
}
