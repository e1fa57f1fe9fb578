//! What changed in a pod, as upstream shows it: a unified diff of the JSON of
//! its internal structs, found the way of Python's `difflib`.

use std::{collections::HashMap, ops::Range};

use serde_json::Value;

use super::internal::Internal;

// Lines around a change.
const CONTEXT: usize = 3;
// Longer texts than that are not compared line by line.
const MOST: usize = 20_000;

/// What changed in a `PodSpec`.
pub fn of_spec(old: &Value, new: &Value) -> String {
    of("PodSpec", old, new)
}

/// What changed in an ephemeral container.
pub fn of_ephemeral_container(old: &Value, new: &Value) -> String {
    of("EphemeralContainer", old, new)
}

/// What changed in a struct of that name in the internal version.
pub fn of(kind: &str, old: &Value, new: &Value) -> String {
    let internal = Internal::read();
    unified(&internal.pretty(kind, old), &internal.pretty(kind, new))
}

/// A stretch of the old lines that stands in the new ones.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Match {
    old: usize,
    new: usize,
    length: usize,
}

/// Old lines, and the new lines that stand there.
type Change = (Range<usize>, Range<usize>);

fn unified(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let matches = if old.len().max(new.len()) > MOST { ends(&old, &new) } else { matches(&old, &new) };
    let mut out = String::new();
    for hunk in hunks(&matches, old.len(), new.len()) {
        let (Some(first), Some(last)) = (hunk.first(), hunk.last()) else { continue };
        let from = first.0.start.min(first.1.start).min(CONTEXT);
        let after = (old.len() - last.0.end).min(CONTEXT);
        let ranges = (first.0.start - from..last.0.end + after, first.1.start - from..last.1.end + after);
        out.push_str(&format!("@@ -{} +{} @@\n", shown(&ranges.0), shown(&ranges.1)));
        let mut at = ranges.0.start;
        for (gone, came) in &hunk {
            write(' ', &old[at..gone.start], &mut out);
            write('-', &old[gone.clone()], &mut out);
            write('+', &new[came.clone()], &mut out);
            at = gone.end;
        }
        write(' ', &old[at..ranges.0.end], &mut out);
    }
    out
}

fn write(mark: char, lines: &[&str], out: &mut String) {
    for line in lines {
        out.push(mark);
        out.push_str(line);
        out.push('\n');
    }
}

fn shown(range: &Range<usize>) -> String {
    match range.len() {
        1 => (range.start + 1).to_string(),
        0 => format!("{},0", range.start),
        length => format!("{},{length}", range.start + 1),
    }
}

// Changes that are near each other stand in one hunk.
fn hunks(matches: &[Match], old: usize, new: usize) -> Vec<Vec<Change>> {
    let mut hunks: Vec<Vec<Change>> = Vec::new();
    let (mut at, mut quiet) = ((0, 0), usize::MAX);
    let end = Match { old, new, length: 0 };
    for found in matches.iter().chain([&end]) {
        let change = (at.0..found.old, at.1..found.new);
        if !change.0.is_empty() || !change.1.is_empty() {
            match hunks.last_mut().filter(|_| quiet <= 2 * CONTEXT) {
                Some(hunk) => hunk.push(change),
                None => hunks.push(vec![change]),
            }
        }
        at = (found.old + found.length, found.new + found.length);
        quiet = found.length;
    }
    hunks
}

// What both begin and end with.
fn ends(old: &[&str], new: &[&str]) -> Vec<Match> {
    let same = |(a, b): &(&&str, &&str)| a == b;
    let head = old.iter().zip(new).take_while(same).count();
    let tail = old[head..].iter().rev().zip(new[head..].iter().rev()).take_while(same).count();
    vec![
        Match { old: 0, new: 0, length: head },
        Match { old: old.len() - tail, new: new.len() - tail, length: tail },
    ]
}

fn matches(old: &[&str], new: &[&str]) -> Vec<Match> {
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, line) in new.iter().enumerate() {
        places.entry(line).or_default().push(index);
    }
    // Lines that stand everywhere say nothing about where a match begins.
    if new.len() >= 200 {
        let most = new.len() / 100 + 1;
        places.retain(|_, indices| indices.len() <= most);
    }
    let mut found = Vec::new();
    let mut open = vec![(0..old.len(), 0..new.len())];
    while let Some((a, b)) = open.pop() {
        let longest = longest(old, new, &places, &a, &b);
        if longest.length > 0 {
            open.push((a.start..longest.old, b.start..longest.new));
            open.push((longest.old + longest.length..a.end, longest.new + longest.length..b.end));
            found.push(longest);
        }
    }
    found.sort_by_key(|it| (it.old, it.new));
    let mut joined: Vec<Match> = Vec::new();
    for next in found {
        match joined.last_mut() {
            Some(last) if (last.old + last.length, last.new + last.length) == (next.old, next.new) => {
                last.length += next.length;
            }
            _ => joined.push(next),
        }
    }
    joined
}

// The longest run of equal lines, the first of the longest.
fn longest(
    old: &[&str],
    new: &[&str],
    places: &HashMap<&str, Vec<usize>>,
    a: &Range<usize>,
    b: &Range<usize>,
) -> Match {
    let mut best = Match { old: a.start, new: b.start, length: 0 };
    // How long a run ends at each of the new lines.
    let mut runs: HashMap<usize, usize> = HashMap::new();
    for i in a.clone() {
        let mut next = HashMap::new();
        for j in places.get(old[i]).into_iter().flatten().copied().filter(|j| b.contains(j)) {
            let length = j.checked_sub(1).and_then(|before| runs.get(&before)).copied().unwrap_or(0) + 1;
            next.insert(j, length);
            if length > best.length {
                best = Match { old: i + 1 - length, new: j + 1 - length, length };
            }
        }
        runs = next;
    }
    // Lines that were left out above may still lengthen it.
    while best.old > a.start && best.new > b.start && old[best.old - 1] == new[best.new - 1] {
        best = Match { old: best.old - 1, new: best.new - 1, length: best.length + 1 };
    }
    while best.old + best.length < a.end
        && best.new + best.length < b.end
        && old[best.old + best.length] == new[best.new + best.length]
    {
        best.length += 1;
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(old: &str, new: &str, expected: &str) {
        let lines = |text: &str| text.split_whitespace().collect::<Vec<_>>().join("\n");
        assert_eq!(unified(&lines(old), &lines(new)), expected.replace('|', "\n"));
    }

    #[test]
    fn unified_diffs() {
        check("a b c", "a b c", "");
        check("a b c", "a x c", "@@ -1,3 +1,3 @@| a|-b|+x| c|");
        check("a b", "a b c", "@@ -1,2 +1,3 @@| a| b|+c|");
        check("a", "b", "@@ -1 +1 @@|-a|+b|");
        check(
            "1 2 3 4 5 6 7 8 9 a b c",
            "1 x 3 4 5 6 7 8 9 a y c",
            "@@ -1,5 +1,5 @@| 1|-2|+x| 3| 4| 5|@@ -8,5 +8,5 @@| 8| 9| a|-b|+y| c|",
        );
        check("1 2 3 4 5 6 7", "1 x 3 4 5 y 7", "@@ -1,7 +1,7 @@| 1|-2|+x| 3| 4| 5|-6|+y| 7|");
    }

    #[test]
    fn huge_texts_are_compared_at_their_ends() {
        let text = |middle: &str| {
            let side = vec!["x"; MOST].join("\n");
            format!("{side}\n{middle}\n{side}")
        };
        let diff = unified(&text("a"), &text("b"));
        assert!(diff.contains("-a\n+b\n"), "{diff}");
    }
}
