//! What the devices of a claim must have in common, or not.

use k8s_openapi::api::resource::v1::{Device, DeviceAttribute, DeviceConstraint};

/// A constraint, and the devices that it has so far.
pub(super) struct Constraint<'a> {
    /// Of which requests; of all when empty.
    requests: &'a [String],
    attribute: &'a str,
    distinct: bool,
    values: Vec<Option<Single>>,
}

/// An attribute's value.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Single {
    Text(String),
    Number(i64),
    Truth(bool),
    Version(String),
}

impl Single {
    fn of(attribute: &DeviceAttribute) -> Option<Self> {
        let DeviceAttribute { string, int, bool, version, .. } = attribute;
        let text = string.clone().map(Self::Text).or(int.map(Self::Number));
        text.or(bool.map(Self::Truth)).or_else(|| version.clone().map(Self::Version))
    }
}

impl<'a> Constraint<'a> {
    /// Reads a constraint; none when it says nothing that is known.
    pub(super) fn read(constraint: &'a DeviceConstraint) -> Option<Self> {
        let (attribute, distinct) = match (&constraint.match_attribute, &constraint.distinct_attribute) {
            (Some(attribute), _) => (attribute, false),
            (None, Some(attribute)) => (attribute, true),
            (None, None) => return None,
        };
        let requests = constraint.requests.as_deref().unwrap_or_default();
        Some(Self { requests, attribute, distinct, values: Vec::new() })
    }

    fn concerns(&self, (request, alternative): (&str, Option<&str>)) -> bool {
        let full = alternative.map(|alternative| format!("{request}/{alternative}"));
        self.requests.is_empty()
            || self.requests.iter().any(|name| name == request || Some(name) == full.as_ref())
    }

    /// Takes a device for a request in; false when it does not go with the others.
    pub(super) fn add(&mut self, request: (&str, Option<&str>), driver: &str, device: &Device) -> bool {
        if !self.concerns(request) {
            return true;
        }
        let Some(attribute) = find(device, driver, self.attribute) else { return false };
        let value = Single::of(attribute);
        let fits = match (self.distinct, value.is_some()) {
            _ if self.values.is_empty() => true,
            (true, known) => known && !self.values.contains(&value),
            (false, known) => known && self.values.first() == Some(&value),
        };
        if fits {
            self.values.push(value);
        }
        fits
    }

    /// Takes the last device out, which was for this request.
    pub(super) fn remove(&mut self, request: (&str, Option<&str>)) {
        if self.concerns(request) {
            self.values.pop();
        }
    }
}

/// The attribute by its full name; the driver's own may stand without its domain.
fn find<'d>(device: &'d Device, driver: &str, name: &str) -> Option<&'d DeviceAttribute> {
    let attributes = device.attributes.as_ref()?;
    attributes.get(name).or_else(|| {
        let (domain, own) = name.split_once('/')?;
        attributes.get(own).filter(|_| domain == driver)
    })
}
