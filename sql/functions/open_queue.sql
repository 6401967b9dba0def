-- For the relay, when nothing waits. A sequence is written to the log each time, so not each time.
create or replace function pgherald.open_queue(bytes bigint) returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
begin
    if abs(bytes - coalesce(pg_sequence_last_value('pgherald.queue_dead'), 0)) > pgherald.queue_limit() / 16 then
        perform setval('pgherald.queue_dead', bytes);
    end if;
    if pg_sequence_last_value('pgherald.queue_slot') = 4 and bytes <= pgherald.queue_files_limit() then
        perform setval('pgherald.queue_slot', 0);
    end if;
end $$;
revoke all on function pgherald.open_queue(bigint) from public;
comment on function pgherald.open_queue(bigint) is 'Notes the size in bytes of the queue''s tables while nothing is in them, and opens the queue to writers if it was closed and the files are not too large (see close_queue).';
