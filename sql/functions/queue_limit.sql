create or replace function pgherald.queue_limit() returns integer
language sql immutable set search_path = pg_catalog, pg_temp as $$ select 200000 $$;
revoke all on function pgherald.queue_limit() from public;
grant execute on function pgherald.queue_limit() to public;
comment on function pgherald.queue_limit() is
    'How many rows may wait in the queue of the relay. Beyond that writers drop what they have to tell, count it in pgherald.dropped, and every browser refetches.';
