-- Takes pgherald out of this database: psql -Xq -f uninstall.sql 'postgresql://dba@host/app'
-- One transaction: all or nothing. Running it again does nothing.
--
-- It drops the triggers of every watched table (also of a partition that was detached since), then what pgherald has put
-- into schema pgherald, then the schema. Nothing is dropped with CASCADE: where something of yours depends on pgherald (a
-- view over pgherald.watched, a table that you made in its schema), it stops, names it and changes nothing.
--
-- Run it as a superuser, or as a member of the owners of all watched tables and of schema pgherald.
--
-- DROP TRIGGER takes ACCESS EXCLUSIVE on its table. All tables are locked together or none: nobody queues behind a lock
-- that waits, and no transaction of the application ends in a deadlock. It tries for 10 seconds (-v wait=1min for longer).
-- What is pgherald's own is locked last. For each of these tables it waits for a tenth of a second at most, then it lets go of all
-- and tries again; the queue of the relay is free whenever the relay has ended a step, 320 ms at most.
-- Where tables are too busy for that, call `select pgherald.unwatch('public.tasks')` for one after the other first.
--
-- A daemon may keep running meanwhile; it hears nothing any more. The roles of roles.sql serve the whole cluster and stay:
--   drop owned by pgherald_daemon, pgherald_owner;    in each database where roles.sql ran, after this script
--   drop role pgherald_daemon, pgherald_owner;

\set ON_ERROR_STOP on
\if :{?wait}
\else
    \set wait 10s
\endif

begin;
set local search_path = '';
set local client_min_messages = notice;
set local pgherald.wait = :'wait';

do $$
declare
    patience interval := current_setting('pgherald.wait');
    home oid := (select n.oid from pg_namespace n where n.nspname = 'pgherald');
    senders oid[];
    ours oid[];
    tables text;
    queue boolean;
    r record;
    list text;
    reason text;
    others text;
    told text[];
begin
    if home is null then
        raise notice 'nothing to do: there is no schema pgherald in database %', quote_ident(current_database());
        return;
    end if;

    -- Without the two it is a schema that roles.sql has made, or not pgherald's at all: it goes if it is empty.
    if to_regclass('pgherald.migrations') is not null and to_regclass('pgherald.functions') is not null then
        -- Generated functions, also those whose table was dropped.
        senders := array(select p.oid from pg_proc p where p.pronamespace = home
            and (p.prorettype = 'trigger'::regtype or p.proname ~ '_[0-9a-f]{8}(_\d+)?_lookup_\d+$'));

        select 'lock table ' || string_agg(distinct 'only ' || t.tgrelid::regclass, ', ') || ' in access exclusive mode nowait'
          into tables
          from pg_trigger t where t.tgfoid = any (senders);
        queue := to_regclass('pgherald.queue') is not null;
        loop
            begin
                told := '{}';
                if tables is not null then
                    execute tables;
                end if;
                -- A relay that is awake always has its queue for a moment, so what follows waits. It gives up long before PostgreSQL
                -- looks for deadlocks: who has called pgherald.notify() may go on to wait for a table of the first kind.
                set local lock_timeout = '100ms';
                -- in the order in which everybody takes them
                if queue then
                    lock table pgherald.transport in access exclusive mode;
                    drop sequence pgherald.queue_slot;
                    lock table pgherald.queue in access exclusive mode;
                end if;

                -- A row trigger's copies on partitions go with it.
                for r in
                    select t.tgrelid::regclass as relation, array_agg(t.tgname order by t.tgname) as triggers
                      from pg_trigger t where t.tgfoid = any (senders) and t.tgparentid = 0
                     group by t.tgrelid order by 1
                loop
                    for i in 1 .. cardinality(r.triggers) loop
                        execute format('drop trigger %I on %s', r.triggers[i], r.relation);
                    end loop;
                    told := told || format('%s: dropped %s', r.relation, array_to_string(r.triggers, ', '));
                end loop;

                -- A file in sql/functions is called as what it creates.
                select string_agg(c.oid::regclass::text, ', ' order by c.relname) into list
                  from pg_class c join pgherald.functions f on f.name = c.relname || '.sql'
                 where c.relnamespace = home and c.relkind = 'v';
                if list is not null then
                    execute 'drop view ' || list;
                    told := told || ('dropped view ' || list);
                end if;

                ours := senders || array(select p.oid from pg_proc p join pgherald.functions f on f.name = p.proname || '.sql'
                                          where p.pronamespace = home);
                select string_agg(p.oid::regprocedure::text, ', ') into list from pg_proc p where p.oid = any (ours);
                if list is not null then
                    execute 'drop routine ' || list;
                    told := told || format('dropped %s functions of pgherald, %s of them generated for tables', cardinality(ours), cardinality(senders));
                end if;

                -- What the migrations have created: a new one adds its tables here.
                drop table pgherald.migrations, pgherald.functions;
                drop sequence if exists pgherald.dropped;
                told := told || 'dropped tables pgherald.migrations, pgherald.functions and sequence pgherald.dropped'::text;
                if queue then
                    drop table pgherald.queue_0, pgherald.queue_1, pgherald.queue_2, pgherald.queue_3;
                    drop table pgherald.queue, pgherald.transport;
                    drop sequence pgherald.queue_ordinals, pgherald.queue_dead;
                    told := told || 'dropped the queue of the relay'::text;
                end if;
                drop schema pgherald;
                told := told || 'dropped schema pgherald'::text;
                exit;
            exception when lock_not_available then
                if clock_timestamp() - transaction_timestamp() > patience then
                    raise exception 'watched tables or what is pgherald''s own are in use, gave up after %: %', patience, sqlerrm
                        using errcode = 'lock_not_available',
                              hint = 'Nothing was changed. pg_locks tells who has them. Try again, with -v wait=1min, or pgherald.unwatch() one table after the other first.';
                end if;
            end;
            perform pg_sleep(0.05);
        end loop;
        foreach list in array told loop
            raise notice '%', list;
        end loop;
    else
        drop schema pgherald;
        raise notice 'dropped schema pgherald';
    end if;
exception when dependent_objects_still_exist then
    -- PostgreSQL's own hint is CASCADE.
    get stacked diagnostics reason = message_text, others = pg_exception_detail;
    raise exception '%', reason using errcode = 'dependent_objects_still_exist', detail = others,
        hint = 'Nothing was changed. Drop what depends on it yourself, or move it elsewhere; then run this again.';
end $$;
commit;
