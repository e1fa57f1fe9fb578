//! Deletion: grace, finalizers, propagation, preconditions.
//!
//! Read [`Registry::delete`]; what it decides for the state that it finds is
//! the pure [`decide`].

use std::{sync::Arc, time::Instant};

use coracle_api::Object;
use coracle_store::{Record, StoreError, Write as Commit};
use futures::{FutureExt, StreamExt, stream::FuturesUnordered};
use jiff::{SignedDuration, Timestamp};

use super::{
    Registry, Target,
    metadata::{self, FOREGROUND, ORPHAN},
    options::{DeleteOptions, ListOptions},
    read::{Listing, internal},
};
use crate::{
    admission::{self, Attributes, Operation},
    authn::User,
    codec,
    error::{ApiError, Subject},
    resources::{Part, Strategy},
};

const TRIES: usize = 16;
/// Objects of a collection that are deleted at once.
const AT_ONCE: usize = 64;

/// What came of a deletion.
pub enum Deleted {
    /// The object is gone; its last state, at the revision of the deletion.
    Gone(Arc<Record>),
    /// It is marked, and goes when its grace or its finalizers are over.
    Marked(Arc<Record>),
    /// What a dry run would have left.
    Dry {
        /// The object.
        object: Object,
        /// Whether it would be gone.
        gone: bool,
    },
}

/// What to do with an object that is to be deleted.
#[derive(Debug, PartialEq)]
pub enum Decision {
    /// It waits already; leave it.
    Wait,
    /// Write it so: marked, with its finalizers.
    Mark(Object),
    /// Write it so, then take it away: its grace is none.
    MarkAndRemove(Object),
    /// Take it away.
    Remove,
}

impl Registry {
    /// Deletes an object, or marks it as being deleted.
    ///
    /// # Errors
    /// 403, 404, 409
    pub async fn delete(
        &self,
        target: &Target,
        options: &DeleteOptions,
        user: &User,
    ) -> Result<Deleted, ApiError> {
        let facts = &target.row.facts;
        let missing = || ApiError::NotFound(Subject::of(facts, &target.name));
        let mut found = self.store.get(&target.key()).await.map_err(internal)?;
        let mut marked: Option<Arc<Record>> = None;
        for _ in 0..TRIES {
            let Some(record) = found else {
                // Somebody else took it away after we marked it.
                return marked.map(Deleted::Gone).ok_or_else(missing);
            };
            let object = codec::json::parse_stored(&record.bytes);
            if options.ignores_errors() {
                let reason = "unsafe deletion is not allowed because the object is decodable from storage";
                return Err(target.unfit(reason));
            }
            if marked.is_none() {
                check_preconditions(target, options, &object)?;
            }
            let attributes = Attributes {
                registry: self,
                target,
                part: Part::Whole,
                operation: Operation::Delete,
                user,
                dry_run: options.dry_run(),
            };
            admission::namespace_lifecycle::admit(&attributes).await?;
            admission::validate(&attributes, None, Some(&object)).await?;
            let decision = decide(&*target.row.strategy, &object, options, self.config.clock.now());
            if options.dry_run() {
                return Ok(dry(decision, object));
            }
            match self.carry_out(target, decision, &record, &object).await? {
                Done::Finished(deleted) => return Ok(deleted),
                Done::Marked(record) => {
                    marked = Some(record.clone());
                    found = Some(record);
                }
                Done::Raced(actual) => found = actual,
            }
        }
        Err(ApiError::stale(Subject::of(facts, &target.name)))
    }

    async fn carry_out(
        &self,
        target: &Target,
        decision: Decision,
        record: &Arc<Record>,
        object: &Object,
    ) -> Result<Done, ApiError> {
        let (key, expected) = (record.key.clone(), record.revision);
        let (then_remove, write) = match decision {
            Decision::Wait => return Ok(Done::Finished(Deleted::Marked(record.clone()))),
            Decision::Remove => (false, Commit::Delete { key, expected }),
            Decision::Mark(object) if !changed(record, &object) => {
                return Ok(Done::Finished(Deleted::Marked(record.clone())));
            }
            Decision::Mark(object) => (false, update(record, &object)),
            Decision::MarkAndRemove(object) => (true, update(record, &object)),
        };
        let removing = matches!(write, Commit::Delete { .. });
        let since = Instant::now();
        let committed = self.store.commit(write).await;
        self.metrics.commits.done(if removing { "delete" } else { "update" }, &target.row.facts, since);
        match committed {
            Ok(record) if removing => {
                target.row.strategy.removed(object);
                self.unmake(&target.row.strategy.companions(object)).await;
                Ok(Done::Finished(Deleted::Gone(record)))
            }
            Ok(record) if then_remove => Ok(Done::Marked(record)),
            Ok(record) => Ok(Done::Finished(Deleted::Marked(record))),
            Err(StoreError::RevisionMismatch { actual, .. }) => Ok(Done::Raced(actual)),
            Err(error) => Err(internal(error)),
        }
    }

    /// Deletes what a list with these options holds, and returns that list.
    ///
    /// # Errors
    /// The first one that is not a 404.
    pub async fn delete_collection(
        &self,
        target: &Target,
        list: &ListOptions,
        options: &DeleteOptions,
        user: &User,
    ) -> Result<Listing, ApiError> {
        let listing = self.list(target, list).await?;
        // Several at once: what they commit goes to the disk together.
        let (mut left, mut running) = (listing.records.iter(), FuturesUnordered::new());
        loop {
            let room = AT_ONCE.saturating_sub(running.len());
            running.extend(
                left.by_ref()
                    .take(room)
                    .map(|record| self.delete_listed(target, record, options, user).boxed()),
            );
            match running.next().await {
                Some(outcome) => outcome?,
                None => break,
            }
        }
        drop(running);
        Ok(listing)
    }

    async fn delete_listed(
        &self,
        target: &Target,
        record: &Record,
        options: &DeleteOptions,
        user: &User,
    ) -> Result<(), ApiError> {
        let object = codec::json::parse_stored(&record.bytes);
        let one = Target {
            row: target.row.clone(),
            namespace: object.namespace().to_owned(),
            name: object.name().to_owned(),
        };
        match self.delete(&one, options, user).await {
            Ok(_) | Err(ApiError::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

enum Done {
    Finished(Deleted),
    Marked(Arc<Record>),
    Raced(Option<Arc<Record>>),
}

fn changed(record: &Record, object: &Object) -> bool {
    !record.holds(&codec::json::encode(object))
}

fn update(record: &Record, object: &Object) -> Commit {
    let value = codec::json::encode(object);
    Commit::Update { key: record.key.clone(), expected: record.revision, value, ttl: None }
}

fn dry(decision: Decision, object: Object) -> Deleted {
    match decision {
        Decision::Wait => Deleted::Dry { object, gone: false },
        Decision::Mark(object) => Deleted::Dry { object, gone: false },
        Decision::MarkAndRemove(object) => Deleted::Dry { object, gone: true },
        Decision::Remove => Deleted::Dry { object, gone: true },
    }
}

/// Whether `object` is the one that `options` are for.
///
/// # Errors
/// `Conflict`: it is not.
pub fn check_preconditions(
    target: &Target,
    options: &DeleteOptions,
    object: &Object,
) -> Result<(), ApiError> {
    let Some(wanted) = &options.preconditions else { return Ok(()) };
    let facts = &target.row.facts;
    // Two kinds are deleted by code of their own, with words of its own.
    let own = match (&*facts.gvk.group, &*facts.plural) {
        ("", "namespaces") => Some("Precondition failed"),
        ("apiextensions.k8s.io", "customresourcedefinitions") => Some("precondition failed"),
        _ => None,
    };
    let conflict = |reason: String| {
        let subject = match own {
            Some(_) => Subject::of(facts, object.name()),
            None => Subject::stored(facts, object.name()),
        };
        Err(ApiError::Conflict { subject, reason })
    };
    if let Some(uid) = wanted.uid.as_ref().filter(|uid| *uid != object.uid()) {
        if let Some(words) = own {
            let has = object.uid();
            return conflict(format!("{words}: UID in precondition: {uid}, UID in object meta: {has}"));
        }
        return conflict(format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been \
             deleted and then recreated",
            object.uid()
        ));
    }
    let version = object.resource_version();
    if let Some(asked) = wanted.resource_version.as_ref().filter(|asked| *asked != version) {
        if let Some(words) = own {
            return conflict(format!(
                "{words}: ResourceVersion in precondition: {asked}, ResourceVersion in object meta: {version}"
            ));
        }
        return conflict(format!(
            "the ResourceVersion in the precondition ({asked}) does not match the ResourceVersion in record \
             ({version}). The object might have been modified"
        ));
    }
    Ok(())
}

/// What a deletion does to `object` now.
pub fn decide(strategy: &dyn Strategy, object: &Object, options: &DeleteOptions, now: Timestamp) -> Decision {
    if let Some(decision) = strategy.deletion(object, options, now) {
        return decision;
    }
    // A negative grace counts as one second.
    let asked = options.grace_period_seconds.map(|seconds| if seconds < 0 { 1 } else { seconds });
    let mut new = object.clone();
    let graceful = match grace(strategy, &mut new, asked, now) {
        Grace::Pending => return Decision::Wait,
        Grace::Until(seconds) => Some(seconds),
        Grace::None => None,
    };
    let finalizers = finalizers(strategy, object, options);
    let pending = !finalizers.is_empty();
    metadata::set_finalizers(&mut new, finalizers);
    match graceful {
        Some(seconds) if pending || seconds > 0 => Decision::Mark(new),
        Some(_) => Decision::MarkAndRemove(new),
        None if pending => Decision::Mark(mark(new, now)),
        None => Decision::Remove,
    }
}

enum Grace {
    Pending,
    Until(i64),
    None,
}

// Marks the object where its kind is deleted gracefully.
fn grace(strategy: &dyn Strategy, object: &mut Object, asked: Option<i64>, now: Timestamp) -> Grace {
    if !strategy.graceful() {
        return Grace::None;
    }
    if object.deleting() {
        return shorten(object, asked, now);
    }
    let Some(seconds) = strategy.grace(object, asked) else { return Grace::None };
    let until = now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(now);
    object.set_meta("deletionTimestamp", Some(metadata::stamp(until).into()));
    object.set_meta("deletionGracePeriodSeconds", Some(seconds.into()));
    if object.generation() > 0 {
        let next = object.generation() + 1;
        object.set_meta("generation", Some(next.into()));
    }
    Grace::Until(seconds)
}

// A grace that runs can only become shorter.
fn shorten(object: &mut Object, asked: Option<i64>, now: Timestamp) -> Grace {
    let running = object.meta("deletionGracePeriodSeconds").and_then(serde_json::Value::as_i64).unwrap_or(0);
    if running == 0 {
        return Grace::None;
    }
    let Some(mut seconds) = asked.filter(|asked| *asked < running) else { return Grace::Pending };
    let since = metadata::instant(object.meta_str("deletionTimestamp")).unwrap_or(now);
    let until = since.checked_sub(SignedDuration::from_secs(running - seconds)).unwrap_or(now);
    let mut stamp = until;
    if until < now {
        stamp = now;
        // Still graceful: somebody else makes the final deletion.
        seconds = if seconds == 0 { 0 } else { 1 };
    }
    object.set_meta("deletionTimestamp", Some(metadata::stamp(stamp).into()));
    object.set_meta("deletionGracePeriodSeconds", Some(seconds.into()));
    Grace::Until(seconds)
}

// The finalizers with those of the garbage collector as the options want them.
fn finalizers(strategy: &dyn Strategy, object: &Object, options: &DeleteOptions) -> Vec<String> {
    let present = |name: &str| object.finalizers().any(|it| it == name);
    let policy = options.propagation_policy.as_deref();
    let (orphan, foreground) = match (options.orphan_dependents, policy) {
        (Some(orphan), _) => (orphan, false),
        (None, Some("Orphan")) => (true, false),
        (None, Some("Foreground")) => (false, true),
        (None, Some("Background")) => (false, false),
        // A finalizer that is there already stands for a choice.
        _ if present(ORPHAN) => (true, false),
        _ => (strategy.orphans_by_default(), present(FOREGROUND)),
    };
    let collected = strategy.is_collected();
    let kept = object.finalizers().filter(|it| *it != ORPHAN && *it != FOREGROUND).map(str::to_owned);
    let mut finalizers: Vec<String> = kept.collect();
    if orphan && collected {
        finalizers.push(ORPHAN.to_owned());
    }
    if foreground && collected {
        finalizers.push(FOREGROUND.to_owned());
    }
    finalizers
}

fn mark(mut object: Object, now: Timestamp) -> Object {
    if !object.deleting() && object.generation() > 0 {
        let next = object.generation() + 1;
        object.set_meta("generation", Some(next.into()));
    }
    let later = metadata::instant(object.meta_str("deletionTimestamp")).is_none_or(|stamp| stamp > now);
    if later {
        object.set_meta("deletionTimestamp", Some(metadata::stamp(now).into()));
    }
    object.set_meta("deletionGracePeriodSeconds", Some(0.into()));
    object
}
