//! The text form, version 0.0.4, as Go's library writes it.

use std::fmt::Write;

use super::{Desc, Gathered, Kind, Reading, Sample};

/// Writes families as text.
pub fn write(families: &[Gathered]) -> String {
    let mut out = String::new();
    for family in families {
        let Desc { name, help, .. } = family.desc;
        let kind = match family.desc.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        let order = family.desc.sorted();
        for sample in &family.samples {
            sampled(&mut out, family.desc, &order, sample);
        }
    }
    out
}

fn sampled(out: &mut String, desc: &Desc, order: &[usize], sample: &Sample) {
    let mut labels = String::new();
    for &at in order {
        let value = sample.labels.get(at).map_or("", String::as_str);
        let separator = if labels.is_empty() { "" } else { "," };
        let _ = write!(labels, "{separator}{}=\"{}\"", desc.labels[at], escaped(value));
    }
    let name = desc.name;
    let around = |labels: &str| if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
    match &sample.value {
        Reading::Number(value) => {
            let _ = writeln!(out, "{name}{} {}", around(&labels), number(*value));
        }
        Reading::Histogram(counts, sum) => {
            let Kind::Histogram(bounds) = desc.kind else { return };
            let bounds = bounds.iter().copied().chain([f64::INFINITY]);
            let separator = if labels.is_empty() { "" } else { "," };
            let mut total = 0;
            for (count, bound) in counts.iter().zip(bounds) {
                total += count;
                let (bound, total) = (number(bound), number(total as f64));
                let _ = writeln!(out, "{name}_bucket{{{labels}{separator}le=\"{bound}\"}} {total}");
            }
            let labels = around(&labels);
            let _ = writeln!(out, "{name}_sum{labels} {}", number(*sum));
            let _ = writeln!(out, "{name}_count{labels} {}", number(total as f64));
        }
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"")
}

/// A number as Go prints it in its shortest form: `1e+06`, `0.0001`, `+Inf`.
pub fn number(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let shortest = format!("{value:e}");
    let Some((digits, exponent)) = shortest.split_once('e') else { return shortest };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    format!("{value}")
}
