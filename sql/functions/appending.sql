-- Definer rights, because the source of a function is not everybody's everywhere.
create or replace function pgherald.appending() returns setof regclass
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select distinct t.tgrelid::regclass from pg_trigger t join pg_proc p on p.oid = t.tgfoid
     where p.pronamespace = 'pgherald'::regnamespace and p.prosrc like '%pgherald.append(%'
$$;
revoke all on function pgherald.appending() from public;
grant execute on function pgherald.appending() to public;
comment on function pgherald.appending() is
    'The tables whose triggers append to the queue of the relay. With the transport notify: those that set_transport could not rewrite, such as a detached partition.';
