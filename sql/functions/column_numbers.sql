-- So that a refresh can follow a renamed column. Of no use after a restore, which gives new numbers: hence the table's oid.
create or replace function pgherald.column_numbers(rel regclass, options jsonb) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp as $$
    select jsonb_build_object('known', coalesce(jsonb_object_agg(format('%s.%s', c.relation::oid, a.attname), a.attnum), '{}'))
      from (select rel as relation, n.name
              from unnest(pgherald.names(options -> 'id') || pgherald.names(options -> 'columns') || pgherald.names(options -> 'include')) n(name)
            union
            select p.relation, p.col from pgherald.path(rel, options ->> 'project') p where options ->> 'project' <> '*') c
      join pg_catalog.pg_attribute a on a.attrelid = c.relation and a.attname = c.name and a.attnum > 0 and not a.attisdropped
$$;
revoke all on function pgherald.column_numbers(regclass, jsonb) from public;
grant execute on function pgherald.column_numbers(regclass, jsonb) to public;
comment on function pgherald.column_numbers(regclass, jsonb) is
    'The number of every column that the options name, under the oid of its table and its name of today.';
