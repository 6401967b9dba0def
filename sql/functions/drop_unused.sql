-- Definer rights, as generate(); harmless to everybody: only what no trigger can call any more goes.
create or replace function pgherald.drop_unused() returns void
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    unused record;
begin
    for unused in
        select g.function::regprocedure from pgherald.generated() g
         where not exists (select from pg_catalog.pg_trigger t where t.tgfoid = g.function)
           and not (g.role = 'lookup' and exists (
               select from pgherald.generated() m join pg_catalog.pg_trigger t on t.tgfoid = m.function
                where m.base = g.base and m.role = 'moved' and m.step = g.step))
    loop
        begin
            execute format('drop function %s', unused.function);
        exception when dependent_objects_still_exist then
            null;       -- somebody made something of it: it is theirs now
        end;
    end loop;
end $$;
revoke all on function pgherald.drop_unused() from public;
grant execute on function pgherald.drop_unused() to public;
comment on function pgherald.drop_unused() is
    'Drops the generated functions that no trigger uses any more, such as those of a dropped table.';
