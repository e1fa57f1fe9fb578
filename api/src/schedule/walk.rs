//! From one moment to the next that fits, field by field, in a time zone:
//! robfig's walk, with Go's arithmetic where a zone's offset changes.

use jiff::{
    SignedDuration, Timestamp,
    civil::{Date, DateTime, Time},
    tz::TimeZone,
};

use super::{Fields, bit, whole_second};

const YEARS: i16 = 5;
/// More steps than five years of days and their hours take.
const STEPS: u32 = 100_000;

struct Walk<'a> {
    zone: &'a TimeZone,
    at: Timestamp,
    local: DateTime,
    /// Whether a field has been moved on, and those below it begin again.
    moved: bool,
}

/// The first whole minute after `after` that fits.
pub(super) fn next(fields: &Fields, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    if fields.minute == 0 || fields.hour == 0 || fields.month == 0 {
        return None;
    }
    let at = add(whole_second(after)?, 1)?;
    let mut walk = Walk { zone, at, local: local(zone, at), moved: false };
    let last = walk.local.year() + YEARS;
    // From the month again, whenever a field wraps around.
    let mut steps = 0;
    while walk.local.year() <= last {
        if walk.fits(fields, &mut steps)? {
            return Some(walk.at);
        }
    }
    None
}

impl Walk<'_> {
    /// Goes on until all fields fit, or one wraps around; `None` when there is
    /// no end to it.
    fn fits(&mut self, fields: &Fields, steps: &mut u32) -> Option<bool> {
        let mut count = || {
            *steps += 1;
            (*steps <= STEPS).then_some(())
        };
        while fields.month & bit(self.local.month().into()) == 0 {
            count()?;
            self.begin(|local| local.date().first_of_month().to_datetime(Time::midnight()))?;
            let date = self.local.date();
            let (year, month) =
                if date.month() == 12 { (date.year() + 1, 1) } else { (date.year(), date.month() + 1) };
            self.set(Date::new(year, month, 1).ok()?.to_datetime(self.local.time()))?;
            if self.local.month() == 1 {
                return Some(false);
            }
        }
        while !self.day_fits(fields) {
            count()?;
            self.begin(|local| local.date().to_datetime(Time::midnight()))?;
            self.set(self.local.date().tomorrow().ok()?.to_datetime(self.local.time()))?;
            // Where there is no midnight, the clock shows the hour before or after it.
            match i64::from(self.local.hour()) {
                0 => {}
                late if late > 12 => self.go((24 - late) * 3600)?,
                early => self.go(-early * 3600)?,
            }
            if self.local.day() == 1 {
                return Some(false);
            }
        }
        while fields.hour & bit(self.local.hour().into()) == 0 {
            count()?;
            self.begin(|local| local.date().at(local.hour(), 0, 0, 0))?;
            self.go(3600)?;
            if self.local.hour() == 0 {
                return Some(false);
            }
        }
        while fields.minute & bit(self.local.minute().into()) == 0 {
            count()?;
            self.begin_minute()?;
            self.go(60)?;
            if self.local.minute() == 0 {
                return Some(false);
            }
        }
        while self.local.second() != 0 {
            count()?;
            self.moved = true;
            self.go(1)?;
            if self.local.second() == 0 {
                return Some(false);
            }
        }
        Some(true)
    }

    fn day_fits(&self, fields: &Fields) -> bool {
        let weekday = self.local.date().weekday().to_sunday_zero_offset();
        fields.day_matches(self.local.day().into(), weekday.into())
    }

    fn begin(&mut self, start: impl FnOnce(DateTime) -> DateTime) -> Option<()> {
        if self.moved {
            return Some(());
        }
        self.moved = true;
        self.set(start(self.local))
    }

    fn begin_minute(&mut self) -> Option<()> {
        if self.moved {
            return Some(());
        }
        self.moved = true;
        self.go(-self.at.as_second().rem_euclid(60))
    }

    fn go(&mut self, seconds: i64) -> Option<()> {
        self.at = add(self.at, seconds)?;
        self.local = local(self.zone, self.at);
        Some(())
    }

    fn set(&mut self, shown: DateTime) -> Option<()> {
        self.at = instant(self.zone, shown)?;
        self.local = local(self.zone, self.at);
        Some(())
    }
}

fn local(zone: &TimeZone, at: Timestamp) -> DateTime {
    zone.to_offset(at).to_datetime(at)
}

/// When the clock shows that. In a gap, and for an overlap, the choice is that
/// of Go's `time.Date`.
fn instant(zone: &TimeZone, shown: DateTime) -> Option<Timestamp> {
    let as_utc = TimeZone::UTC.to_timestamp(shown).ok()?;
    let guess = i64::from(zone.to_offset(as_utc).seconds());
    let at = add(as_utc, -guess)?;
    match i64::from(zone.to_offset(at).seconds()) {
        _ if guess == 0 => Some(as_utc),
        offset => add(as_utc, -offset),
    }
}

fn add(at: Timestamp, seconds: i64) -> Option<Timestamp> {
    at.checked_add(SignedDuration::from_secs(seconds)).ok()
}
