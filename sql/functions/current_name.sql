create or replace function pgherald.current_name(rel regclass, name text, options jsonb) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
    select coalesce(
        (select a.attname from pg_catalog.pg_attribute a
          where a.attrelid = rel and a.attname = name and a.attnum > 0 and not a.attisdropped),
        (select a.attname from pg_catalog.pg_attribute a
          where a.attrelid = rel and a.attnum = (options -> 'known' ->> format('%s.%s', rel::oid, name))::integer and not a.attisdropped),
        name)
$$;
revoke all on function pgherald.current_name(regclass, text, jsonb) from public;
grant execute on function pgherald.current_name(regclass, text, jsonb) to public;
comment on function pgherald.current_name(regclass, text, jsonb) is
    'What the column that had this name when the table was watched is called now; the name itself where nothing is known.';
