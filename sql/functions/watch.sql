-- Runs with the caller's rights: owning the table is the right to watch it, and nothing else is needed.
-- Calling it again with nothing to change takes no lock that anybody would notice; a change of options replaces the
-- functions; new partitions get their triggers. Locks where there is something to do: SHARE UPDATE EXCLUSIVE, so that two
-- calls wait for each other, and what CREATE TRIGGER takes (SHARE ROW EXCLUSIVE: writers wait until the transaction ends).
create or replace function pgherald.watch(
    rel regclass, project text default 'project_id', id name[] default null, resource text default null,
    max_ids integer default 1000)
returns text
language plpgsql volatile set search_path = '' as $$
declare
    options jsonb := jsonb_strip_nulls(jsonb_build_object('project', project, 'id', id, 'resource', resource, 'max_ids', max_ids));
    operations text[] := array['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE'];
    operation text;
    source record;
    bodies text[];
    steady boolean[];
    base text;
    part regclass;
    before oid[];
    outcome text;
    old record;
begin
    perform pgherald.check_watchable(rel);
    if project is null or project = '' then
        raise exception 'cannot watch %: which project?', rel using errcode = 'null_value_not_allowed',
            hint = 'Pass project => ''column'', or ''*'' to tell every project.';
    elsif id = '{}' then
        raise exception 'cannot watch %: id is empty', rel using errcode = 'invalid_parameter_value',
            hint = 'Pass id => array[''column'', ...], or nothing for the primary key.';
    elsif resource = '' or octet_length(resource) > 200 then
        raise exception 'cannot watch %: a resource has 1 to 200 bytes', rel using errcode = 'invalid_parameter_value';
    elsif max_ids is null or max_ids not between 1 and 10000 then
        raise exception 'cannot watch %: max_ids is %, and may be 1 to 10000', rel, coalesce(max_ids::text, 'null')
            using errcode = 'invalid_parameter_value';
    end if;

    foreach operation in array operations loop
        source := pgherald.trigger_source(rel, options, operation);
        bodies := bodies || source.body;
        steady := steady || source.steady;
        if operation <> 'TRUNCATE' then
            declare
                query text;
                reason text;
            begin
                foreach query in array array[source.fast, source.grouped, source.bulk] loop
                    execute format('with pgherald_new as (select * from %s), pgherald_old as (select * from %1$s) %s limit 0', rel, query);
                end loop;
            exception
                when insufficient_privilege then
                    raise;
                when others then
                    get stacked diagnostics reason = message_text;
                    raise exception 'cannot watch %: the query of its trigger fails: %', rel, reason
                        using errcode = 'feature_not_supported', hint = 'Choose other columns for project and id, or call pgherald.notify() from the application.';
            end;
        end if;
    end loop;

    if options = pgherald.settings(rel) and not exists (
        select from pgherald.relations(rel) r
         cross join unnest(operations, bodies, steady) w(operation, body, steady)
         where not exists (
            select from pg_catalog.pg_trigger t
              join pg_catalog.pg_proc p on p.oid = t.tgfoid
              join pg_catalog.pg_trigger root on root.tgrelid = rel and root.tgname = t.tgname and root.tgfoid = t.tgfoid
             where t.tgrelid = r and t.tgname = 'pgherald_' || lower(w.operation) and t.tgenabled <> 'D'
               and p.prosrc = w.body and (p.proconfig is null) = w.steady))
    then
        return 'unchanged';
    end if;

    execute format('lock table %s in share update exclusive mode', rel);
    before := array(select t.tgfoid from pg_catalog.pg_trigger t
                     where t.tgrelid in (select pgherald.relations(rel)) and starts_with(t.tgname, 'pgherald_'));
    outcome := case when pgherald.settings(rel) is null then 'watched' else 'changed' end;
    if outcome = 'changed' then
        execute format('comment on trigger pgherald_insert on %s is %L', rel, options);
    end if;
    base := pgherald.generate(rel);
    for part in select pgherald.relations(rel) loop
        foreach operation in array operations loop
            select t.tgfoid, t.tgenabled into old from pg_catalog.pg_trigger t
             where t.tgrelid = part and t.tgname = 'pgherald_' || lower(operation);
            if old.tgfoid = format('pgherald.%I()', base || '_' || lower(operation))::regprocedure then
                if old.tgenabled = 'D' then
                    execute format('alter table only %s enable trigger %I', part, 'pgherald_' || lower(operation));
                end if;
                continue;
            elsif found then
                execute format('drop trigger %I on %s', 'pgherald_' || lower(operation), part);
            end if;
            execute format('create trigger %I after %s on %s%s for each statement execute function pgherald.%I()',
                'pgherald_' || lower(operation), operation, part,
                case operation when 'INSERT' then ' referencing new table as pgherald_new'
                               when 'UPDATE' then ' referencing old table as pgherald_old new table as pgherald_new'
                               when 'DELETE' then ' referencing old table as pgherald_old'
                               else '' end,
                base || '_' || lower(operation));
        end loop;
    end loop;
    if outcome = 'watched' then
        execute format('comment on trigger pgherald_insert on %s is %L', rel, options);
        perform pgherald.generate(rel);
    end if;
    perform pgherald.drop_unused(before);
    return outcome;
end $$;
revoke all on function pgherald.watch(regclass, text, name[], text, integer) from public;
grant execute on function pgherald.watch(regclass, text, name[], text, integer) to public;
comment on function pgherald.watch(regclass, text, name[], text, integer) is
    'Tells browsers about every change of this table and its partitions. project: the column that holds a row''s project, or "*" for every project. id: the columns that name a row, the primary key if left out; several are joined by ":", nothing escaped. resource: the label to send in place of the table''s name. max_ids: a statement that changes more rows is told as the whole resource. Only the table''s owner may call it; writers need no grant. Returns watched, changed or unchanged.';
