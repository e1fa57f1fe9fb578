//! Component statuses: asked for, never stored.

use crate::resources::{
    Column, Strategy,
    columns::NAME,
    tree::{list, section, text},
};

/// The behaviour of component statuses: no client writes them.
pub struct ComponentStatuses;

impl Strategy for ComponentStatuses {
    fn deprecated(&self) -> Option<&'static str> {
        Some("v1 ComponentStatus is deprecated in v1.19+")
    }
}

fn healthy(component: &coracle_api::Object) -> Option<&serde_json::Value> {
    list(section(component, "conditions")).iter().find(|it| text(&it["type"]) == "Healthy")
}

/// The columns.
pub static COLUMNS: &[Column] = &[
    NAME,
    Column::new("Status", "string", "Status of the component conditions", |it, _| {
        match healthy(it).map(|it| text(&it["status"])) {
            Some("True") => "Healthy".into(),
            Some("False") => "Unhealthy".into(),
            _ => "Unknown".into(),
        }
    }),
    Column::new("Message", "string", "Message of the component conditions", |it, _| {
        healthy(it).map_or("", |it| text(&it["message"])).into()
    }),
    Column::new("Error", "string", "Error of the component conditions", |it, _| {
        healthy(it).map_or("", |it| text(&it["error"])).into()
    }),
];
