-- Definer rights, because nobody may read the queue.
create or replace function pgherald.backlog(out waiting bigint, out oldest pg_lsn, out percent integer)
language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
    select count(*), min(q.lsn), greatest(0, case when pg_sequence_last_value('pgherald.queue_slot') = 4 then 100
        else least(100, (pgherald.queue_bytes() - pg_sequence_last_value('pgherald.queue_dead')) * 100 / pgherald.queue_limit()) end)::integer
      from pgherald.queue q
$$;
revoke all on function pgherald.backlog() from public;
grant execute on function pgherald.backlog() to public;
comment on function pgherald.backlog() is
    'What waits in the queue of the relay. waiting: committed rows; oldest: the place of the first of them; percent: how full the queue is, with what is not committed.';
