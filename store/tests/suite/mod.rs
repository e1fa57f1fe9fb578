//! What every store keeps to: one test a sentence of the contract. A new
//! implementation is one line, `store_suite!(name, open)`.

use std::{sync::Arc, time::Duration};

use coracle_store::{Event, Key, Page, Range, Record, Revision, Sink, Store, StoreError, Value, Write};
use tokio::sync::watch;

/// A store under test, and what a test does to it from outside.
#[async_trait::async_trait]
pub trait Fixture: Send + Sync {
    fn store(&self) -> Arc<dyn Store>;
    fn recorder(&self) -> &Recorder;
    /// Lets time pass for the store.
    fn advance(&self, time: Duration);
    /// Closes the store and opens it again with a new recorder; `None` if it
    /// keeps nothing.
    async fn reopen(self: Box<Self>) -> Option<Box<dyn Fixture>>;
}

/// A sink that keeps what it is told.
pub struct Recorder(watch::Sender<Vec<Arc<Event>>>);

impl Default for Recorder {
    fn default() -> Self {
        Self(watch::Sender::new(Vec::new()))
    }
}

impl Sink for Recorder {
    fn publish(&self, events: &[Arc<Event>]) {
        self.0.send_modify(|all| all.extend_from_slice(events));
    }
}

impl Recorder {
    pub fn events(&self) -> Vec<Arc<Event>> {
        self.0.borrow().clone()
    }

    pub async fn deletion_of(&self, key: &str) -> Arc<Event> {
        let find = |events: &Vec<Arc<Event>>| {
            events.iter().find(|event| event.deleted && &**event.key() == key).cloned()
        };
        let mut events = self.0.subscribe();
        let events =
            tokio::time::timeout(Duration::from_secs(30), events.wait_for(|all| find(all).is_some()));
        find(&events.await.expect("the deletion comes").expect("the sink lives")).expect("it was found")
    }
}

pub fn value(text: &str) -> Value {
    Value { bytes: text.to_owned().into(), hole: None }
}

/// `{"v":"TEXT","r":""}` with its revision between the last quotes.
pub fn holed(text: &str) -> Value {
    let bytes = format!(r#"{{"v":"{text}","r":""}}"#);
    let hole = u32::try_from(bytes.len() - 2).ok();
    Value { bytes: bytes.into(), hole }
}

pub fn create(key: &str, text: &str) -> Write {
    Write::Create { key: key.into(), value: holed(text), ttl: None }
}

pub fn create_for(key: &str, ttl: u64) -> Write {
    Write::Create { key: key.into(), value: holed("short"), ttl: Some(Duration::from_secs(ttl)) }
}

pub fn update(record: &Record, text: &str) -> Write {
    Write::Update { key: record.key.clone(), expected: record.revision, value: holed(text), ttl: None }
}

pub fn delete(record: &Record) -> Write {
    Write::Delete { key: record.key.clone(), expected: record.revision }
}

pub fn all(prefix: &str) -> Range {
    Range { prefix: prefix.into(), after: None, limit: 0 }
}

pub fn text(record: &Record) -> &str {
    std::str::from_utf8(&record.bytes).expect("tests write text")
}

pub fn keys(page: &Page) -> Vec<&str> {
    page.records.iter().map(|record| &*record.key).collect()
}

async fn fill(store: &dyn Store, prefix: &str, count: usize) -> Vec<Arc<Record>> {
    let mut records = Vec::new();
    for n in 0..count {
        records.push(store.commit(create(&format!("{prefix}{n:04}"), "first")).await.expect("it is created"));
    }
    records
}

pub async fn a_new_store_is_empty(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    assert_eq!(store.revision(), Revision::FIRST);
    assert_eq!(store.oldest(), Revision::FIRST);
    let page = store.range(all(""), None).await.expect("it can be read");
    assert!(page.records.is_empty());
    assert_eq!((page.revision, page.remaining), (Revision::FIRST, 0));
    assert!(store.get("/a").await.expect("it can be read").is_none());
}

pub async fn each_write_raises_the_revision_and_stands_in_its_bytes(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let first = store.commit(create("/a", "one")).await.expect("it is created");
    assert_eq!((first.created, first.revision), (Revision(2), Revision(2)));
    assert_eq!(text(&first), r#"{"v":"one","r":"2"}"#);
    let second = store.commit(update(&first, "two")).await.expect("it is updated");
    assert_eq!((second.created, second.revision), (Revision(2), Revision(3)));
    assert_eq!(text(&second), r#"{"v":"two","r":"3"}"#);
    let read = store.get("/a").await.expect("it can be read").expect("it is there");
    assert_eq!((read.revision, text(&read)), (Revision(3), text(&second)));
    let last = store.commit(delete(&second)).await.expect("it is deleted");
    assert_eq!((last.created, last.revision), (Revision(2), Revision(4)));
    assert_eq!(text(&last), r#"{"v":"two","r":"4"}"#);
    assert!(store.get("/a").await.expect("it can be read").is_none());
    let again = store.commit(create("/a", "three")).await.expect("it is created anew");
    assert_eq!((again.created, again.revision), (Revision(5), Revision(5)));
    assert_eq!(store.revision(), Revision(5));
}

pub async fn values_are_any_bytes(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    for (n, bytes) in [&b""[..], &[0, 255, 0], &[7; 3 << 20]].into_iter().enumerate() {
        let key: Key = format!("/{n}").into();
        let value = Value { bytes: bytes.to_vec().into(), hole: None };
        store.commit(Write::Create { key: key.clone(), value, ttl: None }).await.expect("it is created");
        let read = store.get(&key).await.expect("it can be read").expect("it is there");
        assert!(read.bytes == bytes, "value {n}");
    }
    let value = Value { bytes: "ab".into(), hole: Some(99) };
    let late = store.commit(Write::Create { key: "/late".into(), value, ttl: None }).await;
    assert_eq!(text(&late.expect("it is created")), "ab5", "a hole past the end is at the end");
}

pub async fn a_refused_write_tells_what_stands_there(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let first = store.commit(create("/a", "one")).await.expect("it is created");
    let second = store.commit(update(&first, "two")).await.expect("it is updated");
    match store.commit(create("/a", "x")).await {
        Err(StoreError::Exists(actual)) => assert_eq!(actual.revision, second.revision),
        other => panic!("{other:?}"),
    }
    for write in [update(&first, "x"), delete(&first)] {
        match store.commit(write).await {
            Err(StoreError::RevisionMismatch { key, expected, actual }) => {
                assert_eq!((&*key, expected), ("/a", first.revision));
                assert_eq!(actual.expect("it is there").revision, second.revision);
            }
            other => panic!("{other:?}"),
        }
    }
    store.commit(delete(&second)).await.expect("it is deleted");
    for write in [update(&second, "x"), delete(&second)] {
        match store.commit(write).await {
            Err(StoreError::RevisionMismatch { actual: None, .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(store.revision(), Revision(4), "what is refused takes no revision");
    assert_eq!(fixture.recorder().events().len(), 3, "and has no event");
}

pub async fn ranges_are_in_order_and_end_at_their_prefix(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    for key in ["/b/2", "/a/1", "/b/10", "/b", "/c/1", "/b/1", "/b0", "/b/\u{10ffff}"] {
        store.commit(create(key, "x")).await.expect("it is created");
    }
    let check = async |prefix: &str, after: Option<&str>, limit, want: &[&str], remaining| {
        let range = Range { prefix: prefix.into(), after: after.map(Into::into), limit };
        let page = store.range(range, None).await.expect("it can be read");
        assert_eq!((keys(&page), page.remaining), (want.to_vec(), remaining), "{prefix} {after:?} {limit}");
    };
    check("/b/", None, 0, &["/b/1", "/b/10", "/b/2", "/b/\u{10ffff}"], 0).await;
    check("/b", None, 2, &["/b", "/b/1"], 4).await;
    check("/b/", Some("/b/1"), 2, &["/b/10", "/b/2"], 1).await;
    check("/b/", Some("/b/15"), 0, &["/b/2", "/b/\u{10ffff}"], 0).await;
    check("/b/", Some("/a"), 1, &["/b/1"], 3).await;
    check("/b/", Some("/b/\u{10ffff}"), 0, &[], 0).await;
    check("/b/", Some("/b0"), 0, &[], 0).await;
    check("/b/", Some("/z"), 1, &[], 0).await;
    check("/x", None, 0, &[], 0).await;
    check("", None, 1, &["/a/1"], 7).await;
}

pub async fn pages_are_as_of_their_first(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let records = fill(&*store, "/p/", 100).await;
    let first = store.range(Range { limit: 7, ..all("/p/") }, None).await.expect("it can be read");
    assert_eq!((first.records.len(), first.remaining), (7, 93));
    let mut seen = first.records.clone();
    let mut rest = records.iter();
    while let Some(last) = seen.last().filter(|_| seen.len() < 100) {
        // Meanwhile everything changes: before, at and after the page.
        for (n, record) in rest.by_ref().take(10).enumerate() {
            let write = if n % 2 == 0 { delete(record) } else { update(record, "second") };
            store.commit(write).await.expect("it is written");
            store.commit(create(&format!("{}-new", record.key), "x")).await.expect("it is created");
        }
        let range = Range { prefix: "/p/".into(), after: Some(last.key.clone()), limit: 7 };
        let page = store.range(range, Some(first.revision)).await.expect("it can be read");
        assert_eq!(page.revision, first.revision);
        assert_eq!(page.remaining, 100 - seen.len() - page.records.len());
        seen.extend(page.records);
    }
    let revisions = |records: &[Arc<Record>]| records.iter().map(|r| r.revision).collect::<Vec<_>>();
    assert_eq!(revisions(&seen), revisions(&records));
}

pub async fn every_retained_revision_can_be_read(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let dump = |page: Page| page.records.iter().map(|r| text(r).to_owned()).collect::<Vec<_>>();
    let mut states = vec![dump(store.range(all("/"), None).await.expect("it can be read"))];
    let mut current: Vec<Option<Arc<Record>>> = vec![None; 5];
    for n in 0..60 {
        // Each key is created, updated, deleted, in turns that differ by key.
        let slot = (n * 7 + n / 5) % 5;
        let write = match &current[slot] {
            None => create(&format!("/{slot}"), &n.to_string()),
            Some(record) if n % 3 == 0 => delete(record),
            Some(record) => update(record, &n.to_string()),
        };
        let deletes = matches!(write, Write::Delete { .. });
        let record = store.commit(write).await.expect("it is written");
        current[slot] = (!deletes).then_some(record);
        states.push(dump(store.range(all("/"), None).await.expect("it can be read")));
    }
    // Both ways, so that kept states are not the only ones that work.
    let order = (0..states.len()).rev().chain(0..states.len());
    for n in order {
        let revision = Revision(n as u64 + 1);
        let page = store.range(all("/"), Some(revision)).await.expect("it can be read");
        assert_eq!(page.revision, revision);
        assert_eq!(dump(page), states[n], "as of {revision}");
    }
    let future = store.range(all("/"), Some(Revision(62))).await;
    assert!(
        matches!(future, Err(StoreError::Future { asked: Revision(62), newest: Revision(61) })),
        "{future:?}"
    );
}

pub async fn compaction_forgets_what_is_before(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let records = fill(&*store, "/c/", 10).await;
    let page = store.range(Range { limit: 2, ..all("/c/") }, None).await.expect("it can be read");
    store.commit(update(&records[0], "second")).await.expect("it is updated");
    let gone = store.commit(delete(&records[1])).await.expect("it is deleted");
    store.commit(create("/c/x", "x")).await.expect("it is created");
    store.compact(gone.revision).await.expect("it is compacted");
    assert_eq!(store.oldest(), gone.revision);
    for asked in [Revision(0), Revision(1), page.revision, Revision(gone.revision.0 - 1)] {
        match store.range(all("/c/"), Some(asked)).await {
            Err(StoreError::Compacted { asked: said, oldest }) => {
                assert_eq!((said, oldest), (asked, gone.revision));
            }
            other => panic!("{asked}: {other:?}"),
        }
    }
    let oldest = store.range(all("/c/"), Some(gone.revision)).await.expect("the oldest can be read");
    assert_eq!(oldest.records.len(), 9);
    store.compact(Revision(3)).await.expect("there is nothing to forget");
    assert_eq!(store.oldest(), gone.revision);
    let future = store.compact(store.revision().next()).await;
    assert!(matches!(future, Err(StoreError::Future { .. })), "{future:?}");
    store.compact(store.revision()).await.expect("it is compacted");
    assert_eq!(store.oldest(), store.revision());
    assert_eq!(store.range(all("/c/"), None).await.expect("it can be read").records.len(), 10);
}

pub async fn events_tell_before_and_after(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let first = store.commit(create("/a", "one")).await.expect("it is created");
    let second = store.commit(update(&first, "two")).await.expect("it is updated");
    let last = store.commit(delete(&second)).await.expect("it is deleted");
    let events = fixture.recorder().events();
    let check = |n: usize, previous: Option<&Record>, record: &Record, deleted| {
        let event: &Event = &events[n];
        assert_eq!(&**event.key(), "/a");
        assert_eq!(event.revision, record.revision);
        assert_eq!(text(&event.record), text(record));
        assert_eq!(event.previous.as_ref().map(|p| text(p)), previous.map(text));
        assert_eq!(event.deleted, deleted);
    };
    check(0, None, &first, false);
    check(1, Some(&first), &second, false);
    check(2, Some(&second), &last, true);
    assert_eq!(events.len(), 3);
}

pub async fn no_update_is_lost_and_every_event_comes_in_order(fixture: Box<dyn Fixture>) {
    const TASKS: usize = 16;
    const EACH: usize = 25;
    let store = fixture.store();
    let start = Write::Create { key: "/n".into(), value: value("0"), ttl: None };
    store.commit(start).await.expect("it is created");
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let store = store.clone();
        tasks.spawn(async move {
            for n in 0..EACH {
                store.commit(create(&format!("/own/{task}/{n}"), "x")).await.expect("it is created");
                let mut current = store.get("/n").await.expect("it can be read").expect("it is there");
                loop {
                    let count: usize = text(&current).parse().expect("a number");
                    let write = Write::Update {
                        key: "/n".into(),
                        expected: current.revision,
                        value: value(&(count + 1).to_string()),
                        ttl: None,
                    };
                    match store.commit(write).await {
                        Ok(record) => {
                            // What is acknowledged is seen.
                            let read = store.get("/n").await.expect("it can be read").expect("it is there");
                            assert!(read.revision >= record.revision);
                            break;
                        }
                        Err(StoreError::RevisionMismatch { actual: Some(actual), .. }) => current = actual,
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.expect("the task ends well");
    }
    let end = store.get("/n").await.expect("it can be read").expect("it is there");
    assert_eq!(text(&end), (TASKS * EACH).to_string());
    let revisions: Vec<u64> = fixture.recorder().events().iter().map(|event| event.revision.0).collect();
    let expected: Vec<u64> = (2..2 + 2 * (TASKS * EACH) as u64 + 1).collect();
    assert_eq!(revisions, expected, "each once, in order, none missing");
}

pub async fn keys_expire_by_a_deletion(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    store.commit(create("/stays", "x")).await.expect("it is created");
    let short = store.commit(create_for("/short", 10)).await.expect("it is created");
    let kept = store.commit(create_for("/kept", 10)).await.expect("it is created");
    let longer = store.commit(create_for("/longer", 10)).await.expect("it is created");
    let freed =
        Write::Update { key: kept.key.clone(), expected: kept.revision, value: value("y"), ttl: None };
    store.commit(freed).await.expect("it is updated");
    let again = Write::Update {
        key: longer.key.clone(),
        expected: longer.revision,
        value: value("y"),
        ttl: Some(Duration::from_secs(60)),
    };
    store.commit(again).await.expect("it is updated");
    fixture.advance(Duration::from_secs(20));
    let event = fixture.recorder().deletion_of("/short").await;
    assert_eq!(event.previous.as_ref().map(|previous| previous.revision), Some(short.revision));
    let page = store.range(all("/"), None).await.expect("it can be read");
    assert_eq!(keys(&page), ["/kept", "/longer", "/stays"]);
    fixture.advance(Duration::from_secs(60));
    fixture.recorder().deletion_of("/longer").await;
    let page = store.range(all("/"), None).await.expect("it can be read");
    assert_eq!(keys(&page), ["/kept", "/stays"]);
}

pub async fn a_closed_store_writes_nothing(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    store.commit(create("/a", "x")).await.expect("it is created");
    let late = tokio::spawn({
        let store = store.clone();
        async move {
            for n in 0.. {
                if let Err(error) = store.commit(create(&format!("/late/{n}"), "x")).await {
                    return (n, error);
                }
            }
            unreachable!("the store closes");
        }
    });
    tokio::task::yield_now().await;
    store.close().await;
    store.close().await;
    let (written, error) = late.await.expect("the writer ends");
    assert!(matches!(error, StoreError::Closed), "{error}");
    let refused = store.commit(create("/b", "x")).await;
    assert!(matches!(refused, Err(StoreError::Closed)), "{refused:?}");
    drop(store);
    if let Some(fixture) = fixture.reopen().await {
        let page = fixture.store().range(all("/late/"), None).await.expect("it can be read");
        assert_eq!(page.records.len(), written);
    }
}

pub async fn a_restart_changes_nothing(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let records = fill(&*store, "/r/", 20).await;
    store.compact(records[9].revision).await.expect("it is compacted");
    store.commit(update(&records[3], "second")).await.expect("it is updated");
    store.commit(delete(&records[4])).await.expect("it is deleted");
    store.commit(create_for("/short", 60)).await.expect("it is created");
    store
        .commit(Write::Create { key: "/raw".into(), value: value(""), ttl: None })
        .await
        .expect("it is created");
    let last = store.commit(create("/last", "x")).await.expect("it is created");
    store.commit(delete(&last)).await.expect("it is deleted");
    let dump = async |store: &dyn Store, at| {
        let page = store.range(all(""), at).await.expect("it can be read");
        let records = page.records.iter();
        (page.revision, records.map(|r| (r.created, r.revision, text(r).to_owned())).collect::<Vec<_>>())
    };
    let oldest = store.oldest();
    let newest = store.revision();
    let before = (dump(&*store, None).await, dump(&*store, Some(Revision(newest.0 - 4))).await);
    let events = fixture.recorder().events();
    drop(store);
    let Some(fixture) = fixture.reopen().await else { return };
    let store = fixture.store();
    assert_eq!((store.oldest(), store.revision()), (oldest, newest));
    assert_eq!((dump(&*store, None).await, dump(&*store, Some(Revision(newest.0 - 4))).await), before);
    let describe = |event: &Arc<Event>| {
        let previous = event.previous.as_ref().map(|previous| text(previous).to_owned());
        (event.revision, previous, text(&event.record).to_owned(), event.deleted)
    };
    let kept: Vec<_> = events.iter().filter(|event| event.revision > oldest).map(describe).collect();
    let again: Vec<_> = fixture.recorder().events().iter().map(describe).collect();
    assert_eq!(again, kept, "what is retained comes first");
    fixture.advance(Duration::from_secs(61));
    fixture.recorder().deletion_of("/short").await;
    let next = store.commit(create("/next", "x")).await.expect("it is created");
    assert_eq!(next.revision, Revision(newest.0 + 2));
    drop(store);
    // Twice, so that what the first start wrote is read as well.
    let Some(fixture) = fixture.reopen().await else { return };
    assert_eq!(fixture.store().revision(), next.revision);
    assert!(fixture.store().get("/short").await.expect("it can be read").is_none());
}

/// One test a function above, on a store that `$open` opens.
#[macro_export]
macro_rules! store_suite {
    ($name:ident, $open:expr) => {
        store_suite!($name, $open;
            a_new_store_is_empty,
            each_write_raises_the_revision_and_stands_in_its_bytes,
            values_are_any_bytes,
            a_refused_write_tells_what_stands_there,
            ranges_are_in_order_and_end_at_their_prefix,
            pages_are_as_of_their_first,
            every_retained_revision_can_be_read,
            compaction_forgets_what_is_before,
            events_tell_before_and_after,
            no_update_is_lost_and_every_event_comes_in_order,
            keys_expire_by_a_deletion,
            a_closed_store_writes_nothing,
            a_restart_changes_nothing,
        );
    };
    ($name:ident, $open:expr; $($sentence:ident,)*) => {
        mod $name {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $sentence() {
                    $crate::suite::$sentence(Box::new($open)).await;
                }
            )*
        }
    };
}
