//! Files that are cut, damaged, in use or on a disk that refuses.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use coracle_store::{
    Embedded, Mode, NoSink, Options, Range, Record, Retention, Store, StoreError, Value, Write,
};
use tempfile::TempDir;

const LOG: &str = "log.sqlite";
const WAL: &str = "log.sqlite-wal";

fn options(directory: &Path) -> Options {
    Options::new(Mode::Durable(directory.to_owned()), Arc::new(NoSink))
}

fn open(directory: &Path) -> Result<Embedded, StoreError> {
    Embedded::open(options(directory))
}

fn create(n: usize, length: usize) -> Write {
    let bytes = vec![b'a' + (n % 26) as u8; length];
    let value = Value { bytes: bytes.into(), hole: Some(0) };
    Write::Create { key: format!("/key/{n:04}").into(), value, ttl: None }
}

async fn records(store: &Embedded) -> Vec<Arc<Record>> {
    let range = Range { prefix: "".into(), after: None, limit: 0 };
    store.range(range, None).await.expect("it can be read").records
}

/// The files of a store, as they are at one time.
struct Files {
    log: Vec<u8>,
    wal: Vec<u8>,
}

impl Files {
    fn of(directory: &Path) -> Self {
        let wal = fs::read(directory.join(WAL)).unwrap_or_default();
        Self { log: fs::read(directory.join(LOG)).expect("the log"), wal }
    }

    /// Puts them into a directory of their own.
    fn lay(&self) -> TempDir {
        // There are thousands; memory takes them without wearing a disk out.
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let directory = tempfile::tempdir_in(parent).expect("a directory");
        fs::write(directory.path().join(LOG), &self.log).expect("the log");
        if !self.wal.is_empty() {
            fs::write(directory.path().join(WAL), &self.wal).expect("the wal");
        }
        directory
    }
}

/// A store that was killed: `checkpointed` records in its file and `logged` in
/// its WAL, with the WAL's length after each of these.
async fn killed(checkpointed: usize, logged: usize) -> (Files, Vec<usize>) {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path()).expect("it opens");
    for n in 0..checkpointed {
        store.commit(create(n, 300)).await.expect("it is written");
    }
    store.close().await;
    let store = open(directory.path()).expect("it opens");
    let mut lengths = Vec::new();
    for n in checkpointed..checkpointed + logged {
        store.commit(create(n, 300)).await.expect("it is written");
        lengths.push(Files::of(directory.path()).wal.len());
    }
    // Its files are copied while it is open: what a kill would leave.
    (Files::of(directory.path()), lengths)
}

#[tokio::test]
async fn a_wal_that_is_cut_keeps_all_before_the_cut() {
    let (files, lengths) = killed(20, 12).await;
    let steps = (0..files.wal.len()).step_by(997);
    let edges = lengths.iter().flat_map(|length| [length - 1, *length, length + 1]);
    for cut in steps.chain(edges).chain([1, 31, 32, 33]).filter(|cut| *cut <= files.wal.len()) {
        let directory = Files { log: files.log.clone(), wal: files.wal[..cut].to_vec() }.lay();
        let store = open(directory.path()).unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
        let whole = lengths.iter().filter(|length| **length <= cut).count();
        assert_eq!(records(&store).await.len(), 20 + whole, "cut at {cut}");
        let dropped = cut - lengths.iter().copied().filter(|l| *l <= cut).max().unwrap_or(cut.min(32));
        let said = store.found().dropped.map_or(0, |dropped| dropped.bytes);
        // Less than a header says nothing of where it ends.
        assert_eq!(said, if cut < 32 { cut as u64 } else { dropped as u64 }, "cut at {cut}");
        let next = store.commit(create(9000, 10)).await.expect("it goes on");
        assert_eq!(next.revision.0, 22 + whole as u64, "cut at {cut}");
        store.close().await;
        let store = open(directory.path()).expect("it opens again");
        assert_eq!(store.found().dropped, None, "cut at {cut}: it is dropped once");
        assert_eq!(records(&store).await.len(), 21 + whole, "cut at {cut}");
    }
}

#[tokio::test]
async fn a_wal_that_is_damaged_is_refused_but_at_its_end() {
    let (files, lengths) = killed(20, 12).await;
    let last = lengths[lengths.len() - 2];
    let end = lengths[lengths.len() - 1];
    let mut offsets: Vec<usize> = (0..end).step_by(997).collect();
    // The headers of all frames, byte by byte.
    offsets.extend(0..32);
    offsets.extend((0..end / 4120).flat_map(|frame| (0..24).map(move |byte| 32 + frame * 4120 + byte)));
    for offset in offsets.into_iter().filter(|offset| *offset < end) {
        let mut wal = files.wal.clone();
        wal[offset] ^= 0x5a;
        let directory = Files { log: files.log.clone(), wal }.lay();
        let what = format!("byte {offset} of {end}, the last write at {last}");
        match open(directory.path()) {
            Err(StoreError::Damaged(text)) if offset < last => {
                assert!(text.contains("acknowledged writes follow"), "{what}: {text}");
                let after = Files::of(directory.path());
                assert!(
                    after.log == files.log && after.wal.len() == files.wal.len(),
                    "{what}: it was changed"
                );
            }
            Ok(store) if offset >= last => {
                assert_eq!(records(&store).await.len(), 31, "{what}");
                assert_eq!(store.found().dropped.map(|d| d.bytes), Some((end - last) as u64), "{what}");
            }
            other => panic!("{what}: {:?}", other.map(|store| store.found())),
        }
    }
}

/// What became of a store that was opened with damaged files.
#[derive(Debug, PartialEq)]
enum Outcome {
    Same,
    Refused,
}

async fn outcome(directory: &Path, expected: &[(String, u64, bytes::Bytes)], what: &str) -> Outcome {
    match open(directory) {
        Ok(store) => {
            let records = records(&store).await;
            let found: Vec<_> =
                records.iter().map(|r| (r.key.to_string(), r.revision.0, r.bytes.clone())).collect();
            assert!(found == expected, "{what}: it opened with other data");
            Outcome::Same
        }
        Err(StoreError::Damaged(text)) => {
            assert!(text.contains(".recover") || text.contains("format"), "{what}: {text}");
            Outcome::Refused
        }
        Err(error) => panic!("{what}: {error}"),
    }
}

/// A store that was closed, with some keys updated and some deleted, and what
/// is in it.
async fn closed() -> (Files, Vec<(String, u64, bytes::Bytes)>) {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path()).expect("it opens");
    for n in 0..60 {
        let record = store.commit(create(n, if n == 7 { 20_000 } else { 500 })).await.expect("it is written");
        if n % 5 == 0 {
            let write = Write::Delete { key: record.key.clone(), expected: record.revision };
            store.commit(write).await.expect("it is deleted");
        }
    }
    let middle = coracle_store::Revision(store.revision().0 / 2);
    store.compact(middle).await.expect("it is compacted");
    let records = records(&store).await;
    store.close().await;
    let expected = records.iter().map(|r| (r.key.to_string(), r.revision.0, r.bytes.clone())).collect();
    (Files::of(directory.path()), expected)
}

#[tokio::test]
async fn a_log_that_is_cut_is_refused() {
    let (files, expected) = closed().await;
    let length = files.log.len();
    for cut in [0, 1, 99, 100, 512, 4095, 4096].into_iter().chain((0..length).step_by(4001)) {
        let directory = Files { log: files.log[..cut].to_vec(), wal: Vec::new() }.lay();
        let what = format!("cut at {cut} of {length}");
        // A last page that is free may be cut.
        let outcome = outcome(directory.path(), &expected, &what).await;
        assert!(outcome == Outcome::Refused || cut + 4096 > length, "{what}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_log_with_a_changed_byte_is_refused_or_has_all_its_data() {
    let (files, expected) = closed().await;
    let mut refused = 0;
    let offsets = (0..256).chain((4096..files.log.len()).step_by(149)).collect::<Vec<_>>();
    let tried = offsets.len();
    for offset in offsets {
        for flip in [0xff, 0x01] {
            let mut log = files.log.clone();
            log[offset] ^= flip;
            let directory = Files { log, wal: Vec::new() }.lay();
            let what = format!("byte {offset} of {} ^ {flip:#x}", files.log.len());
            let outcome = outcome(directory.path(), &expected, &what).await;
            refused += usize::from(outcome == Outcome::Refused);
        }
    }
    // What is not refused was in unused parts of pages.
    assert!(refused > tried, "only {refused} of {}", 2 * tried);
}

#[tokio::test]
async fn a_log_with_a_missing_row_is_refused_until_somebody_accepts_it() {
    let (files, _) = closed().await;
    let directory = files.lay();
    let execute = |sql: &str| {
        let log = rusqlite::Connection::open(directory.path().join(LOG)).expect("it opens");
        log.execute(sql, []).expect("it executes")
    };
    assert_eq!(execute("DELETE FROM log WHERE key = '/key/0042'"), 1);
    let refused = open(directory.path()).map(|store| store.found());
    assert!(matches!(&refused, Err(StoreError::Damaged(text)) if text.contains("missing")), "{refused:?}");
    // And one whose content changed, which goes too.
    assert_eq!(
        execute("UPDATE log SET value = CAST('x' || substr(value, 2) AS BLOB) WHERE key = '/key/0043'"),
        1
    );
    let refused = open(directory.path()).map(|store| store.found());
    assert!(matches!(&refused, Err(StoreError::Damaged(text)) if text.contains("row")), "{refused:?}");
    execute("UPDATE state SET removed = NULL");
    for _ in 0..2 {
        let store = open(directory.path()).expect("it is accepted");
        assert_eq!(records(&store).await.len(), 46);
        assert!(store.get("/key/0042").await.expect("it can be read").is_none());
        store.close().await;
    }
    // The newest rows are missed too.
    execute("DELETE FROM log WHERE revision = (SELECT max(revision) FROM log)");
    let refused = open(directory.path()).map(|store| store.found());
    assert!(matches!(&refused, Err(StoreError::Damaged(text)) if text.contains("newest")), "{refused:?}");
}

#[tokio::test]
async fn a_log_that_is_gone_beside_its_wal_is_refused() {
    let (files, _) = killed(1, 1).await;
    let directory = files.lay();
    fs::remove_file(directory.path().join(LOG)).expect("it is removed");
    let refused = open(directory.path()).map(|store| store.found());
    assert!(matches!(&refused, Err(StoreError::Damaged(text)) if text.contains("gone")), "{refused:?}");
}

#[tokio::test]
async fn a_creation_that_was_cut_off_starts_anew() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("log.sqlite.creating"), b"half").expect("it is written");
    let store = open(directory.path()).expect("it opens");
    store.commit(create(1, 10)).await.expect("it is written");
}

#[tokio::test]
async fn a_directory_is_held_by_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path()).expect("it opens");
    match open(directory.path()).map(|store| store.found()) {
        Err(StoreError::Held(text)) => {
            assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
            assert!(text.contains(&directory.path().display().to_string()), "{text}");
        }
        other => panic!("{other:?}"),
    }
    store.close().await;
    open(directory.path()).expect("it is free again");
}

#[tokio::test]
async fn what_is_inside_is_for_its_owner_only() {
    let parent = tempfile::tempdir().expect("a directory");
    let path = parent.path().join("a/b");
    let store = open(&path).expect("it opens");
    store.commit(create(1, 10)).await.expect("it is written");
    let mode = |path: PathBuf| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(path.clone()), 0o700);
    for file in [LOG, WAL, "lock"] {
        assert_eq!(mode(path.join(file)), 0o600, "{file}");
    }
}

#[test]
fn a_directory_that_cannot_be_written_is_said() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("in-the-way");
    fs::write(&path, b"").expect("it is written");
    // Neither root nor anybody else makes a directory there.
    for path in [path.join("store"), PathBuf::from("/proc/coracle/store")] {
        match open(&path).map(|store| store.found()) {
            Err(StoreError::Disk(text)) => assert!(text.contains(&path.display().to_string()), "{text}"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_refused_store_is_left_as_it_is() {
    let (mut files, _) = killed(40, 5).await;
    // In rows of the file; the WAL is sound, and closing would copy it.
    for byte in files.log.iter_mut().filter(|byte| **byte == b'c') {
        *byte = b'C';
    }
    let directory = files.lay();
    let refused = open(directory.path()).map(|store| store.found());
    assert!(matches!(&refused, Err(StoreError::Damaged(text)) if text.contains("damaged")), "{refused:?}");
    let after = Files::of(directory.path());
    assert!(after.log == files.log && after.wal == files.wal);
}

/// Not a test of its own: opens the directory that it is told, and says how it
/// went.
#[test]
fn opener() {
    let Some(directory) = std::env::var_os("CORACLE_OPEN_DIRECTORY") else { return };
    println!("opened: {:?}", open(Path::new(&directory)).map(|store| store.found()));
}

#[tokio::test]
async fn a_store_that_cannot_be_written_is_not_opened() {
    let (files, _) = closed().await;
    for read_only in ["", LOG] {
        let directory = files.lay();
        fs::write(directory.path().join("lock"), "").expect("it is written");
        let set = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
        };
        set(&directory.path().join("lock"), 0o666);
        set(&directory.path().join(LOG), if read_only == LOG { 0o444 } else { 0o666 });
        set(directory.path(), if read_only == LOG { 0o777 } else { 0o555 });
        let mut command = Command::new(std::env::current_exe().expect("this executable"));
        command.args(["opener", "--exact", "--nocapture"]).env("CORACLE_OPEN_DIRECTORY", directory.path());
        if rustix::process::geteuid().is_root() {
            // Root may write everywhere.
            command.uid(65534);
        }
        let output = match command.output() {
            // This executable is not for everybody.
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return,
            output => output.expect("it runs"),
        };
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("opened: Err(Disk("), "{read_only}: {said}");
        assert!(said.contains(&directory.path().display().to_string()), "{read_only}: {said}");
    }
}

/// Not a test of its own: fills the directory that it is told, with all files
/// limited to a size, and says how it went.
#[tokio::test]
async fn filler() {
    let Some(directory) = std::env::var_os("CORACLE_FULL_DIRECTORY") else { return };
    let mut options = options(Path::new(&directory));
    options.retention = Retention { events: 10, age: Duration::from_secs(1), ..Retention::default() };
    let store = Embedded::open(options).expect("it opens");
    let mut written = Vec::new();
    let mut refused = 0;
    // A disk may be full for one file only; when it refuses twice, it is.
    while refused < 2 {
        match store.commit(create(written.len(), 20_000)).await {
            Ok(record) => {
                written.push(record);
                refused = 0;
            }
            Err(StoreError::Disk(_)) => refused += 1,
            Err(error) => panic!("{error}"),
        }
        assert!(written.len() < 10_000, "the limit does nothing");
    }
    assert_eq!(store.revision(), written.last().expect("some are written").revision, "it took no revision");
    assert_eq!(records(&store).await.len(), written.len());
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: maximum, maximum }).expect("there is space again");
    for _ in 0..20 {
        written.push(store.commit(create(written.len(), 20_000)).await.expect("it goes on"));
    }
    println!("written {}", written.len());
    // Without closing, as if killed.
    std::process::exit(0);
}

#[tokio::test]
async fn a_full_disk_loses_nothing_and_is_got_over() {
    for blocks in [900, 2500] {
        let directory = tempfile::tempdir().expect("a directory");
        // A write beyond the limit fails instead of ending the process.
        let script = format!("trap '' XFSZ; ulimit -S -f {blocks}; exec \"$0\" filler --exact --nocapture");
        let output = Command::new("sh")
            .args(["-c", &script])
            .arg(std::env::current_exe().expect("this executable"))
            .env("CORACLE_FULL_DIRECTORY", directory.path())
            .stderr(Stdio::inherit())
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}");
        let written = said.lines().find_map(|line| line.split_once("written ")?.1.parse().ok());
        let written: usize = written.unwrap_or_else(|| panic!("{said}"));
        let store = open(directory.path()).expect("it opens");
        assert_eq!(records(&store).await.len(), written, "{blocks} blocks");
    }
}
