-- The projects of rows of a table in the middle of a path, in the order of their keys.
-- A transaction whose snapshot is of its beginning may see where a row was before it moved, and have no id by which the mover would
-- wait for it: there everybody is told.
create or replace function pgherald.lookup_source(rel regclass, options jsonb, step integer) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    p record;
    joins text := '';
    source text;
begin
    for p in select * from pgherald.path(rel, options ->> 'project') w where w.step >= lookup_source.step order by w.step loop
        joins := joins || format(E'\n          left join %s%s t%s on t%3$s.%I operator(pg_catalog.=) %s',
            -- a foreign key never means a child of the table
            (select case when c.relkind = 'r' then 'only ' else '' end from pg_catalog.pg_class c where c.oid = p.relation),
            (select format('%I.%I', n.nspname, c.relname) from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.oid = p.relation),
            p.step, p.key, coalesce(source, 'k.key') || coalesce(' collate ' || p.key_collation, ''));
        source := format('t%s.%I', p.step, p.col);
    end loop;
    select (pgherald.column_text(w.relation, w.col, 't' || w.step)).project || case when (pgherald.column_text(w.relation, w.col)).integral then '::pg_catalog.text' else '' end
      into source from pgherald.path(rel, options ->> 'project') w order by w.step desc limit 1;
    return format(E'\nbegin\n    if current_setting(''transaction_isolation'') in (''repeatable read'', ''serializable'') then\n        return array_fill(null::text, array[cardinality(keys)]);\n    end if;\n    return array(select %s\n          from unnest(keys) with ordinality k(key, n)%s\n         order by k.n);\nend\n', source, joins);
end $$;
revoke all on function pgherald.lookup_source(regclass, jsonb, integer) from public;
grant execute on function pgherald.lookup_source(regclass, jsonb, integer) to public;
comment on function pgherald.lookup_source(regclass, jsonb, integer) is
    'The body of the function that follows a path from the table of this step on: an array of keys in, an array of projects out.';
