//! Ages as tables show them: `5s`, `3m20s`, `4d7h`.

use jiff::Timestamp;
use serde_json::Value;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// A span of seconds with two or three digits that matter. A clock that is up
/// to two seconds ahead still counts as now.
pub fn human(seconds: i64) -> String {
    let pair = |big: i64, unit: &str, small: i64, part: &str| {
        if small == 0 { format!("{big}{unit}") } else { format!("{big}{unit}{small}{part}") }
    };
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        _ if seconds < 10 * MINUTE => pair(seconds / MINUTE, "m", seconds % MINUTE, "s"),
        _ if seconds < 3 * HOUR => format!("{}m", seconds / MINUTE),
        _ if seconds < 8 * HOUR => pair(seconds / HOUR, "h", seconds % HOUR / MINUTE, "m"),
        _ if seconds < 2 * DAY => format!("{}h", seconds / HOUR),
        _ if seconds < 8 * DAY => pair(seconds / DAY, "d", seconds % DAY / HOUR, "h"),
        _ if seconds < 2 * 365 * DAY => format!("{}d", seconds / DAY),
        _ if seconds < 8 * 365 * DAY => pair(seconds / DAY / 365, "y", seconds / DAY % 365, "d"),
        _ => format!("{}y", seconds / DAY / 365),
    }
}

/// The age of a time in RFC 3339; `<unknown>` where there is none.
pub fn since(time: Option<&Value>, now: Timestamp) -> String {
    let time = time.and_then(Value::as_str).and_then(|text| text.parse::<Timestamp>().ok());
    time.map_or_else(|| "<unknown>".to_owned(), |time| between(time, now))
}

/// How long after a time another is.
pub fn between(time: Timestamp, now: Timestamp) -> String {
    human(now.duration_since(time).as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_as_upstream_shows_them() {
        let day = DAY;
        let cases = [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (200, "3m20s"),
            (600, "10m"),
            (3 * HOUR - 1, "179m"),
            (3 * HOUR, "3h"),
            (7 * HOUR + 59 * MINUTE, "7h59m"),
            (8 * HOUR, "8h"),
            (47 * HOUR, "47h"),
            (2 * day, "2d"),
            (7 * day + 23 * HOUR, "7d23h"),
            (8 * day, "8d"),
            (729 * day, "729d"),
            (730 * day, "2y"),
            (3 * 365 * day + day, "3y1d"),
            (8 * 365 * day + day, "8y"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(human(seconds), expected, "{seconds} s");
        }
    }

    #[test]
    fn times_that_are_missing_have_no_age() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        assert_eq!(since(None, now), "<unknown>");
        assert_eq!(since(Some(&"2026-01-01T00:00:00Z".into()), now), "60s");
    }
}
