//! Which value stood before where one stands now.

use serde_json::Value;

use crate::custom::schema::{ListType, Schema};

/// A value, and what stood in its place before the update.
#[derive(Clone, Copy)]
pub struct Pair<'a> {
    /// What stood there; `None`: nothing.
    pub old: Option<&'a Value>,
    /// What stands there.
    pub new: &'a Value,
    /// The schema of both.
    pub schema: &'a Schema,
}

impl<'a> Pair<'a> {
    /// The pair of a field. `None` where the two cannot be told to belong
    /// together.
    pub fn key(self, name: &str, schema: &'a Schema) -> Option<Self> {
        let (old, new) = (self.old?.as_object()?, self.new.as_object()?);
        self.schema.field(name)?;
        if self.schema.atomic {
            return None;
        }
        Some(Pair { old: old.get(name), new: new.get(name)?, schema })
    }

    /// The pair of a list's element: told by its keys in lists that are maps.
    pub fn index(self, index: usize, schema: &'a Schema) -> Option<Self> {
        let ListType::Map(keys) = &self.schema.list else { return None };
        let (old, new) = (self.old?.as_array()?, self.new.as_array()?);
        let new = new.get(index)?;
        let same = |it: &&Value| keys.iter().all(|key| it.get(key.as_ref()) == new.get(key.as_ref()));
        Some(Pair { old: old.iter().find(same), new, schema })
    }
}
