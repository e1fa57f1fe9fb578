//! What a claim asks for, read once for a search.

use std::sync::Arc;

use coracle_controllers::{
    devices::requests,
    framework::{Key, Store},
};
use k8s_openapi::api::resource::v1::{
    CapacityRequirements, DeviceClass, DeviceDerivedAttribute, DeviceRequest, DeviceSelector,
    DeviceToleration, ResourceClaim,
};

use super::MOST;

/// A request: one or the first possible of its alternatives is met.
pub(super) struct Asked<'a> {
    pub(super) request: &'a DeviceRequest,
    pub(super) alternatives: Vec<Request<'a>>,
    /// Which of them was.
    pub(super) chosen: usize,
}

/// So many devices of a class.
#[derive(Clone)]
pub(super) struct Request<'a> {
    pub(super) name: &'a str,
    /// The request that it is an alternative of.
    pub(super) parent: Option<&'a str>,
    pub(super) class: Arc<DeviceClass>,
    /// All that match, and no others.
    pub(super) all: bool,
    /// How many.
    pub(super) count: usize,
    /// Only to look after them: also those that others have.
    pub(super) admin: bool,
    pub(super) selectors: &'a [DeviceSelector],
    pub(super) tolerations: &'a [DeviceToleration],
    pub(super) capacity: Option<&'a CapacityRequirements>,
    /// When all: which.
    pub(super) devices: Vec<usize>,
}

/// How deep a search for a claim goes at most.
pub(super) fn steps(claim: &ResourceClaim) -> usize {
    let each = requests(claim).iter().map(|request| {
        let exact = request.exactly.iter().map(|it| (it.allocation_mode.as_deref(), it.count));
        let alternatives = request.first_available.iter().flatten();
        let first = alternatives.map(|it| (it.allocation_mode.as_deref(), it.count));
        let counts = exact.chain(first).map(|(mode, count)| match mode {
            Some("All") => MOST,
            _ => usize::try_from(count.unwrap_or(1)).unwrap_or(MOST).min(MOST),
        });
        counts.max().unwrap_or(0) + 2
    });
    each.sum::<usize>() + 1
}

impl<'a> Asked<'a> {
    /// Reads a request of the claim called `claim`.
    /// # Errors
    /// It cannot be met as it is: upstream's text.
    pub(super) fn read(
        claim: &str,
        request: &'a DeviceRequest,
        classes: &Store<DeviceClass>,
    ) -> Result<Self, String> {
        let mut alternatives = Vec::new();
        for it in request.first_available.iter().flatten() {
            alternatives.push(Said {
                name: &it.name,
                parent: Some(&request.name),
                class: &it.device_class_name,
                mode: it.allocation_mode.as_deref(),
                count: it.count,
                admin: None,
                selectors: it.selectors.as_deref(),
                tolerations: it.tolerations.as_deref(),
                capacity: it.capacity.as_ref(),
                derived: it.derived_attributes.as_deref(),
            });
        }
        if let Some(it) = request.exactly.as_ref().filter(|_| alternatives.is_empty()) {
            alternatives.push(Said {
                name: &request.name,
                parent: None,
                class: &it.device_class_name,
                mode: it.allocation_mode.as_deref(),
                count: it.count,
                admin: it.admin_access,
                selectors: it.selectors.as_deref(),
                tolerations: it.tolerations.as_deref(),
                capacity: it.capacity.as_ref(),
                derived: it.derived_attributes.as_deref(),
            });
        }
        let read = alternatives.into_iter().map(|said| said.read(claim, classes));
        Ok(Self { request, alternatives: read.collect::<Result<_, _>>()?, chosen: 0 })
    }

    /// The least number of devices that meets it.
    pub(super) fn least(&self) -> usize {
        self.alternatives.iter().map(|it| it.count).min().unwrap_or(0)
    }

    /// The alternative that was chosen.
    pub(super) fn met(&self) -> Option<&Request<'a>> {
        self.alternatives.get(self.chosen)
    }
}

impl Request<'_> {
    /// The name that results carry: `request` or `request/alternative`.
    pub(super) fn full_name(&self) -> String {
        match self.parent {
            Some(parent) => format!("{parent}/{}", self.name),
            None => self.name.to_owned(),
        }
    }

    /// The request's own name and that of the alternative.
    pub(super) fn names(&self) -> (&str, Option<&str>) {
        self.parent.map_or((self.name, None), |parent| (parent, Some(self.name)))
    }
}

/// What requests and their alternatives say alike.
struct Said<'a> {
    name: &'a str,
    parent: Option<&'a str>,
    class: &'a str,
    mode: Option<&'a str>,
    count: Option<i64>,
    admin: Option<bool>,
    selectors: Option<&'a [DeviceSelector]>,
    tolerations: Option<&'a [DeviceToleration]>,
    capacity: Option<&'a CapacityRequirements>,
    derived: Option<&'a [DeviceDerivedAttribute]>,
}

impl<'a> Said<'a> {
    fn read(self, claim: &str, classes: &Store<DeviceClass>) -> Result<Request<'a>, String> {
        let name = self.name;
        let wrong = |why: String| Err(format!("claim {claim}, request {name}: {why}"));
        if self.derived.is_some_and(|derived| !derived.is_empty()) {
            return wrong("cannot handle request with derived attributes, the feature is disabled".into());
        }
        let selectors = self.selectors.unwrap_or_default();
        if let Some(at) = selectors.iter().position(|selector| selector.cel.is_none()) {
            return wrong(format!("selector #{at}: CEL expression empty (unsupported selector type?)"));
        }
        if self.class.is_empty() {
            return wrong("missing device class name (unsupported request type?)".into());
        }
        let Some(class) = classes.get(&Key::cluster(self.class)) else {
            let class = self.class;
            return wrong(format!(
                "could not retrieve device class {class}: deviceclass.resource.k8s.io {class:?} not found"
            ));
        };
        let (all, count) = match self.mode {
            Some("All") => (true, 0),
            None | Some("" | "ExactCount") => (false, self.count.unwrap_or(1)),
            Some(mode) => return wrong(format!("unsupported count mode {mode}")),
        };
        Ok(Request {
            name,
            parent: self.parent,
            class,
            all,
            count: usize::try_from(count).unwrap_or(0),
            admin: self.admin == Some(true),
            selectors,
            tolerations: self.tolerations.unwrap_or_default(),
            capacity: self.capacity,
            devices: Vec::new(),
        })
    }
}
