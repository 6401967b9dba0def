-- DROP TRIGGER takes ACCESS EXCLUSIVE: a short lock, but one that waits for every reader before it and holds up every one behind.
create or replace function pgherald.unwatch(rel regclass) returns boolean
language plpgsql volatile set search_path = '' as $$
declare
    t record;
    functions oid[] := '{}';
begin
    if not exists (select from pg_catalog.pg_trigger g join pg_catalog.pg_proc p on p.oid = g.tgfoid
                     join pg_catalog.pg_namespace n on n.oid = p.pronamespace
                    where g.tgrelid = rel and n.nspname = 'pgherald') then
        return false;
    elsif not pg_has_role((select c.relowner from pg_catalog.pg_class c where c.oid = rel), 'usage') then
        raise exception 'cannot unwatch %: only its owner may', rel using errcode = 'insufficient_privilege',
            hint = format('Call it as %s.', (select c.relowner::regrole from pg_catalog.pg_class c where c.oid = rel));
    end if;
    execute format('lock table %s in access exclusive mode', rel);
    for t in
        select g.tgname, g.tgrelid::regclass as part, g.tgfoid
          from pg_catalog.pg_trigger g join pg_catalog.pg_proc p on p.oid = g.tgfoid
          join pg_catalog.pg_namespace n on n.oid = p.pronamespace
         where g.tgrelid in (select pgherald.relations(rel)) and n.nspname = 'pgherald'
    loop
        execute format('drop trigger %I on %s', t.tgname, t.part);
        functions := functions || t.tgfoid;
    end loop;
    perform pgherald.drop_unused(functions);
    return true;
end $$;
revoke all on function pgherald.unwatch(regclass) from public;
grant execute on function pgherald.unwatch(regclass) to public;
comment on function pgherald.unwatch(regclass) is
    'Takes the triggers off this table and its partitions, and drops their functions. True where it was watched.';
