-- The relay transport: writers append to a queue in place of NOTIFY, and one daemon sends on what has become visible.
-- Applied in the name of the schema's owner.

-- A table of one row, with a primary key for the sake of publications of all tables.
create table pgherald.transport (
    only_row   boolean     not null primary key default true check (only_row),
    transport  text        not null default 'notify' check (transport in ('notify', 'relay')),
    changed_at timestamptz not null default pg_catalog.clock_timestamp()
);
insert into pgherald.transport default values;
comment on table pgherald.transport is 'How triggers tell the daemons. One row; pgherald.set_transport changes it.';
comment on column pgherald.transport.only_row is 'Always true.';
comment on column pgherald.transport.transport is 'notify: pg_notify in the writer''s transaction. relay: an append to pgherald.queue.';
comment on column pgherald.transport.changed_at is 'Since when.';

-- Ordinals begin above what a listener ever counts for the notifications of one transaction, so that the cursors of both transports differ.
create sequence pgherald.queue_ordinals start with 10000000000;
comment on sequence pgherald.queue_ordinals is 'Numbers of what the relay has sent. Its own, never a writer''s: nextval would change what lastval() gives the application.';
create sequence pgherald.queue_slot minvalue 0 maxvalue 4 start with 0;
do $$ begin perform pg_catalog.setval('pgherald.queue_slot', 0); end $$;
comment on sequence pgherald.queue_slot is
    'A variable: which of the tables queue_0 to queue_3 takes new rows, or 4 while the queue is full. The relay reads them all.';
create sequence pgherald.queue_dead minvalue 0 start with 0;
do $$ begin perform pg_catalog.setval('pgherald.queue_dead', 0); end $$;
comment on sequence pgherald.queue_dead is
    'A variable, kept by the relay: about how many bytes the queue''s tables had when nothing was in them. What they have more is what waits.';

-- No check of the payload's length: PostgreSQL reads the text of a check anew for each INSERT, which takes as long as the rest
-- of it. Plain storage holds it below a page, and the relay leaves out what cannot be sent.
create unlogged table pgherald.queue (
    lsn     pg_lsn not null default pg_catalog.pg_current_wal_insert_lsn(),
    payload text   not null
) with (autovacuum_enabled = off, vacuum_truncate = off);
alter table pgherald.queue alter column payload set storage plain;
comment on table pgherald.queue is
    'What waits to be sent on. Empty itself; the rows are in queue_0 to queue_3, which take turns. Emptied by a crash of PostgreSQL.';
comment on column pgherald.queue.lsn is
    'The order in which rows are sent. Of two transactions that change one row, the first has written its commit record before the other goes on.';
comment on column pgherald.queue.payload is 'One notification, as NOTIFY would carry it.';
create unlogged table pgherald.queue_0 () inherits (pgherald.queue) with (autovacuum_enabled = off, vacuum_truncate = off);
create unlogged table pgherald.queue_1 () inherits (pgherald.queue) with (autovacuum_enabled = off, vacuum_truncate = off);
create unlogged table pgherald.queue_2 () inherits (pgherald.queue) with (autovacuum_enabled = off, vacuum_truncate = off);
create unlogged table pgherald.queue_3 () inherits (pgherald.queue) with (autovacuum_enabled = off, vacuum_truncate = off);
comment on table pgherald.queue_0 is 'A part of pgherald.queue: the one that writers have a short cut to.';
comment on table pgherald.queue_1 is 'A part of pgherald.queue.';
comment on table pgherald.queue_2 is 'A part of pgherald.queue.';
comment on table pgherald.queue_3 is 'A part of pgherald.queue.';

-- Every writer may add a payload, as everybody may NOTIFY; nobody but the relay may read or take one.
revoke all on pgherald.transport, pgherald.queue, pgherald.queue_0, pgherald.queue_1, pgherald.queue_2, pgherald.queue_3,
    pgherald.queue_ordinals, pgherald.queue_slot, pgherald.queue_dead from public;
grant select on pgherald.transport, pgherald.queue_slot to public;
grant insert (payload) on pgherald.queue_0, pgherald.queue_1, pgherald.queue_2, pgherald.queue_3 to public;

-- They have other parameters now.
drop function if exists pgherald.body(text, text, text);
