//! What upstream's strict JSON decoding says about a patch: members that stand
//! there twice, and for JSON patches members that no operation has.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::PatchError;

// Upstream stops collecting here.
const MOST: usize = 100;

/// The complaints about a patch that is an object.
///
/// # Errors
/// `Malformed` for what is not JSON.
pub fn object(patch: &[u8]) -> Result<Vec<String>, PatchError> {
    find(patch, Place::Any)
}

/// The complaints about a list of operations.
///
/// # Errors
/// `Malformed` for what is not JSON.
pub fn operations(patch: &[u8]) -> Result<Vec<String>, PatchError> {
    find(patch, Place::Operations)
}

fn find(patch: &[u8], place: Place) -> Result<Vec<String>, PatchError> {
    let mut finder = Finder { path: String::new(), found: Vec::new() };
    let mut json = serde_json::Deserializer::from_slice(patch);
    let seed = Seed { finder: &mut finder, place };
    seed.deserialize(&mut json).and_then(|()| json.end()).map_err(|_| PatchError::not_json())?;
    Ok(finder.found)
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Operations,
    Operation,
    Any,
}

struct Finder {
    path: String,
    found: Vec<String>,
}

impl Finder {
    fn complain(&mut self, what: &str, name: &str) {
        let dot = if self.path.is_empty() { "" } else { "." };
        let text = format!("{what} field \"{}{dot}{name}\"", self.path);
        if self.found.len() < MOST && !self.found.contains(&text) {
            self.found.push(text);
        }
    }
}

struct Seed<'a> {
    finder: &'a mut Finder,
    place: Place,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let place = if self.place == Place::Operations { Place::Operation } else { Place::Any };
        let base = self.finder.path.len();
        for index in 0_usize.. {
            self.finder.path.push_str(&format!("[{index}]"));
            let next = list.next_element_seed(Seed { finder: self.finder, place })?;
            self.finder.path.truncate(base);
            if next.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let base = self.finder.path.len();
        let mut seen = std::collections::HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            let known = self.place != Place::Operation || matches!(&*name, "op" | "path" | "from" | "value");
            if !known {
                self.finder.complain("unknown", &name);
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            if seen.contains(&name) {
                self.finder.complain("duplicate", &name);
            }
            if base > 0 {
                self.finder.path.push('.');
            }
            self.finder.path.push_str(&name);
            map.next_value_seed(Seed { finder: self.finder, place: Place::Any })?;
            self.finder.path.truncate(base);
            seen.insert(name);
        }
        Ok(())
    }
}
