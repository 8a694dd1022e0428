//! Flags: who gets what, what a configuration may say of them, and what is counted.

use std::collections::BTreeMap;

use insta::assert_snapshot;
use proptest::prelude::*;

use super::{BUCKETS, Flag, FlagBoard, FlagValue, Flags as _, bucket};
use crate::{Control, Document, Intent, Live, LiveOptions, Outcome, Request, Settings as _, Sources, Trigger, Which};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    Classic,
    Cards,
    Table,
}

impl FlagValue for Layout {
    const WORDS: &'static [(&'static str, Self)] =
        &[("classic", Self::Classic), ("cards", Self::Cards), ("table", Self::Table)];
}

crate::flags! {
    /// What the shop switches.
    struct Switches {
        /// The checkout on one page.
        new_checkout("new-checkout"): bool = false,
        /// Prices with the tax in them.
        gross("gross-prices"): bool = true,
        /// How a list is laid out.
        layout("layout"): Layout = Layout::Classic,
    }
}

fn read(text: &str) -> Result<Switches, String> {
    let document = Document::parse("shop.yaml", text).map_err(|error| error.to_string())?;
    document.read(Switches::read).map_err(|error| error.to_string())
}

fn checkout(rule: &str) -> Flag<bool> {
    read(&format!("new-checkout: {rule}")).unwrap().new_checkout
}

fn layout(rule: &str) -> Flag<Layout> {
    read(&format!("layout: {rule}")).unwrap().layout
}

fn users() -> impl Iterator<Item = String> {
    (0..10_000).map(|number| format!("user-{number}"))
}

#[test]
fn a_key_has_the_same_bucket_in_every_process_and_language() {
    // Computed by another program from the description; a change here would move everybody's users.
    let vectors = [
        ("new-checkout", "tenant-a", 361_615),
        ("new-checkout", "tenant-b", 990_398),
        ("new-checkout", "", 719_839),
        ("layout", "tenant-a", 426_807),
        ("layout", "8f14e45f-ceea-467f-a8d4-0d4c2b0f8b1e", 675_556),
        ("layout", "Zürich", 821_559),
    ];
    for (name, key, expected) in vectors {
        assert_eq!(bucket(name, key), expected, "{name} {key}");
    }
}

#[test]
fn a_percentage_is_that_part_of_the_keys_and_flags_do_not_choose_the_same_ones() {
    let [checkout, gross] = {
        let switches = read("{new-checkout: 20%, gross-prices: 20%}").unwrap();
        [switches.new_checkout, switches.gross]
    };
    let count = |is_in: &dyn Fn(&str) -> bool| users().filter(|user| is_in(user)).count();
    let one = count(&|user| checkout.is_on(user));
    let both = count(&|user| checkout.is_on(user) && gross.is_on(user));
    // Four standard deviations of a fair draw among 10,000: 40 for 20 %, 20 for 4 %.
    assert!((1_840..=2_160).contains(&one), "{one}");
    assert!((320..=480).contains(&both), "{both}");
}

proptest! {
    #[test]
    fn who_is_in_stays_in_when_the_percentage_grows(key in ".{0,40}", lower in 0_u32..=1000, more in 0_u32..=1000) {
        let higher = (lower + more).min(1000);
        let flag = |thousandth: u32| checkout(&format!("{}.{}%", thousandth / 10, thousandth % 10));
        let (lower_flag, higher_flag) = (flag(lower), flag(higher));
        prop_assert!(!lower_flag.is_on(&key) || higher_flag.is_on(&key));
        prop_assert_eq!(lower_flag.is_on(&key), bucket("new-checkout", &key) < lower * BUCKETS / 1000);
    }

    #[test]
    fn a_share_that_grows_at_the_end_moves_nobody_else(key in ".{0,40}", from in 0_u32..=80, to in 0_u32..=80) {
        let (from, to) = (from.min(to), from.max(to));
        let rule = |table: u32| layout(&format!("{{variants: {{table: {table}%, cards: 20%}}}}"));
        let (before, after) = (rule(from).of(&key), rule(to).of(&key));
        prop_assert!(before == after || (before, after) == (Layout::Classic, Layout::Table));
    }
}

#[test]
fn keys_by_name_go_before_the_percentage_and_off_before_everything() {
    let flag = checkout("{percentage: 100%, except: [tenant-b]}");
    assert_eq!((flag.is_on("tenant-a"), flag.is_on("tenant-b")), (true, false));
    // Who names keys and no percentage means these keys.
    let flag = checkout("{keys: [tenant-a, tenant-a], except: [tenant-b]}");
    assert_eq!((flag.is_on("tenant-a"), flag.is_on("tenant-b"), flag.is_on("tenant-c")), (true, false, false));
    let flag = checkout("{on: false, keys: [tenant-a], percentage: 100%}");
    assert!(!flag.is_on("tenant-a") && !flag.of_nobody());
    let flag = layout("{value: cards, variants: {table: 100%}, keys: {tenant-a: classic}}");
    assert_eq!(
        (flag.of("tenant-a"), flag.of("tenant-b"), flag.of_nobody()),
        (Layout::Classic, Layout::Table, Layout::Table)
    );
}

#[test]
fn without_a_key_only_what_holds_for_everybody_counts() {
    assert!(!checkout("99.9999%").of_nobody());
    assert!(checkout("100%").of_nobody() && checkout("true").of_nobody() && checkout("{}").of_nobody());
    assert_eq!(layout("{value: table, variants: {cards: 50%}}").of_nobody(), Layout::Table);
}

#[test]
fn what_the_configuration_does_not_name_is_as_declared() {
    let switches = read("layout: cards").unwrap();
    assert_eq!((switches.new_checkout.is_on("a"), switches.gross.is_on("a")), (false, true));
    assert_eq!(switches.layout.of("a"), Layout::Cards);
    assert_eq!(read("{}").unwrap(), Switches::default());
    assert_ne!(read("new-checkout: 1%").unwrap(), Switches::default());
}

#[test]
fn every_mistake_in_a_section_of_flags_is_found_with_its_place() {
    let wrong = read(
        "\
new-chekout: true
new-checkout: yes
gross-prices: { percentage: 120%, key: [a] }
layout: { value: clasic, variants: { cards: 60%, tabel: 1%, table: 50% }, keys: { tenant-a: crads } }
",
    );
    assert_snapshot!(wrong.unwrap_err(), @r"
    shop.yaml:1:1: unknown key `new-chekout`, did you mean `new-checkout`?
    shop.yaml:2:15: expected true, false, a percentage such as 25%, or a mapping with `percentage` and `keys`, found `yes` (write true)
    shop.yaml:3:29: expected a percentage such as 25%, found `120%` (from 0% to 100%)
    shop.yaml:3:35: unknown key `key` in `gross-prices`, did you mean `keys`?
    shop.yaml:4:18: unknown variant `clasic`, did you mean `classic`?
    shop.yaml:4:36: the variants get more than 100% together
    shop.yaml:4:50: unknown variant `tabel`, did you mean `table`?
    shop.yaml:4:93: unknown variant `crads`, did you mean `cards`?
    ");
    let message = |text: String| read(&text).unwrap_err().replace("shop.yaml:", "");
    let one = |rule: &str| message(format!("new-checkout: {rule}"));
    let rules = [
        "",
        "25",
        "0.25",
        "ture",
        "101%",
        "0.00001%",
        "[a]",
        "{keys: [a], except: [b, a]}",
        "{on: 1}",
        "{keys: {a: true}}",
    ];
    assert_snapshot!(rules.map(one).join("\n"), @r"
    1:1: expected true, false, a percentage such as 25%, or a mapping with `percentage` and `keys`, found nothing
    1:15: expected true, false, a percentage such as 25%, or a mapping with `percentage` and `keys`, found `25` (25%?)
    1:15: expected true, false, a percentage such as 25%, or a mapping with `percentage` and `keys`, found `0.25` (25%?)
    1:15: expected true, false, a percentage such as 25%, or a mapping with `percentage` and `keys`, found `ture` (did you mean `true`?)
    1:15: expected true, false, a percentage such as 25%, or a mapping with `percentage` and `keys`, found `101%` (from 0% to 100%)
    1:15: expected true, false, a percentage such as 25%, or a mapping with `percentage` and `keys`, found `0.00001%` (at most four decimals)
    1:15: expected true, false, a percentage such as 25%, or a mapping with `percentage` and `keys`, found a list
    1:35: a key stands under `keys` and under `except`
    1:20: expected true or false, found `1` (write true)
    1:22: expected a list such as [one, two], found a mapping
    ");
    let one = |rule: &str| message(format!("layout: {rule}"));
    let rules = ["", "crads", "true", "25%", "{variants: cards}", "{variants: {cards: true}}", "{keys: [a]}"];
    assert_snapshot!(rules.map(one).join("\n"), @r"
    1:1: expected a variant, or a mapping with `value`, `variants` and `keys`, found nothing
    1:9: unknown variant `crads`, did you mean `cards`?
    1:9: unknown variant `true`
    1:9: unknown variant `25%`
    1:20: expected a mapping, found a single value
    1:28: expected a percentage such as 25%, found `true`
    1:16: expected a mapping, found a list
    ");
}

#[test]
fn a_flag_names_no_more_keys_than_it_may() {
    let keys: Vec<_> = (0..=super::MAX_FLAG_KEYS).map(|number| format!("k{number}")).collect();
    let list = |keys: &[String]| format!("new-checkout: {{keys: [{}]}}", keys.join(", "));
    assert!(read(&list(&keys[1..])).unwrap().new_checkout.is_on("k10000"));
    assert_eq!(read(&list(&keys)).unwrap_err(), "shop.yaml:1:22: 10001 keys: a flag names at most 10000");
}

#[test]
fn the_keys_of_people_stay_out_of_what_is_printed() {
    let shown = format!("{:?}", checkout("{keys: [jane@example.com], percentage: 25%}"));
    assert_snapshot!(shown, @r#"Rollout { name: "new-checkout", ratios: [("false", 0.75), ("true", 0.25)], named_keys: 1, .. }"#);
    let wrong = read("new-checkout: {keys: [jane@example.com], except: [jane@example.com]}").unwrap_err();
    assert!(!wrong.contains("jane"), "{wrong}");
}

#[test]
fn answers_are_counted_over_reloads_and_the_states_are_those_shown_last() {
    let board = FlagBoard::new();
    let first = read("{new-checkout: 25%, layout: cards}").unwrap();
    first.new_checkout.is_on("before the board knows it");
    board.count(&first);
    board.show(&first);
    for user in users() {
        first.new_checkout.is_on(&user);
    }
    let on = users().filter(|user| bucket("new-checkout", user) < BUCKETS / 4).count() as u64;
    // Prepared and refused: it is not told of, and what it answered to those who tried it is counted.
    let refused = read("new-checkout: false").unwrap();
    board.count(&refused);
    refused.new_checkout.is_on("user-1");
    let states = board.states();
    let figures: Vec<_> = states[0].variants.iter().map(|one| (one.name, one.ratio, one.evaluations_total)).collect();
    assert_eq!(figures, [("false", 0.75, 10_000 - on + 1), ("true", 0.25, on)]);
    let second = read("{new-checkout: {keys: [tenant-a]}, layout: {variants: {table: 10%, cards: 5%}}}").unwrap();
    board.count(&second);
    board.show(&second);
    second.new_checkout.is_on("tenant-a");
    let states = board.states();
    assert_eq!(states[0].variants[1].evaluations_total, on + 1);
    assert_eq!((states[0].variants[1].ratio, states[0].named_keys), (0.0, 1));
    let shares: BTreeMap<_, _> = states[2].variants.iter().map(|one| (one.name, one.ratio)).collect();
    assert_eq!(shares, BTreeMap::from([("classic", 0.85), ("cards", 0.05), ("table", 0.1)]));
    assert_eq!(states.iter().map(|state| state.name).collect::<Vec<_>>(), ["new-checkout", "gross-prices", "layout"]);
    assert_eq!(second.rollouts().len(), 3);
}

#[test]
fn the_schema_of_flags_has_both_forms_the_variants_and_what_each_is_for() {
    let reference = crate::describe::<Switches>();
    let schema: serde_json::Value = serde_json::from_str(&reference.json_schema("shop", "")).unwrap();
    let checkout = &schema["properties"]["new-checkout"];
    assert_eq!(checkout["description"], "The checkout on one page.");
    assert_eq!(checkout["anyOf"][0]["anyOf"][0]["type"][0], "boolean");
    let keys = |section: &serde_json::Value| -> Vec<_> {
        let described = section["properties"].as_object().unwrap().iter();
        described.map(|(key, value)| (key.clone(), value["description"].is_string())).collect()
    };
    let expected = ["on", "percentage", "keys", "except"].map(|key| (key.to_owned(), true));
    assert_eq!(keys(&checkout["anyOf"][1]), expected);
    let layout = &schema["properties"]["layout"]["anyOf"];
    assert_eq!(layout[0]["anyOf"][0]["enum"], serde_json::json!(["classic", "cards", "table"]));
    assert_eq!(keys(&layout[1]), ["value", "variants", "keys"].map(|key| (key.to_owned(), true)));
}

#[tokio::test]
async fn a_rollout_grows_by_reload_and_what_a_flag_says_nothing_of_is_shown_as_its_default() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.yaml");
    std::fs::write(&file, "new-checkout: 10%").unwrap();
    let live = Live::<Switches>::load(Sources::new().file(&file), LiveOptions::default()).unwrap();
    let (board, switches) = (FlagBoard::new(), live.handle(|switches| switches));
    let _following = board.follow(&live, |switches| switches);
    let who = |switches: &Switches| -> Vec<_> { users().filter(|user| switches.new_checkout.is_on(user)).collect() };
    let first = who(&switches.read());
    std::fs::write(&file, "new-checkout: 25%").unwrap();
    let request = Request { trigger: Trigger::Code, author: String::new(), intent: Intent::Apply, expected: None };
    assert_eq!(live.reload(request.clone()).await.outcome, Outcome::Applied);
    let second = who(&switches.read());
    assert!(first.len() < second.len() && first.iter().all(|user| second.contains(user)));
    let on = &board.states()[0].variants[1].clone();
    assert_eq!((on.ratio, on.evaluations_total), (0.25, (first.len() + second.len()) as u64));
    std::fs::write(&file, "new-checkout: 250%").unwrap();
    assert!(matches!(live.reload(request).await.outcome, Outcome::Rejected(_)));
    assert_eq!(&board.states()[0].variants[1], on, "what was refused is not told of");
    let shown = Control::show(&live, Which::Running).await.unwrap();
    let shown: Vec<_> = shown.iter().map(|one| format!("{}={:?} {}", one.path, one.value, one.origin)).collect();
    let shown = shown.join("\n").replace(&folder.path().display().to_string(), "");
    assert_snapshot!(shown, @r#"
    new-checkout=Written("25%") /shop.yaml:1:15
    gross-prices=Written("true") default
    layout=Written("classic") default
    "#);
}
