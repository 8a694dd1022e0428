//! The face of a configuration for doors and commands, which do not know its type.

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::content::Content;
use crate::control::{Answer, Control, Running, Shown, ViewError, Which};
use crate::diff::diff;
use crate::outcome::{Report, Request};
use crate::settings::Settings;
use crate::versions::{StoreFault, Version, VersionId};

use super::candidate::Candidate;
use super::{Live, ReloadStats, Shared};

impl<T: Settings> Control for Live<T> {
    fn reload(&self, request: Request) -> Answer<'_, Report> {
        Box::pin(self.reload(request))
    }

    fn roll_back(&self, to: VersionId, request: Request) -> Answer<'_, Report> {
        Box::pin(self.roll_back(to, request))
    }

    fn running(&self) -> Running {
        self.running()
    }

    fn stats(&self) -> ReloadStats {
        self.stats()
    }

    fn versions(&self) -> Answer<'_, Result<Vec<Version>, ViewError>> {
        Box::pin(async {
            let runtime = self.shared.runtime().ok_or(ViewError::TimedOut)?;
            Ok(self.shared.keeper.versions(&runtime, self.shared.patience()).await?)
        })
    }

    fn show(&self, which: Which) -> Answer<'_, Result<Vec<Shown>, ViewError>> {
        Box::pin(async move { Ok(self.shared.show(which).await?.to_vec()) })
    }

    fn diff(&self, from: Which, to: Which) -> Answer<'_, Result<Vec<String>, ViewError>> {
        Box::pin(async move {
            let (from, to) = (self.shared.show(from).await?, self.shared.show(to).await?);
            Ok(diff(&from, &to))
        })
    }
}

impl<T: Settings> Shared<T> {
    async fn show(self: &Arc<Self>, which: Which) -> Result<Arc<[Shown]>, ViewError> {
        let runtime = self.runtime().ok_or(ViewError::TimedOut)?;
        let kept = match which {
            Which::Running => return Ok(Arc::clone(&self.books().now.shown)),
            Which::Sources => None,
            Which::Version(id) => {
                let content = self.keeper.content(&runtime, self.patience(), id).await?;
                Some(content.ok_or(ViewError::UnknownVersion(id))?)
            }
        };
        let limit = self.deadline();
        match tokio::time::timeout(limit, self.read_to_show(&runtime, kept)).await {
            Ok(shown) => shown,
            Err(_) => Err(ViewError::TimedOut),
        }
    }

    /// Reads a content, or the one of the sources, on a thread that may block.
    async fn read_to_show(
        self: &Arc<Self>,
        runtime: &Handle,
        kept: Option<Content>,
    ) -> Result<Arc<[Shown]>, ViewError> {
        let turns = if kept.is_some() { &self.reading_kept } else { &self.reading };
        let turn = Arc::clone(turns).acquire_owned().await.map_err(|_| ViewError::TimedOut)?;
        let shared = Arc::clone(self);
        let reading = runtime.spawn_blocking(move || {
            let _turn = turn;
            let content = kept.map_or_else(|| shared.sources.content(), Ok);
            let read = content
                .and_then(|content| Candidate::<T>::read(&shared.sources, Arc::new(content), None, &mut Vec::new()));
            read.map(|candidate| candidate.shown).map_err(|error| ViewError::Invalid(error.to_string()))
        });
        reading.await.unwrap_or_else(|_| {
            let detail = "the reading of it ended early".to_owned();
            Err(ViewError::Store(StoreFault { code: "config.failed", detail }))
        })
    }
}
