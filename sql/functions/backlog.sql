-- Definer rights, because nobody may read the queue. On a standby there is none to read.
create or replace function pgherald.backlog(out waiting bigint, out oldest pg_lsn, out percent integer)
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
begin
    waiting := 0;
    percent := 0;
    if pg_is_in_recovery() then
        return;
    end if;
    select count(*), min(q.lsn) into waiting, oldest from pgherald.queue q;
    percent := case when pg_sequence_last_value('pgherald.queue_slot') = 4 then 100 else greatest(0, least(100,
        (pgherald.queue_bytes() - coalesce(pg_sequence_last_value('pgherald.queue_dead'), 0)) * 100 / pgherald.queue_limit())) end;
end $$;
revoke all on function pgherald.backlog() from public;
grant execute on function pgherald.backlog() to public;
comment on function pgherald.backlog() is
    'What waits in the queue of the relay. waiting: committed rows; oldest: the place of the first of them; percent: how full the queue is, by what its tables have grown since nothing waited.';
