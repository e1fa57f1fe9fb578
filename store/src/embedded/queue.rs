//! Requests on their way to the keeper thread. Bounded by the bytes that they
//! carry: who finds no room waits.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::{Record, Revision, StoreError, Write};

// One permit is a KiB.
const ROOM: usize = 64 << 10;
// What one transaction takes: more makes the first of a batch wait for the
// last without making the batch cheaper.
const BATCH: usize = 512;
const BATCH_KIB: u32 = 8 << 10;

pub(crate) enum Request {
    Write(Write, oneshot::Sender<Result<Arc<Record>, StoreError>>),
    Compact(Revision, oneshot::Sender<Result<(), StoreError>>),
}

pub(crate) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    room: Arc<Semaphore>,
}

#[derive(Default)]
struct State {
    requests: VecDeque<(Request, u32, OwnedSemaphorePermit)>,
    ticked: bool,
    closed: bool,
}

/// What the keeper has to do.
pub(crate) struct Work {
    pub(crate) requests: Vec<Request>,
    pub(crate) closed: bool,
    // Given back when the work is done.
    _room: Vec<OwnedSemaphorePermit>,
}

impl Queue {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::default(), wake: Condvar::new(), room: Arc::new(Semaphore::new(ROOM)) }
    }

    /// Queues a request that carries `bytes`, once there is room.
    ///
    /// # Errors
    /// `Closed`.
    pub(crate) async fn push(&self, request: Request, bytes: usize) -> Result<(), StoreError> {
        let kib = u32::try_from(1 + bytes / 1024).unwrap_or(u32::MAX).min(ROOM as u32);
        let room = self.room.clone().acquire_many_owned(kib).await.map_err(|_| StoreError::Closed)?;
        let mut state = self.state.lock();
        if state.closed {
            return Err(StoreError::Closed);
        }
        state.requests.push_back((request, kib, room));
        self.wake.notify_one();
        Ok(())
    }

    /// Has the keeper look at the time.
    pub(crate) fn tick(&self) {
        self.state.lock().ticked = true;
        self.wake.notify_one();
    }

    /// Refuses all further requests; those that are queued are still done.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.room.close();
        self.wake.notify_one();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Lets go of what nobody will do any more.
    pub(crate) fn abandon(&self) {
        self.close();
        self.state.lock().requests.clear();
    }

    /// The next requests, as soon as there are any; none after `wait`.
    pub(crate) fn next(&self, wait: Duration) -> Work {
        let until = Instant::now() + wait;
        let mut state = self.state.lock();
        while state.requests.is_empty() && !state.closed && !state.ticked {
            if self.wake.wait_until(&mut state, until).timed_out() {
                break;
            }
        }
        state.ticked = false;
        let mut work = Work { requests: Vec::new(), closed: false, _room: Vec::new() };
        let mut taken = 0;
        while taken < BATCH_KIB
            && work.requests.len() < BATCH
            && let Some((request, kib, room)) = state.requests.pop_front()
        {
            taken += kib;
            work.requests.push(request);
            work._room.push(room);
        }
        work.closed = state.closed && state.requests.is_empty();
        work
    }
}
