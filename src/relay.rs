//! Sends on what writers have appended to the queue: one daemon does, the others try ten times a second
//! whether it is their turn.
//!
//! Awake it looks every millisecond, and no writer needs to tell it anything. After a while without rows it falls asleep,
//! and then the first writer rings a bell, which is a NOTIFY. Between the two no row may be left lying:
//!
//! - A writer tries the lock [`ASLEEP`], shared, when it appends, and holds it until its transaction has ended. So
//!   while one is in flight that saw the relay awake, the relay's own try fails, and it stays awake.
//! - Once the relay has the lock it looks once more, in a new statement: this sees the rows of all who had it before.
//! - Whoever comes later fails to get it, and rings; the bell sounds when the row can be seen.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use metrics::{counter, gauge, histogram};
use tokio::time::{sleep, timeout};
use tokio_postgres::Statement;
use tokio_postgres::types::Type;
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::claim::{ASLEEP, Claim, RELAY, with_claim};
use crate::config;
use crate::database::{Database, DatabaseError};
use crate::metrics as m;

/// Rows of one step: few enough that it ends soon.
const BATCH_ROWS: i32 = 5000;
/// The pause between two batches grows with what the last one brought: under load the writers need the processor more
/// than we do, and a single row is followed by none. Growing as the root it settles where the load is even.
const PAUSE_SCALE: Duration = Duration::from_micros(400);
const PAUSE_MAX: Duration = Duration::from_millis(5);
/// When NOTIFY's own queue is half full because of a listener that does not read.
const CONGESTED_PAUSE: Duration = Duration::from_millis(100);
/// A relay that sleeps looks so often, so that others see that it lives. It must not find anything.
const ASLEEP_INTERVAL_MAX: Duration = Duration::from_secs(2);
/// The bell of a row that was found may still be on its way for so long.
const BELL_DELAY_MAX: Duration = Duration::from_millis(100);
/// How often a daemon tries whether it is its turn.
const TRY_INTERVAL: Duration = Duration::from_millis(100);
/// Between two attempts to get a connection that can relay.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// A tenth of the rows between two VACUUMs is enough for one when there is time.
const TIDY_IDLE_SHARE: i64 = 10;

/// The same for a role that may not VACUUM: then the tables always take turns.
const TABLE_BYTES_MAX_BARE: i64 = 128 * 1024;
/// Who may not is told so in the server's log, for each table, each time.
const MAY_VACUUM: &str = "select pg_catalog.pg_has_role(c.relowner, 'usage') from pg_catalog.pg_class c
     where c.oid = 'pgherald.queue_0'::pg_catalog.regclass";

/// Ends the session of a relay that has not asked for anything for `$1` milliseconds: its daemon was stopped, or its host
/// has vanished. A role sees and ends its own sessions, or has pg_read_all_stats and pg_signal_backend.
const END_HUNG: &str = "select a.pid, a.usename::text, pg_catalog.pg_terminate_backend(a.pid)
      from pg_catalog.pg_locks l join pg_catalog.pg_stat_activity a on a.pid = l.pid
     where l.locktype = 'advisory' and l.classid = 7434 and l.objid = 3 and l.objsubid = 2 and l.granted
       and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
       and a.state like 'idle%' and a.state_change < pg_catalog.clock_timestamp() - $1 * interval '1 ms'";

/// How hurried it is. The default is for everybody; a test wants to see in seconds what is seldom.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long one call waits for rows. It looks from within the server, which costs a tenth of asking each time.
    pub patience: Duration,
    /// Writers that find it asleep pay for NOTIFY, all at once after a pause: so it sleeps late.
    pub linger: Duration,
    /// Rows between two VACUUMs.
    pub tidy_rows: i64,
    /// The size at which new rows go to another table, because VACUUM does not help: someone holds an old snapshot.
    pub table_bytes_max: i64,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            patience: Duration::from_millis(50),
            linger: Duration::from_millis(500),
            tidy_rows: 2000,
            table_bytes_max: 2 * 1024 * 1024,
        }
    }
}

/// Waits until it is its turn, then relays for ever; and again when the connection was lost. Where it has
/// its turn and can't, nobody can: what is in the queue comes late, and until then `fallback` tells everybody to refetch.
/// Nobody is told where no daemon gets as far as its turn.
pub async fn run(settings: &config::Database, database: &Database, pace: Pace, fallback: impl Fn()) -> Infallible {
    let mut backoff = Backoff::new(BACKOFF_MIN, BACKOFF_MAX);
    loop {
        let mut turn = Turn::default();
        let error = with_claim(settings, database, "pgherald relay", async |claim| {
            let mut looked = Instant::now();
            while !claim.try_lock(RELAY).await? {
                sleep(TRY_INTERVAL).await;
                if looked.elapsed() >= settings.heartbeat_timeout / 2 {
                    end_hung(settings, database).await;
                    looked = Instant::now();
                }
            }
            counter!(m::RELAY_ELECTIONS).increment(1);
            info!("this daemon is the relay");
            turn = Turn::Elected;
            Relay::new(claim, settings, pace).await?.run(&mut turn).await
        });
        let error = error.await;
        show_state("");
        gauge!(m::RELAY_WAITING).set(0.0);
        match turn {
            Turn::Waiting => {}
            Turn::Elected if has_queue(database).await => fallback(),
            Turn::Elected => {}
            Turn::Relaying => backoff.reset(),
        }
        let delay = backoff.next_delay();
        warn!(%error, delay_ms = delay.as_millis(), "lost the relay's connection, connecting again");
        sleep(delay).await;
    }
}

/// Whether there is a queue: a daemon may be left running after the schema was uninstalled.
async fn has_queue(database: &Database) -> bool {
    let queue = "select pg_catalog.to_regclass('pgherald.queue') is not null";
    let found = database.query(queue, &[]).await;
    found.is_ok_and(|rows| rows.first().is_some_and(|row| row.get(0)))
}

/// While it is another's turn: makes sure that there is another.
async fn end_hung(settings: &config::Database, database: &Database) {
    let limit = i64::try_from(settings.heartbeat_timeout.as_millis()).unwrap_or(i64::MAX);
    match database.query(END_HUNG, &[(&(limit as f64), Type::FLOAT8)]).await {
        Ok(ended) => {
            for row in ended {
                let (pid, role): (i32, Option<&str>) = (row.get(0), row.get(1));
                counter!(m::RELAY_ENDED).increment(1);
                warn!(pid, role, "the relay did not move for {limit} ms: its session is ended, another takes over");
            }
        }
        Err(error) => warn!(%error, "the relay may have stopped, and its session can't be ended from here"),
    }
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Turn {
    /// Somebody else relays.
    #[default]
    Waiting,
    /// Nobody else does, and nothing was done yet.
    Elected,
    /// One step at least.
    Relaying,
}

fn show_state(state: &str) {
    for known in ["awake", "asleep"] {
        gauge!(m::RELAY_STATE, "state" => known).set(f64::from(u8::from(state == known)));
    }
}

/// What one call has done.
struct Step {
    taken: i64,
    waiting: i64,
}

struct Relay<'a> {
    claim: &'a Claim<'a>,
    pace: Pace,
    step: Statement,
    /// A bell cannot be rung from a transaction that is prepared.
    two_phase: bool,
    /// The role owns the queue's tables.
    may_vacuum: bool,
    asleep_interval: Duration,
    untidy: i64,
}

impl<'a> Relay<'a> {
    async fn new(claim: &'a Claim<'a>, settings: &config::Database, pace: Pace) -> Result<Self, DatabaseError> {
        claim.within(claim.client.batch_execute("listen pgherald_bell")).await?;
        let types = [Type::INT4, Type::INT4];
        let step = "select taken, waiting, seconds from pgherald.relay($1, $2)";
        let step = claim.within(claim.client.prepare_typed(step, &types)).await?;
        let two_phase = "select pg_catalog.current_setting('max_prepared_transactions')::int4 > 0";
        let two_phase = claim.within(claim.client.query_typed_one(two_phase, &[])).await?.get(0);
        let may_vacuum = claim.within(claim.client.query_typed_one(MAY_VACUUM, &[])).await?.get(0);
        let asleep_interval = ASLEEP_INTERVAL_MAX.min(settings.heartbeat_timeout / 2);
        Ok(Self { claim, pace, step, two_phase, may_vacuum, asleep_interval, untidy: 0 })
    }

    async fn run(mut self, turn: &mut Turn) -> Result<Infallible, DatabaseError> {
        show_state("awake");
        let mut last_row = Instant::now();
        loop {
            let step = self.step(self.pace.patience).await?;
            *turn = Turn::Relaying;
            if step.taken > 0 {
                last_row = Instant::now();
                if self.untidy >= self.pace.tidy_rows {
                    self.tidy().await?;
                }
                if step.waiting == 0 && step.taken > 1 {
                    sleep(PAUSE_SCALE.mul_f64((step.taken as f64 - 1.0).sqrt()).min(PAUSE_MAX)).await;
                }
            } else if step.waiting > 0 {
                warn!("NOTIFY's own queue is half full, what is in ours has to wait: see `pgherald doctor`");
                sleep(CONGESTED_PAUSE).await;
            } else {
                if self.untidy >= self.pace.tidy_rows / TIDY_IDLE_SHARE {
                    self.tidy().await?;
                }
                if last_row.elapsed() >= self.pace.linger
                    && !self.must_stay_awake().await?
                    && self.claim.try_lock(ASLEEP).await?
                {
                    show_state("asleep");
                    self.sleep().await?;
                    self.claim.unlock(ASLEEP).await?;
                    show_state("awake");
                    last_row = Instant::now();
                }
            }
        }
    }

    /// Sends on what is there, or what comes within `patience`.
    async fn step(&mut self, patience: Duration) -> Result<Step, DatabaseError> {
        let milliseconds = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
        let row = self.claim.within(self.claim.client.query_one(&self.step, &[&milliseconds, &BATCH_ROWS])).await?;
        let step = Step { taken: row.get(0), waiting: row.get(1) };
        gauge!(m::RELAY_WAITING).set(step.waiting as f64);
        if step.taken > 0 {
            counter!(m::RELAY_ROWS).increment(step.taken.unsigned_abs());
            counter!(m::RELAY_BATCHES).increment(1);
            histogram!(m::RELAY_SECONDS).record(row.get::<_, f64>(2));
            self.untidy += step.taken;
        }
        Ok(step)
    }

    /// Has the lock; ends when there may be something to do.
    async fn sleep(&mut self) -> Result<(), DatabaseError> {
        let last = self.step(Duration::ZERO).await?;
        if last.taken > 0 || last.waiting > 0 {
            return Ok(());
        }
        loop {
            if timeout(self.asleep_interval, self.claim.bell.notified()).await.is_ok() {
                counter!(m::RELAY_BELLS).increment(1);
                self.step(Duration::ZERO).await?;
                return Ok(());
            }
            let found = self.step(Duration::ZERO).await?.taken;
            if found > 0 {
                if timeout(BELL_DELAY_MAX, self.claim.bell.notified()).await.is_err() {
                    counter!(m::RELAY_LATE).increment(found.unsigned_abs());
                    warn!(rows = found, "found rows in the queue that nobody had rung for");
                }
                return Ok(());
            }
        }
    }

    /// Where transactions may be prepared, and triggers append: a writer who rings could not be prepared.
    async fn must_stay_awake(&self) -> Result<bool, DatabaseError> {
        let relayed = "select coalesce((select transport = 'relay' from pgherald.transport), true)";
        Ok(self.two_phase && self.claim.within(self.claim.client.query_typed_one(relayed, &[])).await?.get(0))
    }

    /// Keeps the queue's tables small.
    async fn tidy(&mut self) -> Result<(), DatabaseError> {
        self.untidy = 0;
        let client = &self.claim.client;
        if self.may_vacuum {
            let vacuum = "vacuum (truncate off, skip_locked) pgherald.queue_0, pgherald.queue_1, pgherald.queue_2, pgherald.queue_3";
            self.claim.within(client.batch_execute(vacuum)).await?;
        }
        let bytes_max = if self.may_vacuum { self.pace.table_bytes_max } else { TABLE_BYTES_MAX_BARE };
        let recycle = "select taken, rotated from pgherald.recycle($1)";
        let row = self.claim.within(client.query_typed_one(recycle, &[(&bytes_max, Type::INT8)])).await?;
        counter!(m::RELAY_ROWS).increment(row.get::<_, i64>(0).unsigned_abs());
        if row.get(1) {
            counter!(m::RELAY_ROTATIONS).increment(1);
        }
        Ok(())
    }
}
