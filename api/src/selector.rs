//! Label and field selectors, parsed once.

/// A parsed label selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelSelector;

/// A parsed field selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldSelector;
