//! The way to the server: a session that is opened when it is needed and given up after any failure, and a deadline for
//! all that is asked in it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};
use wellkept_checks::postgres::{Connection, Server};

use super::PostgresOptions;
use super::error::PostgresError;
use super::schema;

/// How long opening a session may take.
const OPENING: Duration = Duration::from_secs(2);
/// A session that nobody used for so long is asked whether it is still there.
const FRESH: Duration = Duration::from_secs(1);
/// How long a server that could not be reached, or was too slow, is left alone: who asks meanwhile hears the same.
const REST: Duration = Duration::from_secs(1);
/// How long a process of the same name may take to be gone: one that was killed has its session for a moment.
const HANDOVER: Duration = Duration::from_secs(1);

/// What a statement is given, with its type: then it takes one round trip.
pub(super) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To read what is there. Makes no tables.
    Read,
    /// To write, with the tables made and brought up to date.
    Write,
}

/// A server with at most one session. Blocks, on a small runtime of its own.
pub(super) struct Link {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    server: Server,
    options: Arc<PostgresOptions>,
    session: Option<Session>,
    /// Why the server is left alone, and until when.
    resting: Option<(Instant, PostgresError)>,
}

/// An open session, with what is known in it of the rows. It is never used after a failure.
pub(super) struct Session {
    connection: Connection,
    purpose: Purpose,
    used: Instant,
    pub(super) options: Arc<PostgresOptions>,
    /// This instance's id; once it is held, nobody else writes under its name.
    pub(super) instance: Option<i64>,
    pub(super) components: HashMap<Arc<str>, i64>,
    /// How many rows there are of each component; of the service, 0, too.
    pub(super) results: HashMap<i64, u64>,
    pub(super) changes: HashMap<i64, u64>,
}

impl Link {
    pub(super) fn new(options: Arc<PostgresOptions>) -> Result<Self, PostgresError> {
        let server = options.check()?;
        let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(2).build();
        let runtime = runtime.map_err(|error| PostgresError::Failed {
            code: "store.io",
            problem: format!("its runtime can't be started: {error}"),
        })?;
        Ok(Self { runtime: Some(runtime), server, options, session: None, resting: None })
    }

    /// Does the work in a session, within so much time beyond that of opening one. After a failure the session is closed
    /// and what it had not committed is gone.
    pub(super) fn call<T>(
        &mut self,
        purpose: Purpose,
        patience: Duration,
        work: impl AsyncFnOnce(&mut Session) -> Result<T, PostgresError>,
    ) -> Result<T, PostgresError> {
        if let Some((until, error)) = &self.resting
            && Instant::now() < *until
        {
            return Err(error.clone());
        }
        let runtime = self.runtime.as_ref().expect("it is there until it is dropped");
        let (server, options, kept) = (&self.server, &self.options, self.session.take());
        let result: Result<_, PostgresError> = runtime.block_on(async {
            let opening = timeout(OPENING, Session::usable(kept, server, options, purpose)).await;
            let mut session = opening.map_err(|_elapsed| PostgresError::timeout("opening a session"))??;
            let answer = timeout(patience, work(&mut session)).await;
            let answer = answer.map_err(|_elapsed| PostgresError::timeout("reading or writing"))??;
            session.used = Instant::now();
            Ok((session, answer))
        });
        match result {
            Ok((session, answer)) => {
                self.session = Some(session);
                self.resting = None;
                Ok(answer)
            }
            Err(error) => {
                self.resting = Some((Instant::now() + REST, error.clone()));
                Err(error)
            }
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // It may be dropped where nothing may block.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Link").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Session {
    /// The one that is kept, if it can be used, or a new one.
    async fn usable(
        kept: Option<Self>,
        server: &Server,
        options: &Arc<PostgresOptions>,
        purpose: Purpose,
    ) -> Result<Self, PostgresError> {
        if let Some(mut session) = kept.filter(|session| session.purpose == purpose || purpose == Purpose::Read) {
            // While nobody asks, nobody notices that the server has gone.
            if session.used.elapsed() < FRESH || session.client().batch_execute("").await.is_ok() {
                return Ok(session);
            }
        }
        let mut connection = server.connect(Instant::now() + OPENING).await?;
        match connection.encoding() {
            None | Some("UTF8" | "SQL_ASCII") => {}
            Some(found) => return Err(PostgresError::Encoding { found: found.to_owned() }),
        }
        let schema = &options.schema;
        // What hangs on the server's side ends too, and a client that has vanished is noticed.
        let settings = format!(
            "SET search_path TO \"{schema}\"; SET statement_timeout = '20s'; SET lock_timeout = '2s'; \
             SET idle_in_transaction_session_timeout = '20s'; SET default_transaction_isolation = 'read committed'; \
             SET tcp_keepalives_idle = 15; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3"
        );
        let client = connection.client();
        client.batch_execute(&settings).await?;
        match purpose {
            Purpose::Read => schema::check(client, schema).await?,
            Purpose::Write => schema::prepare(client, schema).await?,
        }
        Ok(Self {
            connection,
            purpose,
            used: Instant::now(),
            options: Arc::clone(options),
            instance: None,
            components: HashMap::new(),
            results: HashMap::new(),
            changes: HashMap::new(),
        })
    }

    pub(super) fn client(&mut self) -> &Client {
        self.connection.client()
    }

    pub(super) async fn begin(&mut self) -> Result<(), PostgresError> {
        Ok(self.client().batch_execute("BEGIN").await?)
    }

    pub(super) async fn commit(&mut self) -> Result<(), PostgresError> {
        Ok(self.client().batch_execute("COMMIT").await?)
    }

    /// This instance's id, from the moment on that this session alone may write under its name. The server takes the
    /// right back when the session ends, however it ends.
    pub(super) async fn hold(&mut self) -> Result<i64, PostgresError> {
        if let Some(id) = self.instance {
            return Ok(id);
        }
        let options = Arc::clone(&self.options);
        let (service, instance) = (super::text::escaped(&options.service), super::text::escaped(&options.instance));
        let name = lock_name(&options.schema, &service, &instance);
        let until = Instant::now() + HANDOVER;
        let client = self.client();
        while !try_lock(client, &name).await? {
            if Instant::now() >= until {
                let (service, instance) = (options.service.clone(), options.instance.clone());
                return Err(PostgresError::InUse { service, instance });
            }
            sleep(Duration::from_millis(50)).await;
        }
        let statement = "INSERT INTO wellkept_instances AS known (service, instance, seen) \
            VALUES ($1, $2, extract(epoch FROM now())::bigint) \
            ON CONFLICT (service, instance) DO UPDATE SET seen = excluded.seen RETURNING id";
        let row = client.query_typed_one(statement, &[(&service, Type::TEXT), (&instance, Type::TEXT)]).await?;
        let id = row.try_get(0)?;
        self.instance = Some(id);
        Ok(id)
    }

    /// This instance's id, when it has written anything yet.
    pub(super) async fn known_instance(&mut self) -> Result<Option<i64>, PostgresError> {
        if self.instance.is_some() {
            return Ok(self.instance);
        }
        let options = Arc::clone(&self.options);
        let (service, instance) = (super::text::escaped(&options.service), super::text::escaped(&options.instance));
        let statement = "SELECT id FROM wellkept_instances WHERE service = $1 AND instance = $2";
        let row = self.client().query_typed_opt(statement, &[(&service, Type::TEXT), (&instance, Type::TEXT)]).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }
}

/// What the lock of an instance is taken on. The length keeps two pairs of names apart.
pub(super) fn lock_name(schema: &str, service: &str, instance: &str) -> String {
    format!("wellkept instance {schema} {} {service} {instance}", service.len())
}

async fn try_lock(client: &Client, name: &str) -> Result<bool, PostgresError> {
    let statement = "SELECT pg_try_advisory_lock(hashtextextended($1, 0))";
    let row = client.query_typed_one(statement, &[(&name, Type::TEXT)]).await?;
    Ok(row.try_get(0)?)
}
