//! Points in time as `metav1.Time` and `metav1.MicroTime` have them, and
//! durations as `metav1.Duration` does: read as Go reads them, with its error
//! texts, and written in the one form that Go writes.

use crate::field::go_quote;

/// How many digits of a second a stamp has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// `metav1.Time`: whole seconds.
    Seconds,
    /// `metav1.MicroTime`: six digits.
    Micros,
}

impl Precision {
    fn layout(self) -> &'static str {
        match self {
            Self::Seconds => "2006-01-02T15:04:05Z07:00",
            Self::Micros => "2006-01-02T15:04:05.000000Z07:00",
        }
    }
}

/// Reads a stamp and gives its canonical text, in UTC. `None` is Go's zero time,
/// which stands for no time at all.
///
/// # Errors
/// The text of Go's `time.Parse`.
pub fn canonical_time(text: &str, precision: Precision) -> Result<Option<String>, String> {
    let mut scan = Scan { text, rest: text, layout: precision.layout() };
    let year = scan.year()?;
    scan.skip("-")?;
    let month = scan.number("01", true, 1..=12, "month")?;
    scan.skip("-")?;
    let day = scan.number("02", true, 0..=99, "day")?;
    scan.skip("T")?;
    let hour = scan.number("15", false, 0..=23, "hour")?;
    scan.skip(":")?;
    let minute = scan.number("04", true, 0..=59, "minute")?;
    scan.skip(":")?;
    let second = scan.number("05", true, 0..=59, "second")?;
    let nanos = scan.fraction(precision)?;
    let offset = scan.offset()?;
    if !scan.rest.is_empty() {
        return Err(scan.message(&format!("extra text: {}", go_quote(scan.rest))));
    }
    if day < 1 || day > days_in(year, month) {
        return Err(scan.message("day out of range"));
    }
    let seconds = days_before(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    Ok(shown(seconds, nanos, precision))
}

struct Scan<'a> {
    text: &'a str,
    rest: &'a str,
    layout: &'static str,
}

impl Scan<'_> {
    fn message(&self, detail: &str) -> String {
        format!("parsing time {}: {detail}", go_quote(self.text))
    }

    fn mismatch(&self, at: &str, element: &str) -> String {
        let [text, layout, at, element] = [self.text, self.layout, at, element].map(go_quote);
        format!("parsing time {text} as {layout}: cannot parse {at} as {element}")
    }

    fn digit(&self, at: usize) -> Option<i64> {
        let byte = self.rest.as_bytes().get(at).copied()?;
        byte.is_ascii_digit().then(|| i64::from(byte - b'0'))
    }

    // Cuts `length` bytes off. What was looked at before is ASCII.
    fn cut(&mut self, length: usize) {
        self.rest = self.rest.get(length..).unwrap_or_default();
    }

    fn year(&mut self) -> Result<i64, String> {
        let digits = [0, 1, 2, 3].map(|at| self.digit(at));
        let [Some(a), Some(b), Some(c), Some(d)] = digits else {
            return Err(self.mismatch(self.rest, "2006"));
        };
        self.cut(4);
        Ok(a * 1000 + b * 100 + c * 10 + d)
    }

    fn skip(&mut self, separator: &str) -> Result<(), String> {
        match self.rest.strip_prefix(separator) {
            Some(rest) => {
                self.rest = rest;
                Ok(())
            }
            None => Err(self.mismatch(self.rest, separator)),
        }
    }

    fn number(
        &mut self,
        element: &str,
        two_digits: bool,
        range: std::ops::RangeInclusive<i64>,
        name: &str,
    ) -> Result<i64, String> {
        let (number, length) = match (self.digit(0), self.digit(1)) {
            (Some(a), Some(b)) => (a * 10 + b, 2),
            (Some(a), None) if !two_digits => (a, 1),
            _ => return Err(self.mismatch(self.rest, element)),
        };
        if !range.contains(&number) {
            return Err(self.message(&format!("{name} out of range")));
        }
        self.cut(length);
        Ok(number)
    }

    // The fraction in nanoseconds. `MicroTime` must have six digits, `Time` may
    // have any.
    fn fraction(&mut self, precision: Precision) -> Result<i64, String> {
        let starts = self.rest.starts_with(['.', ',']);
        let digits = (1..).map_while(|at| self.digit(at)).take(self.rest.len());
        let digits: Vec<i64> = digits.collect();
        let taken = match precision {
            Precision::Seconds if !starts || digits.is_empty() => return Ok(0),
            Precision::Seconds => digits.len(),
            Precision::Micros if starts && digits.len() >= 6 => 6,
            Precision::Micros => return Err(self.mismatch(self.rest, ".000000")),
        };
        self.cut(1 + taken);
        let padded = digits.into_iter().take(taken).chain(std::iter::repeat(0));
        Ok(padded.take(9).fold(0, |nanos, digit| nanos * 10 + digit))
    }

    // Seconds east of UTC.
    fn offset(&mut self) -> Result<i64, String> {
        if let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            return Ok(0);
        }
        let digits = [1, 2, 4, 5].map(|at| self.digit(at));
        let (sign, colon) = (self.rest.as_bytes().first(), self.rest.as_bytes().get(3));
        let ([Some(a), Some(b), Some(c), Some(d)], Some(sign @ (b'+' | b'-')), Some(b':')) =
            (digits, sign, colon)
        else {
            return Err(self.mismatch(self.rest, "Z07:00"));
        };
        let (hours, minutes) = (a * 10 + b, c * 10 + d);
        for (over, name) in [(hours > 24, "hour"), (minutes > 60, "minute")] {
            if over {
                return Err(self.message(&format!("time zone offset {name} out of range")));
            }
        }
        let seconds = hours * 3600 + minutes * 60;
        let offset = if *sign == b'-' { -seconds } else { seconds };
        self.cut(6);
        Ok(offset)
    }
}

fn leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

// Days from 1970-01-01 (Howard Hinnant's algorithm: years start in March).
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let in_era = year.rem_euclid(400);
    let in_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + in_era * 365 + in_era / 4 - in_era / 100 + in_year - 719_468
}

// The way back.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, in_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (in_era - in_era / 1460 + in_era / 36_524 - in_era / 146_096) / 365;
    let in_year = in_era - (365 * year + year / 4 - year / 100);
    let month = (5 * in_year + 2) / 153;
    let day = in_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

fn shown(seconds: i64, nanos: i64, precision: Precision) -> Option<String> {
    let (year, month, day) = date(seconds.div_euclid(86_400));
    let second = seconds.rem_euclid(86_400);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    if (year, month, day, hour, minute, second, nanos) == (1, 1, 1, 0, 0, 0, 0) {
        return None;
    }
    let head = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    Some(match precision {
        Precision::Seconds => format!("{head}Z"),
        Precision::Micros => format!("{head}.{:06}Z", nanos / 1000),
    })
}

const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads a duration, `1h30m`, in nanoseconds.
///
/// # Errors
/// The text of Go's `time.ParseDuration`.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {}", go_quote(text));
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if unsigned == "0" {
        return Ok(0);
    }
    if unsigned.is_empty() {
        return Err(invalid());
    }
    let mut rest = unsigned;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = after.strip_prefix('.').map_or(("", after), digits);
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let unit = after.split(|c: char| c == '.' || c.is_ascii_digit()).next().unwrap_or_default();
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {}", go_quote(text)));
        }
        let Some((_, nanos)) = UNITS.iter().find(|it| it.0 == unit) else {
            return Err(format!("time: unknown unit {} in duration {}", go_quote(unit), go_quote(text)));
        };
        let amount = if whole.is_empty() { Ok(0) } else { whole.parse::<u64>() };
        let amount = amount.ok().and_then(|amount| amount.checked_mul(*nanos));
        let part = format!("0.{fraction}0").parse::<f64>().unwrap_or_default() * *nanos as f64;
        let sum =
            amount.and_then(|amount| total.checked_add(amount)).and_then(|it| it.checked_add(part as u64));
        total = sum.filter(|it| *it <= 1 << 63).ok_or_else(invalid)?;
        rest = after.strip_prefix(unit).unwrap_or_default();
    }
    if text.starts_with('-') {
        return Ok(0i64.wrapping_sub_unsigned(total));
    }
    i64::try_from(total).map_err(|_| invalid())
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

/// The text of a duration as Go writes it: `1h30m0s`, `1.5s`, `100ms`.
pub fn duration_text(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let amount = nanos.unsigned_abs();
    let decimal = |amount: u64, unit: u64| {
        let digits = unit.ilog10() as usize;
        let fraction = format!("{:0digits$}", amount % unit);
        let fraction = if unit == 1 { "" } else { fraction.trim_end_matches('0') };
        let dot = if fraction.is_empty() { "" } else { "." };
        format!("{}{dot}{fraction}", amount / unit)
    };
    let text = match amount {
        0 => "0s".to_owned(),
        1..1_000 => format!("{amount}ns"),
        1_000..1_000_000 => format!("{}µs", decimal(amount, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", decimal(amount, 1_000_000)),
        _ => {
            let seconds = decimal(amount % 60_000_000_000, 1_000_000_000);
            match (amount / 3_600_000_000_000, amount / 60_000_000_000 % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    };
    format!("{sign}{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(precision: Precision, table: &[(&str, &str)]) {
        for (text, expected) in table {
            let shown = match canonical_time(text, precision) {
                Ok(Some(text)) => text,
                Ok(None) => "zero".to_owned(),
                Err(error) => error,
            };
            assert_eq!(shown, *expected, "{text:?}");
        }
    }

    #[test]
    fn times() {
        check(
            Precision::Seconds,
            &[
                ("2024-02-29T23:59:59Z", "2024-02-29T23:59:59Z"),
                ("2024-01-01T00:30:00.999+02:00", "2023-12-31T22:30:00Z"),
                ("1969-12-31T23:00:00-01:00", "1970-01-01T00:00:00Z"),
                ("2024-01-01T1:00:00Z", "2024-01-01T01:00:00Z"),
                ("0001-01-01T00:00:00Z", "zero"),
                ("", "parsing time \"\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"\" as \"2006\""),
                (
                    "2024-01-01",
                    "parsing time \"2024-01-01\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"\" as \"T\"",
                ),
                (
                    "2024-01-01T00:00:00",
                    "parsing time \"2024-01-01T00:00:00\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"\" as \
                     \"Z07:00\"",
                ),
                ("2024-13-01T00:00:00Z", "parsing time \"2024-13-01T00:00:00Z\": month out of range"),
                ("2023-02-29T00:00:00Z", "parsing time \"2023-02-29T00:00:00Z\": day out of range"),
                ("2024-01-01T24:00:00Z", "parsing time \"2024-01-01T24:00:00Z\": hour out of range"),
                ("2024-01-01T00:00:00Zx", "parsing time \"2024-01-01T00:00:00Zx\": extra text: \"x\""),
                (
                    "2024-01-01T00:00:00+99:00",
                    "parsing time \"2024-01-01T00:00:00+99:00\": time zone offset hour out of range",
                ),
            ],
        );
        check(
            Precision::Micros,
            &[
                ("2024-01-01T00:00:00.123456Z", "2024-01-01T00:00:00.123456Z"),
                (
                    "2024-01-01T00:00:00Z",
                    "parsing time \"2024-01-01T00:00:00Z\" as \"2006-01-02T15:04:05.000000Z07:00\": cannot parse \
                     \"Z\" as \".000000\"",
                ),
            ],
        );
    }

    #[test]
    fn dates_go_both_ways() {
        for days in (-719_162..2_932_896).step_by(97) {
            let (year, month, day) = date(days);
            assert_eq!(days_before(year, month, day), days);
        }
    }

    #[test]
    fn durations() {
        for (text, expected) in [
            ("0", "0s"),
            ("90m", "1h30m0s"),
            ("1.5s", "1.5s"),
            ("-1h1ns", "-1h0m0.000000001s"),
            ("100ms", "100ms"),
            ("1500us", "1.5ms"),
            ("15ns", "15ns"),
            (".5s", "500ms"),
            ("1h1m1s", "1h1m1s"),
            ("2540400h", "2540400h0m0s"),
            ("", "time: invalid duration \"\""),
            ("-", "time: invalid duration \"-\""),
            (".s", "time: invalid duration \".s\""),
            ("5", "time: missing unit in duration \"5\""),
            ("5d", "time: unknown unit \"d\" in duration \"5d\""),
            ("9999999h", "time: invalid duration \"9999999h\""),
        ] {
            let shown = parse_duration(text).map_or_else(|error| error, duration_text);
            assert_eq!(shown, expected, "{text:?}");
        }
    }
}
