//! Cron schedules: the grammar and the messages of robfig's `ParseStandard`,
//! and when they are due.
//!
//! Start at [`Schedule::parse`]. Time zones come from the database in the
//! binary, so that a name means the same everywhere.

mod walk;

use jiff::{
    SignedDuration, Timestamp,
    tz::{TimeZone, TimeZoneDatabase},
};

use crate::{field::go_quote, stamp};

/// Stands in a set of values for a `*`.
const ANY: u64 = 1 << 63;

/// When something is due, again and again.
#[derive(Debug, Clone)]
pub struct Schedule(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Fields(Fields, TimeZone),
    /// Seconds, at least one.
    Every(i64),
}

/// The values of each field, a bit for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fields {
    minute: u64,
    hour: u64,
    day: u64,
    month: u64,
    weekday: u64,
}

impl Fields {
    fn day_matches(&self, day: i64, weekday: i64) -> bool {
        let (day, weekday) = (self.day & bit(day) != 0, self.weekday & bit(weekday) != 0);
        if (self.day | self.weekday) & ANY != 0 { day && weekday } else { day || weekday }
    }
}

impl Schedule {
    /// Reads a schedule that is of UTC unless it names another zone.
    ///
    /// # Errors
    /// The library's text.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::parse_in(text, &TimeZone::UTC)
    }

    /// Reads a schedule that is of `zone` unless it names another one.
    ///
    /// # Errors
    /// The library's text.
    pub fn parse_in(text: &str, zone: &TimeZone) -> Result<Self, String> {
        if text.is_empty() {
            return Err("empty spec string".to_owned());
        }
        let (mut rest, mut zone) = (text, zone.clone());
        if text.starts_with("TZ=") || text.starts_with("CRON_TZ=") {
            let (named, fields) = text.split_once(' ').ok_or_else(|| {
                "invalid schedule format: runtime error: slice bounds out of range [:-1]".to_owned()
            })?;
            let name = named.split_once('=').map_or("", |(_, name)| name);
            zone = time_zone(name).map_err(|error| format!("provided bad location {name}: {error}"))?;
            rest = fields.trim();
        }
        if rest.starts_with('@') {
            return descriptor(rest, zone);
        }
        let texts: Vec<&str> = rest.split_whitespace().collect();
        let &[minute, hour, day, month, weekday] = texts.as_slice() else {
            let found = texts.len();
            return Err(format!("expected exactly 5 fields, found {found}: [{}]", texts.join(" ")));
        };
        let fields = Fields {
            minute: MINUTE.set(minute)?,
            hour: HOUR.set(hour)?,
            day: DAY.set(day)?,
            month: MONTH.set(month)?,
            weekday: WEEKDAY.set(weekday)?,
        };
        Ok(Self(Kind::Fields(fields, zone)))
    }

    /// The first time after `after` that the schedule is due; none when that
    /// is not within five years. A bounded amount of work.
    ///
    /// Where clocks are put forward, what is due in the gap is left out; where
    /// they are put back, what is due in the overlap is due twice.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.0 {
            Kind::Fields(fields, zone) => walk::next(fields, zone, after),
            Kind::Every(seconds) => {
                let whole = whole_second(after)?;
                whole.checked_add(SignedDuration::from_secs(*seconds)).ok()
            }
        }
    }
}

/// The second that `at` is in.
fn whole_second(at: Timestamp) -> Option<Timestamp> {
    Timestamp::from_second(at.as_nanosecond().div_euclid(1_000_000_000).try_into().ok()?).ok()
}

/// The time zone of that very name. The empty name and `Local` are UTC: that
/// is what a control plane runs in.
///
/// # Errors
/// The text of Go's `time.LoadLocation`.
pub fn time_zone(name: &str) -> Result<TimeZone, String> {
    if matches!(name, "" | "UTC" | "Local") {
        return Ok(TimeZone::UTC);
    }
    if name.contains("..") || name.starts_with(['/', '\\']) {
        return Err("time: invalid location name".to_owned());
    }
    // jiff has a name for what is unknown, and is not particular about capitals.
    TimeZoneDatabase::bundled()
        .get(name)
        .ok()
        .filter(|zone| zone.iana_name() == Some(name) && !zone.is_unknown())
        .ok_or_else(|| format!("unknown time zone {name}"))
}

fn descriptor(text: &str, zone: TimeZone) -> Result<Schedule, String> {
    let hourly = Fields {
        minute: MINUTE.least(),
        hour: HOUR.all(),
        day: DAY.all(),
        month: MONTH.all(),
        weekday: WEEKDAY.all(),
    };
    let daily = Fields { hour: HOUR.least(), ..hourly };
    let monthly = Fields { day: DAY.least(), ..daily };
    let fields = match text {
        "@yearly" | "@annually" => Fields { month: MONTH.least(), ..monthly },
        "@monthly" => monthly,
        "@weekly" => Fields { weekday: WEEKDAY.least(), ..daily },
        "@daily" | "@midnight" => daily,
        "@hourly" => hourly,
        _ => {
            let duration =
                text.strip_prefix("@every ").ok_or_else(|| format!("unrecognized descriptor: {text}"))?;
            let nanos = stamp::parse_duration(duration)
                .map_err(|error| format!("failed to parse duration {text}: {error}"))?;
            return Ok(Schedule(Kind::Every((nanos / 1_000_000_000).max(1))));
        }
    };
    Ok(Schedule(Kind::Fields(fields, zone)))
}

/// The bounds of a field, and names for its values from the first on.
struct Field {
    least: i64,
    most: i64,
    names: &'static [&'static str],
}

const MINUTE: Field = Field { least: 0, most: 59, names: &[] };
const HOUR: Field = Field { least: 0, most: 23, names: &[] };
const DAY: Field = Field { least: 1, most: 31, names: &[] };
const MONTH: Field = Field {
    least: 1,
    most: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const WEEKDAY: Field = Field { least: 0, most: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

impl Field {
    fn set(&self, text: &str) -> Result<u64, String> {
        // Empty parts are left out, as Go's FieldsFunc does.
        let mut parts = text.split(',').filter(|part| !part.is_empty());
        parts.try_fold(0, |set, part| Ok(set | self.range(part)?))
    }

    fn all(&self) -> u64 {
        values(self.least, self.most, 1) | ANY
    }

    fn least(&self) -> u64 {
        values(self.least, self.least, 1)
    }

    fn range(&self, text: &str) -> Result<u64, String> {
        let steps: Vec<&str> = text.split('/').collect();
        let ends: Vec<&str> = steps.first().map_or_else(Vec::new, |range| range.split('-').collect());
        let first = ends.first().copied().unwrap_or_default();
        let mut any = 0;
        let (start, mut end) = if matches!(first, "*" | "?") {
            any = ANY;
            (self.least, self.most)
        } else {
            let start = self.value(first)?;
            match ends.as_slice() {
                [_] => (start, start),
                [_, end] => (start, self.value(end)?),
                _ => return Err(format!("too many hyphens: {text}")),
            }
        };
        let step = match steps.as_slice() {
            [_] => 1,
            [_, step] => {
                let step = number(step)?;
                if ends.len() == 1 {
                    end = self.most;
                }
                if step > 1 {
                    any = 0;
                }
                step
            }
            _ => return Err(format!("too many slashes: {text}")),
        };
        if start < self.least {
            return Err(format!("beginning of range ({start}) below minimum ({}): {text}", self.least));
        }
        if end > self.most {
            return Err(format!("end of range ({end}) above maximum ({}): {text}", self.most));
        }
        if start > end {
            return Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
        }
        if step == 0 {
            return Err(format!("step of range should be a positive number: {text}"));
        }
        Ok(values(start, end, step) | any)
    }

    fn value(&self, text: &str) -> Result<i64, String> {
        let lower = text.to_lowercase();
        match self.names.iter().position(|name| *name == lower) {
            Some(index) => Ok(self.least + i64::try_from(index).unwrap_or_default()),
            None => number(text),
        }
    }
}

/// The set of every `step`th value from `start` to `end`.
fn values(start: i64, end: i64, step: i64) -> u64 {
    let step = usize::try_from(step).unwrap_or(usize::MAX).max(1);
    (start..=end).step_by(step).fold(0, |set, value| set | bit(value))
}

fn bit(value: i64) -> u64 {
    u32::try_from(value).ok().and_then(|value| 1u64.checked_shl(value)).unwrap_or(0)
}

fn number(text: &str) -> Result<i64, String> {
    match text.parse::<i64>() {
        Ok(number) if number < 0 => Err(format!("negative number ({number}) not allowed: {text}")),
        Ok(number) => Ok(number),
        Err(error) => {
            let why = match error.kind() {
                std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => {
                    "value out of range"
                }
                _ => "invalid syntax",
            };
            let quoted = go_quote(text);
            Err(format!("failed to parse int from {text}: strconv.Atoi: parsing {quoted}: {why}"))
        }
    }
}

#[cfg(test)]
mod tests;
