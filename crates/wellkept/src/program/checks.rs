//! The section `checks`: each item a name, a kind with its settings, and how it is kept.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use wellkept_checks::{Kind, gated, kinds, reference};
use wellkept_config::{Position, Ratio, Section, quoted};
use wellkept_health::{
    Activity, AnyCheck, CircuitBreaker, Component, Criticality, Group, RegisterError, Schedule, Thresholds, Window,
    circle,
};

/// One check that the configuration names.
#[derive(Debug, Clone)]
pub struct CheckDefinition {
    /// The kind's name, for example `postgres`.
    pub kind: &'static str,
    /// The component, ready to be registered.
    pub component: Component,
}

/// When a check runs and what turns its status: the keys that `defaults` and each check share.
#[derive(Debug, Clone, Default)]
pub(super) struct Timing {
    schedule: Schedule,
    thresholds: Thresholds,
    slow: Option<Duration>,
    max_age: Option<Duration>,
}

impl Timing {
    /// Reads the section `defaults`.
    pub(super) fn read_defaults(section: &mut Section<'_>) -> Self {
        let timing = Self::read(section, &Self::default());
        section.complete();
        timing
    }

    fn read(section: &mut Section<'_>, defaults: &Self) -> Self {
        section.describe(&[
            ("interval", "From the start of one run to that of the next, at least 10ms."),
            ("timeout", "After which time a run is given up."),
            ("initial_delay", "How long the first run waits."),
            ("jitter", "By which share of the interval a run may start later, up to 50%."),
            ("fall", "How many failures in a row turn it unhealthy."),
            ("rise", "How many successes in a row turn it healthy again."),
            ("window", "Failures among the latest runs, instead of failures in a row. Default: none."),
            ("window.failures", "How many failures turn it unhealthy."),
            ("window.of", "Among how many runs."),
            ("slow", "From which time on a run counts as degraded. Default: never."),
            ("max_age", "After which time a result counts no more. Default: 3 intervals and a timeout."),
        ]);
        let schedule = Schedule {
            interval: section.or("interval", defaults.schedule.interval),
            timeout: section.or("timeout", defaults.schedule.timeout),
            initial_delay: section.or("initial_delay", defaults.schedule.initial_delay),
            jitter: read_jitter(section, defaults.schedule.jitter),
        };
        let thresholds = Thresholds {
            fall: section.or("fall", defaults.thresholds.fall),
            rise: section.or("rise", defaults.thresholds.rise),
            window: section.section("window", read_window).or(defaults.thresholds.window),
        };
        let slow = section.optional("slow").or(defaults.slow);
        let max_age = section.optional("max_age").or(defaults.max_age);
        Self { schedule, thresholds, slow, max_age }
    }
}

fn read_jitter(section: &mut Section<'_>, default: f64) -> f64 {
    match Ratio::new(default) {
        Some(default) => section.or("jitter", default).as_f64(),
        None => section.optional("jitter").map_or(default, Ratio::as_f64),
    }
}

/// Reads `window: { failures: 5, of: 10 }`.
fn read_window(section: &mut Section<'_>) -> Option<Window> {
    let (failures, of) = (section.required("failures"), section.required("of"));
    section.complete();
    Some(Window { failures: failures?, of: of? })
}

/// What the program calls its own components.
pub(super) const EVENT_LOOP: &str = "event-loop";
pub(super) const HISTORY: &str = "history";
pub(super) const RESERVED: [&str; 2] = [EVENT_LOOP, HISTORY];

/// The keys of an item besides its kind.
const ITEM_KEYS: [&str; 16] = [
    "name",
    "required",
    "groups",
    "interval",
    "timeout",
    "initial_delay",
    "jitter",
    "fall",
    "rise",
    "window",
    "slow",
    "max_age",
    "circuit",
    "shared",
    "depends_on",
    "enabled",
];

/// Reads the section `checks`. With the checks come the names that other sections may refer to: those of checks with
/// mistakes too, and the program's own.
pub(super) fn read(root: &mut Section<'_>, defaults: &Timing) -> (Option<Vec<CheckDefinition>>, Vec<String>) {
    let mut names = Names::default();
    let items = root.list("checks", |item| read_item(item, defaults, &mut names));
    names.report_unknown_parents(root);
    let items = match items {
        Some(items) => {
            names.report_circle(root, &items);
            Some(items)
        }
        // A list that is there and wrong has been reported; one that is not there is empty.
        None => (!root.has("checks")).then(Vec::new),
    };
    let own = RESERVED.map(ToOwned::to_owned);
    (items, names.places.into_keys().chain(own).collect())
}

/// Reads a list `checks` of one item that is brought beside the components of these names.
pub(super) fn read_addition(root: &mut Section<'_>, known: Vec<String>) -> Option<Component> {
    let mut names = Names { known, ..Names::default() };
    let items = root.list("checks", |item| read_item(item, &Timing::default(), &mut names));
    names.report_unknown_parents(root);
    items?.pop().map(|definition| definition.component)
}

fn read_item(item: &mut Section<'_>, defaults: &Timing, names: &mut Names) -> Option<CheckDefinition> {
    item.describe(&[
        ("name", "What it is called, once among all checks."),
        ("required", "Whether the service can't do without it: if not, it degrades the service at most."),
        ("groups", "Whose readiness it counts for. Default: `ready` for what is asked over the network, none for this machine."),
        ("circuit", "A circuit breaker, which asks what is down less and less often. Default: none."),
        ("shared", "Whether all instances of the service ask the same one, so that its failure takes none of them out."),
        ("depends_on", "The names of checks whose failure explains this one's."),
        ("enabled", "Whether it runs."),
    ]);
    describe_kinds(item);
    let name = item.required::<String>("name");
    let kind = find_kind(item);
    let check = kind.and_then(|kind| item.open(kind.name, kind.read));
    let required = item.or("required", true);
    let groups = item.optional::<Vec<String>>("groups");
    let timing = Timing::read(item, defaults);
    let circuit = item.section("circuit", |section| Some(read_circuit(section)));
    let shared = item.or("shared", false);
    let depends_on = item.or("depends_on", Vec::<String>::new());
    let enabled = item.or("enabled", true);
    item.complete();
    if let Some(name) = &name {
        names.add(name, &depends_on, item);
    }
    let component = component(name?, kind?, check?, &timing)
        .criticality(if required { Criticality::Required } else { Criticality::Optional })
        .shared(shared)
        .activity(if enabled { Activity::Enabled } else { Activity::Disabled })
        .depends_on(depends_on)
        .fingerprint(hash(&(item.fingerprint(), format!("{timing:?}"))));
    let component = match groups {
        Some(groups) => component.groups(groups.iter().map(|group| Group::from(group.as_str()))),
        None => component,
    };
    let component = match circuit {
        Some(breaker) => component.circuit(breaker),
        None => component,
    };
    if let Err(error) = component.validate() {
        item.report(item.position(), error.code(), error.to_string());
    }
    Some(CheckDefinition { kind: kind?.name, component })
}

/// The circuit breaker in front of a check; all keys have defaults.
fn read_circuit(section: &mut Section<'_>) -> CircuitBreaker {
    section.describe(&[
        ("failures", "After how many failures in a row it opens. Default: 5."),
        ("first", "How long it is open at first. Default: 10s."),
        ("most", "How long it is open at most. Default: 5m."),
    ]);
    let mut breaker = CircuitBreaker::new();
    if let Some(failures) = section.optional("failures") {
        breaker = breaker.failures(failures);
    }
    if let Some(first) = section.optional("first") {
        breaker = breaker.first(first);
    }
    if let Some(most) = section.optional("most") {
        breaker = breaker.most(most);
    }
    section.complete();
    breaker
}

/// The names that the list gives, also by items with other mistakes, and those that it refers to.
#[derive(Default)]
struct Names {
    places: HashMap<String, Position>,
    parents: Vec<(Position, String)>,
    /// Those of components that are there already.
    known: Vec<String>,
}

impl Names {
    fn add(&mut self, name: &str, depends_on: &[String], item: &mut Section<'_>) {
        if RESERVED.contains(&name) {
            let message = format!("{} is a component of the program's own: take another name", quoted(name));
            item.report(item.position_of("name"), "component.reserved", message);
        }
        match self.places.get(name) {
            Some(first) => {
                let message =
                    format!("there are two checks named {}: the first is in line {}", quoted(name), first.line);
                item.report(item.position_of("name"), "component.duplicate", message);
            }
            None => drop(self.places.insert(name.to_owned(), item.position_of("name"))),
        }
        let at = item.position_of("depends_on");
        self.parents.extend(depends_on.iter().map(|parent| (at, parent.clone())));
    }

    fn report_circle(&self, root: &mut Section<'_>, items: &[CheckDefinition]) {
        let Some(path) = circle(items.iter().map(|definition| &definition.component)) else { return };
        let at = path.first().and_then(|name| self.places.get(name)).copied().unwrap_or_else(|| root.position());
        let error = RegisterError::Cycle { path };
        root.report(at, error.code(), error.to_string());
    }

    fn is_known(&self, name: &str) -> bool {
        self.places.contains_key(name) || self.known.iter().any(|known| known == name)
    }

    /// Only now all names are known: a check may depend on one further down.
    fn report_unknown_parents(&self, root: &mut Section<'_>) {
        let known: Vec<&str> = self.places.keys().chain(&self.known).map(String::as_str).collect();
        for (at, parent) in self.parents.iter().filter(|(_, parent)| !self.is_known(parent)) {
            root.report_unknown(*at, "check", parent, &known);
        }
    }
}

fn component(name: String, kind: &Kind, check: AnyCheck, timing: &Timing) -> Component {
    let component = Component::new(name, check)
        .kind(kind.name)
        .scope(kind.scope)
        .schedule(timing.schedule)
        .thresholds(timing.thresholds);
    let component = match timing.slow {
        Some(slow) => component.slow(slow),
        None => component,
    };
    match timing.max_age {
        Some(max_age) => component.max_age(max_age),
        None => component,
    }
}

/// The item's kind is its one key that is none of the others.
fn find_kind(item: &mut Section<'_>) -> Option<&'static Kind> {
    let known: Vec<&str> = kinds().iter().map(|kind| kind.name).collect();
    let candidates: Vec<(String, Position)> = item
        .keys()
        .filter(|(key, _)| !ITEM_KEYS.contains(key))
        .map(|(key, position)| (key.to_owned(), position))
        .collect();
    let mut named =
        candidates.iter().filter_map(|(key, at)| Some((kinds().iter().find(|kind| kind.name == key)?, *at)));
    match (named.next(), named.next()) {
        (Some((kind, _)), None) => Some(kind),
        (Some((first, _)), Some((second, at))) => {
            let (first, second) = (first.name, second.name);
            item.report(at, "check.two_kinds", format!("a check has one kind, found `{first}` and `{second}`"));
            None
        }
        (None, _) => {
            report_missing_kind(item, &candidates, &known);
            None
        }
    }
}

/// Goes the way of each kind where the walk only describes, with what the kind's page says of its keys.
fn describe_kinds(item: &mut Section<'_>) {
    if !item.is_describing() {
        return;
    }
    let names: Vec<&str> = kinds().iter().map(|kind| kind.name).collect();
    item.exactly_one(&names);
    for kind in kinds() {
        item.describe_all([(kind.name, format!("{}.", kind.summary))]);
        let keys = reference(kind.name).map(|page| page.keys()).unwrap_or_default();
        item.describe_all(keys.iter().map(|key| {
            let default =
                if key.default == "required" { "Required".to_owned() } else { format!("Default: {}", key.default) };
            (format!("{}.{}", kind.name, key.path), format!("{} {default}.", key.what))
        }));
        // What it can't be made of, since nothing is said, is nobody's concern.
        item.open(kind.name, kind.read);
    }
}

fn report_missing_kind(item: &mut Section<'_>, candidates: &[(String, Position)], known: &[&str]) {
    let left_out = candidates.iter().find_map(|(key, at)| Some((gated().iter().find(|(kind, _)| kind == key)?, *at)));
    if let Some(((kind, feature), at)) = left_out {
        item.known(&[kind]);
        item.report(at, "check.not_built", format!("kind `{kind}` is not in this build: it needs feature `{feature}`"));
    } else if let Some((key, at)) = candidates.first() {
        let words: Vec<&str> = known.iter().copied().chain(ITEM_KEYS).collect();
        item.report_unknown(*at, "check kind", key, &words);
    } else {
        let at = item.position();
        item.report(at, "check.no_kind", format!("this check has no kind: add one of {}", known.join(", ")));
    }
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
