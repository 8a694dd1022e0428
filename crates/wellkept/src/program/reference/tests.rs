//! That nothing is missing in what the configuration tells of itself.

use super::*;

#[test]
fn every_key_is_described_and_has_a_default_or_is_required() {
    let reference = Configuration::reference();
    let mut wrong = Vec::new();
    for entry in reference.entries() {
        // What stands under a free key is described with the mapping.
        let is_free = entry.path().ends_with(".<name>");
        if entry.description().is_empty() && !is_free {
            wrong.push(format!("{}: what is it for?", entry.path()));
        }
        let holds_others = is_section(entry);
        if !holds_others && !is_free && *entry.presence() == Presence::Optional {
            wrong.push(format!("{}: what holds without it?", entry.path()));
        }
        if *entry.shape() == Shape::Anything {
            wrong.push(format!("{}: what does it take?", entry.path()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(reference.entries().len() > 200, "the walk was not told everything: {}", reference.entries().len());
}
