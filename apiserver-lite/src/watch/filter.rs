//! Which objects a list or a watch is about.

use std::{borrow::Cow, sync::Arc};

use coracle_api::{FieldSelector, LabelSelector};
use coracle_store::{Event, Record};

use crate::{codec, resources::Row};

/// The index of one version of an object, kept beside its bytes: what
/// selectors read.
pub struct View {
    labels: Vec<(Box<str>, Box<str>)>,
    fields: Vec<(Cow<'static, str>, String)>,
    stamp: u64,
}

impl View {
    fn of(record: &Record, row: &Row) -> Self {
        let mut object = codec::json::parse_stored(&record.bytes);
        row.strategy.revive(&mut object, record.revision);
        let labels = object.labels().map(|(key, value)| (key.into(), value.into())).collect();
        let mut fields = vec![
            (Cow::Borrowed("metadata.name"), object.name().to_owned()),
            (Cow::Borrowed("metadata.namespace"), object.namespace().to_owned()),
        ];
        fields.extend(row.strategy.fields(&object));
        Self { labels, fields, stamp: row.strategy.stamp() }
    }

    fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(it, _)| &**it == key).map(|(_, value)| &**value)
    }

    fn field(&self, key: &str) -> &str {
        self.fields.iter().find(|(it, _)| *it == key).map_or("", |(_, value)| value)
    }
}

/// A scope and its selectors.
#[derive(Clone)]
pub struct Filter {
    /// The kind.
    pub row: Arc<Row>,
    /// What keys begin with: the whole resource, or a namespace of it.
    pub prefix: String,
    /// The label selector.
    pub labels: Option<LabelSelector>,
    /// The field selector.
    pub fields: Option<FieldSelector>,
}

/// What an event is to a watcher.
pub enum Seen {
    /// The object came into view.
    Added(Arc<Record>),
    /// It changed.
    Modified(Arc<Record>),
    /// It went out of view, or is gone.
    Deleted(Arc<Record>),
}

impl Seen {
    /// The word for it in a frame.
    pub fn sign(&self) -> &'static str {
        match self {
            Self::Added(_) => "ADDED",
            Self::Modified(_) => "MODIFIED",
            Self::Deleted(_) => "DELETED",
        }
    }

    /// What is shown.
    pub fn record(&self) -> &Arc<Record> {
        let (Self::Added(record) | Self::Modified(record) | Self::Deleted(record)) = self;
        record
    }
}

impl Filter {
    /// Whether every object in the scope passes.
    pub fn is_everything(&self) -> bool {
        self.labels.is_none() && self.fields.is_none()
    }

    /// Whether an object passes.
    pub fn matches(&self, record: &Record) -> bool {
        if !record.key.starts_with(&self.prefix) {
            return false;
        }
        if self.is_everything() {
            return true;
        }
        let mut view = record.view(|record| View::of(record, &self.row));
        // The kind changed since, or another version of it was asked about.
        if view.stamp != self.row.strategy.stamp() {
            view = Arc::new(View::of(record, &self.row));
        }
        self.labels.as_ref().is_none_or(|selector| selector.matches(|key| view.label(key)))
            && self.fields.as_ref().is_none_or(|selector| selector.matches(|key| Some(view.field(key))))
    }

    /// What `event` is to a watcher with this filter.
    pub fn see(&self, event: &Event) -> Option<Seen> {
        let after = !event.deleted && self.matches(&event.record);
        let before = event.previous.as_ref().is_some_and(|record| self.matches(record));
        match (before, after) {
            (false, false) => None,
            (false, true) => Some(Seen::Added(event.record.clone())),
            (true, true) => Some(Seen::Modified(event.record.clone())),
            (true, false) if event.deleted => Some(Seen::Deleted(event.record.clone())),
            // It left the selection: its last state in view, at this revision.
            (true, false) => {
                let last = event.previous.as_ref()?;
                Some(Seen::Deleted(Arc::new(last.at(event.revision))))
            }
        }
    }
}
