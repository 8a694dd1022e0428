//! The tiers as rows: rings of buckets, the minutes that are not over, and what is forgotten.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::sync::Arc;

use tokio_postgres::types::Type;
use wellkept_health::trend::{Bucket, MinutePart, Tier};
use wellkept_health::{Sweep, Swept};

use super::error::PostgresError;
use super::history::Doubt;
use super::link::{Parameter, Session, lock_name};
use super::text::{escaped, unescaped};
use crate::rows::{self, DROPPED_AT_ONCE, FORGOTTEN_AT_ONCE, decoded, number};

/// Most instances of a service that are remembered, those that are there included.
const INSTANCES: usize = 100;

/// Component, tier, place.
type Key = (i64, i64, i64);

impl Session {
    /// Holds the instance, and joins what a process that was killed has left aside: once in a process, before it puts
    /// anything aside itself.
    pub(super) async fn take_over(&mut self, taken_over: &mut bool) -> Result<(), PostgresError> {
        let instance = self.hold().await?;
        if *taken_over {
            return Ok(());
        }
        self.begin().await?;
        let statement = "DELETE FROM wellkept_open_minutes AS minutes USING wellkept_components AS components \
            WHERE components.id = minutes.component AND components.instance = $1 \
            RETURNING minutes.component, minutes.minute, minutes.bucket";
        let left = self.client().query_typed(statement, &[(&instance, Type::INT8)]).await?;
        let mut parts = Vec::new();
        for row in left {
            if let Some(bucket) = decoded(row.try_get(2)?) {
                parts.push((row.try_get(0)?, row.try_get(1)?, bucket));
            }
        }
        self.join(parts.iter().map(|(component, minute, bucket)| (*component, *minute, bucket)).collect()).await?;
        self.commit().await?;
        *taken_over = true;
        Ok(())
    }

    /// Joins the minutes that are over with the tiers, and puts the others aside.
    pub(super) async fn keep_time(
        &mut self,
        over: &[MinutePart],
        open: &[MinutePart],
        doubt: &mut Option<Doubt<MinutePart>>,
    ) -> Result<(), PostgresError> {
        if over.is_empty() && open.is_empty() {
            return Ok(());
        }
        self.begin().await?;
        self.know(over.iter().chain(open).map(|part| &part.component)).await?;
        let parts: Vec<_> = over.iter().map(|part| (self.id(&part.component), part.minute, &part.bucket)).collect();
        let latest: BTreeMap<i64, i64> = parts.iter().map(|(component, minute, _)| (*component, *minute)).collect();
        self.join(parts).await?;
        let (components, minutes): (Vec<i64>, Vec<i64>) = latest.into_iter().unzip();
        let parameters: [Parameter<'_>; 2] = [(&components, Type::INT8_ARRAY), (&minutes, Type::INT8_ARRAY)];
        let statement = "DELETE FROM wellkept_open_minutes AS minutes USING unnest($1, $2) AS over (component, minute) \
            WHERE minutes.component = over.component AND minutes.minute <= over.minute";
        self.client().execute_typed(statement, &parameters).await?;
        // The last one of each component: a row can be replaced only once in a statement.
        let open: BTreeMap<i64, &MinutePart> = open.iter().map(|part| (self.id(&part.component), part)).collect();
        let components: Vec<i64> = open.keys().copied().collect();
        let minutes: Vec<i64> = open.values().map(|part| part.minute).collect();
        let buckets: Vec<Vec<u8>> = open.values().map(|part| part.bucket.encode()).collect();
        let parameters: [Parameter<'_>; 3] =
            [(&components, Type::INT8_ARRAY), (&minutes, Type::INT8_ARRAY), (&buckets, Type::BYTEA_ARRAY)];
        let statement = "INSERT INTO wellkept_open_minutes (component, minute, bucket) \
            SELECT * FROM unnest($1, $2, $3) \
            ON CONFLICT (component) DO UPDATE SET minute = excluded.minute, bucket = excluded.bucket";
        self.client().execute_typed(statement, &parameters).await?;
        self.commit_batch(doubt, over.last()).await
    }

    /// Joins parts of minutes, each with its component and minute, with what the tiers hold.
    async fn join(&mut self, parts: Vec<(i64, i64, &Bucket)>) -> Result<(), PostgresError> {
        if parts.is_empty() {
            return Ok(());
        }
        let key = |component: i64, tier: Tier, slot: i64| (component, number(tier), tier.place(slot));
        let mut slots: BTreeMap<Key, (i64, Bucket)> = BTreeMap::new();
        for &(component, minute, _) in &parts {
            for tier in Tier::ALL {
                let slot = tier.slot_of_minute(minute);
                slots.entry(key(component, tier, slot)).or_insert_with(|| (slot, Bucket::default()));
            }
        }
        let (components, tiers, places) = columns(&slots);
        let parameters: [Parameter<'_>; 3] =
            [(&components, Type::INT8_ARRAY), (&tiers, Type::INT8_ARRAY), (&places, Type::INT8_ARRAY)];
        let statement = "SELECT component, tier, place, slot, bucket FROM wellkept_buckets \
            JOIN unnest($1, $2, $3) AS wanted (component, tier, place) USING (component, tier, place)";
        for row in self.client().query_typed(statement, &parameters).await? {
            let found = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            if let Some(bucket) = decoded(row.try_get(4)?) {
                slots.insert(found, (row.try_get(3)?, bucket));
            }
        }
        let mut seen: HashMap<i64, i64> = HashMap::new();
        for (component, minute, part) in parts {
            for tier in Tier::ALL {
                let slot = tier.slot_of_minute(minute);
                let place = slots.entry(key(component, tier, slot)).or_default();
                // Another slot stood in this place before.
                if place.0 != slot {
                    *place = (slot, Bucket::default());
                }
                place.1.join(part, tier);
            }
            seen.insert(component, minute);
        }
        let (components, tiers, places) = columns(&slots);
        let numbers: Vec<i64> = slots.values().map(|(slot, _)| *slot).collect();
        let buckets: Vec<Vec<u8>> = slots.values().map(|(_, bucket)| bucket.encode()).collect();
        let parameters: [Parameter<'_>; 5] = [
            (&components, Type::INT8_ARRAY),
            (&tiers, Type::INT8_ARRAY),
            (&places, Type::INT8_ARRAY),
            (&numbers, Type::INT8_ARRAY),
            (&buckets, Type::BYTEA_ARRAY),
        ];
        let statement = "INSERT INTO wellkept_buckets (component, tier, place, slot, bucket) \
            SELECT * FROM unnest($1, $2, $3, $4, $5) \
            ON CONFLICT (component, tier, place) DO UPDATE SET slot = excluded.slot, bucket = excluded.bucket";
        self.client().execute_typed(statement, &parameters).await?;
        let (components, minutes): (Vec<i64>, Vec<i64>) = seen.into_iter().unzip();
        let parameters: [Parameter<'_>; 2] = [(&components, Type::INT8_ARRAY), (&minutes, Type::INT8_ARRAY)];
        let statement = "UPDATE wellkept_components AS components SET seen = latest.minute \
            FROM unnest($1, $2) AS latest (component, minute) WHERE components.id = latest.component";
        self.client().execute_typed(statement, &parameters).await?;
        Ok(())
    }

    pub(super) async fn buckets(
        &mut self,
        component: &str,
        tier: Tier,
        slots: RangeInclusive<i64>,
    ) -> Result<Vec<(i64, Bucket)>, PostgresError> {
        let Some(component) = self.known_component(component).await? else { return Ok(Vec::new()) };
        // What is further back than the ring is long may stand there still, where nothing was written since.
        let oldest = (*slots.start()).max(slots.end().saturating_sub(tier.slots() - 1));
        let parameters: [Parameter<'_>; 4] =
            [(&component, Type::INT8), (&number(tier), Type::INT8), (&oldest, Type::INT8), (slots.end(), Type::INT8)];
        let statement = "SELECT slot, bucket FROM wellkept_buckets \
            WHERE component = $1 AND tier = $2 AND slot BETWEEN $3 AND $4 ORDER BY slot";
        let mut buckets = Vec::new();
        for row in self.client().query_typed(statement, &parameters).await? {
            if let Some(bucket) = decoded(row.try_get(1)?) {
                buckets.push((row.try_get(0)?, bucket));
            }
        }
        Ok(buckets)
    }

    pub(super) async fn forget(&mut self, sweep: &Sweep) -> Result<Swept, PostgresError> {
        let instance = self.hold().await?;
        self.begin().await?;
        let slots = self.drop_slots(instance, sweep).await?;
        let components = self.drop_components(instance, sweep).await?;
        let instances = self.drop_instance(instance, sweep).await?;
        self.commit().await?;
        let all = [slots, components, instances];
        Ok(if all.contains(&Swept::InPart) { Swept::InPart } else { Swept::Whole })
    }

    async fn drop_slots(&mut self, instance: i64, sweep: &Sweep) -> Result<Swept, PostgresError> {
        let most = DROPPED_AT_ONCE as u64;
        for tier in Tier::ALL {
            let old = rows::too_old(tier, sweep);
            if old.is_empty() {
                continue;
            }
            let limit = i64::try_from(most).unwrap_or(i64::MAX);
            let parameters: [Parameter<'_>; 4] =
                [(&instance, Type::INT8), (&number(tier), Type::INT8), (&old.end, Type::INT8), (&limit, Type::INT8)];
            let statement = "DELETE FROM wellkept_buckets WHERE (component, tier, place) IN ( \
                SELECT component, tier, place FROM wellkept_buckets JOIN wellkept_components ON id = component \
                WHERE instance = $1 AND tier = $2 AND slot < $3 LIMIT $4)";
            if self.client().execute_typed(statement, &parameters).await? >= most {
                return Ok(Swept::InPart);
            }
        }
        Ok(Swept::Whole)
    }

    async fn drop_components(&mut self, instance: i64, sweep: &Sweep) -> Result<Swept, PostgresError> {
        let statement = "SELECT id, name, seen FROM wellkept_components WHERE instance = $1 ORDER BY seen";
        let mut known = Vec::new();
        for row in self.client().query_typed(statement, &[(&instance, Type::INT8)]).await? {
            known.push((row.try_get(0)?, unescaped(row.try_get(1)?).into_owned(), row.try_get(2)?));
        }
        let mut gone = rows::gone(known, sweep);
        let swept = if gone.len() > FORGOTTEN_AT_ONCE { Swept::InPart } else { Swept::Whole };
        gone.truncate(FORGOTTEN_AT_ONCE);
        self.drop_rows(instance, &gone).await?;
        if !gone.is_empty() {
            self.components.retain(|_, id| !gone.contains(id));
            self.results.retain(|id, _| !gone.contains(id));
            self.changes.retain(|id, _| !gone.contains(id));
        }
        Ok(swept)
    }

    async fn drop_rows(&mut self, instance: i64, components: &[i64]) -> Result<(), PostgresError> {
        if components.is_empty() {
            return Ok(());
        }
        for table in ["wellkept_buckets", "wellkept_open_minutes", "wellkept_results"] {
            let statement = format!("DELETE FROM {table} WHERE component = ANY($1)");
            self.client().execute_typed(&statement, &[(&components, Type::INT8_ARRAY)]).await?;
        }
        let parameters: [Parameter<'_>; 2] = [(&components, Type::INT8_ARRAY), (&instance, Type::INT8)];
        let statement = "DELETE FROM wellkept_changes WHERE component = ANY($1) AND instance = $2";
        self.client().execute_typed(statement, &parameters).await?;
        let statement = "DELETE FROM wellkept_components WHERE id = ANY($1) AND instance = $2";
        self.client().execute_typed(statement, &parameters).await?;
        Ok(())
    }

    /// Forgets one instance of the service that is long gone, or a part of it.
    async fn drop_instance(&mut self, own: i64, sweep: &Sweep) -> Result<Swept, PostgresError> {
        let statement = "UPDATE wellkept_instances SET seen = extract(epoch FROM now())::bigint WHERE id = $1";
        self.client().execute_typed(statement, &[(&own, Type::INT8)]).await?;
        let options = Arc::clone(&self.options);
        let service = escaped(&options.service);
        let keep = i64::try_from(sweep.keep.as_secs()).unwrap_or(i64::MAX);
        let most = i64::try_from(INSTANCES).unwrap_or(i64::MAX);
        let parameters: [Parameter<'_>; 4] =
            [(&service, Type::TEXT), (&own, Type::INT8), (&keep, Type::INT8), (&most, Type::INT8)];
        let statement = "SELECT id, instance FROM ( \
                SELECT id, instance, seen, row_number() OVER (ORDER BY seen DESC) AS place \
                FROM wellkept_instances WHERE service = $1) AS known \
            WHERE id <> $2 AND (place > $4 OR seen < extract(epoch FROM now())::bigint - $3) ORDER BY seen LIMIT 10";
        for row in self.client().query_typed(statement, &parameters).await? {
            let (gone, name): (i64, &str) = (row.try_get(0)?, row.try_get(1)?);
            let lock = lock_name(&options.schema, &service, name);
            let statement = "SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))";
            let locked = self.client().query_typed_one(statement, &[(&lock, Type::TEXT)]).await?;
            // One that is there is not forgotten, however long it has had nothing to write.
            if locked.try_get::<_, bool>(0)? {
                self.drop_part_of(gone).await?;
                return Ok(Swept::InPart);
            }
        }
        Ok(Swept::Whole)
    }

    async fn drop_part_of(&mut self, instance: i64) -> Result<(), PostgresError> {
        let most = i64::try_from(FORGOTTEN_AT_ONCE).unwrap_or(i64::MAX);
        let parameters: [Parameter<'_>; 2] = [(&instance, Type::INT8), (&most, Type::INT8)];
        let statement = "SELECT id FROM wellkept_components WHERE instance = $1 LIMIT $2";
        let rows = self.client().query_typed(statement, &parameters).await?;
        let components = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<i64>, _>>()?;
        if !components.is_empty() {
            return self.drop_rows(instance, &components).await;
        }
        for statement in
            ["DELETE FROM wellkept_changes WHERE instance = $1", "DELETE FROM wellkept_instances WHERE id = $1"]
        {
            self.client().execute_typed(statement, &[(&instance, Type::INT8)]).await?;
        }
        Ok(())
    }
}

/// The keys, column by column.
fn columns(slots: &BTreeMap<Key, (i64, Bucket)>) -> (Vec<i64>, Vec<i64>, Vec<i64>) {
    let components = slots.keys().map(|(component, _, _)| *component).collect();
    let tiers = slots.keys().map(|(_, tier, _)| *tier).collect();
    (components, tiers, slots.keys().map(|(_, _, place)| *place).collect())
}
