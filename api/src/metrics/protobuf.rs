//! The protobuf form: `io.prometheus.client.MetricFamily`, each behind its length.

use super::{Gathered, Kind, Reading, Sample};

/// Writes families as delimited messages.
pub fn write(families: &[Gathered]) -> Vec<u8> {
    let mut out = Vec::new();
    for family in families {
        let message = message(family);
        varint(&mut out, message.len() as u64);
        out.extend_from_slice(&message);
    }
    out
}

fn message(family: &Gathered) -> Vec<u8> {
    let mut out = Vec::new();
    bytes(&mut out, 1, family.desc.name.as_bytes());
    bytes(&mut out, 2, family.desc.help.as_bytes());
    let kind = match family.desc.kind {
        Kind::Counter => 0,
        Kind::Gauge => 1,
        Kind::Histogram(_) => 4,
    };
    number(&mut out, 3, kind);
    let order = family.desc.sorted();
    for sample in &family.samples {
        let mut metric = Vec::new();
        for &at in &order {
            let mut pair = Vec::new();
            bytes(&mut pair, 1, family.desc.labels[at].as_bytes());
            bytes(&mut pair, 2, sample.labels.get(at).map_or("", String::as_str).as_bytes());
            bytes(&mut metric, 1, &pair);
        }
        value(&mut metric, family.desc.kind, sample);
        bytes(&mut out, 4, &metric);
    }
    out
}

fn value(metric: &mut Vec<u8>, kind: Kind, sample: &Sample) {
    let mut inner = Vec::new();
    match (&sample.value, kind) {
        (Reading::Histogram(counts, sum), Kind::Histogram(bounds)) => {
            number(&mut inner, 1, counts.iter().sum());
            double(&mut inner, 2, *sum);
            let mut total = 0;
            // The infinite bucket is the count.
            for (count, bound) in counts.iter().zip(bounds) {
                total += count;
                let mut bucket = Vec::new();
                number(&mut bucket, 1, total);
                double(&mut bucket, 2, *bound);
                bytes(&mut inner, 3, &bucket);
            }
            bytes(metric, 7, &inner);
        }
        (Reading::Number(value), kind) => {
            double(&mut inner, 1, *value);
            bytes(metric, if kind == Kind::Counter { 3 } else { 2 }, &inner);
        }
        (Reading::Histogram(..), _) => {}
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn number(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3);
    varint(out, value);
}

fn double(out: &mut Vec<u8>, field: u64, value: f64) {
    varint(out, field << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}
