//! Cron schedules, as far as the API server judges them: the grammar and the
//! messages of robfig's `ParseStandard`.

/// The bounds of a field, and names for its values from the first on.
struct Field {
    least: i64,
    most: i64,
    names: &'static [&'static str],
}

static FIELDS: [Field; 5] = [
    Field { least: 0, most: 59, names: &[] },
    Field { least: 0, most: 23, names: &[] },
    Field { least: 1, most: 31, names: &[] },
    Field {
        least: 1,
        most: 12,
        names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    },
    Field { least: 0, most: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] },
];

/// What is wrong with a schedule.
///
/// # Errors
/// The library's text.
pub fn check(schedule: &str) -> Result<(), String> {
    if schedule.is_empty() {
        return Err("empty spec string".to_owned());
    }
    let mut rest = schedule;
    if schedule.starts_with("TZ=") || schedule.starts_with("CRON_TZ=") {
        let (zone, fields) = schedule.split_once(' ').ok_or_else(|| {
            "invalid schedule format: runtime error: slice bounds out of range [:-1]".to_owned()
        })?;
        let zone = zone.split_once('=').map_or("", |(_, zone)| zone);
        if !known_zone(zone) {
            return Err(format!("provided bad location {zone}: unknown time zone {zone}"));
        }
        rest = fields.trim();
    }
    if rest.starts_with('@') {
        return descriptor(rest);
    }
    let fields: Vec<&str> = rest.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        let found = fields.len();
        return Err(format!("expected exactly 5 fields, found {found}: [{}]", fields.join(" ")));
    }
    FIELDS.iter().zip(fields).try_for_each(|(field, text)| field.check(text))
}

/// Whether a time zone has that very name. UTC and the machine's own have no
/// entry in the database.
pub fn known_zone(name: &str) -> bool {
    let known = || jiff::tz::TimeZone::get(name).is_ok_and(|zone| zone.iana_name() == Some(name));
    matches!(name, "" | "UTC" | "Local") || known()
}

fn descriptor(text: &str) -> Result<(), String> {
    match text {
        "@yearly" | "@annually" | "@monthly" | "@weekly" | "@daily" | "@midnight" | "@hourly" => Ok(()),
        _ => match text.strip_prefix("@every ") {
            Some(duration) => {
                every(duration).map_err(|error| format!("failed to parse duration {text}: {error}"))
            }
            None => Err(format!("unrecognized descriptor: {text}")),
        },
    }
}

// Go's durations: `1h30m`, `1.5s`.
fn every(text: &str) -> Result<(), String> {
    let quoted = coracle_api::field::go_quote(text);
    let invalid = || format!("time: invalid duration {quoted}");
    let mut rest = text.trim_start_matches(['+', '-']);
    if text.len() - rest.len() > 1 || rest.is_empty() {
        return Err(invalid());
    }
    if rest == "0" {
        return Ok(());
    }
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (digits, after) = rest.split_at(number);
        if !digits.bytes().any(|byte| byte.is_ascii_digit()) || digits.matches('.').count() > 1 {
            return Err(invalid());
        }
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {quoted}"));
        }
        if !["ns", "us", "µs", "μs", "ms", "s", "m", "h"].contains(&unit) {
            let unit = coracle_api::field::go_quote(unit);
            return Err(format!("time: unknown unit {unit} in duration {quoted}"));
        }
        rest = next;
    }
    Ok(())
}

impl Field {
    fn check(&self, text: &str) -> Result<(), String> {
        // Empty parts are left out, as Go's FieldsFunc does.
        text.split(',').filter(|part| !part.is_empty()).try_for_each(|part| self.range(part))
    }

    fn range(&self, text: &str) -> Result<(), String> {
        let steps: Vec<&str> = text.split('/').collect();
        let ends: Vec<&str> = steps.first().map_or_else(Vec::new, |range| range.split('-').collect());
        let first = ends.first().copied().unwrap_or_default();
        let (start, mut end) = if matches!(first, "*" | "?") {
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
        Ok(())
    }

    fn value(&self, text: &str) -> Result<i64, String> {
        let lower = text.to_lowercase();
        match self.names.iter().position(|name| *name == lower) {
            Some(index) => Ok(self.least + i64::try_from(index).unwrap_or_default()),
            None => number(text),
        }
    }
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
            let quoted = coracle_api::field::go_quote(text);
            Err(format!("failed to parse int from {text}: strconv.Atoi: parsing {quoted}: {why}"))
        }
    }
}
