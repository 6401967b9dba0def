-- Each look of the relay reads all pages of the table that writers have a short cut to, also empty ones. So when nothing has come for a
-- while it is truncated, if nobody holds it: whoever writes meanwhile takes another table, and waits for nothing. Writers get their
-- short cut back at the next step, when the truncation is committed.
create or replace function pgherald.shrink_queue() returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    next integer;
begin
    if pg_relation_size('pgherald.queue_0') <= 65536 or pg_sequence_last_value('pgherald.queue_slot') <> 0 then
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
    if not exists (select from only pgherald.queue_0) then
        perform setval('pgherald.queue_slot', next);
        truncate only pgherald.queue_0;
    end if;
end $$;
revoke all on function pgherald.shrink_queue() from public;
comment on function pgherald.shrink_queue() is 'Empties the file of the queue''s usual table where it is larger than 64 KB and nothing is in it. For the relay, when nothing waits.';
