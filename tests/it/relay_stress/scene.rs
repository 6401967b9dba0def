//! A database on the relay transport. Table `notes` has triggers that fall asleep at every step of theirs, for random times;
//! those of `letters`, with a trigger a row, and `hot`, with versions that travel, are as they are made.

use std::time::Duration;

use pgherald::migrate;
use tokio_postgres::Client;

use crate::world::{Database, connect, until};

const TABLES: &str = "
    create table notes (id bigint primary key, project_id int not null);
    create table letters (id bigint primary key, project_id int not null);
    create table project_members (project_id int, user_id text);
    insert into project_members values (7, 'alice');
    create table hot (id bigint primary key, project_id int not null, version bigint not null default 0);
    insert into hot select n, 7 from generate_series(1, 5) n;
    select pgherald.watch('notes'), pgherald.watch('letters', mode => 'row'), pgherald.watch('hot', include => array['version']);
    select pgherald.set_transport('relay');

    create function nap() returns boolean language plpgsql as $$
    begin
        if random() < 0.5 then
            perform pg_sleep(0.01 * random() ^ 3);
        end if;
        return true;
    end $$;
    -- a writer's try that holds nothing
    create function glance() returns boolean language plpgsql as $$
    begin
        if pg_try_advisory_lock_shared(7434, 2) then
            return pg_advisory_unlock_shared(7434, 2);
        end if;
        return false;
    end $$";

/// The function of the trigger that is not a row's.
const INSERTED: &str = "(select tgfoid from pg_trigger where tgrelid = 'notes'::regclass and (tgtype & 4) <> 0)";
/// Before the trigger looks whether anybody lives, before it appends, between that and its try, and after it.
/// In the short cut and in the long way; how often each place is there.
const TRIGGER_NAPS: &[(&str, &str, usize)] = &[
    ("    if pg_catalog.pg_try_advisory_xact_lock_shared(7434, 1)", "    perform public.nap();\n", 1),
    ("        insert into pgherald.queue_0 (payload)", "        perform public.nap();\n", 2),
    ("pg_catalog.pg_try_advisory_xact_lock_shared(7434, 2) into awake", "public.nap() and ", 2),
    ("    if awake then", "    perform public.nap();\n", 1),
    ("        if not awake then", "        perform public.nap();\n", 1),
];
/// The same in what several payloads go by.
const APPEND_NAPS: &[(&str, &str, usize)] = &[
    ("    case slot\n", "    perform public.nap();\n", 1),
    ("    if not pg_try_advisory_xact_lock_shared(7434, 2) then", "    perform public.nap();\n", 1),
    ("        perform pgherald.ring();", "        perform public.nap();\n", 1),
];
/// And in what goes on where the lock was not had.
const RING_NAPS: &[(&str, &str, usize)] = &[
    ("    if pg_relation_size('pgherald.queue_0')", "    perform public.nap();\n", 1),
    ("    perform pg_notify", "    perform public.nap();\n", 1),
];
const TRY: &str = "pg_try_advisory_xact_lock_shared(7434, 2)";

/// What the triggers do with their second lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locks {
    /// As made: held until the transaction has ended.
    Held,
    /// Let go at once, which is wrong.
    Glanced,
}

pub struct Scene {
    pub database: Database,
    present: Option<Client>,
}

impl Scene {
    /// On `server`; nobody is present.
    pub async fn new(server: String, locks: Locks) -> Self {
        let mut database = Database::on(server).await;
        migrate::run(&mut database.client, |_| {}).await.unwrap();
        database.run(TABLES).await;
        change(&database, INSERTED, locks, TRIGGER_NAPS).await;
        change(&database, "'pgherald.append(text[])'::regprocedure", locks, APPEND_NAPS).await;
        change(&database, "'pgherald.ring()'::regprocedure", locks, RING_NAPS).await;
        Self { database, present: None }
    }

    /// Has somebody be there, who hears nothing: for a test that listens in their place.
    pub async fn with_presence(mut self) -> Self {
        let present = connect(&self.database.url).await;
        present.batch_execute("select pg_advisory_lock(7434, 1)").await.unwrap();
        self.present = Some(present);
        self
    }

    pub async fn connect(&self) -> Client {
        connect(&self.database.url).await
    }

    /// How often this advisory lock is held in this mode, or waited for.
    pub async fn locks(&self, key: i32, mode: &str) -> i64 {
        locks(&self.database.client, key, mode).await
    }

    /// Waits until the relay has become that, and has fallen asleep where it may.
    pub async fn settle(&self, sleeps: bool) {
        until("a relay", async || self.locks(3, "ExclusiveLock").await > 0).await;
        if sleeps {
            until("the relay to sleep", async || self.locks(2, "ExclusiveLock").await > 0).await;
        } else {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

pub async fn locks(client: &Client, key: i32, mode: &str) -> i64 {
    let sql = "select count(*) from pg_locks l join pg_database d on d.oid = l.database
               where d.datname = current_database() and l.locktype = 'advisory' and l.classid = 7434
                 and l.objid = $1::int8::oid and l.objsubid = 2 and l.mode = $2";
    client.query_one(sql, &[&i64::from(key), &mode]).await.unwrap().get(0)
}

/// Puts naps into a function.
async fn change(database: &Database, function: &str, locks: Locks, naps: &[(&str, &str, usize)]) {
    let definition = format!("select pg_get_functiondef({function})");
    let mut text: String = database.client.query_one(&definition, &[]).await.unwrap().get(0);
    for (place, nap, times) in naps {
        assert_eq!(text.matches(place).count(), *times, "{function} has other steps: {place}\n{text}");
        text = text.replace(place, &format!("{nap}{place}"));
    }
    if locks == Locks::Glanced {
        let bare = text.replace(&format!("pg_catalog.{TRY}"), TRY);
        assert!(bare.contains(TRY), "{function}");
        text = bare.replace(TRY, "public.glance()");
    }
    database.run(&text).await;
}
