//! Lists of indexes of jobs: `1,3-5,7`.

use coracle_api::field::go_quote;

/// How many indexes a list names, all of them below `completions`.
///
/// # Errors
/// Upstream's text.
pub fn count(list: &str, completions: i64) -> Result<i64, String> {
    let (mut total, mut last) = (0, None);
    if list.is_empty() {
        return Ok(0);
    }
    for part in list.split(',') {
        let (first, end) = interval(part, completions)?;
        if let Some(last) = last.filter(|last| *last >= first) {
            return Err(format!("non-increasing order, previous: {last}, current: {first}"));
        }
        total += end - first + 1;
        last = Some(end);
    }
    Ok(total)
}

fn interval(text: &str, completions: i64) -> Result<(i64, i64), String> {
    let parts: Vec<&str> = text.split('-').collect();
    let number = |text: &str| match text.parse::<i64>() {
        Err(_) => Err(format!("cannot convert string to integer for index: {}", go_quote(text))),
        Ok(index) if index >= completions => Err(format!("too large index: {}", go_quote(text))),
        Ok(index) => Ok(index),
    };
    match parts.as_slice() {
        [one] => number(one).map(|index| (index, index)),
        [first, last] => {
            let (first, last) = (number(first)?, number(last)?);
            if first >= last {
                return Err(format!("non-increasing order, previous: {first}, current: {last}"));
            }
            Ok((first, last))
        }
        _ => Err(format!(
            "the fragment {} violates the requirement that an index interval can have at most two parts separated by '-'",
            go_quote(text)
        )),
    }
}

/// The first index that two lists share. Intervals that are none are skipped.
pub fn overlap(completed: &str, failed: &str, completions: i64) -> Option<i64> {
    let intervals = |list: &str| -> Vec<(i64, i64)> {
        list.split(',').filter_map(|part| interval(part, completions).ok()).collect()
    };
    let (completed, failed) = (intervals(completed), intervals(failed));
    let (mut c, mut f) = (0, 0);
    while let (Some(a), Some(b)) = (completed.get(c), failed.get(f)) {
        if a.0 <= b.1 && b.0 <= a.1 {
            return Some(a.0.max(b.0));
        }
        if a.0 <= b.0 { c += 1 } else { f += 1 }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_indexes() {
        let cases = [
            ("", Ok(0)),
            ("1,3-5,7", Ok(5)),
            ("a", Err("cannot convert string to integer for index: \"a\"")),
            ("9", Err("too large index: \"9\"")),
            ("3-1", Err("non-increasing order, previous: 3, current: 1")),
            ("3,2", Err("non-increasing order, previous: 3, current: 2")),
        ];
        for (list, expected) in cases {
            assert_eq!(count(list, 9), expected.map_err(str::to_owned), "{list}");
        }
        assert!(count("1-2-3", 9).is_err());
    }

    #[test]
    fn lists_that_overlap() {
        assert_eq!(overlap("1,3-5", "2,5-6", 9), Some(5));
        assert_eq!(overlap("1,3", "2,4", 9), None);
        assert_eq!(overlap("x,3", "3", 9), Some(3));
    }
}
