-- Not in SQL, which is parsed anew for each call; the relay asks hundreds of times a second.
create or replace function pgherald.queue_bytes() returns bigint
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
begin
    return pg_relation_size('pgherald.queue_0') + pg_relation_size('pgherald.queue_1')
         + pg_relation_size('pgherald.queue_2') + pg_relation_size('pgherald.queue_3');
end $$;
revoke all on function pgherald.queue_bytes() from public;
grant execute on function pgherald.queue_bytes() to public;
comment on function pgherald.queue_bytes() is 'The size of the queue''s tables in bytes, with what was removed from them and not given back.';
