//! The tiers in SQLite: rings of buckets, and the minutes that are not over.

use std::ops::RangeInclusive;

use rusqlite::{OptionalExtension as _, Transaction, params};
use wellkept_health::trend::{Bucket, MinutePart, Tier};
use wellkept_health::{Sweep, Swept};

use super::{Kept, SqliteStore};
use crate::rows::{self, DROPPED_AT_ONCE, FORGOTTEN_AT_ONCE, decoded, number};

/// Finds a bucket by its whole key; the slot tells whether it is the one meant or one that stood there before.
const READ: &str = "SELECT bucket FROM buckets WHERE tier = ?1 AND place = ?2 AND component = ?3 AND slot = ?4";

impl SqliteStore {
    /// Joins the minutes that are over with the tiers, and puts the others aside.
    pub(super) fn write_time(&mut self, over: &[MinutePart], open: &[MinutePart]) -> rusqlite::Result<()> {
        let transaction = self.kept.begin(&mut self.connection)?;
        for part in over {
            let component = self.kept.component(&transaction, &part.component)?;
            join(&transaction, component, part.minute, &part.bucket)?;
            transaction
                .prepare_cached("DELETE FROM open_minutes WHERE component = ?1 AND minute <= ?2")?
                .execute(params![component, part.minute])?;
        }
        for part in open {
            let component = self.kept.component(&transaction, &part.component)?;
            transaction
                .prepare_cached("INSERT OR REPLACE INTO open_minutes (component, minute, bucket) VALUES (?1, ?2, ?3)")?
                .execute(params![component, part.minute, part.bucket.encode()])?;
        }
        transaction.commit()
    }

    /// Joins what a process that was killed has left aside.
    pub(super) fn close_minutes(&mut self) -> rusqlite::Result<()> {
        let transaction = self.kept.begin(&mut self.connection)?;
        let left: Vec<(i64, i64, Vec<u8>)> = transaction
            .prepare("SELECT component, minute, bucket FROM open_minutes")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<rusqlite::Result<_>>()?;
        if left.is_empty() {
            return Ok(());
        }
        for (component, minute, bytes) in left {
            if let Some(bucket) = decoded(&bytes) {
                join(&transaction, component, minute, &bucket)?;
            }
        }
        transaction.execute("DELETE FROM open_minutes", [])?;
        transaction.commit()
    }

    /// One row for each slot, found by its key.
    pub(super) fn read_buckets(
        &self,
        component: &str,
        tier: Tier,
        slots: RangeInclusive<i64>,
    ) -> rusqlite::Result<Vec<(i64, Bucket)>> {
        // All rows as of one moment.
        let transaction = self.connection.unchecked_transaction()?;
        let id: Option<i64> = transaction
            .prepare_cached("SELECT id FROM components WHERE name = ?1")?
            .query_row([component], |row| row.get(0))
            .optional()?;
        let Some(id) = id else { return Ok(Vec::new()) };
        let mut buckets = Vec::new();
        // What is further back than the ring is long has been overwritten.
        let oldest = (*slots.start()).max(slots.end().saturating_sub(tier.slots() - 1));
        for slot in oldest..=*slots.end() {
            if let Some(bucket) = read(&transaction, id, tier, slot)? {
                buckets.push((slot, bucket));
            }
        }
        Ok(buckets)
    }

    pub(super) fn drop_old(&mut self, sweep: &Sweep) -> rusqlite::Result<Swept> {
        let transaction = self.kept.begin(&mut self.connection)?;
        let places = drop_places(&transaction, sweep)?;
        let gone = gone(&transaction, sweep)?;
        for component in gone.iter().take(FORGOTTEN_AT_ONCE) {
            forget(&transaction, *component)?;
        }
        if !gone.is_empty() {
            self.kept = Kept { data_version: self.kept.data_version, ..Kept::default() };
        }
        transaction.commit()?;
        Ok(if gone.len() > FORGOTTEN_AT_ONCE { Swept::InPart } else { places })
    }
}

/// Joins a part of a minute with what each tier holds.
fn join(transaction: &Transaction<'_>, component: i64, minute: i64, part: &Bucket) -> rusqlite::Result<()> {
    for tier in Tier::ALL {
        let slot = tier.slot_of_minute(minute);
        let mut bucket = read(transaction, component, tier, slot)?.unwrap_or_default();
        bucket.join(part, tier);
        transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO buckets (tier, place, component, slot, bucket) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![number(tier), tier.place(slot), component, slot, bucket.encode()])?;
    }
    transaction
        .prepare_cached("UPDATE components SET seen = ?2 WHERE id = ?1")?
        .execute(params![component, minute])
        .map(drop)
}

/// The bucket of a slot; none when its place is empty or holds another slot.
fn read(transaction: &Transaction<'_>, component: i64, tier: Tier, slot: i64) -> rusqlite::Result<Option<Bucket>> {
    let bytes: Option<Vec<u8>> = transaction
        .prepare_cached(READ)?
        .query_row(params![number(tier), tier.place(slot), component, slot], |row| row.get(0))
        .optional()?;
    Ok(bytes.and_then(|bytes| decoded(&bytes)))
}

/// Drops the places whose slots are older than what is kept, some at a time. Only a retention shorter than the ring
/// leaves any.
fn drop_places(transaction: &Transaction<'_>, sweep: &Sweep) -> rusqlite::Result<Swept> {
    let mut dropped = 0;
    for tier in Tier::ALL {
        for slot in rows::too_old(tier, sweep) {
            if dropped >= DROPPED_AT_ONCE {
                return Ok(Swept::InPart);
            }
            dropped += transaction
                .prepare_cached("DELETE FROM buckets WHERE tier = ?1 AND place = ?2")?
                .execute(params![number(tier), tier.place(slot)])?;
        }
    }
    Ok(Swept::Whole)
}

/// The components that are no longer to be remembered, the longest gone first.
fn gone(transaction: &Transaction<'_>, sweep: &Sweep) -> rusqlite::Result<Vec<i64>> {
    let known: Vec<(i64, String, i64)> = transaction
        .prepare_cached("SELECT id, name, seen FROM components ORDER BY seen")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(rows::gone(known, sweep))
}

fn forget(transaction: &Transaction<'_>, component: i64) -> rusqlite::Result<()> {
    for tier in Tier::ALL {
        let mut statement =
            transaction.prepare_cached("DELETE FROM buckets WHERE tier = ?1 AND place = ?2 AND component = ?3")?;
        for place in 0..tier.slots() {
            statement.execute(params![number(tier), place, component])?;
        }
    }
    for table in ["open_minutes", "results", "changes"] {
        transaction.prepare_cached(&format!("DELETE FROM {table} WHERE component = ?1"))?.execute([component])?;
    }
    transaction.prepare_cached("DELETE FROM components WHERE id = ?1")?.execute([component]).map(drop)
}

#[cfg(test)]
mod tests;
