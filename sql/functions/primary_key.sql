-- INCLUDE columns of the index are no key columns.
create or replace function pgherald.primary_key(rel regclass) returns name[]
language sql stable set search_path = pg_catalog, pg_temp as $$
    select array_agg(a.attname order by k.position)
      from pg_catalog.pg_index i
     cross join unnest(i.indkey) with ordinality k(attnum, position)
      join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
     where i.indrelid = rel and i.indisprimary and k.position <= i.indnkeyatts
$$;
revoke all on function pgherald.primary_key(regclass) from public;
grant execute on function pgherald.primary_key(regclass) to public;
comment on function pgherald.primary_key(regclass) is 'The columns of the primary key in their order, null without one.';
