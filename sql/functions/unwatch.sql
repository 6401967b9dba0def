-- DROP TRIGGER takes ACCESS EXCLUSIVE: a short lock, but one that waits for every reader before it and holds up every one behind.
create or replace function pgherald.unwatch(rel regclass) returns boolean
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    t record;
    parent regclass;
    own text := pgherald.base_name(rel);
begin
    select a.relid into parent from pg_catalog.pg_partition_ancestors(rel) a
     where a.relid <> rel and pgherald.settings(a.relid) is not null limit 1;
    if found then
        raise exception 'cannot unwatch %: it is a partition of %, which is watched with all its partitions', rel, parent
            using errcode = 'object_not_in_prerequisite_state', hint = format('Call pgherald.unwatch(%L), or detach the partition.', parent);
    end if;
    if not exists (select from pg_catalog.pg_trigger d join pgherald.generated() g on g.function = d.tgfoid
                    where d.tgrelid = rel and g.role <> 'moved') then
        return false;
    elsif not pg_has_role((select c.relowner from pg_catalog.pg_class c where c.oid = rel), 'usage') then
        raise exception 'cannot unwatch %: only its owner may', rel using errcode = 'insufficient_privilege',
            hint = format('Call it as %s.', (select c.relowner::regrole from pg_catalog.pg_class c where c.oid = rel));
    end if;
    -- Parents first, as watch() does and as applications write them.
    for t in
        select d.tgrelid::regclass as part
          from pg_catalog.pg_trigger d join pgherald.generated() g on g.function = d.tgfoid
         where g.role = 'moved' and g.base = own and d.tgparentid = 0
         order by g.step desc, d.tgrelid
    loop
        execute format('lock table only %s in access exclusive mode', t.part);
    end loop;
    execute format('lock table %s in access exclusive mode', rel);
    for t in
        select d.tgname, d.tgrelid::regclass as part
          from pg_catalog.pg_trigger d join pgherald.generated() g on g.function = d.tgfoid
         where not d.tgisinternal and d.tgparentid = 0
           and (g.role <> 'moved' and d.tgrelid in (select pgherald.relations(rel)) or g.role = 'moved' and g.base = own)
    loop
        execute format('drop trigger %I on %s', t.tgname, t.part);
    end loop;
    perform pgherald.drop_unused();
    return true;
end $$;
revoke all on function pgherald.unwatch(regclass) from public;
grant execute on function pgherald.unwatch(regclass) to public;
comment on function pgherald.unwatch(regclass) is
    'Takes the triggers off this table, its partitions and children, and off the tables along its path, and drops their functions. True where it was watched.';
