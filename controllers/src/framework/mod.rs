//! What every control loop here stands on.
//!
//! [`Reflector`] keeps one copy of each type for the whole process and tells
//! [`Queue`]s which keys to look at; [`Setup`] joins reflectors, queues and
//! reconcilers together, and runs them until it is told to stop.
//!
//! Invariant: a reconciler learns only which key to look at, never what
//! happened, so a lost event costs a delay and not a wrong state.

mod claim;
mod clock;
mod discovery;
mod error;
mod events;
mod expectations;
mod key;
mod leader;
mod measures;
mod owner;
mod queue;
mod reflector;
mod setup;
mod store;

pub use claim::{Claim, Claims, Controller, claim, patch_claims};
pub use clock::Clock;
pub use discovery::{Served, discover};
pub use error::Error;
pub(crate) use error::absent;
pub(crate) use events::reference;
pub use events::{EventSink, Recorder, Severity, Style};
pub use expectations::Expectations;
pub use key::Key;
pub use leader::{Election, ElectionError, Ended};
pub use owner::{controller_of, controller_reference, controls, matches, matches_labels};
pub use queue::Queue;
pub use reflector::{Change, Metadata, MetadataFeed, Reflector};
pub(crate) use reflector::{follow, until};
pub(crate) use setup::all_synced;
pub use setup::{Next, Reconcile, Setup, feed_name};
pub use store::{Reflected, Store};
