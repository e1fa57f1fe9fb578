use super::Pods;
use crate::resources::{Part, recorded};

#[test]
fn bad_pods_are_refused_as_upstream_refuses_them() {
    recorded::check(&Pods, Part::Whole, include_str!("recorded/new.json"));
}
