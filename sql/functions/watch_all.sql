-- For a start, and again after every migration of the application: a table that is watched already stays as it is, with
-- the options that it has. One table that cannot be watched does not stop the others; its row says why.
-- Partitions are their parent's business and have no row.
create or replace function pgherald.watch_all(schema name, project text default 'project_id', skip name[] default '{}')
returns table (relation regclass, outcome text, reason text)
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    known boolean;
    message text;
    advice text;
begin
    if not exists (select from pg_catalog.pg_namespace n where n.nspname = schema) then
        raise exception 'cannot watch all of schema %: there is none', quote_ident(schema) using errcode = 'invalid_schema_name';
    end if;
    for relation, known in
        select c.oid, project = '*' or exists (select from pg_catalog.pg_attribute a
                 where a.attrelid = c.oid and a.attname = project and a.attnum > 0 and not a.attisdropped)
          from pg_catalog.pg_class c
          join pg_catalog.pg_namespace n on n.oid = c.relnamespace
         where n.nspname = schema and c.relkind in ('r', 'p', 'v', 'm', 'f') and not c.relispartition
         order by c.relname
    loop
        outcome := 'skipped';
        reason := null;
        if (select c.relname from pg_catalog.pg_class c where c.oid = relation) = any (skip) then
            reason := 'as asked';
        elsif not known and pgherald.settings(relation) is null then
            reason := format('it has no column %I', project);
        else
            begin
                outcome := case when pgherald.settings(relation) is null then pgherald.watch(relation, project => project)
                                else pgherald.watch_again(relation) end;
            exception when others then
                get stacked diagnostics message = message_text, advice = pg_exception_hint;
                reason := concat_ws(': ', message, nullif(advice, ''));
            end;
        end if;
        return next;
    end loop;
end $$;
revoke all on function pgherald.watch_all(name, text, name[]) from public;
grant execute on function pgherald.watch_all(name, text, name[]) to public;
comment on function pgherald.watch_all(name, text, name[]) is
    'Watches every table of the schema that has the project column, except those named in skip. A row for each table: relation, outcome (watched, changed, unchanged or skipped) and, where it was skipped, the reason.';
