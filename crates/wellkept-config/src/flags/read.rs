//! How a configuration writes a flag: in short, or as a mapping that says for whom.

use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;

use super::rollout::{BUCKETS, Rollout, Rule};
use super::{FlagValue, MAX_FLAG_KEYS, index_of, words};
use crate::diagnostics::codes;
use crate::from_node::quantity::Ratio;
use crate::from_node::{FromNode, one_of};
use crate::schema::Schema;
use crate::section::Section;
use crate::tree::{Node, Position, Scalar, Value};

/// What stands under `name`; `None` when it is wrong, which is reported.
pub(super) fn rollout<V: FlagValue>(section: &mut Section<'_>, name: &'static str, otherwise: V) -> Option<Rollout> {
    let words = words::<V>();
    let switch = V::SWITCH.map(|[off, on]| Switch { off: index_of(off), on: index_of(on) });
    let rest = index_of(otherwise);
    match switch {
        Some(_) => section.also::<Short>(name),
        None => section.also::<Word<V>>(name),
    }
    if !section.has(name) && !section.is_describing() {
        section.note_default(name, &Word::<V>::of(otherwise));
    }
    let rule = match section.node(name) {
        Some(node) if !matches!(node.value, Value::Mapping(_)) => match switch {
            Some(switch) => section.value::<Short>(node).map(|short| switch.rule(short.0))?,
            None => Rule { rest: word::<V>(section, &words, node)?, ..Rule::default() },
        },
        node => {
            let present = node.is_some();
            let read = section.section(name, |section| match switch {
                Some(switch) => Some(switch.read(section)),
                None => read_variants::<V>(section, &words, rest),
            });
            match read {
                Some(rule) => rule,
                None if present => return None,
                None => Rule { rest, ..Rule::default() },
            }
        }
    };
    Some(Rollout::new(name, words, rule))
}

/// The variants that off and on are.
#[derive(Clone, Copy)]
struct Switch {
    off: u8,
    on: u8,
}

/// `true`, `false`, or for how many: the buckets in which it is on.
#[derive(Clone, Copy)]
struct Short(u32);

/// A share of all keys, in buckets.
#[derive(Clone, Copy)]
struct Share(u32);

impl Switch {
    /// On in so many buckets.
    fn rule(self, buckets: u32) -> Rule {
        Rule { rest: self.off, shares: vec![(self.on, buckets)], keys: Vec::new() }
    }

    /// `{ on: true, percentage: 25%, keys: [a], except: [b] }`
    fn read(self, section: &mut Section<'_>) -> Rule {
        section.describe(&[
            ("on", "Whether it is on for anybody at all."),
            (
                "percentage",
                "The part of all keys for which it is on, to four decimals. Default: 100%, and 0% where `keys` has entries.",
            ),
            ("keys", "On for these, whatever the percentage. Default: none."),
            ("except", "Off for these, whatever the percentage. Default: none."),
        ]);
        let on = section.or("on", true);
        let percentage = section.optional::<Share>("percentage");
        let places = ["keys", "except"].map(|key| section.position_of(key));
        let named = ["keys", "except"].map(|key| section.optional::<Vec<String>>(key).unwrap_or_default());
        section.complete();
        let except: BTreeSet<_> = named[1].iter().collect();
        if named[0].iter().any(|key| except.contains(key)) {
            // Without the key: a variable may have brought it in.
            section.report(places[1], codes::CONFLICT, "a key stands under `keys` and under `except`");
        }
        // Who names keys and no percentage means these keys.
        let unsaid = if named[0].is_empty() { BUCKETS } else { 0 };
        let mut rule = self.rule(percentage.map_or(unsaid, |share| share.0));
        for ((variant, place), keys) in [self.on, self.off].into_iter().zip(places).zip(named) {
            bounded(section, place, keys.len());
            let keys: BTreeSet<_> = keys.into_iter().collect();
            rule.keys.extend(keys.into_iter().map(|key| (key, variant)));
        }
        if on { rule } else { self.rule(0) }
    }
}

/// `{ value: classic, variants: { cards: 10% }, keys: { tenant-a: cards } }`
fn read_variants<V: FlagValue>(section: &mut Section<'_>, words: &[&'static str], rest: u8) -> Option<Rule> {
    section.describe(&[
        ("value", "The variant for whoever is in no share. Default: as declared."),
        ("variants", "The part of all keys that gets each variant, together at most 100%. Default: none."),
        ("keys", "The variant that each of these keys gets. Default: none."),
    ]);
    let value = if section.has("value") {
        section.node("value").and_then(|node| word::<V>(section, words, node))
    } else {
        section.optional::<Word<V>>("value");
        Some(rest)
    };
    let place = section.position_of("variants");
    let mut shares = BTreeMap::new();
    for (name, position, node) in section.entries("variants").unwrap_or_default() {
        let share = section.value::<Share>(node);
        match words.iter().zip(0..).find(|(word, _)| **word == name) {
            Some((_, variant)) => drop(shares.insert(variant, share.map_or(0, |share| share.0))),
            None => section.report_unknown(position, "variant", &name, words),
        }
    }
    if shares.values().map(|share| u64::from(*share)).sum::<u64>() > u64::from(BUCKETS) {
        section.report(place, codes::RANGE, "the variants get more than 100% together");
    }
    let place = section.position_of("keys");
    let keys = section.entries("keys").unwrap_or_default();
    bounded(section, place, keys.len());
    let mut named = Vec::new();
    for (key, _, node) in keys {
        named.extend(word::<V>(section, words, node).map(|variant| (key, variant)));
    }
    section.complete();
    Some(Rule { rest: value?, shares: shares.into_iter().collect(), keys: named })
}

fn bounded(section: &mut Section<'_>, position: Position, keys: usize) {
    if keys > MAX_FLAG_KEYS {
        section.report(position, codes::RANGE, format!("{keys} keys: a flag names at most {MAX_FLAG_KEYS}"));
    }
}

/// Which variant a node names; `None` when it names none, which is reported.
fn word<V: FlagValue>(section: &mut Section<'_>, words: &[&'static str], node: &Node) -> Option<u8> {
    let name = section.value::<Word<V>>(node)?;
    let found = words.iter().zip(0..).find(|(word, _)| **word == name.text);
    if found.is_none() {
        section.report_unknown(node.position, "variant", node.scalar().map_or("", Scalar::written), words);
    }
    found.map(|(_, variant)| variant)
}

/// The name of a variant; whether there is such a one is seen to where all are known.
struct Word<V> {
    text: String,
    of: PhantomData<fn() -> V>,
}

impl<V: FlagValue> Word<V> {
    fn of(value: V) -> Self {
        let word = V::WORDS.iter().find(|(_, one)| *one == value).map_or("", |(word, _)| word);
        Self { text: word.to_owned(), of: PhantomData }
    }
}

impl<V: FlagValue> FromNode for Word<V> {
    const EXPECTED: &'static str = "a variant, or a mapping with `value`, `variants` and `keys`";

    fn schema() -> Schema {
        Schema::words(V::WORDS)
    }

    fn written(&self) -> Option<String> {
        Some(self.text.clone())
    }

    fn from_scalar(text: &str) -> Result<Self, String> {
        Ok(Self { text: text.to_owned(), of: PhantomData })
    }
}

impl FromNode for Short {
    const EXPECTED: &'static str = "true, false, a percentage such as 25%, or a mapping with `percentage` and `keys`";

    fn schema() -> Schema {
        Schema::Either(vec![Schema::Boolean, Schema::Text { pattern: "[0-9].*%", examples: &["25%"] }])
    }

    fn from_scalar(text: &str) -> Result<Self, String> {
        if text.ends_with('%') {
            return Share::from_scalar(text).map(|share| Self(share.0));
        }
        match bool::from_scalar(text) {
            Ok(on) => Ok(Self(if on { BUCKETS } else { 0 })),
            Err(hint) if !hint.is_empty() => Err(hint),
            // It says what is near: `25%?`, or `true`.
            Err(_) => match Ratio::from_scalar(text) {
                Ok(ratio) => Err(format!("{ratio}?")),
                Err(hint) if !hint.is_empty() => Err(hint),
                Err(_) => one_of(text, &[("true", Self(BUCKETS)), ("false", Self(0))]),
            },
        }
    }

    fn code_for(text: &str) -> &'static str {
        if text.ends_with('%') { Share::code_for(text) } else { codes::WRONG_TYPE }
    }
}

impl FromNode for Share {
    const EXPECTED: &'static str = "a percentage such as 25%";

    fn schema() -> Schema {
        Ratio::schema()
    }

    fn from_scalar(text: &str) -> Result<Self, String> {
        let buckets = Ratio::from_scalar(text)?.as_f64() * f64::from(BUCKETS);
        // A share that is rounded away would be off, or on, for everybody.
        if (buckets - buckets.round()).abs() > 1e-3 {
            return Err("at most four decimals".to_owned());
        }
        // From 0 to the number of buckets, which the ratio is of.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a ratio is from 0 to 1")]
        Ok(Self(buckets.round() as u32))
    }

    fn code_for(text: &str) -> &'static str {
        match Ratio::from_scalar(text) {
            Ok(_) => codes::RANGE,
            Err(_) => Ratio::code_for(text),
        }
    }
}
