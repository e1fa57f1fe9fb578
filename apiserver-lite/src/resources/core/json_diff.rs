//! What changed between two trees, line by line, as upstream shows it in
//! errors about fields that may not change.

use serde_json::Value;

const CONTEXT: usize = 3;
// Both sides are specs; beyond this many lines nothing is compared.
const MAX_LINES: usize = 2_000;

/// A unified diff of the two trees in indented JSON.
pub fn unified(old: &Value, new: &Value) -> String {
    let (old, new) = (lines(old), lines(new));
    if old.len().max(new.len()) > MAX_LINES {
        return String::new();
    }
    let edits = edits(&old, &new);
    let mut out = String::new();
    let mut start = 0;
    while let Some(first) = edits[start..].iter().position(|edit| edit.0 != ' ').map(|at| at + start) {
        let from = first.saturating_sub(CONTEXT).max(start);
        let mut last = first;
        for (at, edit) in edits.iter().enumerate().skip(first) {
            if edit.0 != ' ' {
                last = at;
            } else if at - last > 2 * CONTEXT {
                break;
            }
        }
        let to = (last + CONTEXT + 1).min(edits.len());
        hunk(&edits, from, to, &mut out);
        start = to;
    }
    out
}

fn lines(value: &Value) -> Vec<String> {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b" ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    if serde::Serialize::serialize(value, &mut serializer).is_err() {
        return Vec::new();
    }
    String::from_utf8_lossy(&bytes).split('\n').map(str::to_owned).collect()
}

// Each line with what becomes of it: kept, taken away or added.
fn edits<'a>(old: &'a [String], new: &'a [String]) -> Vec<(char, &'a str)> {
    // Lengths of the longest common subsequences of what is left of both.
    let width = new.len() + 1;
    let mut common = vec![0_u16; (old.len() + 1) * width];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i * width + j] = if old[i] == new[j] {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut edits = Vec::with_capacity(old.len() + new.len());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            edits.push((' ', old[i].as_str()));
            (i, j) = (i + 1, j + 1);
        } else if i < old.len()
            && (j == new.len() || common[(i + 1) * width + j] >= common[i * width + j + 1])
        {
            edits.push(('-', old[i].as_str()));
            i += 1;
        } else {
            edits.push(('+', new[j].as_str()));
            j += 1;
        }
    }
    edits
}

fn hunk(edits: &[(char, &str)], from: usize, to: usize, out: &mut String) {
    let count = |range: &[(char, &str)], other: char| range.iter().filter(|edit| edit.0 != other).count();
    let range = |before: usize, length: usize| match length {
        0 => format!("{before},0"),
        1 => format!("{}", before + 1),
        _ => format!("{},{length}", before + 1),
    };
    let old = range(count(&edits[..from], '+'), count(&edits[from..to], '+'));
    let new = range(count(&edits[..from], '-'), count(&edits[from..to], '-'));
    out.push_str(&format!("@@ -{old} +{new} @@\n"));
    for (mark, line) in &edits[from..to] {
        out.push_str(&format!("{mark}{line}\n"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::unified;

    #[test]
    fn changed_lines_stand_in_their_context() {
        let old = json!({"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6});
        let new = json!({"a": 1, "b": 2, "c": 3, "d": 4, "e": 7, "f": 6});
        let expected = "@@ -3,6 +3,6 @@\n  \"b\": 2,\n  \"c\": 3,\n  \"d\": 4,\n- \"e\": 5,\n+ \"e\": 7,\n  \"f\": 6\n }\n";
        assert_eq!(unified(&old, &new), expected);
        assert_eq!(unified(&old, &old), "");
    }
}
