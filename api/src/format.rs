//! Formats of names and values: what Kubernetes lets them be.
