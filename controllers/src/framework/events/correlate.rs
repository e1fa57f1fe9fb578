//! What becomes of an occurrence: a new event, one more of a known one, or
//! nothing. The rules are client-go's: counting of equal events, one event
//! for many similar ones, and a limit on how many one object may have.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    hash::Hash,
};

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        core::v1::{Event as CoreEvent, EventSource},
        events::v1::{Event as SeriesEvent, EventSeries},
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, Time},
};

use super::{Occurrence, Severity, Style};

/// Events of one component about one object at once.
const BURST: f64 = 25.0;
/// Seconds until one more is allowed.
const REFILL: f64 = 300.0;
/// Differing messages until similar events become one.
const SIMILAR: usize = 10;
/// Seconds for which similar events are remembered.
const SIMILAR_FOR: i64 = 600;
/// Seconds between writes of a series that goes on.
const SERIES_EVERY: i64 = 360;
/// How many of each are remembered (client-go: 4,096).
const REMEMBERED: usize = 4096;

/// A write that an occurrence leads to.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Write {
    Create(Box<CoreEvent>),
    Count(Box<CoreEvent>),
    CreateSeries(Box<SeriesEvent>),
    Repeat(Box<SeriesEvent>),
}

/// What is remembered of past occurrences.
#[derive(Default)]
pub(super) struct Correlator {
    buckets: Recent<Source, Bucket>,
    similar: Recent<Kind, Similar>,
    counted: Recent<(Kind, String), CoreEvent>,
    series: Recent<(Kind, &'static str), (SeriesEvent, Timestamp)>,
    last_name: i128,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Source {
    component: &'static str,
    host: String,
    object: [String; 5],
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Kind {
    source: Source,
    severity: Severity,
    reason: Cow<'static, str>,
}

struct Bucket {
    tokens: f64,
    at: Timestamp,
}

struct Similar {
    messages: HashSet<String>,
    last: Timestamp,
}

impl Correlator {
    pub(super) fn correlate(&mut self, occurrence: Occurrence, now: Timestamp) -> Option<Write> {
        match occurrence.style {
            Style::Counted => self.counted(occurrence, now),
            Style::Series => self.series(occurrence, now),
        }
    }

    fn counted(&mut self, mut occurrence: Occurrence, now: Timestamp) -> Option<Write> {
        let kind = kind(&occurrence);
        let mut identity = occurrence.message.clone();
        if self.aggregates(&kind, &occurrence.message, now) {
            occurrence.message = format!("(combined from similar events): {}", occurrence.message);
            identity.clear();
        }
        if let Some(event) = self.counted.get(&(kind.clone(), identity.clone()), now) {
            event.count = Some(event.count.unwrap_or(1) + 1);
            event.last_timestamp = Some(whole(now));
            event.message = Some(occurrence.message);
            let write = Write::Count(Box::new(event.clone()));
            return self.allowed(kind.source, now).then_some(write);
        }
        let event = self.core_event(occurrence, now);
        self.counted.put((kind.clone(), identity), event.clone(), now);
        self.allowed(kind.source, now).then(|| Write::Create(Box::new(event)))
    }

    fn series(&mut self, occurrence: Occurrence, now: Timestamp) -> Option<Write> {
        let key = (kind(&occurrence), occurrence.action);
        if let Some((event, written)) = self.series.get(&key, now) {
            let known = event.series.is_some();
            let count = event.series.as_ref().map_or(2, |series| series.count + 1);
            event.series = Some(EventSeries { count, last_observed_time: MicroTime(now) });
            if known && now.as_second() - written.as_second() < SERIES_EVERY {
                return None;
            }
            *written = now;
            return Some(Write::Repeat(Box::new(event.clone())));
        }
        let event = self.series_event(occurrence, now);
        self.series.put(key, (event.clone(), now), now);
        Some(Write::CreateSeries(Box::new(event)))
    }

    fn aggregates(&mut self, kind: &Kind, message: &str, now: Timestamp) -> bool {
        let fresh = |similar: &Similar| now.as_second() - similar.last.as_second() <= SIMILAR_FOR;
        if self.similar.get(kind, now).is_none_or(|similar| !fresh(similar)) {
            self.similar.put(kind.clone(), Similar { messages: HashSet::new(), last: now }, now);
        }
        let Some(similar) = self.similar.get(kind, now) else { return false };
        similar.last = now;
        if similar.messages.len() < SIMILAR {
            similar.messages.insert(message.to_owned());
            return similar.messages.len() >= SIMILAR;
        }
        true
    }

    fn allowed(&mut self, source: Source, now: Timestamp) -> bool {
        if self.buckets.get(&source, now).is_none() {
            self.buckets.put(source.clone(), Bucket { tokens: BURST, at: now }, now);
        }
        let Some(bucket) = self.buckets.get(&source, now) else { return true };
        let passed = now.duration_since(bucket.at).as_secs_f64().max(0.0);
        bucket.tokens = (bucket.tokens + passed / REFILL).min(BURST);
        bucket.at = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }

    fn metadata(&mut self, occurrence: &Occurrence, now: Timestamp) -> ObjectMeta {
        // Names are the time in hexadecimal; two in one tick must differ.
        self.last_name = now.as_nanosecond().max(self.last_name + 1);
        let object = occurrence.regarding.name.as_deref().unwrap_or_default();
        ObjectMeta {
            name: Some(format!("{object}.{:x}", self.last_name)),
            namespace: Some(occurrence.regarding.namespace.clone().unwrap_or_else(|| "default".into())),
            ..ObjectMeta::default()
        }
    }

    fn core_event(&mut self, occurrence: Occurrence, now: Timestamp) -> CoreEvent {
        CoreEvent {
            metadata: self.metadata(&occurrence, now),
            involved_object: occurrence.regarding,
            reason: Some(occurrence.reason.into_owned()),
            message: Some(occurrence.message),
            type_: Some(occurrence.severity.as_str().to_owned()),
            source: Some(EventSource {
                component: Some(occurrence.component.to_owned()),
                host: Some(occurrence.host.clone()).filter(|host| !host.is_empty()),
            }),
            count: Some(1),
            first_timestamp: Some(whole(now)),
            last_timestamp: Some(whole(now)),
            reporting_component: Some(occurrence.component.to_owned()),
            reporting_instance: Some(occurrence.host),
            ..CoreEvent::default()
        }
    }

    fn series_event(&mut self, occurrence: Occurrence, now: Timestamp) -> SeriesEvent {
        SeriesEvent {
            metadata: self.metadata(&occurrence, now),
            regarding: Some(occurrence.regarding),
            reason: Some(occurrence.reason.into_owned()),
            note: Some(occurrence.message),
            type_: Some(occurrence.severity.as_str().to_owned()),
            action: Some(occurrence.action.to_owned()),
            event_time: Some(MicroTime(now)),
            reporting_controller: Some(occurrence.component.to_owned()),
            reporting_instance: Some(if occurrence.host.is_empty() {
                occurrence.component.to_owned()
            } else {
                format!("{}-{}", occurrence.component, occurrence.host)
            }),
            ..SeriesEvent::default()
        }
    }
}

fn kind(occurrence: &Occurrence) -> Kind {
    let object = &occurrence.regarding;
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    Kind {
        source: Source {
            component: occurrence.component,
            host: occurrence.host.clone(),
            object: [
                text(&object.kind),
                text(&object.namespace),
                text(&object.name),
                text(&object.uid),
                text(&object.field_path),
            ],
        },
        severity: occurrence.severity,
        reason: occurrence.reason.clone(),
    }
}

fn whole(now: Timestamp) -> Time {
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}

/// A map that forgets its older half when it is full.
struct Recent<K, V>(HashMap<K, (V, Timestamp)>);

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash, V> Recent<K, V> {
    fn get(&mut self, key: &K, now: Timestamp) -> Option<&mut V> {
        let (value, used) = self.0.get_mut(key)?;
        *used = now;
        Some(value)
    }

    fn put(&mut self, key: K, value: V, now: Timestamp) {
        if self.0.len() >= REMEMBERED {
            let mut times: Vec<_> = self.0.values().map(|(_, used)| *used).collect();
            let (_, middle, _) = times.select_nth_unstable(REMEMBERED / 2);
            let middle = *middle;
            self.0.retain(|_, (_, used)| *used > middle);
        }
        self.0.insert(key, (value, now));
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ObjectReference;

    use super::*;

    fn occurrence(style: Style, object: &str, message: &str) -> Occurrence {
        Occurrence {
            component: "tester",
            host: String::new(),
            style,
            regarding: ObjectReference { name: Some(object.into()), ..ObjectReference::default() },
            severity: Severity::Normal,
            reason: "Tested".into(),
            action: "Testing",
            message: message.into(),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// What was written: `+message` created, `count message` counted, `-` nothing.
    fn told(write: Option<Write>) -> String {
        let text = |m: Option<String>| m.unwrap_or_default();
        match write {
            None => "-".into(),
            Some(Write::Create(event)) => format!("+{}", text(event.message)),
            Some(Write::Count(event)) => format!("{} {}", event.count.unwrap_or(0), text(event.message)),
            Some(Write::CreateSeries(event)) => format!("+{}", text(event.note)),
            Some(Write::Repeat(event)) => {
                format!("{} {}", event.series.map_or(0, |s| s.count), text(event.note))
            }
        }
    }

    #[test]
    fn equal_events_are_counted() {
        let mut correlator = Correlator::default();
        let mut say =
            |object, message| told(correlator.correlate(occurrence(Style::Counted, object, message), at(9)));
        assert_eq!(say("a", "one"), "+one");
        assert_eq!(say("a", "two"), "+two");
        assert_eq!(say("b", "one"), "+one");
        assert_eq!(say("a", "one"), "2 one");
        assert_eq!(say("a", "one"), "3 one");
    }

    #[test]
    fn many_similar_events_become_one() {
        let mut correlator = Correlator::default();
        let mut say = |n: usize, second| {
            told(correlator.correlate(occurrence(Style::Counted, "a", &format!("pod {n}")), at(second)))
        };
        for n in 1..10 {
            assert_eq!(say(n, 1), format!("+pod {n}"));
        }
        assert_eq!(say(10, 2), "+(combined from similar events): pod 10");
        assert_eq!(say(11, 3), "2 (combined from similar events): pod 11");
        assert_eq!(say(12, 1000), "+pod 12", "after ten quiet minutes they are told apart again");
    }

    #[test]
    fn one_object_cannot_flood() {
        let mut correlator = Correlator::default();
        let mut say =
            |object, second| told(correlator.correlate(occurrence(Style::Counted, object, "x"), at(second)));
        for _ in 0..25 {
            assert_ne!(say("a", 1), "-");
        }
        assert_eq!(say("a", 1), "-");
        assert_ne!(say("b", 1), "-", "others are not held back");
        assert_eq!(say("a", 302), "27 x");
    }

    #[test]
    fn a_series_is_written_at_its_first_repeat_and_then_rarely() {
        let mut correlator = Correlator::default();
        let mut say =
            |message, second| told(correlator.correlate(occurrence(Style::Series, "a", message), at(second)));
        assert_eq!(say("no nodes", 1), "+no nodes");
        assert_eq!(say("no nodes", 2), "2 no nodes");
        assert_eq!(say("still none", 3), "-");
        assert_eq!(say("no nodes", 400), "4 no nodes");
    }

    #[test]
    fn names_differ_within_one_tick() {
        let mut correlator = Correlator::default();
        let names: HashSet<_> = ["one", "two", "three"]
            .into_iter()
            .filter_map(|message| {
                match correlator.correlate(occurrence(Style::Counted, "a", message), at(1))? {
                    Write::Create(event) => event.metadata.name,
                    _ => None,
                }
            })
            .collect();
        assert_eq!(names.len(), 3);
    }
}
