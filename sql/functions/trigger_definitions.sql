-- Row triggers on a partitioned table are PostgreSQL's to clone; their names are no other table's, because ATTACH PARTITION
-- refuses a table that has a trigger of the same name.
create or replace function pgherald.trigger_definitions(rel regclass, options jsonb, base text)
returns table (relation regclass, name text, function text, by_row boolean, definition text)
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    operation text;
    p record;
    mark text := substring(base from '[0-9a-f]{8}(?:_\d+)?$');
begin
    for relation in select r from pgherald.relations(rel) r loop
        foreach operation in array array['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE'] loop
            by_row := options ->> 'mode' = 'row' and operation <> 'TRUNCATE';
            continue when by_row and relation <> rel and (select c.relispartition from pg_catalog.pg_class c where c.oid = relation);
            continue when (select c.relkind from pg_catalog.pg_class c where c.oid = relation) = 'f' and not by_row;
            name := 'pgherald_' || lower(operation) || case when by_row then '_' || mark else '' end;
            function := base || '_' || lower(operation);
            definition := format('create trigger %I after %s on %s%s for each %s execute function pgherald.%I()',
                name, lower(operation), relation,
                case when by_row or operation = 'TRUNCATE' then ''
                     when operation = 'INSERT' then ' referencing new table as pgherald_new'
                     when operation = 'DELETE' then ' referencing old table as pgherald_old'
                     else ' referencing old table as pgherald_old new table as pgherald_new' end,
                case when by_row then 'row' else 'statement' end, function);
            return next;
        end loop;
    end loop;
    by_row := false;
    if pgherald.may_merge(rel, options) then
        for relation in select r from pgherald.relations(rel) r loop
            name := 'pgherald_before';
            function := base || '_before';
            definition := format('create trigger %I before update on %s for each statement execute function pgherald.%I()', name, relation, function);
            return next;
        end loop;
        by_row := true;
        relation := rel;
        name := 'pgherald_left_' || mark;
        function := base || '_left';
        definition := format('create trigger %I after delete on %s for each row'
            ' when (pg_catalog.current_setting(''pgherald.updating'', true) operator(pg_catalog.<>) '''') execute function pgherald.%I()',
            name, relation, function);
        return next;
        by_row := false;
    end if;
    for p in select * from pgherald.path(rel, options ->> 'project') w where w.step > 1 and options ->> 'project' <> '*' loop
        foreach operation in array array['UPDATE'] || case when p.deferred then array['DELETE', 'INSERT'] end loop
            for relation in select r from pgherald.relations(p.relation) r loop
                name := format('pgherald_moved_%s_%s%s', mark, p.step, case when operation <> 'UPDATE' then '_' || lower(operation) end);
                function := base || '_moved_' || p.step;
                definition := format('create trigger %I after %s on %s referencing%s%s for each statement execute function pgherald.%I()',
                    name, lower(operation), relation, case when operation <> 'INSERT' then ' old table as pgherald_old' end,
                    case when operation <> 'DELETE' then ' new table as pgherald_new' end, function);
                return next;
            end loop;
        end loop;
    end loop;
end $$;
revoke all on function pgherald.trigger_definitions(regclass, jsonb, text) from public;
grant execute on function pgherald.trigger_definitions(regclass, jsonb, text) to public;
comment on function pgherald.trigger_definitions(regclass, jsonb, text) is
    'The triggers that a table watched with these options has, on itself, its partitions and children, and on the tables in the middle of a path.';
