-- Each look of the relay reads all pages of the table that writers have a short cut to, also empty ones. So when nothing has come for a
-- while it is truncated, if nobody holds it. Writers who come meanwhile take another table; only one who had just decided for this
-- one waits for the end of this, some milliseconds. They get their short cut back at a later step, when the truncation is committed.
-- Not beside a standby, which would have to wait for a pg_dump of its own, or end it.
-- Where the size of the tables has closed the queue nobody writes to any, and each is truncated as soon as it can be.
create or replace function pgherald.shrink_queue() returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    next integer;
    k integer;
    left_over boolean;
begin
    if pg_sequence_last_value('pgherald.queue_slot') = 4 then
        if pgherald.queue_bytes() <= pgherald.queue_files_limit() then
            return;
        end if;
        for k in select n from generate_series(0, 3) n
                  where pg_relation_size(format('pgherald.queue_%s', n)) > 65536
                    and not exists (select from pg_locks l where l.relation = format('pgherald.queue_%s', n)::regclass and l.pid is distinct from pg_backend_pid()
                                       and l.database = (select d.oid from pg_database d where d.datname = current_database())) loop
            begin
                execute format('lock table only pgherald.queue_%s in access exclusive mode nowait', k);
                execute format('select exists (select from only pgherald.queue_%s)', k) into left_over;
                if not left_over then
                    execute format('truncate only pgherald.queue_%s', k);
                end if;
            exception when lock_not_available then
                continue;
            end;
        end loop;
        return;
    end if;
    if pg_relation_size('pgherald.queue_0') <= 65536 or pg_sequence_last_value('pgherald.queue_slot') <> 0
        or exists (select from pg_stat_get_wal_senders())
        -- a try takes a transaction id
        or exists (select from pg_locks l where l.relation = 'pgherald.queue_0'::regclass and l.pid is distinct from pg_backend_pid()
                      and l.database = (select d.oid from pg_database d where d.datname = current_database()))
    then
        return;
    end if;
    next := (select n from generate_series(1, 3) n where pg_relation_size(format('pgherald.queue_%s', n)) = 0 order by n limit 1);
    if next is null then
        return;
    end if;
    begin
        lock table only pgherald.queue_0 in access exclusive mode nowait;
    exception when lock_not_available then
        return;         -- a writer, or pg_dump
    end;
    perform setval('pgherald.queue_slot', next);
    if exists (select from only pgherald.queue_0) then
        perform setval('pgherald.queue_slot', 0);
    else
        truncate only pgherald.queue_0;
    end if;
end $$;
revoke all on function pgherald.shrink_queue() from public;
comment on function pgherald.shrink_queue() is 'Empties the file of the queue''s usual table where it is larger than 64 KB and nothing is in it; where their size has closed the queue, of all its tables. For the relay, when nothing waits.';
