//! What a component consists of, as another service tells it: names, statuses, texts. Foreign, and so bounded.

use std::collections::HashSet;
use std::time::Duration;

use crate::status::Status;

/// A part of a component that does not run a check of its own here: a component of another service, as that one tells
/// it. It counts for nothing by itself; the component's own verdict does. Shown to operators only.
///
/// Its texts come from elsewhere: control characters, and those that change the direction of the text around them, are
/// taken out of them, and long ones are cut.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    name: String,
    status: Status,
    reason: Option<String>,
    message: String,
    response_time: Option<Duration>,
    parts: Vec<Self>,
}

impl Part {
    /// Longest name kept, in bytes.
    pub const MAX_NAME: usize = 128;
    /// Longest reason kept, in bytes.
    pub const MAX_REASON: usize = 64;
    /// Longest message kept, in bytes.
    pub const MAX_MESSAGE: usize = 512;

    /// A part of this name in this status.
    pub fn new(name: &str, status: Status) -> Self {
        Self {
            name: clean(name, Self::MAX_NAME),
            status,
            reason: None,
            message: String::new(),
            response_time: None,
            parts: Vec::new(),
        }
    }

    /// Why it is not healthy, as its service codes it. None by default.
    #[must_use]
    pub fn with_reason(mut self, reason: Option<&str>) -> Self {
        self.reason = reason.map(|reason| clean(reason, Self::MAX_REASON)).filter(|reason| !reason.is_empty());
        self
    }

    /// What its service says of it. Empty by default.
    #[must_use]
    pub fn with_message(mut self, message: &str) -> Self {
        self.message = clean(message, Self::MAX_MESSAGE);
        self
    }

    /// How long its check took there. None by default.
    #[must_use]
    pub fn with_response_time(mut self, response_time: Option<Duration>) -> Self {
        self.response_time = response_time;
        self
    }

    /// What it consists of itself. Nothing by default.
    #[must_use]
    pub fn with_parts(mut self, parts: Vec<Self>) -> Self {
        self.parts = parts;
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its status.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Why it is not healthy.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// What its service says of it.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// How long its check took there.
    pub fn response_time(&self) -> Option<Duration> {
        self.response_time
    }

    /// What it consists of.
    pub fn parts(&self) -> &[Self] {
        &self.parts
    }

    /// About what it costs to keep, in bytes, without what it consists of.
    fn size(&self) -> usize {
        const BESIDES_THE_TEXTS: usize = 24;
        self.name.len() + self.reason.as_ref().map_or(0, String::len) + self.message.len() + BESIDES_THE_TEXTS
    }
}

/// The parts of one component, bounded: the worse ones first, names that differ, and no more than fits.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Parts {
    list: Vec<Part>,
    cut: bool,
}

impl Parts {
    /// Most parts of one component, those of parts counted.
    pub const MOST: usize = 256;
    /// Deepest nesting, the component's own parts being the first level.
    pub const DEEPEST: usize = 4;
    /// Most that the parts' texts take together, in bytes.
    pub const MOST_BYTES: usize = 16 * 1024;

    /// As much of the list as fits. On each level what is worse comes first, so that it is healthy parts which are left
    /// out, and all of a level comes before what is below it. A name that is there already gets a number.
    pub fn bounded(list: Vec<Part>) -> Self {
        let mut room = Room { parts: Self::MOST, bytes: Self::MOST_BYTES, cut: false };
        let list = room.keep(list, Self::DEEPEST);
        Self { list, cut: room.cut }
    }

    /// The parts of the first level.
    pub fn list(&self) -> &[Part] {
        &self.list
    }

    /// Whether something was left out, on any level.
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty() && !self.cut
    }
}

/// What is left of the bounds.
struct Room {
    parts: usize,
    bytes: usize,
    cut: bool,
}

impl Room {
    fn keep(&mut self, mut list: Vec<Part>, levels: usize) -> Vec<Part> {
        if levels == 0 {
            self.cut |= !list.is_empty();
            return Vec::new();
        }
        list.sort_by_key(|part| std::cmp::Reverse(part.status as u8));
        let mut names = HashSet::new();
        let mut kept = Vec::new();
        for mut part in list {
            if self.parts == 0 {
                // Nothing more fits, however long the list is.
                self.cut = true;
                break;
            }
            number(&mut part.name, &names);
            let size = part.size();
            if size > self.bytes {
                self.cut = true;
                continue;
            }
            self.parts -= 1;
            self.bytes -= size;
            names.insert(part.name.clone());
            kept.push(part);
        }
        for part in &mut kept {
            part.parts = self.keep(std::mem::take(&mut part.parts), levels - 1);
        }
        kept
    }
}

/// Makes a name one that is not there yet.
fn number(name: &mut String, names: &HashSet<String>) {
    if !names.contains(name) {
        return;
    }
    // One of these is free: there are fewer names than numbers.
    let numbered = (2..=Parts::MOST + 1).map(|number| format!("{name} ({number})"));
    if let Some(free) = numbered.into_iter().find(|numbered| !names.contains(numbered)) {
        *name = free;
    }
}

/// The text without control characters and without those that turn the direction of the text around them (Unicode
/// Standard Annex 9, "Directional Formatting Characters"), cut at a character's border.
fn clean(text: &str, limit: usize) -> String {
    let mut cleaned = String::new();
    for letter in text.chars() {
        let turns =
            matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        let letter = if letter.is_control() || turns { ' ' } else { letter };
        if cleaned.len() + letter.len_utf8() > limit {
            break;
        }
        cleaned.push(letter);
    }
    cleaned.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn count(parts: &[Part]) -> usize {
        parts.iter().map(|part| 1 + count(part.parts())).sum()
    }

    fn depth(parts: &[Part]) -> usize {
        parts.iter().map(|part| 1 + depth(part.parts())).max().unwrap_or(0)
    }

    fn bytes(parts: &[Part]) -> usize {
        parts.iter().map(|part| part.size() + bytes(part.parts())).sum()
    }

    #[test]
    fn foreign_text_is_cut_and_holds_nothing_that_writes_elsewhere() {
        let part = Part::new("\u{1b}[2Ja\u{202e}b\n", Status::Healthy).with_message(&"ü".repeat(1000));
        assert_eq!(part.name(), "[2Ja b");
        assert_eq!(part.message().len(), Part::MAX_MESSAGE);
    }

    #[test]
    fn what_is_worse_is_kept_and_a_level_comes_before_what_is_below_it() {
        let below = |index: usize| vec![Part::new(&format!("below {index}"), Status::Unhealthy)];
        let mut list: Vec<_> = (0..Parts::MOST)
            .map(|index| Part::new(&format!("{index}"), Status::Healthy).with_parts(below(index)))
            .collect();
        list.push(Part::new("down", Status::Unhealthy));
        let parts = Parts::bounded(list);
        assert!(parts.is_cut());
        assert_eq!((parts.list()[0].name(), count(parts.list()), depth(parts.list())), ("down", Parts::MOST, 1));
    }

    #[test]
    fn names_on_one_level_differ() {
        let parts = Parts::bounded(["db", "db", "db (2)", "db"].map(|name| Part::new(name, Status::Healthy)).into());
        let names: Vec<_> = parts.list().iter().map(Part::name).collect();
        assert_eq!(names, ["db", "db (2)", "db (2) (2)", "db (3)"]);
    }

    fn any_part() -> impl Strategy<Value = Part> {
        let leaf = (any::<u8>(), 0_usize..5, 0_usize..600).prop_map(|(name, status, length)| {
            Part::new(&name.to_string(), Status::ALL[status]).with_message(&"m".repeat(length))
        });
        leaf.prop_recursive(7, 400, 20, |inner| {
            (any::<u8>(), prop::collection::vec(inner, 0..20))
                .prop_map(|(name, parts)| Part::new(&name.to_string(), Status::Degraded).with_parts(parts))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
        #[test]
        fn no_list_of_parts_grows_past_its_bounds(list in prop::collection::vec(any_part(), 0..20)) {
            let before = count(&list);
            let parts = Parts::bounded(list);
            prop_assert!(count(parts.list()) <= Parts::MOST);
            prop_assert!(depth(parts.list()) <= Parts::DEEPEST);
            prop_assert!(bytes(parts.list()) <= Parts::MOST_BYTES);
            prop_assert_eq!(parts.is_cut(), count(parts.list()) < before);
        }
    }
}
