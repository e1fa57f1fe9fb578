//! The bodies of the fuzz targets, fed with mutations of their corpora: what
//! finds regressions where nobody has libFuzzer.
//!
//! `CORACLE_FUZZ_SECONDS` makes it go on for so long in all, `CORACLE_FUZZ_SEED`
//! begins elsewhere, `CORACLE_FUZZ_TARGET` takes one target.

#[path = "../fuzz/src/bodies.rs"]
mod bodies;

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::StdRng};

const FEW: usize = 500;
const LARGEST: usize = 8 << 10;
// Nothing of this size takes so long, on any machine.
const SLOW: Duration = Duration::from_secs(10);

#[test]
fn mutated_corpora_do_no_harm() {
    let told = |name: &str| std::env::var(name).ok();
    let seconds = told("CORACLE_FUZZ_SECONDS").and_then(|text| text.parse().ok()).map(Duration::from_secs);
    let seed = told("CORACLE_FUZZ_SEED").and_then(|text| text.parse().ok()).unwrap_or(7);
    let only = told("CORACLE_FUZZ_TARGET");
    let targets: Vec<_> =
        bodies::ALL.iter().filter(|(name, _)| only.as_deref().is_none_or(|it| it == *name)).collect();
    let mut luck = StdRng::seed_from_u64(seed);
    let mut faults = Vec::new();
    for (name, body) in &targets {
        let corpus = corpus(name);
        let words = words(name);
        assert!(!corpus.is_empty(), "{name} has no corpus");
        let began = Instant::now();
        let share = seconds.map(|all| all / targets.len() as u32);
        let mut runs = 0;
        while share.map_or(runs < FEW, |share| began.elapsed() < share) {
            let input = match corpus.get(runs) {
                Some(seed) => seed.clone(),
                None => mutated(&corpus, &words, &mut luck),
            };
            runs += 1;
            let since = Instant::now();
            let panicked = catch_unwind(AssertUnwindSafe(|| body(&input))).is_err();
            if panicked || since.elapsed() > SLOW {
                let input = input.escape_ascii().to_string();
                faults.push(format!("{name} {}: {input}", if panicked { "panics" } else { "is slow" }));
                if faults.len() > 20 {
                    break;
                }
            }
        }
        println!("{name}: {runs} inputs in {:?}", began.elapsed());
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn fuzz() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let mut files: Vec<PathBuf> = fs::read_dir(fuzz().join("corpus").join(target))
        .map(|files| files.flatten().map(|file| file.path()).collect())
        .unwrap_or_default();
    files.sort();
    files.iter().filter_map(|file| fs::read(file).ok()).collect()
}

// What is worth putting in somewhere.
fn words(target: &str) -> Vec<Vec<u8>> {
    let text = fs::read_to_string(fuzz().join("dict").join(target)).unwrap_or_default();
    let given = text.lines().filter_map(|line| line.strip_prefix('"')?.strip_suffix('"'));
    let given = given.map(|word| word.replace("\\\"", "\"").replace("\\\\", "\\").into_bytes());
    let always = [
        "",
        "0",
        "-1",
        "9223372036854775808",
        "1e400",
        "null",
        "{}",
        "[]",
        "\"\"",
        "\0",
        "\u{fffd}",
        "[[[[",
        "}",
    ];
    given.chain(always.iter().map(|word| word.as_bytes().to_vec())).collect()
}

// A few changes to one of the corpus, or a cross of two.
fn mutated(corpus: &[Vec<u8>], words: &[Vec<u8>], luck: &mut StdRng) -> Vec<u8> {
    let mut bytes = corpus[luck.random_range(0..corpus.len())].clone();
    for _ in 0..luck.random_range(1..8) {
        let at = luck.random_range(0..=bytes.len());
        let end = (at + luck.random_range(0..=24)).min(bytes.len());
        match luck.random_range(0..8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << luck.random_range(0..8),
            1 if at < bytes.len() => bytes[at] = luck.random(),
            2 => drop(bytes.splice(at..end, [])),
            3 => {
                let part = bytes[at..end].to_vec();
                let times = luck.random_range(1..4);
                let to = luck.random_range(0..=bytes.len());
                drop(bytes.splice(to..to, part.repeat(times)));
            }
            4 | 5 => {
                let word = words[luck.random_range(0..words.len())].clone();
                let end = if luck.random() { end } else { at };
                drop(bytes.splice(at..end, word));
            }
            6 => {
                let other = &corpus[luck.random_range(0..corpus.len())];
                let from = luck.random_range(0..=other.len());
                let to = (from + luck.random_range(0..=200)).min(other.len());
                drop(bytes.splice(at..end, other[from..to].iter().copied()));
            }
            _ => bytes.truncate(at.max(bytes.len() / 2)),
        }
    }
    bytes.truncate(LARGEST);
    bytes
}
