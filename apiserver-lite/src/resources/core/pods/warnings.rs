//! Warnings

use coracle_api::Object;
pub fn of_new_pod(_pod: &Object) -> Vec<String> {
    Vec::new()
}
pub fn of_status(_pod: &Object) -> Vec<String> {
    Vec::new()
}
