//! Quantities: `100m`, `1.5Gi`, `2e3`.

/// An exact decimal amount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quantity;
