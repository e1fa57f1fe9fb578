//! Who writes next where writers would only overtake one another.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A queue for each namespace in which somebody waits.
#[derive(Default)]
pub struct Turns(Arc<Mutex<HashMap<String, Arc<Semaphore>>>>);

/// The turn, until it is dropped.
pub struct Turn {
    namespace: String,
    queues: Arc<Mutex<HashMap<String, Arc<Semaphore>>>>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Turns {
    /// Waits for the turn in `namespace`: first come, first served.
    pub async fn take(&self, namespace: &str) -> Turn {
        let queue = {
            let mut queues = self.0.lock();
            queues.entry(namespace.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(1))).clone()
        };
        // It is never closed.
        let permit = queue.acquire_owned().await.ok();
        Turn { namespace: namespace.to_owned(), queues: self.0.clone(), permit }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut queues = self.queues.lock();
        self.permit = None;
        // Only the map has it: nobody waits.
        if queues.get(&self.namespace).is_some_and(|queue| Arc::strong_count(queue) == 1) {
            queues.remove(&self.namespace);
        }
    }
}
