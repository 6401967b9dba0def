-- What cannot be watched safely is refused here, not discovered by a writer.
create or replace function pgherald.check_watchable(rel regclass, mode text default 'statement') returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    t record;
    other regclass;
begin
    select c.relkind, c.relowner, c.relpersistence, n.nspname into t
      from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where c.oid = rel;
    if not found then
        raise exception 'cannot watch %: there is no such table', coalesce(rel::text, 'null') using errcode = 'undefined_table';
    elsif t.relkind in ('v', 'm', 'f') then
        raise exception 'cannot watch %: it is a %, and changes beneath it fire no trigger', rel,
            case when t.relkind = 'v' then 'view' when t.relkind = 'm' then 'materialized view' else 'foreign table' end
            using errcode = 'wrong_object_type',
                  hint = 'Watch the tables that it reads from, or call pgherald.notify() where the data changes.';
    elsif t.relkind not in ('r', 'p') then
        raise exception 'cannot watch %: it is not a table', rel using errcode = 'wrong_object_type';
    elsif t.nspname = 'pgherald' or t.nspname = 'information_schema' or starts_with(t.nspname, 'pg_') and t.relpersistence <> 't' then
        raise exception 'cannot watch %: schema % belongs to the system', rel, quote_ident(t.nspname)
            using errcode = 'wrong_object_type', hint = 'Watch tables of the application.';
    elsif t.relpersistence = 't' then
        raise exception 'cannot watch %: a temporary table is seen by its own session only', rel
            using errcode = 'wrong_object_type', hint = 'Watch a permanent or unlogged table.';
    elsif not pg_has_role(t.relowner, 'usage') then
        raise exception 'cannot watch %: only its owner may', rel
            using errcode = 'insufficient_privilege', hint = format('Call it as %s.', t.relowner::regrole);
    end if;

    -- With transition tables on the parent the application's own writes fail:
    -- "cannot collect transition tuples from child foreign tables".
    with recursive below as (
        select h.inhrelid from pg_catalog.pg_inherits h where h.inhparent = rel
        union
        select h.inhrelid from pg_catalog.pg_inherits h join below b on h.inhparent = b.inhrelid
    )
    select c.oid into other from below b join pg_catalog.pg_class c on c.oid = b.inhrelid where c.relkind = 'f' limit 1;
    if found and (mode <> 'row' or current_setting('server_version_num')::integer < 160000) then
        raise exception 'cannot watch %: % below it is a foreign table, and PostgreSQL would then refuse the writes to both', rel, other
            using errcode = 'wrong_object_type',
                  hint = 'From PostgreSQL 16 on pass mode => ''row''. Else watch the other partitions or children one by one, and call pgherald.notify() for the foreign one.';
    end if;

    select a.relid into other from pg_catalog.pg_partition_ancestors(rel) a
     where a.relid <> rel and pgherald.settings(a.relid) is not null limit 1;
    if found then
        raise exception 'cannot watch %: it is a partition of %, which is watched with all its partitions', rel, other
            using errcode = 'object_not_in_prerequisite_state', hint = format('Call pgherald.watch(%L) to include new partitions.', other);
    end if;
end $$;
revoke all on function pgherald.check_watchable(regclass, text) from public;
grant execute on function pgherald.check_watchable(regclass, text) to public;
comment on function pgherald.check_watchable(regclass, text) is
    'Raises the reason why the caller cannot watch this table, and the alternative; nothing where it can.';
