-- Judged by the size of the files, which costs next to nothing. What the relay has found empty in them does not count, nor
-- what was not committed then: the limit is for a relay that does not move. The files themselves have a larger one, which pg_dump, or
-- who has rows in all of them and does not commit, keeps from being emptied.
-- A variable has no value after a restore without data.
-- Definer rights, because a writer may not change the variable.
create or replace function pgherald.close_queue() returns boolean
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    bytes bigint := pgherald.queue_bytes();
begin
    if bytes - coalesce(pg_sequence_last_value('pgherald.queue_dead'), 0) <= pgherald.queue_limit()
        and bytes <= pgherald.queue_files_limit() then
        return false;
    end if;
    perform setval('pgherald.queue_slot', 4);
    return true;
end $$;
revoke all on function pgherald.close_queue() from public;
grant execute on function pgherald.close_queue() to public;
comment on function pgherald.close_queue() is
    'Closes the queue of the relay to writers if it is full, and returns whether it is. The relay opens it when it has sent everything and the files can be emptied.';
