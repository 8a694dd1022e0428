//! Who is at the root of a trouble, and which circles there are, against what a recursion would say.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use wellkept_health::{AnyCheck, Checker, Component, RegisterError, Settings, Status, Verdict};

use crate::bench::{self, Running, set};

/// Components by number, each with the numbers that it depends on; a number that nobody has leads nowhere.
type Graph = Vec<Vec<usize>>;

/// Edges that lead to smaller numbers only: no circles.
fn acyclic() -> impl Strategy<Value = Graph> {
    (1_usize..9).prop_flat_map(|count| {
        let parents = move |number: usize| vec(prop_oneof![8 => 0..number.max(1), 1 => Just(count + 7)], 0..4);
        (0..count).map(parents).collect::<Vec<_>>().prop_map(|graph| {
            let is_lower = |number: usize, parent: usize| parent < number || parent > 9;
            let lower = |(number, parents): (usize, Vec<usize>)| {
                parents.into_iter().filter(|parent| is_lower(number, *parent)).collect()
            };
            graph.into_iter().enumerate().map(lower).collect()
        })
    })
}

/// Edges that lead anywhere.
fn any_graph() -> impl Strategy<Value = Graph> {
    (1_usize..9).prop_flat_map(|count| vec(vec(0..count + 1, 0..3), count))
}

fn names(parents: &[usize]) -> Vec<String> {
    parents.iter().map(ToString::to_string).collect()
}

/// The farthest component that is down, along the first parent that is down, and so on.
fn root(graph: &Graph, statuses: &[Status], number: usize) -> Option<usize> {
    let is_down = |parent: &usize| matches!(statuses.get(*parent), Some(Status::Unhealthy | Status::Unknown));
    let parent = *graph[number].iter().find(|parent| is_down(parent))?;
    Some(root(graph, statuses, parent).unwrap_or(parent))
}

#[test]
fn root_causes_agree_with_a_recursion() {
    let found = select(vec![None, Some(Verdict::Pass), Some(Verdict::Warn), Some(Verdict::Fail), Some(Verdict::Fail)]);
    let cases = acyclic().prop_flat_map(move |graph| {
        let count = graph.len();
        (Just(graph), vec(found.clone(), count))
    });
    bench::check(&cases, async |(graph, found)| {
        let running = Running::start();
        for (number, parents) in graph.iter().enumerate() {
            let (component, finding) = set(&number.to_string());
            running.checker.register(component.depends_on(names(parents))).unwrap();
            if let Some(verdict) = found[number] {
                running.find(&finding, verdict).await;
            }
        }
        running.settle().await;
        let statuses: Vec<_> = found.iter().map(|found| found.map_or(Status::Unknown, Status::from)).collect();
        let snapshot = running.checker.snapshot();
        for number in 0..graph.len() {
            let component = snapshot.component(&number.to_string()).unwrap();
            let named = snapshot.root_cause(component).map(|root| root.name.to_string());
            let expected = if statuses[number] == Status::Healthy { None } else { root(&graph, &statuses, number) };
            prop_assert_eq!(named, expected.map(|root| root.to_string()), "component {}", number);
        }
        Ok(())
    });
}

/// Whether a way along the edges of those registered leads from `from` to `to`.
fn leads(known: &BTreeMap<usize, Vec<usize>>, from: usize, to: usize, left: usize) -> bool {
    let parents = known.get(&from).into_iter().flatten();
    left > 0
        && parents
            .filter(|parent| known.contains_key(parent))
            .any(|&parent| parent == to || leads(known, parent, to, left - 1))
}

fn component(number: usize, parents: &[usize]) -> Component {
    Component::new(number.to_string(), AnyCheck::from_fn(async || ())).depends_on(names(parents))
}

/// What is said to be a circle is one: along edges that are there, back to its beginning, through nobody twice.
fn is_circle(path: &[String], known: &BTreeMap<usize, Vec<usize>>) -> bool {
    let path: Vec<usize> = path.iter().map(|name| name.parse().expect("names are numbers")).collect();
    let mut inner = path[1..].to_vec();
    inner.sort_unstable();
    inner.dedup();
    path.len() >= 2
        && path.first() == path.last()
        && inner.len() == path.len() - 1
        && path.windows(2).all(|edge| known.get(&edge[0]).is_some_and(|parents| parents.contains(&edge[1])))
}

#[test]
fn a_circle_is_always_refused_and_named_and_nothing_else_is() {
    bench::check(&any_graph(), async |graph| {
        let (checker, _engine) = Checker::new(Settings::new("modelled"));
        let mut known = BTreeMap::new();
        for (number, parents) in graph.iter().enumerate() {
            known.insert(number, parents.clone());
            let closes = leads(&known, number, number, graph.len());
            match checker.register(component(number, parents)) {
                Ok(()) => prop_assert!(!closes, "{} closes a circle", number),
                Err(RegisterError::Cycle { path }) => {
                    prop_assert!(closes, "{:?} is no circle", path);
                    prop_assert!(is_circle(&path, &known), "{:?}", path);
                    known.remove(&number);
                }
                Err(other) => prop_assert!(false, "{}", other),
            }
        }
        prop_assert_eq!(checker.stats().components, known.len());

        let all: BTreeMap<usize, Vec<usize>> = graph.iter().cloned().enumerate().collect();
        let has_circle = all.keys().any(|&number| leads(&all, number, number, graph.len()));
        let whole = graph.iter().enumerate().map(|(number, parents)| component(number, parents)).collect();
        match checker.replace(whole) {
            Ok(_) => prop_assert!(!has_circle),
            Err(errors) => match &*errors {
                [RegisterError::Cycle { path }] => prop_assert!(has_circle && is_circle(path, &all), "{:?}", path),
                other => prop_assert!(false, "{:?}", other),
            },
        }
        Ok(())
    });
}
