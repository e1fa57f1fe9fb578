//! The one place where the store changes. Whoever holds the committer writes:
//! the keeper thread, or in memory mode the caller itself.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use super::{
    Shared,
    batch::{Batch, Entry},
    log::Log,
};
use crate::{Event, Key, Record, Revision, StoreError, Write};

// Dead rows that are removed in one transaction: short enough for a write to
// wait for.
const SWEEP: usize = 256;
// So many dead rows are swept even while there are writes to do.
const SWEEP_BUSY: usize = 4096;
// How long fewer than `SWEEP` dead rows may lie about.
const SWEEP_AFTER: Duration = Duration::from_secs(30);
const EXPIRE: usize = 256;
const FORGET: usize = 1024;
const SOON: Duration = Duration::from_millis(5);
// How long to leave a disk alone that has failed.
const LATER: Duration = Duration::from_secs(1);
const IDLE: Duration = Duration::from_secs(30);

pub(crate) struct Committer {
    log: Option<Log>,
    deadlines: BTreeMap<(Duration, Revision), Key>,
    // The newest revision at some points in time, and the one that has become
    // too old by now.
    marks: VecDeque<(Duration, Revision)>,
    aged: Revision,
    dead: VecDeque<Revision>,
    swept: Duration,
    // Whether the file may have many free pages.
    shrinking: bool,
}

impl Committer {
    pub(crate) fn new(
        log: Option<Log>,
        expiries: Vec<(Duration, Revision, Key)>,
        dead: Vec<Revision>,
        opened: (Duration, Revision),
    ) -> Self {
        let deadlines = expiries.into_iter().map(|(at, revision, key)| ((at, revision), key)).collect();
        // How long ago the events of before were is not known; they age from
        // now.
        let marks = VecDeque::from([opened]);
        Self { log, deadlines, marks, aged: Revision(0), dead: dead.into(), swept: opened.0, shrinking: true }
    }

    /// Does all these writes at once. Those that cannot be done are answered
    /// as if they came in this order.
    pub(crate) fn commit(
        &mut self,
        shared: &Shared,
        writes: &[Write],
    ) -> Vec<Result<Arc<Record>, StoreError>> {
        let now = (shared.clock)();
        let (answers, entries) = {
            let index = shared.index.read();
            let mut batch = Batch::new(&index, now);
            let answers = writes.iter().map(|write| batch.write(write)).collect();
            (answers, batch.into_entries())
        };
        if entries.is_empty() {
            return answers;
        }
        if let Some(log) = &mut self.log
            && let Err(error) = log.append(&entries)
        {
            // Also for the refused ones: they may have been refused for what
            // was not written.
            return writes.iter().map(|_| Err(error.clone())).collect();
        }
        self.publish(shared, entries, now);
        answers
    }

    fn publish(&mut self, shared: &Shared, entries: Vec<Entry>, now: Duration) {
        self.mark(shared, &entries, now);
        let mut events = Vec::with_capacity(entries.len());
        for Entry { event, expires } in entries {
            if let Some(expires) = expires {
                self.deadlines.insert((expires, event.revision), event.record.key.clone());
            }
            events.push(event);
        }
        let forgotten = {
            let mut index = shared.index.write();
            for event in &events {
                index.apply(event.clone());
            }
            // More than comes in, so that it shrinks to its bounds.
            index.compact(self.aged, &shared.retention, 2 * events.len() + 16)
        };
        // Readers see it first: a watcher may read at this revision at once.
        shared.sink.publish(&events);
        self.bury(&forgotten);
    }

    fn mark(&mut self, shared: &Shared, entries: &[Entry], now: Duration) {
        let Some(last) = entries.last() else { return };
        // Marks stand at the ends of intervals, not of batches: few are enough.
        let interval = (shared.retention.age / 64).as_millis().max(1);
        let end = (now.as_millis() / interval + 1) * interval;
        let end = Duration::from_millis(u64::try_from(end).unwrap_or(u64::MAX));
        match self.marks.back_mut() {
            Some((at, revision)) if *at >= end => *revision = last.event.revision,
            _ => self.marks.push_back((end, last.event.revision)),
        }
    }

    fn bury(&mut self, forgotten: &[Arc<Event>]) {
        if self.log.is_none() {
            return;
        }
        for event in forgotten {
            self.dead.extend(event.previous.as_ref().map(|previous| previous.revision));
            if event.deleted {
                self.dead.push_back(event.revision);
            }
        }
    }

    /// Forgets the states before `until`.
    pub(crate) fn compact(&mut self, shared: &Shared, until: Revision) -> Result<(), StoreError> {
        let newest = shared.index.read().revision();
        if until > newest {
            return Err(StoreError::Future { asked: until, newest });
        }
        self.aged = self.aged.max(until);
        shared.pages.lock().forget(until);
        self.forget(shared);
        let dead = self.some_dead(shared);
        self.remove(shared, &dead)
    }

    /// Whatever is due, a bounded part of it. Returns after which time there
    /// is more.
    pub(crate) fn tidy(&mut self, shared: &Shared, busy: bool) -> Duration {
        let now = (shared.clock)();
        if self.expire(shared, now).is_err() {
            return LATER;
        }
        while let Some((at, revision)) = self.marks.front()
            && now.saturating_sub(*at) >= shared.retention.age
        {
            self.aged = self.aged.max(*revision);
            self.marks.pop_front();
        }
        self.forget(shared);
        {
            let index = shared.index.read();
            shared.pages.lock().trim(&index, &shared.retention, now);
        }
        if self.sweep(shared, now, busy).is_err() {
            return LATER;
        }
        self.rest(shared, now)
    }

    fn sweep(&mut self, shared: &Shared, now: Duration, busy: bool) -> Result<(), StoreError> {
        let many = if busy { SWEEP_BUSY } else { SWEEP };
        let old = !busy && now.saturating_sub(self.swept) >= SWEEP_AFTER;
        if self.dead.len() >= many || old {
            self.swept = now;
            let dead = self.some_dead(shared);
            if !dead.is_empty() {
                self.remove(shared, &dead)?;
                self.shrinking |= dead.len() < SWEEP;
            }
        } else if self.shrinking && !busy {
            self.shrinking = self.log.as_mut().is_some_and(Log::shrink);
        }
        Ok(())
    }

    fn rest(&self, shared: &Shared, now: Duration) -> Duration {
        if self.dead.len() >= SWEEP || self.shrinking {
            return SOON;
        }
        let expiry = self.deadlines.keys().next().map(|(at, _)| at.saturating_sub(now));
        let age = self.marks.front().map(|(at, _)| (*at + shared.retention.age).saturating_sub(now));
        // A clock that stands still must not make this a busy loop.
        expiry.into_iter().chain(age).fold(IDLE, Duration::min).max(Duration::from_millis(1))
    }

    // A bounded number at once: writes wait for it.
    fn expire(&mut self, shared: &Shared, now: Duration) -> Result<(), StoreError> {
        let due: Vec<_> = self.deadlines.range(..=(now, Revision(u64::MAX))).take(EXPIRE).collect();
        if due.is_empty() {
            return Ok(());
        }
        let writes: Vec<Write> = due
            .iter()
            .map(|((_, revision), key)| Write::Delete { key: Key::clone(key), expected: *revision })
            .collect();
        let due: Vec<_> = due.into_iter().map(|(due, _)| *due).collect();
        for answer in self.commit(shared, &writes) {
            match answer {
                // It was written again meanwhile, or is gone.
                Ok(_) | Err(StoreError::RevisionMismatch { .. }) => {}
                Err(error) => {
                    tracing::warn!(%error, "keys are over their time but cannot be deleted");
                    return Err(error);
                }
            }
        }
        for due in due {
            self.deadlines.remove(&due);
        }
        Ok(())
    }

    fn forget(&mut self, shared: &Shared) {
        loop {
            // Freed after the lock is.
            let forgotten = shared.index.write().compact(self.aged, &shared.retention, FORGET);
            self.bury(&forgotten);
            if forgotten.len() < FORGET {
                return;
            }
        }
    }

    fn some_dead(&self, shared: &Shared) -> Vec<Revision> {
        // The newest row keeps the counter, so it stays even if it is dead.
        let newest = shared.index.read().revision();
        self.dead.iter().copied().take_while(|revision| *revision != newest).take(SWEEP).collect()
    }

    // Removes the first of the dead rows, which are these, and notes from
    // where on states can be read.
    fn remove(&mut self, shared: &Shared, dead: &[Revision]) -> Result<(), StoreError> {
        let Some(log) = &mut self.log else { return Ok(()) };
        let oldest = shared.index.read().oldest();
        log.remove(dead, oldest).inspect_err(|error| {
            tracing::warn!(%error, "the store's dead rows cannot be removed");
        })?;
        self.dead.drain(..dead.len());
        Ok(())
    }

    /// Lets go of the files.
    pub(crate) fn close(&mut self) {
        if let Some(log) = self.log.take() {
            log.close();
        }
    }
}
