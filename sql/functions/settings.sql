-- The call as it was made, nothing derived: so that a later refresh follows a changed key.
-- It is a comment, so pg_dump carries it and a renamed table keeps it; on a trigger, so only the table's owner can write
-- it. One that was overwritten by hand counts as none.
create or replace function pgherald.settings(rel regclass) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    options jsonb := (select pg_catalog.obj_description(t.oid, 'pg_trigger')::jsonb
              from pg_catalog.pg_trigger t
              join pg_catalog.pg_proc p on p.oid = t.tgfoid
              join pg_catalog.pg_namespace n on n.oid = p.pronamespace
             where t.tgrelid = rel and t.tgname = 'pgherald_truncate' and n.nspname = 'pgherald');
begin
    return case when jsonb_typeof(options) = 'object' then options end;
exception when invalid_text_representation then
    return null;
end $$;
revoke all on function pgherald.settings(regclass) from public;
grant execute on function pgherald.settings(regclass) to public;
comment on function pgherald.settings(regclass) is
    'The options that the table is watched with (the comment of its trigger pgherald_truncate), null where it is not watched by itself.';
