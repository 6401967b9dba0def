-- A sequence is written to the log each time, so not each time. What is not noted counts as waiting: far less than any queue_limit().
create or replace function pgherald.note_relayed(up_to bigint) returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
begin
    if abs(up_to - coalesce(pg_sequence_last_value('pgherald.queue_relayed'), 0)) > 100 then
        perform setval('pgherald.queue_relayed', up_to);
    end if;
end $$;
revoke all on function pgherald.note_relayed(bigint) from public;
comment on function pgherald.note_relayed(bigint) is 'Keeps pgherald.queue_relayed, by which writers know whether the queue is full.';
