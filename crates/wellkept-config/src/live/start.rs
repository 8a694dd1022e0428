//! The first load: what the files say, or what was returned to before they are changed.

use std::sync::Arc;
use std::time::SystemTime;

use crate::content::ContentHash;
use crate::diff::diff;
use crate::document::LoadError;
use crate::settings::Settings;
use crate::sources::Sources;
use crate::versions::{OutcomeKind, Trigger, Version, VersionId, VersionStore};

use super::LiveOptions;
use super::candidate::Candidate;
use super::keeper::{Keeper, Record, guarded};

/// What runs first.
pub(super) struct First<T> {
    pub(super) candidate: Candidate<T>,
    /// The hash of what the files say, which need not be what runs.
    pub(super) files: ContentHash,
    pub(super) refuses: Option<ContentHash>,
    pub(super) keeper: Keeper,
}

/// Blocks on the files and on the store.
pub(super) fn first<T: Settings>(
    sources: &Sources,
    options: &LiveOptions,
    mut store: Box<dyn VersionStore>,
) -> Result<First<T>, LoadError> {
    let content = Arc::new(sources.content()?);
    let hash = content.hash();
    let newest = newest(store.as_mut());
    let pinned = newest.as_ref().filter(|newest| newest.refuses == Some(hash));
    if let Some(newest) = pinned
        && let Some(candidate) = returned_to(sources, store.as_mut(), newest.id)
    {
        tracing::warn!(
            target: "wellkept::config", version = newest.id.0,
            "the files say what was rolled back from: the version that was returned to runs, until they change"
        );
        let refuses = newest.refuses;
        let keeper = Keeper::new(store, options.keep);
        keeper.note(0, newest.id);
        return Ok(First { candidate, files: hash, refuses, keeper });
    }
    let candidate = Candidate::read(sources, content, None, &mut Vec::new())?;
    if let Some(newest) = newest.as_ref().filter(|newest| newest.hash == hash) {
        // It ran already when the process ended: it is no other version for that.
        let refuses = newest.refuses;
        let keeper = Keeper::new(store, options.keep);
        keeper.note(0, newest.id);
        return Ok(First { candidate, files: hash, refuses, keeper });
    }
    let before = newest.and_then(|newest| kept(sources, store.as_mut(), newest.id));
    let before: Option<Candidate<T>> = before.and_then(Result::ok);
    let version = Version {
        id: VersionId(0),
        at: SystemTime::now(),
        trigger: Trigger::Start,
        author: String::new(),
        hash,
        outcome: OutcomeKind::Applied,
        returned_to: None,
        refuses: None,
        summary: before.map(|before| diff(&before.shown, &candidate.shown)).unwrap_or_default(),
    };
    let written = guarded(|| store.append(&version, Some(&candidate.content), options.keep));
    let keeper = Keeper::new(store, options.keep);
    match written {
        Ok(id) => keeper.note(0, id),
        Err(fault) => {
            tracing::error!(target: "wellkept::config", %fault, "the version is in memory only: the store can't be written");
            keeper.put(Record { generation: Some(0), version, content: Some(Arc::clone(&candidate.content)) });
        }
    }
    Ok(First { candidate, files: hash, refuses: None, keeper })
}

/// The newest version that ran.
fn newest(store: &mut dyn VersionStore) -> Option<Version> {
    match guarded(|| store.versions()) {
        Ok(versions) => versions.into_iter().find(|version| version.outcome.runs()),
        Err(fault) => {
            tracing::error!(
                target: "wellkept::config", %fault,
                "the store can't be read: what was rolled back from is not known, and may run again"
            );
            None
        }
    }
}

/// The version that runs while the files are refused. Where it can't be had, the files are what is left.
fn returned_to<T: Settings>(sources: &Sources, store: &mut dyn VersionStore, id: VersionId) -> Option<Candidate<T>> {
    let why = match kept(sources, store, id) {
        Some(Ok(candidate)) => return Some(candidate),
        Some(Err(error)) => error.to_string(),
        None => "its content is not kept".to_owned(),
    };
    tracing::error!(
        target: "wellkept::config", version = id.0, why,
        "the version that was returned to can't be run: what was rolled back from runs again"
    );
    None
}

fn kept<T: Settings>(
    sources: &Sources,
    store: &mut dyn VersionStore,
    id: VersionId,
) -> Option<Result<Candidate<T>, LoadError>> {
    let content = guarded(|| store.content(id)).ok()??;
    Some(Candidate::read(sources, Arc::new(content), None, &mut Vec::new()))
}
