-- How pgherald is doing in this database: psql -Xq -f status.sql 'postgresql://dba@host/app', or paste it.
-- It only reads. Any role may; whose session listens is seen by pg_monitor and superusers only.

-- A pager would swallow the rest of what is pasted.
\pset pager off
select pg_catalog.to_regclass('pgherald.migrations') is not null as pgherald_installed,
       pg_catalog.to_regclass('pgherald.watched') is not null as pgherald_complete,
       pg_catalog.to_regclass('pgherald.transport') is not null
       and pg_catalog.to_regprocedure('pgherald.backlog()') is not null as pgherald_relays \gset

\echo '== Server'
select pg_catalog.current_setting('server_version') as postgresql, pg_catalog.current_database() as database,
       case when pg_catalog.pg_is_in_recovery() then 'standby: nobody can LISTEN here' else 'primary' end as role;

\if :pgherald_installed

\echo '== Migrations, newest first'
select m.version, m.name, m.applied_at from pgherald.migrations m order by m.version desc;

\echo '== Function files, and when one was last applied'
select pg_catalog.count(*) as files, pg_catalog.max(f.applied_at) as last_applied from pgherald.functions f;

\if :pgherald_complete
\echo '== Watched tables. Where a refresh is due: select * from pgherald.refresh(), as the tables'' owner'
select w.relation, w.project, w.id, w.resource, w.enabled, w.relations, w.triggers, w.refresh_due from pgherald.watched w
 order by w.enabled, w.relation::pg_catalog.text;
\endif

\echo '== Tables that send without being watched, such as detached partitions: pgherald.watch or pgherald.unwatch them'
select t.tgrelid::pg_catalog.regclass as relation, pg_catalog.count(*) as triggers
  from pg_catalog.pg_trigger t
  join pg_catalog.pg_proc p on p.oid = t.tgfoid
  join pg_catalog.pg_namespace n on n.oid = p.pronamespace and n.nspname = 'pgherald'
 where p.proname !~ '_moved_\d+$'
   and not exists (select from pgherald.watched w cross join pgherald.relations(w.relation) r where r = t.tgrelid)
 group by t.tgrelid
 order by 1;

\if :pgherald_relays
\echo '== Transport: how triggers send. waiting: rows in the queue of the relay. slot: the table that takes new ones, 4 where it is full'
select t.transport, t.changed_at as since, b.waiting, b.percent as percent_full,
       pg_catalog.pg_sequence_last_value('pgherald.queue_slot') as slot, pg_catalog.pg_size_pretty(pgherald.queue_bytes()) as queue_size
  from pgherald.transport t cross join pgherald.backlog() b;

\echo '== Who relays and who is there to follow. With the transport relay and nobody here: changes reach no browser'
select a.pid, a.usename as role, a.client_addr,
       case l.objid when 3 then 'relay' else 'present' end as part,
       case when l.objid <> 3 then null
            when exists (select from pg_catalog.pg_locks s where s.locktype = 'advisory' and s.classid = 7434 and s.objid = 2
                            and s.objsubid = 2 and s.granted and s.mode = 'ExclusiveLock' and s.pid = l.pid and s.database = l.database)
            then 'asleep' else 'awake' end as state
  from pg_catalog.pg_locks l join pg_catalog.pg_stat_activity a on a.pid = l.pid
 where l.locktype = 'advisory' and l.classid = 7434 and l.objid in (1, 3, 11, 12, 13) and l.objsubid = 2 and l.mode = 'ExclusiveLock'
   and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
 order by l.objid = 3 desc, a.pid;
\endif

\echo '== Notifications lost so that a write could succeed; the server log says why. Each made every browser refetch'
select coalesce(pg_catalog.pg_sequence_last_value('pgherald.dropped'), 0) as lost;

\else
\echo '== pgherald is not installed in this database: pgherald migrate'
\endif

\echo '== Notification queue of the whole cluster. Triggers stop sending at 90 %; only a listener that does not read fills it'
select pg_catalog.round((pg_catalog.pg_notification_queue_usage() * 100)::pg_catalog.numeric, 2) as used_percent;

\echo '== Daemons: their sessions in this database. None: pgherald serve is not running, or sets another application_name'
select a.pid, a.usename as role, a.client_addr, a.backend_start, a.state, a.xact_start,
       pg_catalog.left(a.query, 60) as last_query
  from pg_catalog.pg_stat_activity a
 where a.datname = pg_catalog.current_database() and a.application_name ~ '^pgherald'
 order by a.backend_start;
