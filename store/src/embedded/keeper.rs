//! The keeper thread: all writes but those of memory mode, and all that is done
//! at its time.

use std::time::Duration;

use super::{Shared, committer::Committer, disk::Files, queue::Request};

/// Works until the queue is closed.
pub(super) fn keep(shared: &Shared, files: Option<Files>) {
    // Also if this thread panics: then writers are told, not kept waiting.
    let _gone = Gone(shared);
    let mut wait = Duration::ZERO;
    loop {
        let work = shared.queue.next(wait);
        let mut committer = shared.committer.lock();
        let busy = !work.requests.is_empty();
        serve(shared, &mut committer, work.requests);
        wait = committer.tidy(shared, busy);
        if work.closed {
            break;
        }
    }
    // Others get the directory when all in it is closed.
    let _directory = files.map(Files::stop);
    shared.committer.lock().close();
}

struct Gone<'a>(&'a Shared);

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        self.0.queue.abandon();
        self.0.closed.cancel();
    }
}

fn serve(shared: &Shared, committer: &mut Committer, requests: Vec<Request>) {
    let mut writes = Vec::with_capacity(requests.len());
    let mut waiting = Vec::with_capacity(requests.len());
    let mut compactions = Vec::new();
    for request in requests {
        match request {
            Request::Write(write, answer) => {
                writes.push(write);
                waiting.push(answer);
            }
            Request::Compact(revision, answer) => compactions.push((revision, answer)),
        }
    }
    // Whoever has stopped waiting needs no answer.
    for (answer, result) in waiting.into_iter().zip(committer.commit(shared, &writes)) {
        let _gone = answer.send(result);
    }
    for (revision, answer) in compactions {
        let _gone = answer.send(committer.compact(shared, revision));
    }
}
