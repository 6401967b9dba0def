-- A watched table keeps the names that it has, whatever it is called by now. A new one gets names that are readable, fit
-- into 63 bytes, and are no other table's: tables may swap names, and two long names may begin alike.
create or replace function pgherald.base_name(rel regclass) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    chosen text;
    wanted text;
    attempt integer := 1;
begin
    if pgherald.settings(rel) is not null then
        return (select regexp_replace(p.proname, '_truncate$', '')
                  from pg_catalog.pg_trigger t join pg_catalog.pg_proc p on p.oid = t.tgfoid
                 where t.tgrelid = rel and t.tgname = 'pgherald_truncate');
    end if;
    select n.nspname || '.' || c.relname into wanted
      from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.oid = rel;
    wanted := left(regexp_replace(wanted, '[^A-Za-z0-9]+', '_', 'g'), 36)
        || '_' || left(encode(sha256(convert_to(wanted, 'UTF8')), 'hex'), 8);
    chosen := wanted;
    while exists (select from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
                   where n.nspname = 'pgherald' and starts_with(p.proname, chosen || '_')) loop
        attempt := attempt + 1;
        chosen := wanted || '_' || attempt;
    end loop;
    return chosen;
end $$;
revoke all on function pgherald.base_name(regclass) from public;
grant execute on function pgherald.base_name(regclass) to public;
comment on function pgherald.base_name(regclass) is 'What the names of a table''s generated functions begin with.';
