-- Keeps the queue's tables small, after VACUUM. Beside an old snapshot VACUUM removes nothing: then the next table takes new rows,
-- and the old one is truncated once nobody who has inserted into it is in flight. The lock is never waited for, and held for
-- this call only: a writer who comes late to a table that is being truncated waits for milliseconds.
create or replace function pgherald.recycle(max_bytes bigint, out taken bigint, out rotated boolean, out truncated boolean)
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    slot integer := coalesce(pg_sequence_last_value('pgherald.queue_slot'), 0);
    next integer;
    k integer;
    left_over boolean;
begin
    taken := 0;
    rotated := false;
    truncated := false;
    if slot = 4 then
        return;
    end if;
    next := (select n from generate_series(0, 3) n where n <> slot and pg_relation_size(format('pgherald.queue_%s', n)) = 0 order by n limit 1);
    if next is not null and pg_relation_size(format('pgherald.queue_%s', slot)) > max_bytes then
        perform setval('pgherald.queue_slot', next);
        slot := next;
        rotated := true;
    end if;
    for k in select n from generate_series(0, 3) n where n <> slot and pg_relation_size(format('pgherald.queue_%s', n)) > 0 loop
        begin
            execute format('lock table pgherald.queue_%s in access exclusive mode nowait', k);
        exception when lock_not_available then
            continue;       -- a writer, or pg_dump
        end;
        execute format('select exists (select from pgherald.queue_%s)', k) into left_over;
        if left_over then
            -- Not of this table alone: what is older, in another, goes first.
            taken := (pgherald.relay(0, 5000)).taken;
            execute format('select exists (select from pgherald.queue_%s)', k) into left_over;
        end if;
        if not left_over then
            execute format('truncate only pgherald.queue_%s', k);
            truncated := true;
        end if;
        return;
    end loop;
end $$;
revoke all on function pgherald.recycle(bigint) from public;
comment on function pgherald.recycle(bigint) is
    'Moves on to an empty table where the queue''s current one is larger than max_bytes, and truncates one that has been left. taken: rows that were sent on meanwhile. For the daemon''s role.';
