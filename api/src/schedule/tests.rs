use super::*;

#[track_caller]
fn check(text: &str, zone: &str, after: &str, due: &[&str]) {
    let zone = time_zone(zone).unwrap();
    let schedule = Schedule::parse_in(text, &zone).unwrap();
    let mut at = Some(after.parse::<Timestamp>().unwrap());
    let mut found = Vec::new();
    for _ in due {
        at = at.and_then(|at| schedule.next(at));
        found.push(at.map_or("never".to_owned(), |at| at.to_string()));
    }
    assert_eq!(found, due, "{text} in {zone:?} after {after}");
}

#[test]
fn the_next_time() {
    check("* * * * *", "", "2024-01-01T00:00:00Z", &["2024-01-01T00:01:00Z", "2024-01-01T00:02:00Z"]);
    check("* * * * *", "", "2024-01-01T00:00:59.5Z", &["2024-01-01T00:01:00Z"]);
    check("*/20 3,5 * * ?", "", "2024-01-01T03:30:00Z", &["2024-01-01T03:40:00Z", "2024-01-01T05:00:00Z"]);
    check("59 23 31 12 *", "", "2024-01-01T00:00:00Z", &["2024-12-31T23:59:00Z", "2025-12-31T23:59:00Z"]);
    check("0 0 29 feb *", "", "2024-03-01T00:00:00Z", &["2028-02-29T00:00:00Z"]);
    // A day of the month or a day of the week, unless one of them is any.
    check("0 0 13 * fri", "", "2024-01-10T00:00:00Z", &["2024-01-12T00:00:00Z", "2024-01-13T00:00:00Z"]);
    check("0 0 * * 1", "", "2024-01-10T00:00:00Z", &["2024-01-15T00:00:00Z"]);
    check("0 0 */2 * mon", "", "2024-01-10T00:00:00Z", &["2024-01-11T00:00:00Z"]);
    check("@hourly", "", "2024-01-01T00:10:00Z", &["2024-01-01T01:00:00Z"]);
    check("@weekly", "", "2024-01-01T00:10:00Z", &["2024-01-07T00:00:00Z"]);
    check("@yearly", "", "2024-01-01T00:00:00Z", &["2025-01-01T00:00:00Z"]);
    check("@every 90m", "", "2024-01-01T00:10:00.7Z", &["2024-01-01T01:40:00Z", "2024-01-01T03:10:00Z"]);
    check("@every 10ms", "", "2024-01-01T00:10:00Z", &["2024-01-01T00:10:01Z"]);
    check("@every -5h", "", "2024-01-01T00:10:00Z", &["2024-01-01T00:10:01Z"]);
}

#[test]
fn what_never_comes() {
    for text in ["59 23 31 2 *", ", * * * *", "* , * * *", "* * , * *", "* * * , *", "* * * * ,"] {
        check(text, "", "2024-01-01T00:00:00Z", &["never"]);
        check(text, "Europe/Berlin", "2024-01-01T00:00:00Z", &["never"]);
    }
    check("0 0 29 2 *", "", "2096-03-01T00:00:00Z", &["never"]);
    check("* * * * *", "", "9999-12-30T22:00:00Z", &["never"]);
    check("@every 2540400h", "", "9999-12-30T22:00:00Z", &["never"]);
}

#[test]
fn in_time_zones() {
    check("30 9 * * *", "Asia/Kolkata", "2024-01-01T00:00:00Z", &["2024-01-01T04:00:00Z"]);
    check("TZ=Asia/Tokyo 0 9 * * *", "America/New_York", "2024-01-01T00:00:01Z", &["2024-01-02T00:00:00Z"]);
    // 2:30 is not there on the day of the gap, and twice on that of the overlap.
    let berlin = ["2024-03-30T01:30:00Z", "2024-04-01T00:30:00Z"];
    check("30 2 * * *", "Europe/Berlin", "2024-03-30T00:00:00Z", &berlin);
    let twice = ["2024-10-27T00:30:00Z", "2024-10-27T01:30:00Z", "2024-10-28T01:30:00Z"];
    check("30 2 * * *", "Europe/Berlin", "2024-10-27T00:00:00Z", &twice);
    // No midnight that day.
    check("0 1 * * *", "America/Sao_Paulo", "2018-11-03T05:00:00Z", &["2018-11-04T03:00:00Z"]);
}

#[test]
fn zones_have_exact_names() {
    for name in ["", "UTC", "Local", "Europe/Berlin", "Etc/UTC", "Etc/GMT+3", "America/Argentina/Ushuaia"] {
        assert!(time_zone(name).is_ok(), "{name}");
    }
    let check = |name: &str, error: &str| assert_eq!(time_zone(name).err().as_deref(), Some(error));
    check("europe/berlin", "unknown time zone europe/berlin");
    check("Mars/Base", "unknown time zone Mars/Base");
    check("Etc/Unknown", "unknown time zone Etc/Unknown");
    check("../etc/passwd", "time: invalid location name");
}
