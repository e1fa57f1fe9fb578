//! coracle-crds
