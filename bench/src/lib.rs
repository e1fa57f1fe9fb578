//! coracle-bench
