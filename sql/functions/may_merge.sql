create or replace function pgherald.may_merge(rel regclass, options jsonb) returns boolean
language sql stable set search_path = pg_catalog, pg_temp as $$
    select options ->> 'mode' = 'statement' and current_setting('server_version_num')::integer >= 150000
       and (select c.relkind = 'p' from pg_catalog.pg_class c where c.oid = rel)
$$;
revoke all on function pgherald.may_merge(regclass, jsonb) from public;
grant execute on function pgherald.may_merge(regclass, jsonb) to public;
comment on function pgherald.may_merge(regclass, jsonb) is 'Whether MERGE can move rows of this table unseen by its triggers.';
