create or replace function pgherald.queue_limit() returns bigint
language sql immutable set search_path = pg_catalog, pg_temp as $$ select 32 * 1048576::bigint $$;
revoke all on function pgherald.queue_limit() from public;
grant execute on function pgherald.queue_limit() to public;
comment on function pgherald.queue_limit() is
    'How many bytes may wait in the queue of the relay: some 150,000 changes. Beyond that writers drop what they have to tell, count it in pgherald.dropped, and every browser refetches.';
