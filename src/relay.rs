//! Sends on what writers have appended to the queue.
//!
//! Awake it looks every one to four milliseconds, and no writer needs to tell it anything. After a while without rows it falls asleep,
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
use tokio_postgres::types::{ToSql, Type};
use tracing::warn;

use crate::claim::{ASLEEP, Claim};
use crate::config;
use crate::database::DatabaseError;
use crate::metrics as m;

/// Rows of one step: few enough that it ends soon.
const BATCH_ROWS: i32 = 5000;
/// The pause after a batch, for each of its rows but the first. It stays short up to some thousand rows a second, and beyond ten
/// thousand it grows to the longest: the writers need the processor more than we do then.
const PAUSE_OF_A_ROW: Duration = Duration::from_micros(100);
const PAUSE_MAX: Duration = Duration::from_millis(5);
/// So long after the first row in a while pauses are the longest, after that row too: where several writers begin at once, with cold
/// caches, they need the processor more than we do as well.
const OPENING: Duration = Duration::from_millis(30);
/// By how much a timer is late that knows milliseconds only. What is left of a short pause still ends in the next of these.
const TIMER_LATENESS: Duration = Duration::from_millis(1);
const TICK: Duration = Duration::from_micros(1);
/// After a row, for so long, it looks most often.
const BUSY: Duration = Duration::from_millis(100);
/// When NOTIFY's own queue is nearly full because of a listener that does not read.
const CONGESTED_PAUSE: Duration = Duration::from_millis(100);
/// A relay that sleeps looks so often, so that others see that it lives. It must not find anything.
pub const ASLEEP_INTERVAL_MAX: Duration = Duration::from_secs(1);
/// The bell of a row that was found may still be on its way for so long.
const BELL_DELAY_MAX: Duration = Duration::from_millis(100);
/// Between two times that it tidies without having taken a row, at first; each time twice as long. It may be that somebody has rows in the
/// tables and does not commit, and looking through them keeps everybody waiting.
const IDLE_TIDY_INTERVAL: Duration = Duration::from_secs(1);
const IDLE_TIDY_INTERVAL_MAX: Duration = Duration::from_secs(60);
/// A tenth of the rows between two VACUUMs is enough for one when there is time.
const TIDY_IDLE_SHARE: i64 = 10;

/// The same for a role that may not VACUUM: then the tables always take turns.
const TABLE_BYTES_MAX_BARE: i64 = 128 * 1024;
/// Who may not is told so in the server's log, for each table, each time.
const MAY_VACUUM: &str = "select pg_catalog.pg_has_role(c.relowner, 'usage') from pg_catalog.pg_class c
     where c.oid = 'pgherald.queue_0'::pg_catalog.regclass";

/// How hurried it is. The default is for everybody; a test wants to see in seconds what is seldom.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long one call waits for rows. It looks from within the server, which costs a tenth of asking each time; when nothing
    /// comes it waits four times as long, looking half as often, and eight times, looking each 4 ms, when it could not fall asleep.
    pub patience: Duration,
    /// Writers that find it asleep pay for NOTIFY, all at once after a pause: so it sleeps late.
    pub linger: Duration,
    /// Rows between two VACUUMs, each of which has all writers plan anew.
    pub tidy_rows: i64,
    /// The size at which new rows go to another table, because VACUUM does not help: someone holds an old snapshot.
    pub table_bytes_max: i64,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            patience: Duration::from_millis(40),
            linger: Duration::from_millis(500),
            tidy_rows: 5000,
            table_bytes_max: 3 * 1024 * 1024,
        }
    }
}

/// Shows that in the metrics: "awake", "asleep", or nothing of both.
pub fn show_state(state: &str) {
    for known in ["awake", "asleep"] {
        gauge!(m::RELAY_STATE, "state" => known).set(f64::from(u8::from(state == known)));
    }
}

/// What one call has done.
struct Step {
    taken: i64,
    waiting: i64,
}

/// Whoever has its turn.
#[allow(missing_debug_implementations)]
pub struct Relay<'a> {
    claim: &'a Claim<'a>,
    pace: Pace,
    step: Statement,
    /// A bell cannot be rung from a transaction that is prepared.
    two_phase: bool,
    /// The role owns the queue's tables.
    may_vacuum: bool,
    asleep_interval: Duration,
    /// A call that waits longer may be taken for one that is not answered.
    patience_max: Duration,
    untidy: i64,
    /// When it may tidy next without having taken a row meanwhile, and after which time again.
    idle_tidy: (Instant, Duration),
    /// NOTIFY's own queue is nearly full, and that was said.
    congested: bool,
}

impl<'a> Relay<'a> {
    /// On a connection that has the lock.
    pub async fn new(claim: &'a Claim<'a>, settings: &config::Database, pace: Pace) -> Result<Self, DatabaseError> {
        claim.within(claim.client.batch_execute("listen pgherald_bell")).await?;
        let types = [Type::INT4, Type::INT4];
        let step = "select taken, waiting, seconds from pgherald.relay($1, $2)";
        let step = claim.within(claim.client.prepare_typed(step, &types)).await?;
        let two_phase = "select pg_catalog.current_setting('max_prepared_transactions')::int4 > 0";
        let two_phase = claim.within(claim.client.query_typed_one(two_phase, &[])).await?.get(0);
        let may_vacuum = claim.within(claim.client.query_typed_one(MAY_VACUUM, &[])).await?.get(0);
        let asleep_interval = ASLEEP_INTERVAL_MAX.min(settings.heartbeat_timeout / 2);
        let patience_max = settings.heartbeat_timeout / 4;
        Ok(Self {
            claim,
            pace,
            step,
            two_phase,
            may_vacuum,
            asleep_interval,
            patience_max,
            untidy: 0,
            idle_tidy: (Instant::now(), IDLE_TIDY_INTERVAL),
            congested: false,
        })
    }

    /// Relays for ever; `moved` is set once it has done a step.
    pub async fn run(mut self, moved: &mut bool) -> Result<Infallible, DatabaseError> {
        show_state("awake");
        let mut last_row = Instant::now();
        let mut opened = last_row;
        loop {
            // what has waited for long can wait for some milliseconds more
            let idle = last_row.elapsed();
            let quiet = idle >= BUSY;
            let times = match quiet {
                false => 1,
                true if idle < 2 * self.pace.linger => 4,
                true => 8,
            };
            let patience = (times * self.pace.patience).min(self.patience_max);
            let step = self.step(patience).await?;
            *moved = true;
            if step.taken > 0 {
                self.congested = false;
                self.idle_tidy = (Instant::now(), IDLE_TIDY_INTERVAL);
                last_row = Instant::now();
                if self.untidy >= self.pace.tidy_rows {
                    self.tidy().await?;
                }
                if quiet {
                    opened = last_row;
                }
                if step.waiting == 0 && (quiet || step.taken > 1) {
                    let pause = if opened.elapsed() < OPENING {
                        PAUSE_MAX
                    } else {
                        PAUSE_OF_A_ROW.mul_f64(step.taken as f64 - 1.0).min(PAUSE_MAX)
                    };
                    sleep(pause.saturating_sub(TIMER_LATENESS).max(TICK)).await;
                }
            } else if step.waiting > 0 {
                if !std::mem::replace(&mut self.congested, true) {
                    warn!(
                        "NOTIFY's own queue is 80 % full, what is in ours has to wait: see check `queue` of `pgherald doctor`"
                    );
                }
                sleep(CONGESTED_PAUSE).await;
            } else {
                if quiet && self.untidy >= self.pace.tidy_rows / TIDY_IDLE_SHARE {
                    self.tidy().await?;
                }
                // what had to be rung for is there to be seen by now
                self.claim.forget_bell();
                let rests = last_row.elapsed() >= self.pace.linger && !self.must_stay_awake().await?;
                // what was rolled back was never taken, and is looked through each time
                if rests && self.idle_tidy.0 <= Instant::now() && self.is_large().await? {
                    self.tidy().await?;
                    let interval = self.idle_tidy.1;
                    self.idle_tidy = (Instant::now() + interval, (2 * interval).min(IDLE_TIDY_INTERVAL_MAX));
                }
                if rests && self.claim.try_lock(ASLEEP).await? {
                    self.sleep().await?;
                    self.claim.unlock(ASLEEP).await?;
                    show_state("awake");
                    last_row = Instant::now();
                    opened = last_row;
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
        show_state("asleep");
        loop {
            if timeout(self.asleep_interval, self.claim.bell.notified()).await.is_ok() {
                counter!(m::RELAY_BELLS).increment(1);
                self.step(Duration::ZERO).await?;
                return Ok(());
            }
            let found = self.step(Duration::ZERO).await?.taken;
            if found > 0 {
                if timeout(BELL_DELAY_MAX, self.claim.bell.notified()).await.is_ok() {
                    counter!(m::RELAY_BELLS).increment(1);
                } else {
                    counter!(m::RELAY_LATE).increment(found.unsigned_abs());
                    warn!(rows = found, "found rows in the queue that nobody had rung for");
                }
                return Ok(());
            }
        }
    }

    /// Where transactions may be prepared, and triggers append: a writer who rings could not be prepared.
    async fn must_stay_awake(&self) -> Result<bool, DatabaseError> {
        let relayed = "select coalesce((select transport = 'relay' from pgherald.transport), true) or exists (select from pgherald.appending())";
        Ok(self.two_phase && self.claim.within(self.claim.client.query_typed_one(relayed, &[])).await?.get(0))
    }

    async fn is_large(&self) -> Result<bool, DatabaseError> {
        // null where a table was dropped just now
        let large = "select coalesce(pgherald.queue_bytes() > $1, false)";
        let max: [(&(dyn ToSql + Sync), Type); 1] = [(&self.pace.table_bytes_max, Type::INT8)];
        Ok(self.claim.within(self.claim.client.query_typed_one(large, &max)).await?.get(0))
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
