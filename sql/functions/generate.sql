-- Definer rights: the functions live in schema pgherald, where nobody but the installer may create anything (who may,
-- could lay a trap for the superuser who calls pgherald.watch('...') there).
-- What they contain is read from the comment of the table's own trigger, which only the table's owner can write:
-- so it is harmless that everybody may call this. Without such a comment they are empty, for watch() to make its triggers.
create or replace function pgherald.generate(rel regclass, path_length integer default 1, may_merge boolean default false) returns void
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    options jsonb := pgherald.settings(rel) - 'known';
    base text := pgherald.base_name(rel);
    owner regrole := (select c.relowner from pg_catalog.pg_class c where c.oid = rel);
    role text;
    statement text;
begin
    perform pg_advisory_xact_lock_shared(7434, 4);      -- set_transport() waits for us, or we for it
    -- fails in a transaction whose snapshot is from before: its functions would send by the other transport
    perform from pgherald.transport for share;
    if options is not null then
        for statement in select s.statement from pgherald.steps(rel, options) s where s.kind = 'function' loop
            execute statement;
        end loop;
        return;
    elsif not pg_has_role(session_user, owner, 'member') then
        raise exception 'cannot watch %: only its owner may', rel using errcode = 'insufficient_privilege';
    end if;
    foreach role in array array['insert', 'update', 'delete', 'truncate']
        || case when may_merge then array['before', 'left'] end
        || array(select 'moved_' || n from generate_series(2, least(path_length, 100)) n) loop
        execute format('create function pgherald.%I() returns trigger language plpgsql as ''begin return null; end''', base || '_' || role);
        execute format('revoke all on function pgherald.%I() from public', base || '_' || role);
        execute format('grant execute on function pgherald.%I() to %s', base || '_' || role, owner);
    end loop;
end $$;
revoke all on function pgherald.generate(regclass, integer, boolean) from public;
grant execute on function pgherald.generate(regclass, integer, boolean) to public;
comment on function pgherald.generate(regclass, integer, boolean) is
    'Writes the functions of a table from the options in the comment of its trigger; called by pgherald.watch.';
