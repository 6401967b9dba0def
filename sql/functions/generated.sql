create or replace function pgherald.generated(
    out base text, out role text, out step integer, out function oid, out name name)
returns setof record
language sql stable set search_path = pg_catalog, pg_temp as $$
    select m[1], m[2], m[3]::integer, p.oid, p.proname
      from pg_catalog.pg_proc p
      join pg_catalog.pg_namespace n on n.oid = p.pronamespace and n.nspname = 'pgherald'
     cross join lateral regexp_matches(p.proname, '^(.+_[0-9a-f]{8}(?:_\d+)?)_(insert|update|delete|truncate|before|left|moved|lookup)(?:_(\d+))?$') m
     where (p.prorettype = 'trigger'::regtype) = (m[2] <> 'lookup')
$$;
revoke all on function pgherald.generated() from public;
grant execute on function pgherald.generated() to public;
comment on function pgherald.generated() is
    'The functions that watch() has written: what their name begins with, whether they are for an operation, a moved row or a lookup, and for which step of a path.';
