//! What the checker's handle can be told of maintenance, and asked.

use std::sync::Arc;
use std::time::Duration;

use super::keeper::{Keeper, Kept};
use super::{
    Maintenance, MaintenanceBooks, MaintenanceError, MaintenanceStore, MaintenanceWindow, NewMaintenance,
    SharedMaintenanceStore, Target, shown,
};
use crate::checker::Checker;
use crate::snapshot::Moment;

/// How long a change may take to be seen by readers.
const PUBLISHED: Duration = Duration::from_secs(1);

impl Checker {
    /// Begins a maintenance now: one for the service, or one for each component named, all or none. Several may be on
    /// for the same thing; it is over with the last of them.
    ///
    /// Readers see it with the next snapshot, within 10 ms. With a store
    /// ([`keep_maintenances`](Self::keep_maintenances)) it survives a restart; this doesn't wait for the store, which
    /// [`maintenances_kept`](Self::maintenances_kept) does.
    pub fn begin_maintenance(&self, wanted: NewMaintenance) -> Result<Vec<Arc<Maintenance>>, MaintenanceError> {
        let now = self.moment();
        let begun = {
            let mut table = self.table();
            if let Target::Components(names) = &wanted.target
                && let Some(name) = names.iter().find(|name| !table.has(name))
            {
                return Err(MaintenanceError::UnknownComponent { name: shown(name) });
            }
            table.maintain(|book| book.begin(wanted, now))?
        };
        for what in &begun {
            tracing::info!(
                target: "wellkept::health", id = &*what.id, component = what.component.as_deref(),
                author = &*what.author, reason = &*what.reason, until = %what.until, "maintenance begins"
            );
        }
        self.maintenance_changed();
        Ok(begun)
    }

    /// Ends one that was begun by hand, before its time. `author` says who, and may be empty. One of a window can't be
    /// ended: its window can be changed.
    pub fn end_maintenance(&self, id: &str, author: &str) -> Result<Arc<Maintenance>, MaintenanceError> {
        let now = self.moment();
        let ended = self.table().maintain(|book| book.end(id, author, now))?;
        tracing::info!(
            target: "wellkept::health", id = &*ended.id, component = ended.component.as_deref(), author,
            "maintenance is ended"
        );
        self.maintenance_changed();
        Ok(ended)
    }

    /// All that is on now, and of each window the next occurrence, in the order of their beginning.
    pub fn maintenances(&self) -> Vec<Arc<Maintenance>> {
        let now = self.moment();
        let mut table = self.table();
        if table.maintenance().is_due(now) {
            table.maintain(|book| book.replan(now));
        }
        let now = now.boot;
        let spans = table.maintenance().spans().filter(|span| now < span.until);
        let mut all: Vec<_> = spans.map(|span| (span.from > now, Arc::clone(&span.what))).collect();
        all.sort_by(|(_, one), (_, other)| {
            (one.since, &one.id, &one.component).cmp(&(other.since, &other.id, &other.component))
        });
        all.into_iter().map(|(_, what)| what).collect()
    }

    /// Makes these the whole set of windows, or changes nothing. One that is on begins at once, one that is gone ends.
    /// Names must differ. Components that are not there (yet) may be named.
    pub fn set_maintenance_windows(&self, windows: Vec<MaintenanceWindow>) -> Result<(), MaintenanceError> {
        let now = self.moment();
        self.table().maintain(|book| book.set_windows(windows, now))?;
        self.maintenance_changed();
        Ok(())
    }

    /// Takes back what a store has kept, without what is over, and keeps there what is begun from now on. Blocks until
    /// the store was asked once, for 2 s at most. A store that fails is tried again every 5 s, on a thread of its own that starts here;
    /// until it works maintenances are in memory only, which one line of the log says.
    ///
    /// # Errors
    /// When the thread can't be started.
    pub fn keep_maintenances(&self, store: impl MaintenanceStore) -> std::io::Result<()> {
        self.keep_with(Keeper::start(Box::new(store), Arc::downgrade(&self.shared))?);
        Ok(())
    }

    /// As [`keep_maintenances`](Self::keep_maintenances), with a store that other instances of the service share: what
    /// is begun or ended by hand on one of them holds on all others, within 2 s while the store answers. One that can't
    /// be reached by the store keeps what it knew, each until its end.
    ///
    /// # Errors
    /// When the thread can't be started.
    pub fn share_maintenances(&self, store: impl SharedMaintenanceStore) -> std::io::Result<()> {
        self.keep_with(Keeper::start_shared(Box::new(store), Arc::downgrade(&self.shared))?);
        Ok(())
    }

    fn keep_with(&self, keeper: Keeper) {
        self.shared.keeper.store(Some(Arc::new(keeper)));
        // What was begun before there was a store goes there too.
        self.save_maintenances();
    }

    /// Waits until the store has taken all changes so far, at most `wait`, and says whether it has. Blocks.
    pub fn maintenances_kept(&self, wait: Duration) -> Kept {
        self.shared.keeper.load().as_ref().map_or(Kept::InMemory, |keeper| keeper.wait(wait))
    }

    /// Waits until readers see all changes of maintenance so far, for a second at most, and says whether they do: not
    /// without an [`Engine`](crate::Engine) that runs. Cancel-safe.
    pub async fn maintenance_published(&self) -> bool {
        let mut published = self.subscribe();
        let is_seen = |_: &u64| self.snapshot().is_of_plan(self.table().maintenance().service());
        tokio::time::timeout(PUBLISHED, published.wait_for(is_seen)).await.is_ok_and(|seen| seen.is_ok())
    }

    /// Takes in what another process has kept, without what is over or known already: for one that takes the place of
    /// another before it may [keep](Self::keep_maintenances) them itself. Does not block.
    pub fn take_in_maintenances(&self, kept: Vec<Maintenance>) {
        self.restore_maintenances(kept);
    }

    /// Takes in what the store had kept.
    pub(super) fn restore_maintenances(&self, kept: Vec<Maintenance>) {
        let now = self.moment();
        let before = kept.len();
        let on = {
            let mut table = self.table();
            table.maintain(|book| book.restore(kept, now));
            table.maintenance().spans().filter(|span| span.from <= now.boot).count()
        };
        if before > 0 {
            tracing::info!(target: "wellkept::health", kept = before, on, "maintenances from before the start");
        }
        self.maintenance_changed();
    }

    /// What a store that is shared is told.
    pub(super) fn maintenance_books(&self) -> MaintenanceBooks {
        self.table().maintenance().books()
    }

    /// Takes in what others have begun and ended.
    pub(super) fn join_maintenances(&self, theirs: MaintenanceBooks) {
        let now = self.moment();
        let news = {
            let mut table = self.table();
            let news = table.maintenance().news(theirs, now);
            if news == MaintenanceBooks::default() {
                return;
            }
            table.maintain(|book| book.join(news.clone(), now));
            news
        };
        for what in &news.begun {
            tracing::info!(
                target: "wellkept::health", id = &*what.id, component = what.component.as_deref(),
                author = &*what.author, reason = &*what.reason, until = %what.until,
                "maintenance begins: the store that is shared has it"
            );
        }
        for ended in &news.ended {
            tracing::info!(
                target: "wellkept::health", id = &*ended.id, author = &*ended.author,
                "maintenance is ended on another instance"
            );
        }
        self.maintenance_changed();
    }

    /// Tells the store what is on, when that has changed.
    pub(crate) fn save_maintenances(&self) {
        let Some(keeper) = &*self.shared.keeper.load() else { return };
        if let Some(begun) = self.table().take_unsaved_maintenances() {
            keeper.save(begun);
        }
    }

    fn maintenance_changed(&self) {
        self.save_maintenances();
        self.shared.wake.notify_one();
    }

    fn moment(&self) -> Moment {
        Moment::now(self.clock())
    }
}
