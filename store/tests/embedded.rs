//! The suite on the embedded store in its three modes, and what only it
//! promises.

mod suite;

use std::{
    path::PathBuf,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use coracle_store::{
    Clock, Embedded, Event, Mode, Options, Range, Retention, Revision, Sink, Store, StoreError,
};
use suite::{Fixture, Recorder, all, create, create_for, delete, keys, update, value};
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
    mode: fn(PathBuf) -> Mode,
    retention: Retention,
    time: Time,
    recorder: Arc<Recorder>,
    store: Arc<Embedded>,
}

impl Local {
    fn open(mode: fn(PathBuf) -> Mode) -> Self {
        Self::retaining(mode, Retention::default())
    }

    fn retaining(mode: fn(PathBuf) -> Mode, retention: Retention) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let time = Time(Arc::new(AtomicU64::new(1_700_000_000_000)));
        Self::on(directory, mode, retention, time)
    }

    fn on(directory: TempDir, mode: fn(PathBuf) -> Mode, retention: Retention, time: Time) -> Self {
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

const MODES: [fn(PathBuf) -> Mode; 2] = [Mode::Durable, |_| Mode::Memory];

/// `count` writes of one key.
async fn churn(store: &Embedded, key: &str, count: usize) -> Revision {
    let mut record = store.commit(create(key, "start")).await.expect("it is created");
    for n in 1..count {
        record = store.commit(update(&record, &n.to_string())).await.expect("it is updated");
    }
    record.revision
}

#[tokio::test]
async fn the_past_is_bounded_by_count() {
    for mode in MODES {
        let local = Local::retaining(mode, Retention { events: 10, ..Retention::default() });
        let newest = churn(&local.store, "/a", 100).await;
        assert_eq!(local.store.oldest(), Revision(newest.0 - 10));
        local.store.range(all("/"), Some(local.store.oldest())).await.expect("the oldest can be read");
        let before = Revision(newest.0 - 11);
        let gone = local.store.range(all("/"), Some(before)).await;
        assert!(matches!(gone, Err(StoreError::Compacted { asked, .. }) if asked == before), "{gone:?}");
    }
}

#[tokio::test]
async fn the_past_is_bounded_by_bytes() {
    for mode in MODES {
        let local = Local::retaining(mode, Retention { bytes: 10_000, ..Retention::default() });
        let write = |revision: Option<u64>| {
            let (key, value, ttl) = ("/a".into(), value(&"x".repeat(1000)), None);
            match revision {
                None => coracle_store::Write::Create { key, value, ttl },
                Some(at) => coracle_store::Write::Update { key, expected: Revision(at), value, ttl },
            }
        };
        local.store.commit(write(None)).await.expect("it is created");
        for at in 2..50 {
            local.store.commit(write(Some(at))).await.expect("it is updated");
        }
        assert_eq!(local.store.oldest(), Revision(50 - 10));
    }
}

/// Waits until the keeper has done what the clock asks for.
async fn until(what: &str, done: impl Fn() -> bool) {
    let limit = std::time::Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(std::time::Instant::now() < limit, "{what}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_past_is_bounded_by_age_and_so_are_open_pages() {
    for mode in MODES {
        let local = Local::open(mode);
        for n in 0..20 {
            local.store.commit(create(&format!("/p/{n:02}"), "x")).await.expect("it is created");
        }
        let first = local.store.range(Range { limit: 5, ..all("/p/") }, None).await.expect("it can be read");
        local.advance(Duration::from_secs(200));
        let record = local.store.get("/p/07").await.expect("it can be read").expect("it is there");
        local.store.commit(delete(&record)).await.expect("it is deleted");
        let middle = local.store.revision();
        let next = async |after: &str| {
            let range = Range { prefix: "/p/".into(), after: Some(after.into()), limit: 5 };
            local.store.range(range, Some(first.revision)).await
        };
        let page = next("/p/04").await.expect("it can be read");
        assert_eq!(keys(&page), ["/p/05", "/p/06", "/p/07", "/p/08", "/p/09"]);
        // The creations are too old now, the deletion is not.
        local.advance(Duration::from_secs(150));
        until("the first are forgotten", || local.store.oldest() == first.revision).await;
        next("/p/04").await.expect("the past begins there");
        local.advance(Duration::from_secs(160));
        until("all are forgotten", || local.store.oldest() == middle).await;
        // Who comes back again and again finds it gone too.
        let gone = next("/p/09").await;
        assert!(matches!(gone, Err(StoreError::Compacted { .. })), "{gone:?}");
        let mut record = local.store.commit(create("/q", "x")).await.expect("it is created");
        record = local.store.commit(update(&record, "y")).await.expect("it is updated");
        local.advance(Duration::from_secs(400));
        until("these too", || local.store.oldest() == record.revision).await;
    }
}

#[tokio::test]
async fn open_pages_outlive_a_past_that_is_bounded_by_its_events() {
    let local = Local::retaining(|_| Mode::Memory, Retention { events: 4, ..Retention::default() });
    churn(&local.store, "/a", 1).await;
    churn(&local.store, "/b", 1).await;
    let first = local.store.range(Range { limit: 1, ..all("/") }, None).await.expect("it can be read");
    churn(&local.store, "/c", 50).await;
    until("it is forgotten", || local.store.oldest() > first.revision).await;
    let read = async || local.store.range(Range { limit: 1, ..all("/") }, Some(first.revision)).await;
    read().await.expect("an open page goes on");
    local.advance(Duration::from_secs(299));
    read().await.expect("an open page goes on");
    local.advance(Duration::from_secs(1));
    let gone = read().await;
    assert!(matches!(gone, Err(StoreError::Compacted { .. })), "{gone:?}");
}

#[tokio::test]
async fn an_open_page_does_not_hold_more_than_the_past_may() {
    let retention = Retention { bytes: 20_000, ..Retention::default() };
    let local = Local::retaining(|_| Mode::Memory, retention);
    churn(&local.store, "/a", 1).await;
    churn(&local.store, "/b", 1).await;
    let first = local.store.range(Range { limit: 1, ..all("/") }, None).await.expect("it can be read");
    churn(&local.store, "/c", 2000).await;
    local.store.tick();
    let read = async || local.store.range(Range { limit: 1, ..all("/") }, Some(first.revision)).await;
    let limit = std::time::Instant::now() + Duration::from_secs(30);
    while !matches!(read().await, Err(StoreError::Compacted { .. })) {
        assert!(std::time::Instant::now() < limit, "it is let go");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_page_opened_late_holds_no_more_than_one_opened_at_once() {
    let retention = Retention { bytes: 20_000, ..Retention::default() };
    let local = Local::retaining(|_| Mode::Memory, retention);
    let mut record = local.store.commit(create("/a", "x")).await.expect("it is created");
    let first = local.store.commit(create("/b", "x")).await.expect("it is created").revision;
    let read = async || local.store.range(Range { limit: 1, ..all("/") }, Some(first)).await;
    for round in 0..2 {
        for _ in 0..12 {
            record = local.store.commit(update(&record, &"x".repeat(1000))).await.expect("it is updated");
        }
        if round == 0 {
            read().await.expect("the past is still there");
        }
    }
    let limit = std::time::Instant::now() + Duration::from_secs(30);
    while !matches!(read().await, Err(StoreError::Compacted { .. })) {
        assert!(std::time::Instant::now() < limit, "it is let go");
        local.store.tick();
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn dead_rows_leave_the_disk() {
    let local = Local::retaining(Mode::Durable, Retention { events: 10, ..Retention::default() });
    let path = local.directory.path().join("store/log.sqlite");
    let count = |sql| {
        let log = rusqlite::Connection::open(&path).expect("it opens");
        log.query_row(sql, [], |row| row.get::<_, i64>(0)).expect("it counts")
    };
    let large = |n: usize| coracle_store::Write::Create {
        key: format!("/large/{n}").into(),
        value: value(&"x".repeat(20_000)),
        ttl: None,
    };
    for n in 0..600 {
        local.store.commit(large(n)).await.expect("it is created");
    }
    let page = local.store.range(all("/large/"), None).await.expect("it can be read");
    for record in &page.records {
        local.store.commit(delete(record)).await.expect("it is deleted");
    }
    let newest = local.store.commit(create("/a", "x")).await.expect("it is created").revision;
    // Ten events, with what was before them, and `/a`.
    until("they are removed", || {
        local.advance(Duration::from_secs(31));
        count("SELECT count(*) FROM log") <= 20
    })
    .await;
    until("the free pages are given back", || count("PRAGMA freelist_count") <= 256).await;
    let full = local.store.size();
    assert!(full > 600 * 20_000, "{full}");
    local.store.close().await;
    let size = std::fs::metadata(&path).expect("it is there").len();
    assert!(size < 2_000_000, "it has not shrunk: {size}");
    let again = Box::new(local).reopen().await.expect("it keeps its data");
    assert_eq!(again.store().revision(), newest);
    let page = again.store().range(all("/"), None).await.expect("it can be read");
    assert_eq!(keys(&page), ["/a"]);
}

#[tokio::test]
async fn what_is_dead_at_a_restart_is_still_removed() {
    let local = Local::open(Mode::Durable);
    let path = local.directory.path().join("store/log.sqlite");
    let newest = churn(&local.store, "/a", 700).await;
    local.store.compact(newest).await.expect("it is compacted");
    // One compaction removes a part only.
    let again = Box::new(local).reopen().await.expect("it keeps its data");
    until("they are removed", || {
        again.advance(Duration::from_secs(31));
        let log = rusqlite::Connection::open(&path).expect("it opens");
        log.query_row("SELECT count(*) FROM log", [], |row| row.get::<_, i64>(0)).expect("it counts") == 1
    })
    .await;
    assert_eq!(again.store().oldest(), newest);
}

#[tokio::test]
async fn keys_expire_while_the_store_is_closed() {
    let local = Local::open(Mode::Durable);
    local.store.commit(create_for("/short", 10)).await.expect("it is created");
    local.store.close().await;
    local.time.advance(Duration::from_secs(3600));
    let again = Box::new(local).reopen().await.expect("it keeps its data");
    again.recorder().deletion_of("/short").await;
    assert!(again.store().get("/short").await.expect("it can be read").is_none());
}

/// A sink that reads what it is told of.
#[derive(Default)]
struct Reader {
    store: OnceLock<Weak<Embedded>>,
    told: AtomicUsize,
}

impl Sink for Reader {
    fn publish(&self, events: &[Arc<Event>]) {
        let store = self.store.get().and_then(Weak::upgrade).expect("the store is there");
        let last = events.last().expect("no batch is empty");
        assert_eq!(store.revision(), last.revision);
        self.told.fetch_add(events.len(), Ordering::SeqCst);
    }
}

#[tokio::test]
async fn who_is_told_of_a_write_can_read_it() {
    for mode in MODES {
        let directory = tempfile::tempdir().expect("a directory");
        let reader = Arc::new(Reader::default());
        let store = Embedded::open(Options::new(mode(directory.path().into()), reader.clone()));
        let store = Arc::new(store.expect("it opens"));
        reader.store.set(Arc::downgrade(&store)).expect("it is set once");
        churn(&store, "/a", 20).await;
        assert_eq!(reader.told.load(Ordering::SeqCst), 20);
    }
}

#[tokio::test]
async fn many_stores_live_in_one_process() {
    let stores: Vec<Local> = (0..50).map(|_| Local::open(|_| Mode::Memory)).collect();
    for (n, local) in stores.iter().enumerate() {
        churn(&local.store, &format!("/{n}"), n + 1).await;
    }
    for (n, local) in stores.iter().enumerate() {
        assert_eq!(local.store.revision(), Revision(n as u64 + 2));
    }
}
