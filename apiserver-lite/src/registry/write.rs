//! The one way in which objects get into the store: create, and the loop that
//! updates.
//!
//! Read [`Registry::create`] and [`Registry::update`]; each is the order of
//! effects that upstream has. The loop starts anew from what is there when
//! another write came first, unless the client pinned a resourceVersion.

use std::{borrow::Cow, sync::Arc, time::Instant};

use coracle_api::{
    FieldError, Object,
    field::FieldPath,
    schema::{Ref, Struct},
};
use coracle_store::{Record, StoreError, Write as Commit};
use jiff::Timestamp;
use serde_json::Value;

use super::{Registry, Target, change::Change, metadata, options::WriteOptions, read::internal};
use crate::{
    admission::{self, Attributes, Operation},
    apply::{self, Writer},
    authn::User,
    codec,
    error::{ApiError, Subject},
    resources::{Claim, Part, Row, Write},
    schema::canonical,
};

// A change that loses this many races in a row is told so.
const TRIES: usize = 16;
// How often a generated name is tried anew when it is taken.
const NAMES: usize = 8;

/// Who writes and how: what every kind of write is given.
pub struct Author<'a> {
    /// The user.
    pub user: &'a User,
    /// The options.
    pub options: &'a WriteOptions,
    /// The field manager.
    pub manager: &'a str,
    /// Warnings for the client are added here.
    pub warnings: Vec<String>,
}

/// What came of a write.
pub enum Written {
    /// The object as it is stored now.
    Stored {
        /// Its record.
        record: Arc<Record>,
        /// Whether it is new.
        created: bool,
    },
    /// The last state of an object that the write deleted (its last finalizer
    /// went).
    Deleted(Arc<Record>),
    /// What a dry run would have stored.
    Dry {
        /// The object.
        object: Object,
        /// Whether it would be new.
        created: bool,
    },
}

impl Registry {
    /// Creates an object. `object` is decoded and has its defaults.
    ///
    /// # Errors
    /// What admission, validation and the store refuse.
    pub async fn create(
        &self,
        target: &Target,
        object: Object,
        author: &mut Author<'_>,
    ) -> Result<Written, ApiError> {
        self.create_owned(target, object, Owned::ByThisWrite, author).await
    }

    async fn create_owned(
        &self,
        target: &Target,
        mut object: Object,
        owned: Owned,
        author: &mut Author<'_>,
    ) -> Result<Written, ApiError> {
        let now = self.config.clock.now();
        metadata::fill(&mut object, now);
        if !object.resource_version().is_empty() {
            return Err(ApiError::plain(500, "resourceVersion should not be set on objects to be created"));
        }
        self.dedup_owners(&mut object, author, false);
        if owned == Owned::ByThisWrite {
            self.manage(target, Part::Whole, None, &mut object, author, now);
        }
        canonical::settle(&mut object, &target.row.facts.schema);
        let generated = object.name().is_empty() && !object.meta_str("generateName").is_empty();
        let mut tries = if generated { NAMES } else { 1 };
        let mut races = TRIES;
        loop {
            // Only a generated name may need it again.
            let mut new = if tries > 1 { object.clone() } else { std::mem::take(&mut object) };
            let target = self.admit_new(target, &mut new, author).await?;
            let mut claim = self.prepare_new(&target, &mut new, author, now).await?;
            if author.options.dry_run {
                return self.dry_create(&target, new).await;
            }
            let companions = std::mem::take(&mut claim.companions);
            match self.make(&companions.made).await {
                Ok(()) => {}
                // Somebody else took the same at this moment.
                Err(ApiError::AlreadyExists(_)) if races > 0 => {
                    races -= 1;
                    continue;
                }
                Err(error) => return Err(error),
            }
            let value = codec::json::encode(&new);
            let ttl = target.row.strategy.ttl(&new);
            let since = Instant::now();
            let committed = self.store.commit(Commit::Create { key: target.key().into(), value, ttl }).await;
            self.metrics.commits.done("create", &target.row.facts, since);
            if committed.is_err() {
                self.unmake(&companions.made).await;
            }
            match committed {
                Ok(record) => {
                    claim.keep();
                    self.unmake(&companions.gone).await;
                    self.overtaken(&target, &record);
                    return Ok(Written::Stored { record, created: true });
                }
                Err(StoreError::Exists(_)) if generated && tries > 1 => tries -= 1,
                Err(StoreError::Exists(record)) => return Err(exists(&target, &record, generated)),
                Err(error) => return Err(internal(error)),
            }
        }
    }

    // Mutating admission of a new object, and its name: one that is generated
    // is not known to the plugins.
    async fn admit_new(
        &self,
        target: &Target,
        new: &mut Object,
        author: &mut Author<'_>,
    ) -> Result<Target, ApiError> {
        let target = target.named(new.name());
        let attributes = self.attributes(&target, Part::Whole, Operation::Create, author);
        admission::mutate(&attributes, new, None).await?;
        self.dedup_owners(new, author, true);
        if new.name().is_empty() && !new.meta_str("generateName").is_empty() {
            let name = metadata::generate_name(new.meta_str("generateName"));
            new.set_meta("name", Some(name.into()));
        }
        Ok(target.named(new.name()))
    }

    // Everything between mutating admission and the store, for a new object.
    async fn prepare_new(
        &self,
        target: &Target,
        new: &mut Object,
        author: &mut Author<'_>,
        now: Timestamp,
    ) -> Result<Claim, ApiError> {
        let facts = &target.row.facts;
        let strategy = &target.row.strategy;
        let api_version = facts.api_version();
        strategy.to_storage(new);
        let write = Write {
            part: Part::Whole,
            now,
            user: author.user,
            dry_run: author.options.dry_run,
            api_version: &api_version,
        };
        strategy.prepare(&write, new, None);
        let mut claim = strategy.begin(self, &write, new, None).await?;
        let mut errors = std::mem::take(&mut claim.errors);
        errors.extend(strategy.check(&write, facts.namespaced, new, None));
        if !errors.is_empty() {
            return Err(ApiError::Invalid { subject: subject(target, new), errors });
        }
        author.warnings.extend(strategy.warnings(&write, new, None));
        if !strategy.seal(new) {
            canonical::canonicalize(new, &self.stored_schema(target));
        }
        let attributes = self.attributes(target, Part::Whole, Operation::Create, author);
        let warnings = admission::validate(&attributes, Some(new), None).await?;
        author.warnings.extend(warnings);
        Ok(claim)
    }

    async fn dry_create(&self, target: &Target, object: Object) -> Result<Written, ApiError> {
        match self.store.get(&target.key()).await.map_err(internal)? {
            Some(record) => Err(exists(target, &record, false)),
            None => Ok(Written::Dry { object, created: true }),
        }
    }

    /// Changes an object, or creates it where the kind lets updates do so.
    ///
    /// # Errors
    /// 404, 409, and what patches, admission, validation and the store refuse.
    pub async fn update(
        &self,
        target: &Target,
        part: Part<'_>,
        change: &Change,
        author: &mut Author<'_>,
    ) -> Result<Written, ApiError> {
        let mut found = self.store.get(&target.key()).await.map_err(internal)?;
        for _ in 0..TRIES {
            let Some(record) = found else { return self.update_absent(target, part, change, author).await };
            let mut old = codec::json::parse_stored(&record.bytes);
            target.row.strategy.revive(&mut old, record.revision);
            let warned = author.warnings.len();
            let now = self.config.clock.now();
            let before = spoken(&target.row, &old);
            let changed = change.onto(&target.row, &before, &writer(part, author.manager, now))?;
            author.warnings.extend(changed.warnings);
            let mut new = changed.object;
            if let Change::Patch(_) = change {
                metadata::check_name(&new, &target.name)?;
            }
            if matches!(change, Change::Patch(_) | Change::Apply(_)) {
                target.row.strategy.default(&mut new);
                target.row.strategy.default_at(&mut new, now);
            }
            // A change to the scale knows its owners itself.
            if !matches!(change, Change::Apply(_) | Change::Bind(_) | Change::Scale(_)) {
                self.dedup_owners(&mut new, author, false);
                self.manage(target, part, Some(&before), &mut new, author, now);
            }
            canonical::settle(&mut new, &target.row.facts.schema);
            if matches!(change, Change::Patch(_) | Change::Apply(_)) {
                metadata::place(&mut new, target.row.facts.namespaced, &target.namespace)?;
                metadata::check_name(&new, &target.name)?;
            }
            let replaces = matches!(change, Change::Replace(_));
            if replaces {
                check_uid(target, &new, &old)?;
            }
            let pinned = self.pin(target, &mut new, &old)? && replaces;
            let claim = match change {
                // Upstream's scheduler writes past the strategy.
                Change::Bind(_) => Claim::default(),
                _ => self.admit_changed(target, part, &mut new, &old, author, now).await?,
            };
            match self.store_changed(target, new, &old, &record, claim, author.options.dry_run).await? {
                Stored::Done(written) => return Ok(written),
                Stored::Raced(_) if pinned => {
                    return Err(ApiError::stale(Subject::of(&target.row.facts, &target.name)));
                }
                Stored::Raced(actual) => found = actual,
            }
            author.warnings.truncate(warned);
        }
        Err(ApiError::stale(Subject::of(&target.row.facts, &target.name)))
    }

    // A write to a part of what is not there makes nothing.
    async fn update_absent(
        &self,
        target: &Target,
        part: Part<'_>,
        change: &Change,
        author: &mut Author<'_>,
    ) -> Result<Written, ApiError> {
        let facts = &target.row.facts;
        match change {
            Change::Replace(object) if target.row.strategy.creates_on_update() => {
                let mut object = object.clone();
                object.set_meta("resourceVersion", None);
                self.create(target, object, author).await
            }
            Change::Apply(apply) if part == Part::Whole => {
                let now = self.config.clock.now();
                let made = apply.onto(facts, None, &writer(Part::Whole, author.manager, now))?;
                author.warnings.extend(made.warnings);
                let mut object = made.object;
                if object.name() != target.name {
                    return Err(ApiError::BadRequest(format!(
                        "the name of the object ({}) does not match the name on the URL ({})",
                        object.name(),
                        target.name
                    )));
                }
                target.row.strategy.default(&mut object);
                target.row.strategy.default_at(&mut object, now);
                if facts.namespaced {
                    object.set_meta("namespace", Some(target.namespace.as_str().into()));
                }
                self.create_owned(target, object, Owned::Already, author).await
            }
            _ => Err(ApiError::NotFound(Subject::of(facts, &target.name))),
        }
    }

    // Whether the client insists on a resourceVersion. It must be the current
    // one then.
    fn pin(&self, target: &Target, new: &mut Object, old: &Object) -> Result<bool, ApiError> {
        let facts = &target.row.facts;
        let subject = Subject::of(facts, &target.name);
        let (asked, current) = (new.resource_version().to_owned(), old.resource_version());
        if asked.is_empty() || asked == "0" {
            if !target.row.strategy.updates_unconditionally() {
                let path = FieldPath::new("metadata.resourceVersion");
                let errors = vec![FieldError::invalid(&path, 0, "must be specified for an update")];
                return Err(ApiError::Invalid { subject, errors });
            }
            new.set_meta("resourceVersion", Some(current.into()));
            return Ok(false);
        }
        match asked.parse::<u64>() {
            Err(_) => {
                Err(ApiError::plain(500, &format!("strconv.ParseUint: parsing {asked:?}: invalid syntax")))
            }
            Ok(_) if asked != current => Err(ApiError::stale(subject)),
            Ok(_) => Ok(true),
        }
    }

    // Everything between the change and the store, for an object that is there.
    async fn admit_changed(
        &self,
        target: &Target,
        part: Part<'_>,
        new: &mut Object,
        old: &Object,
        author: &mut Author<'_>,
        now: Timestamp,
    ) -> Result<Claim, ApiError> {
        let facts = &target.row.facts;
        let strategy = &target.row.strategy;
        let attributes = self.attributes(target, part, Operation::Update, author);
        admission::mutate(&attributes, new, Some(&spoken(&target.row, old))).await?;
        // A new scale is a change to the object like any other.
        let part = if part == Part::Other("scale") { Part::Whole } else { part };
        self.dedup_owners(new, author, true);
        let generation = old.meta("generation").cloned();
        new.set_meta("generation", generation);
        let api_version = facts.api_version();
        strategy.to_storage(new);
        let write = Write {
            part,
            now,
            user: author.user,
            dry_run: author.options.dry_run,
            api_version: &api_version,
        };
        strategy.prepare(&write, new, Some(old));
        keep_system_fields(new, old);
        let mut claim = strategy.begin(self, &write, new, Some(old)).await?;
        let mut errors = std::mem::take(&mut claim.errors);
        errors.extend(strategy.check(&write, target.row.facts.namespaced, new, Some(old)));
        if !errors.is_empty() {
            return Err(ApiError::Invalid { subject: subject(target, new), errors });
        }
        author.warnings.extend(strategy.warnings(&write, new, Some(old)));
        if !strategy.seal(new) {
            canonical::canonicalize(new, &self.stored_schema(target));
        }
        apply::keep_times(new, old);
        let attributes = self.attributes(target, part, Operation::Update, author);
        let warnings = admission::validate(&attributes, Some(new), Some(old)).await?;
        author.warnings.extend(warnings);
        Ok(claim)
    }

    // Stores a changed object, or finds that nothing changed, or that its last
    // finalizer is gone.
    async fn store_changed(
        &self,
        target: &Target,
        new: Object,
        old: &Object,
        record: &Arc<Record>,
        mut claim: Claim,
        dry_run: bool,
    ) -> Result<Stored, ApiError> {
        let strategy = &target.row.strategy;
        if dry_run {
            return Ok(Stored::Done(Written::Dry { object: new, created: false }));
        }
        let value = codec::json::encode(&new);
        let expected = record.revision;
        let key = record.key.clone();
        let deletes = deletes(&new, old) && strategy.may_go(&new);
        if !deletes && record.holds(&value) {
            return Ok(Stored::Done(Written::Stored { record: record.clone(), created: false }));
        }
        let write = if deletes {
            Commit::Delete { key, expected }
        } else {
            Commit::Update { key, expected, value: value.clone(), ttl: strategy.ttl(&new) }
        };
        let companions = std::mem::take(&mut claim.companions);
        match self.make(&companions.made).await {
            Ok(()) => {}
            // Somebody else took the same at this moment.
            Err(ApiError::AlreadyExists(_)) => return Ok(Stored::Raced(Some(record.clone()))),
            Err(error) => return Err(error),
        }
        let since = Instant::now();
        let committed = self.store.commit(write).await;
        self.metrics.commits.done(if deletes { "delete" } else { "update" }, &target.row.facts, since);
        if committed.is_ok() {
            claim.keep();
            self.unmake(&companions.gone).await;
        } else {
            self.unmake(&companions.made).await;
        }
        match committed {
            Ok(_) if deletes => {
                strategy.removed(&new);
                self.unmake(&strategy.companions(&new)).await;
                // The client sees the state that it made, as upstream has it.
                let last = Record::new(record.key.clone(), record.created, expected, &value);
                Ok(Stored::Done(Written::Deleted(Arc::new(last))))
            }
            Ok(record) => {
                self.overtaken(target, &record);
                Ok(Stored::Done(Written::Stored { record, created: false }))
            }
            Err(StoreError::RevisionMismatch { actual, .. }) => Ok(Stored::Raced(actual)),
            Err(error) => Err(internal(error)),
        }
    }

    // A custom resource may have changed while an object of it was written.
    fn overtaken(&self, target: &Target, record: &Record) {
        let facts = &target.row.facts;
        if !facts.schema.is_custom() {
            return;
        }
        let now = self.row(&facts.gvk.group, &facts.gvk.version, &facts.plural);
        if let Some(now) = now.filter(|now| !Arc::ptr_eq(now, &target.row)) {
            now.strategy.stored_before(record.revision);
        }
    }

    // The schema of the version that is stored.
    fn stored_schema(&self, target: &Target) -> Ref<Struct> {
        let facts = &target.row.facts;
        let stored = &facts.storage_version;
        if facts.gvk == *stored {
            return facts.schema.clone();
        }
        let row = self.row(&stored.group, &stored.version, &facts.plural);
        row.map_or_else(|| facts.schema.clone(), |row| row.facts.schema.clone())
    }

    /// Notes who owns the fields of an object that nothing stores.
    pub fn manage_unstored(&self, row: &Row, object: &mut Object, manager: &str) {
        apply::updated(&row.facts, None, object, &writer(Part::Whole, manager, self.config.clock.now()));
    }

    fn manage(
        &self,
        target: &Target,
        part: Part<'_>,
        old: Option<&Object>,
        new: &mut Object,
        author: &Author<'_>,
        now: Timestamp,
    ) {
        let strategy = &target.row.strategy;
        strategy.converted(new, &target.row.facts.api_version());
        let emptied = strategy.counts_empty().filter(|name| {
            let list = new.0.get(*name).and_then(Value::as_array);
            list.is_some_and(Vec::is_empty) && new.0.remove(*name).is_some()
        });
        apply::updated(&target.row.facts, old, new, &writer(part, author.manager, now));
        if let Some(name) = emptied {
            new.0.insert(name.to_owned(), Value::Null);
        }
    }

    fn attributes<'a>(
        &'a self,
        target: &'a Target,
        part: Part<'a>,
        operation: Operation,
        author: &Author<'a>,
    ) -> Attributes<'a> {
        Attributes {
            registry: self,
            target,
            part,
            operation,
            user: author.user,
            dry_run: author.options.dry_run,
        }
    }

    fn dedup_owners(&self, object: &mut Object, author: &mut Author<'_>, admitted: bool) {
        let twice = metadata::dedup_owners(object);
        if twice.is_empty() {
            return;
        }
        let when = if admitted { " after mutating admission happens" } else { "" };
        author.warnings.push(format!(
            ".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in \
             1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) \
             observed: {}",
            twice.join(", ")
        ));
    }
}

// A custom resource is named by the kind that it says it is.
fn subject(target: &Target, new: &Object) -> Subject {
    let facts = &target.row.facts;
    let subject = Subject::stored(facts, new.name());
    if facts.schema.is_custom() { Subject { kind: new.kind().to_owned(), ..subject } } else { subject }
}

// Who replaces an object by its uid means no other one.
fn check_uid(target: &Target, new: &Object, old: &Object) -> Result<(), ApiError> {
    let (uid, there) = (new.uid(), old.uid());
    if uid.is_empty() || uid == there {
        return Ok(());
    }
    Err(target
        .unfit(&format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {there}")))
}

// Whether the object's managedFields say who wrote it: an apply's do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owned {
    Already,
    ByThisWrite,
}

fn writer<'a>(part: Part<'a>, manager: &'a str, now: Timestamp) -> Writer<'a> {
    let subresource = match part {
        Part::Whole => "",
        Part::Status => "status",
        Part::Other(name) => name,
    };
    Writer { manager, subresource, now }
}

// The object in the version that the row speaks.
fn spoken<'a>(row: &Row, stored: &'a Object) -> Cow<'a, Object> {
    if row.facts.gvk == row.facts.storage_version {
        return Cow::Borrowed(stored);
    }
    let mut object = stored.clone();
    row.strategy.from_storage(&mut object, &row.facts.api_version());
    Cow::Owned(object)
}

enum Stored {
    Done(Written),
    Raced(Option<Arc<Record>>),
}

// What an update may not change, whatever it says.
fn keep_system_fields(new: &mut Object, old: &Object) {
    let mut keep = |field: &str, always: bool| {
        if let Some(value) = old.meta(field)
            && (always || new.meta(field).is_none())
        {
            new.set_meta(field, Some(value.clone()));
        }
    };
    keep("uid", false);
    keep("creationTimestamp", true);
    keep("deletionTimestamp", true);
    keep("deletionGracePeriodSeconds", false);
}

// Whether an update completes a deletion: its last finalizer is gone and no
// grace is left.
fn deletes(new: &Object, old: &Object) -> bool {
    let grace = old.meta("deletionGracePeriodSeconds").and_then(serde_json::Value::as_i64).unwrap_or(0);
    new.finalizers().next().is_none() && old.deleting() && grace == 0
}

fn exists(target: &Target, record: &Record, generated: bool) -> ApiError {
    let subject = Subject::of(&target.row.facts, &target.name);
    let error = ApiError::AlreadyExists(subject);
    let deleting = codec::json::parse_stored(&record.bytes).deleting();
    if !generated && !deleting {
        return error;
    }
    let mut status = error.status();
    if generated {
        status.message.push_str(", the server was not able to generate a unique name for the object");
        if let Some(details) = &mut status.details {
            details.retry_after_seconds = 1;
        }
    }
    if deleting {
        status.message = format!("object is being deleted: {}", status.message);
    }
    ApiError::Status(Box::new(status))
}
