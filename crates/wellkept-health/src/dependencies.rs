//! Which component can't work without which: no circles, and the root of a trouble.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::component::Component;
use crate::snapshot::{Activity, ComponentHealth};
use crate::status::Status;

/// The names along a circle of dependencies, when there is one, the first again at the end. Names that nobody bears
/// lead nowhere.
pub fn circle<'c>(components: impl IntoIterator<Item = &'c Component>) -> Option<Vec<String>> {
    let known: HashMap<&str, &Component> = components.into_iter().map(|one| (&*one.name, one)).collect();
    let mut done = HashSet::new();
    let mut names: Vec<_> = known.keys().copied().collect();
    names.sort_unstable();
    names.into_iter().find_map(|name| circle_from(name, |name| known.get(name).copied(), &mut done))
}

/// As [`circle`], for one more component where the others are known to form none: a circle then leads through it.
pub(crate) fn circle_through<'c>(
    component: &'c Component,
    find: impl Fn(&str) -> Option<&'c Component>,
) -> Option<Vec<String>> {
    let find = |name: &str| if *name == *component.name { Some(component) } else { find(name) };
    circle_from(&component.name, find, &mut HashSet::new())
}

/// Walks depth first without recursion: a chain of dependencies may be as long as there are components.
fn circle_from<'c>(
    start: &'c str,
    find: impl Fn(&str) -> Option<&'c Component>,
    done: &mut HashSet<&'c str>,
) -> Option<Vec<String>> {
    let mut path: Vec<(&str, usize)> = vec![(start, 0)];
    let mut on_path = HashSet::from([start]);
    while let Some((name, next)) = path.last_mut() {
        let name = *name;
        let parent = find(name).and_then(|component| component.depends_on.get(*next)).map(|parent| &**parent);
        *next += 1;
        match parent {
            Some(parent) if !done.contains(parent) => {
                if !on_path.insert(parent) {
                    let circle = path.iter().map(|(name, _)| *name).skip_while(|name| *name != parent);
                    return Some(circle.chain([parent]).map(ToOwned::to_owned).collect());
                }
                path.push((parent, 0));
            }
            Some(_) => {}
            None => {
                done.insert(name);
                on_path.remove(name);
                path.pop();
            }
        }
    }
    None
}

/// The component at the root of this one's trouble now: while it is not healthy itself, the farthest one that it depends
/// on, directly or not, that is down or in maintenance.
pub(crate) fn root_of_trouble<'c>(
    component: &'c ComponentHealth,
    find: impl Fn(&str) -> Option<&'c ComponentHealth>,
    now: Duration,
) -> Option<&'c ComponentHealth> {
    let untroubled = matches!(component.status(now), Status::Healthy | Status::Maintenance);
    if component.depends_on.is_empty() || untroubled {
        return None;
    }
    root_cause(component, find, |one| match one.status(now) {
        Status::Maintenance => true,
        status => one.activity == Activity::Enabled && matches!(status, Status::Unhealthy | Status::Unknown),
    })
}

/// The farthest component above `start` that is down, following those that are down.
fn root_cause<'c>(
    start: &'c ComponentHealth,
    find: impl Fn(&str) -> Option<&'c ComponentHealth>,
    is_down: impl Fn(&ComponentHealth) -> bool,
) -> Option<&'c ComponentHealth> {
    let mut seen = HashSet::new();
    let mut root = None;
    let mut current = start;
    // Registration refuses circles; a reader still does not trust its life to it.
    while seen.insert(&*current.name) {
        match current.depends_on.iter().filter_map(|name| find(name)).find(|parent| is_down(parent)) {
            Some(parent) => {
                root = Some(parent);
                current = parent;
            }
            None => break,
        }
    }
    root
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::check::AnyCheck;

    fn component(name: &str, parents: &[&str]) -> Component {
        Component::new(name, AnyCheck::from_fn(async || ())).depends_on(parents.iter().copied())
    }

    #[test]
    fn a_circle_is_named_and_a_diamond_is_none() {
        let circle_of = [component("a", &["b"]), component("b", &["c", "d"]), component("d", &["a"])];
        assert_eq!(circle(&circle_of).unwrap(), ["a", "b", "d", "a"]);
        assert_eq!(circle(&[component("a", &["a"])]).unwrap(), ["a", "a"]);
        let diamond =
            [component("a", &["b", "c"]), component("b", &["d"]), component("c", &["d"]), component("d", &[])];
        assert_eq!(circle(&diamond), None);
    }

    proptest! {
        /// Edges that only lead to smaller numbers can't form a circle; one edge back up the chain does.
        #[test]
        fn chains_have_no_circle_until_one_edge_leads_back(length in 2_usize..200, back in 0_usize..200) {
            let mut chain: Vec<_> = (0..length)
                .map(|number| if number == 0 { component("0", &[]) } else {
                    component(&number.to_string(), &[&(number - 1).to_string()])
                })
                .collect();
            prop_assert_eq!(circle(&chain), None);
            let back = back % length;
            chain[0] = component("0", &[&back.to_string()]);
            let found = circle(&chain).unwrap();
            prop_assert_eq!(found.len(), back + 2);
            prop_assert_eq!(found.first(), found.last());
        }
    }
}
