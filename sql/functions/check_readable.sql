-- Called with the caller's rights by watch() and with the installer's by generate(), which is the one that reads.
create or replace function pgherald.check_readable(rel regclass, other regclass, col name, owner oid) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    installer oid := (select n.nspowner from pg_catalog.pg_namespace n where n.nspname = 'pgherald');
    role oid;
    t record;
begin
    perform pgherald.column_text(other, col);
    select c.relowner, c.relrowsecurity, c.relforcerowsecurity, n.nspname, n.oid as schema into t
      from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.oid = other;
    foreach role in array array[owner, installer] loop
        if not has_schema_privilege(role, t.schema, 'usage') or not has_column_privilege(role, other, col, 'select') then
            raise exception 'cannot watch %: its project is read from %(%), and % may not read that', rel, other, quote_ident(col), role::regrole
                using errcode = 'insufficient_privilege',
                      hint = format('grant usage on schema %I to %s; grant select on %s to %2$s;', t.nspname, role::regrole, other);
        elsif t.relrowsecurity and not exists (select from pg_catalog.pg_roles r where r.oid = role and (r.rolsuper or r.rolbypassrls))
            and (t.relforcerowsecurity or not pg_has_role(role, t.relowner, 'usage'))
        then
            raise exception 'cannot watch %: its project is read from %, whose row security may hide rows from %', rel, other, role::regrole
                using errcode = 'insufficient_privilege', hint = 'Keep the project in a column of the table, or pass project => ''*''.';
        end if;
    end loop;
end $$;
revoke all on function pgherald.check_readable(regclass, regclass, name, oid) from public;
grant execute on function pgherald.check_readable(regclass, regclass, name, oid) to public;
comment on function pgherald.check_readable(regclass, regclass, name, oid) is
    'Raises where the owner of a watched table, or the installer, may not read a column that its path to the project needs.';
