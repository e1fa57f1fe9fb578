//! From committed events to watchers.
//!
//! The store publishes each event once, into the history of its resource
//! ([`Hub`], [`history::Feed`]); every watcher reads it from there with a
//! cursor of its own ([`subscriber::Subscriber`]) and its own [`filter::Filter`].
//! Invariants: a watcher sees events in the order of revisions, each once; one
//! that falls behind the history is told so (410) and never grows a queue.

pub mod filter;
pub mod history;
pub mod hub;
pub mod subscriber;

pub use filter::Filter;
pub use hub::{Hub, Tap};
pub use subscriber::{Lagged, Subscriber};
