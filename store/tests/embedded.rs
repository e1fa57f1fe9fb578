//! The suite on the embedded store in its three modes, and what only it
//! promises.

mod suite;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use coracle_store::{Clock, Embedded, Mode, Options, Retention, Store};
use suite::{Fixture, Recorder};
use tempfile::TempDir;

store_suite!(durable, crate::Local::open(crate::Mode::Durable));
store_suite!(relaxed, crate::Local::open(crate::Mode::Relaxed));
store_suite!(memory, crate::Local::open(|_| crate::Mode::Memory));

/// A time that tests set, in milliseconds.
#[derive(Clone)]
struct Time(Arc<AtomicU64>);

impl Time {
    fn clock(&self) -> Clock {
        let time = self.0.clone();
        Arc::new(move || Duration::from_millis(time.load(Ordering::SeqCst)))
    }

    fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_millis()).expect("tests are short");
        self.0.fetch_add(by, Ordering::SeqCst);
    }
}

struct Local {
    directory: TempDir,
    mode: fn(std::path::PathBuf) -> Mode,
    retention: Retention,
    time: Time,
    recorder: Arc<Recorder>,
    store: Arc<Embedded>,
}

impl Local {
    fn open(mode: fn(std::path::PathBuf) -> Mode) -> Self {
        Self::retaining(mode, Retention::default())
    }

    fn retaining(mode: fn(std::path::PathBuf) -> Mode, retention: Retention) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let time = Time(Arc::new(AtomicU64::new(1_700_000_000_000)));
        Self::on(directory, mode, retention, time)
    }

    fn on(
        directory: TempDir,
        mode: fn(std::path::PathBuf) -> Mode,
        retention: Retention,
        time: Time,
    ) -> Self {
        let recorder = Arc::new(Recorder::default());
        let mut options = Options::new(mode(directory.path().join("store")), recorder.clone());
        options.retention = retention;
        options.clock = time.clock();
        let store = Arc::new(Embedded::open(options).expect("it opens"));
        Self { directory, mode, retention, time, recorder, store }
    }
}

#[async_trait::async_trait]
impl Fixture for Local {
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    fn advance(&self, time: Duration) {
        self.time.advance(time);
        self.store.tick();
    }

    async fn reopen(self: Box<Self>) -> Option<Box<dyn Fixture>> {
        let Self { directory, mode, retention, time, store, .. } = *self;
        store.close().await;
        if mode("".into()) == Mode::Memory {
            return None;
        }
        drop(store);
        Some(Box::new(Self::on(directory, mode, retention, time)))
    }
}
