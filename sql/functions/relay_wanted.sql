-- Definer rights, because nobody may read the queue. After a return to notify, a transaction that had begun before may still append.
create or replace function pgherald.relay_wanted() returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select exists (select from pgherald.transport t where t.transport = 'relay') or exists (select from pgherald.queue)
$$;
revoke all on function pgherald.relay_wanted() from public;
grant execute on function pgherald.relay_wanted() to public;
comment on function pgherald.relay_wanted() is 'Whether a daemon has to relay: the transport is relay, or there is something in the queue.';
