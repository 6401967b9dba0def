-- Definer rights, as generate(); harmless to everybody: only a generated function without any trigger goes.
create or replace function pgherald.drop_unused(functions oid[]) returns void
language plpgsql volatile security definer set search_path = '' as $$
declare
    unused regprocedure;
begin
    for unused in
        select p.oid from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
         where p.oid = any (functions) and n.nspname = 'pgherald' and p.prorettype = 'trigger'::regtype
           and not exists (select from pg_catalog.pg_trigger t where t.tgfoid = p.oid)
    loop
        execute format('drop function %s', unused);
    end loop;
end $$;
revoke all on function pgherald.drop_unused(oid[]) from public;
grant execute on function pgherald.drop_unused(oid[]) to public;
comment on function pgherald.drop_unused(oid[]) is
    'Drops those of these generated functions that no trigger uses any more; called by pgherald.watch and pgherald.unwatch.';
