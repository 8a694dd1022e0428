//! The tables, their version, and the way from each version to the next.

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::error::PostgresError;

/// The step from each version to the next; the first makes the tables. Steps are never changed, only added, and none
/// takes anything away that a row holds.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE wellkept_schema (version integer NOT NULL);
    INSERT INTO wellkept_schema VALUES (0);
    -- Each keeps a history of its own. `seen` is in seconds since 1970 by the server's clock.
    CREATE TABLE wellkept_instances (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        service text NOT NULL,
        instance text NOT NULL,
        seen bigint NOT NULL,
        UNIQUE (service, instance)
    );
    -- `seen` is the latest minute that is kept of it, counted from 1970: who is gone longest is forgotten first.
    CREATE TABLE wellkept_components (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        instance bigint NOT NULL REFERENCES wellkept_instances,
        name text NOT NULL,
        seen bigint NOT NULL DEFAULT 0,
        UNIQUE (instance, name)
    );
    -- Times are microseconds since 1970, UTC. A change of component 0 is one of the whole service.
    CREATE TABLE wellkept_changes (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        instance bigint NOT NULL REFERENCES wellkept_instances,
        component bigint NOT NULL,
        from_status text,
        to_status text NOT NULL,
        reason text,
        message text NOT NULL,
        detail text,
        at bigint NOT NULL
    );
    CREATE INDEX wellkept_changes_by_component ON wellkept_changes (instance, component, id);
    CREATE INDEX wellkept_changes_by_instance ON wellkept_changes (instance, id);
    CREATE TABLE wellkept_results (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        component bigint NOT NULL,
        verdict text NOT NULL,
        reason text,
        response_time_ms double precision NOT NULL,
        at bigint NOT NULL
    );
    CREATE INDEX wellkept_results_by_component ON wellkept_results (component, id);
    -- A ring for each tier and component, written in place.
    CREATE TABLE wellkept_buckets (
        component bigint NOT NULL,
        tier bigint NOT NULL,
        place bigint NOT NULL,
        slot bigint NOT NULL,
        bucket bytea NOT NULL,
        PRIMARY KEY (component, tier, place)
    ) WITH (fillfactor = 80);
    -- Of each component the minute that is not over, in no tier yet.
    CREATE TABLE wellkept_open_minutes (
        component bigint PRIMARY KEY,
        minute bigint NOT NULL,
        bucket bytea NOT NULL
    ) WITH (fillfactor = 50);
    -- Begun by hand, on any instance of the service. One that was ended before its time stays, with who ended it, so
    -- that every instance learns of it.
    CREATE TABLE wellkept_maintenances (
        service text NOT NULL,
        id text NOT NULL,
        component text,
        reason text NOT NULL,
        author text NOT NULL,
        since bigint NOT NULL,
        until bigint NOT NULL,
        origin text NOT NULL,
        ended_by text,
        PRIMARY KEY (service, id)
    );
",
    "
    -- The name of the component at the root of the trouble, which need not be one that has records.
    ALTER TABLE wellkept_changes ADD COLUMN caused_by text;
",
    "
    -- What jobs have reported, to any instance of the service. `since` is the last end, which `ending` says was well or
    -- failed, or when the job became known; `took` is in microseconds, `seen` when an instance last had the job.
    CREATE TABLE wellkept_jobs (
        service text NOT NULL,
        name text NOT NULL,
        reports bigint NOT NULL,
        since bigint NOT NULL,
        ending text,
        exit_code integer,
        took bigint,
        began bigint,
        seen bigint NOT NULL,
        PRIMARY KEY (service, name)
    );
",
    "
    -- Versions of an instance's configuration, and refused attempts at one. `hash` and `refuses` are SHA-256, `bytes` is
    -- how much text there is of it in the other two tables. What belongs to it goes with it.
    CREATE TABLE wellkept_config_versions (
        instance bigint NOT NULL REFERENCES wellkept_instances ON DELETE CASCADE,
        id bigint NOT NULL,
        at bigint NOT NULL,
        brought_by text NOT NULL,
        author text NOT NULL,
        hash bytea NOT NULL,
        outcome text NOT NULL,
        returned_to bigint,
        refuses bytea,
        has_content boolean NOT NULL,
        bytes bigint NOT NULL,
        PRIMARY KEY (instance, id)
    );
    -- The files of a version in the order in which they are merged, as written: they may hold secrets.
    CREATE TABLE wellkept_config_files (
        instance bigint NOT NULL,
        version bigint NOT NULL,
        place bigint NOT NULL,
        name text NOT NULL,
        text text NOT NULL,
        PRIMARY KEY (instance, version, place),
        FOREIGN KEY (instance, version) REFERENCES wellkept_config_versions ON DELETE CASCADE
    );
    -- What differs from the version before, or why it was refused, line by line.
    CREATE TABLE wellkept_config_summaries (
        instance bigint NOT NULL,
        version bigint NOT NULL,
        place bigint NOT NULL,
        line text NOT NULL,
        PRIMARY KEY (instance, version, place),
        FOREIGN KEY (instance, version) REFERENCES wellkept_config_versions ON DELETE CASCADE
    );
",
];

/// The newest version that is understood.
pub(super) fn known() -> i32 {
    i32::try_from(MIGRATIONS.len()).expect("there are few migrations")
}

/// Refuses tables that are newer or, for who only reads, older or not there.
pub(super) async fn check(client: &Client, schema: &str) -> Result<(), PostgresError> {
    let schema = schema.to_owned();
    match version(client).await? {
        None => Err(PostgresError::Missing { schema }),
        Some(found) if found > known() => Err(PostgresError::Newer { schema, found, known: known() }),
        Some(found) if found < known() => Err(PostgresError::Older { schema }),
        Some(_) => Ok(()),
    }
}

/// Makes the tables, or brings them up to date. Who does that at the same moment waits for the other one.
pub(super) async fn prepare(client: &Client, schema: &str) -> Result<(), PostgresError> {
    match check(client, schema).await {
        Err(PostgresError::Missing { .. } | PostgresError::Older { .. }) => {}
        checked => return checked,
    }
    client.batch_execute("BEGIN").await?;
    let lock = format!("wellkept schema {schema}");
    let statement = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))";
    client.execute_typed(statement, &[(&lock, Type::TEXT)]).await?;
    // Asked before: to make one that is there needs rights that whoever may use it need not have.
    let statement = "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1";
    if client.query_typed(statement, &[(&schema, Type::TEXT)]).await?.is_empty() {
        client.batch_execute(&format!("CREATE SCHEMA \"{schema}\"")).await?;
    }
    // Read again under the lock: another process may have migrated meanwhile.
    let version = version(client).await?.unwrap_or(0);
    if version > known() {
        return Err(PostgresError::Newer { schema: schema.to_owned(), found: version, known: known() });
    }
    for step in MIGRATIONS.iter().skip(usize::try_from(version).unwrap_or(usize::MAX)) {
        client.batch_execute(step).await?;
    }
    client.execute_typed("UPDATE wellkept_schema SET version = $1", &[(&known(), Type::INT4)]).await?;
    client.batch_execute("COMMIT").await?;
    Ok(())
}

/// `None` when there are no tables.
async fn version(client: &Client) -> Result<Option<i32>, PostgresError> {
    let there = client.query_typed_one("SELECT to_regclass('wellkept_schema') IS NOT NULL", &[]).await?;
    if !there.try_get::<_, bool>(0)? {
        return Ok(None);
    }
    let row = client.query_typed_opt("SELECT version FROM wellkept_schema", &[]).await?;
    row.map(|row| row.try_get(0)).transpose().map_err(Into::into)
}

/// Makes tables as a release did whose version this was.
#[cfg(test)]
pub(super) fn steps_to(version: usize) -> String {
    format!("{}; UPDATE wellkept_schema SET version = {version}", MIGRATIONS[..version].concat())
}
