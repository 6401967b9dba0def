-- A statement trigger sees only the statements that name its table, so partitions and children have their own.
-- A child that is watched by itself is its own business; a partition never is.
create or replace function pgherald.relations(rel regclass) returns setof regclass
language sql stable set search_path = pg_catalog, pg_temp as $$
    with recursive tree as (
        select rel::oid as oid
        union
        select h.inhrelid from pg_catalog.pg_inherits h join tree t on t.oid = h.inhparent
         where (select c.relispartition from pg_catalog.pg_class c where c.oid = h.inhrelid) or pgherald.settings(h.inhrelid) is null
    )
    select t.oid::regclass from tree t order by t.oid <> rel, t.oid
$$;
revoke all on function pgherald.relations(regclass) from public;
grant execute on function pgherald.relations(regclass) to public;
comment on function pgherald.relations(regclass) is
    'The table, its partitions on every level, and the tables that inherit from it and are not watched by themselves.';
