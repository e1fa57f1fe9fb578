//! Asks both servers, and says how their answers went.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::Path;

use serde_json::Value;

use crate::allowed::Allowance;
use crate::compare::{Comparison, Difference};
use crate::exchange::Exchange;
use crate::side::{Answer, Body, Side};

/// Go goes through maps in any order: what is refused is asked for again so often.
const ASKED_AGAIN: usize = 4;
/// Differences shown in full.
const SHOWN: usize = 30;

pub struct Both<'s> {
    pub reference: &'s mut Side,
    pub ours: &'s mut Side,
    pub tally: Tally,
    allowed: Vec<Allowance>,
    comparison: Comparison,
    since: String,
    /// `SEED VERSION KIND`.
    case: String,
    shows_all: bool,
}

/// How many exchanges went how.
#[derive(Default)]
pub struct Tally {
    equal: usize,
    refused: usize,
    chance: usize,
    allowed: usize,
    pub different: usize,
    /// By the reference.
    unanswered: usize,
    shown: usize,
    /// How often ours differed in what way, and where first.
    common: BTreeMap<(String, String, String), (usize, String)>,
    kinds: HashSet<String>,
}

impl<'s> Both<'s> {
    /// # Errors
    /// When the list of what may differ is none.
    pub fn new(
        reference: &'s mut Side,
        ours: &'s mut Side,
        here: &Path,
        since: String,
    ) -> Result<Self, String> {
        Ok(Self {
            reference,
            ours,
            tally: Tally::default(),
            allowed: Allowance::load(&here.join("properties/allowed.yaml"))?,
            comparison: Comparison::new(since.clone()),
            since,
            case: String::new(),
            shows_all: std::env::var_os("CORACLE_PROPERTIES_LOG").is_some(),
        })
    }

    /// What follows is about that: nothing of what went before is the same thing.
    pub fn begin(&mut self, case: String) {
        self.comparison = Comparison::new(self.since.clone());
        self.case = case;
    }

    /// Does it on both, whatever comes of it.
    pub async fn furnish(&mut self, exchange: &Exchange) {
        tokio::join!(self.reference.ask(exchange), self.ours.ask(exchange));
    }

    /// Asks both and compares; returns what the reference answers.
    pub async fn ask(&mut self, exchange: &Exchange) -> Answer {
        let ((theirs, _), (ours, _)) = tokio::join!(self.reference.ask(exchange), self.ours.ask(exchange));
        let title = format!("{} {}", exchange.name, self.case);
        if self.shows_all {
            let body = exchange.body.as_ref().map(Value::to_string).unwrap_or_default();
            println!("--- {title}\n    {} {body}", exchange.request);
            println!(
                "    reference: {} {}\n    ours: {} {}",
                theirs.status, theirs.body, ours.status, ours.body
            );
        }
        if let Some(failure) = &theirs.failure {
            // Its handlers panic now and then; ours must not.
            println!("--- {title}: asked the reference, got no answer: {failure}");
            self.tally.unanswered += 1;
            self.tally.different += usize::from(ours.failure.is_some());
            return theirs;
        }
        self.tally.kinds.insert(self.case.split_once(' ').map_or("", |(_, kind)| kind).to_owned());
        self.tally.refused += usize::from(theirs.status >= 400);
        let found = self.comparison.compare(exchange, &theirs, &ours);
        let count = found.len();
        let bad: Vec<_> =
            found.into_iter().filter(|it| !self.allowed.iter_mut().any(|a| a.covers(&title, it))).collect();
        match (count, bad.is_empty()) {
            (0, _) => self.tally.equal += 1,
            (_, true) => self.tally.allowed += 1,
            _ if theirs.status >= 400 && self.is_chance(exchange, &theirs, &ours).await => {
                self.tally.chance += 1
            }
            _ => self.tally.take(&title, exchange, &bad),
        }
        theirs
    }

    /// Whether the reference answers now as ours did, or says the same in an order that it does not keep to itself.
    async fn is_chance(&mut self, exchange: &Exchange, theirs: &Answer, ours: &Answer) -> bool {
        let alike = sorted(theirs) == sorted(ours);
        let mut varies = false;
        for _ in 0..ASKED_AGAIN {
            let (again, _) = self.reference.ask(exchange).await;
            if self
                .comparison
                .compare(exchange, &again, ours)
                .iter()
                .all(|it| it.at.starts_with("header x-kubernetes-pf"))
            {
                return true;
            }
            varies |= text(&again) != text(theirs);
        }
        alike && varies
    }

    /// What nobody needed.
    pub fn unused(&self) -> impl Iterator<Item = String> {
        Allowance::unused(&self.allowed)
    }
}

fn text(answer: &Answer) -> String {
    answer.body.to_string()
}

/// The causes of a refusal in one order; without them, the message's words.
fn sorted(answer: &Answer) -> Vec<String> {
    let Body::Tree(tree) = &answer.body else { return vec![text(answer)] };
    let mut parts: Vec<String> = match tree.pointer("/details/causes").and_then(Value::as_array) {
        Some(causes) => causes.iter().map(Value::to_string).collect(),
        None => text(answer).split([' ', ',', '[', ']']).map(str::to_owned).collect(),
    };
    parts.sort_unstable();
    parts
}

impl Tally {
    fn take(&mut self, title: &str, exchange: &Exchange, differences: &[Difference]) {
        self.different += 1;
        for difference in differences {
            let short = |text: &str| {
                let letters: String = text.chars().filter(|c| !c.is_ascii_digit()).take(90).collect();
                letters
            };
            let kind = title.split(' ').rev().take(1).collect::<String>();
            let place = format!("{kind} {}", short(&difference.at));
            let key = (place, short(&difference.reference), short(&difference.ours));
            self.common.entry(key).or_insert_with(|| (0, title.to_owned())).0 += 1;
        }
        self.shown += 1;
        if self.shown > SHOWN {
            return;
        }
        println!("--- {title}\n    {}", exchange.request);
        if let Some(body) = &exchange.body {
            println!("    {body}");
        }
        for difference in differences.iter().take(6) {
            println!("    {difference}");
        }
    }

    /// Many differences have one cause: all ways in which answers differed, the most frequent first.
    pub fn print_common(&self) {
        const MOST: usize = 150;
        let mut common: Vec<_> = self.common.iter().collect();
        common.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
        for ((at, reference, ours), (count, title)) in common.into_iter().take(MOST) {
            println!("{count} times {at}: {reference} / {ours} ({title})");
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { equal, refused, chance, allowed, different, unanswered, .. } = self;
        let all = equal + chance + allowed + different;
        write!(
            f,
            "properties: {all} exchanges of {} kinds ({refused} refused): {equal} equal, {chance} by chance in any \
             order, {allowed} as allowed, {different} different",
            self.kinds.len()
        )?;
        if *unanswered > 0 { write!(f, "; {unanswered} times the reference gave no answer") } else { Ok(()) }
    }
}
