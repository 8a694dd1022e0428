//! A new set of components: checked and held ready, then put in the place of the old one by a step that can't fail.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use super::{Entry, Id, Table};
use crate::clock::Clock;
use crate::component::{Component, RegisterError};
use crate::dependencies;
use crate::snapshot::Belonging;

/// What a new set of components changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Replaced {
    /// Names that are new.
    pub added: Vec<String>,
    /// Names whose definition differs: their state begins anew.
    pub changed: Vec<String>,
    /// Names that are gone.
    pub removed: Vec<String>,
    /// Names of those that were added at run time and are now of this set.
    pub taken_over: Vec<String>,
    /// How many kept their state.
    pub kept: usize,
}

/// A set of components that can be put in the place of the one that is kept. While it exists, nothing is taken that
/// would stay beside it and not fit.
#[derive(Debug)]
pub(crate) struct Replacement {
    components: Vec<Arc<Component>>,
    /// Where each one is.
    places: HashMap<Arc<str>, usize>,
}

impl Replacement {
    fn get(&self, name: &str) -> Option<&Component> {
        self.places.get(name).and_then(|place| self.components.get(*place)).map(|component| &**component)
    }
}

impl Table {
    /// Makes sure that `components` can be the whole set beside those that stay whatever the set is, and says all that
    /// is wrong with them otherwise. Changes nothing.
    pub(crate) fn prepare(&mut self, components: Vec<Arc<Component>>) -> Result<Arc<Replacement>, Vec<RegisterError>> {
        let places: HashMap<_, _> =
            components.iter().enumerate().map(|(place, component)| (Arc::clone(&component.name), place)).collect();
        let stay = self.entries.values().filter(|entry| match entry.health.belongs {
            Belonging::Set => false,
            Belonging::Loop => true,
            Belonging::Addition => !places.contains_key(&entry.component.name),
        });
        let whole: Vec<&Component> =
            components.iter().chain(stay.map(|entry| &entry.component)).map(|one| &**one).collect();
        refuse(&whole, self.limit)?;
        let replacement = Arc::new(Replacement { components, places });
        self.prepared.retain(|other| other.strong_count() > 0);
        self.prepared.push(Arc::downgrade(&replacement));
        Ok(replacement)
    }

    /// Makes a set that was prepared the whole set. Hands out those that were there before, to be dropped outside the
    /// lock.
    pub(crate) fn commit(
        &mut self,
        replacement: &Arc<Replacement>,
        clock: &dyn Clock,
    ) -> (Replaced, Vec<Arc<Component>>) {
        let done = Arc::downgrade(replacement);
        self.prepared.retain(|other| other.strong_count() > 0 && !other.ptr_eq(&done));
        let gone = self.entries.values().map(|entry| Arc::clone(&entry.component)).collect();
        let mut replaced = Replaced::default();
        let mut before = std::mem::take(&mut self.names);
        let mut entries = std::mem::take(&mut self.entries);
        for component in &replacement.components {
            let name = component.name.to_string();
            let old = before.remove(&component.name).and_then(|id| entries.remove(id).map(|entry| (id, entry)));
            if old.as_ref().is_some_and(|(_, old)| old.health.belongs == Belonging::Addition) {
                replaced.taken_over.push(name.clone());
            }
            let spans = Arc::clone(self.maintenance.of(&component.name));
            let mut entry = Entry::new(Arc::clone(component), Belonging::Set, self.started, spans, clock);
            let new = Id(self.next_id);
            match old {
                Some((id, mut old)) if old.is_same(&entry.component) => {
                    replaced.kept += 1;
                    old.belong_to_the_set();
                    self.names.insert(Arc::clone(&old.component.name), id);
                    self.entries.insert(id, old);
                    continue;
                }
                Some((id, old)) => {
                    entry.inherit(&old);
                    if let (Some(job), Some(before)) = (&component.check.job, &old.component.check.job) {
                        job.inherit(before);
                    }
                    if self.started {
                        entry.complete_start();
                    }
                    self.ask_instead(id, new, entry.health.activity);
                    replaced.changed.push(name);
                }
                None => replaced.added.push(name),
            }
            self.next_id += 1;
            self.names.insert(Arc::clone(&entry.component.name), new);
            self.entries.insert(new, entry);
            self.fresh.push(new);
        }
        for (name, id) in before {
            match entries.remove(id) {
                Some(entry) if entry.health.belongs != Belonging::Set => {
                    replaced.kept += 1;
                    self.names.insert(name, id);
                    self.entries.insert(id, entry);
                }
                _ => replaced.removed.push(name.to_string()),
            }
        }
        self.forget_removed();
        replaced.removed.sort();
        (replaced, gone)
    }

    /// Refuses a component that would stay beside a set that is prepared, and not fit.
    pub(super) fn fits_what_is_prepared(&self, component: &Component) -> Result<(), RegisterError> {
        for prepared in self.prepared.iter().filter_map(Weak::upgrade) {
            if prepared.places.contains_key(&component.name) {
                return Err(RegisterError::Duplicate { name: component.name.to_string() });
            }
            let stay = self.entries.values().filter(|entry| entry.health.belongs != Belonging::Set).count();
            if prepared.components.len() + stay >= self.limit {
                return Err(RegisterError::TooMany { limit: self.limit });
            }
            let known = |name: &str| prepared.get(name).or_else(|| self.component_named(name));
            if let Some(path) = dependencies::circle_through(component, known) {
                return Err(RegisterError::Cycle { path });
            }
        }
        Ok(())
    }
}

fn refuse(components: &[&Component], limit: usize) -> Result<(), Vec<RegisterError>> {
    let mut errors = Vec::new();
    // What can be named: the errors below do.
    let mut sound = Vec::new();
    for component in components {
        let error = component.validate().err();
        if !matches!(error, Some(RegisterError::Name { .. })) {
            sound.push(*component);
        }
        errors.extend(error);
    }
    let mut names: Vec<_> = sound.iter().map(|one| &one.name).collect();
    names.sort();
    for pair in names.windows(2) {
        if pair[0] == pair[1] {
            errors.push(RegisterError::Duplicate { name: pair[0].to_string() });
        }
    }
    if components.len() > limit {
        errors.push(RegisterError::TooMany { limit });
    }
    if let Some(path) = dependencies::circle(sound) {
        errors.push(RegisterError::Cycle { path });
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}
