-- The call as it was made, nothing derived: so that a later refresh follows a changed key.
-- It is a comment, so pg_dump carries it and a renamed table keeps it; on a trigger, so only the table's owner can write
-- it. One that was overwritten by hand, or that makes no sense, counts as none; so does one on a child or on a detached
-- partition of somebody else's, whose trigger still calls the functions of the table that it was part of: they are
-- written from the options of a table whose owner watch() gave the right to call them, or where nobody else is concerned.
create or replace function pgherald.settings(rel regclass) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    options jsonb;
    function oid;
    acl aclitem[];
    owner oid;
begin
    select obj_description(t.oid, 'pg_trigger')::jsonb, p.oid, p.proacl, c.relowner into options, function, acl, owner
      from pg_trigger t
      join pg_class c on c.oid = t.tgrelid
      join pg_proc p on p.oid = t.tgfoid
      join pg_namespace n on n.oid = p.pronamespace and n.nspname = 'pgherald'
     where t.tgrelid = rel and t.tgname = 'pgherald_truncate';
    if jsonb_typeof(options) is distinct from 'object'
        or jsonb_typeof(options -> 'project') is distinct from 'string'
        or jsonb_typeof(options -> 'max_ids') is distinct from 'number'
        or jsonb_typeof(options -> 'always') is distinct from 'boolean'
        or coalesce(options ->> 'mode', '') not in ('statement', 'row')
        or jsonb_typeof(options -> 'resource') <> 'string'
        or jsonb_typeof(options -> 'id') <> 'array'
        or jsonb_typeof(options -> 'columns') <> 'array'
        or jsonb_typeof(options -> 'include') <> 'array'
        or (options ->> 'max_ids')::integer is null
    then
        return null;
    end if;
    if not exists (select from aclexplode(acl) a where a.grantee = owner)
        and exists (select from pg_trigger t join pg_class c on c.oid = t.tgrelid where t.tgfoid = function and c.relowner <> owner)
    then
        return null;
    end if;
    return options;
exception when others then
    return null;
end $$;
revoke all on function pgherald.settings(regclass) from public;
grant execute on function pgherald.settings(regclass) to public;
comment on function pgherald.settings(regclass) is
    'The options that the table is watched with (the comment of its trigger pgherald_truncate), null where it is not watched by itself.';
