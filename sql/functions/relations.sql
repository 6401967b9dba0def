create or replace function pgherald.relations(rel regclass) returns setof regclass
language sql stable set search_path = '' as $$
    select rel
    union all
    select t.relid from pg_catalog.pg_partition_tree(rel) t where t.relid <> rel
$$;
revoke all on function pgherald.relations(regclass) from public;
grant execute on function pgherald.relations(regclass) to public;
comment on function pgherald.relations(regclass) is
    'The table and its partitions on every level: a statement trigger sees only the statements that name its table.';
