create or replace function pgherald.function_sources(rel regclass, options jsonb, base text)
returns table (relation regclass, name text, arguments text, body text, steady boolean, definer boolean, purpose text, queries text[])
language plpgsql stable set search_path = pg_catalog, pg_temp set quote_all_identifiers = off as $$
#variable_conflict use_column
declare
    operation text;
    p record;
    source record;
begin
    relation := rel;
    -- along a path it reads tables on which the writer may have no rights
    definer := options ->> 'project' <> '*' and (select count(*) > 1 from pgherald.path(rel, options ->> 'project'));
    arguments := '';
    foreach operation in array array['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE'] loop
        if options ->> 'mode' = 'row' and operation <> 'TRUNCATE' then
            source := pgherald.row_source(rel, options, base, operation);
        else
            source := pgherald.statement_source(rel, options, base, operation);
        end if;
        name := base || '_' || lower(operation);
        body := source.body;
        steady := source.steady;
        queries := source.queries;
        purpose := format('%s trigger of %s, written by pgherald.watch: do not edit, call watch again.', operation, rel);
        return next;
    end loop;
    if pgherald.may_merge(rel, options) then
        queries := null;
        name := base || '_before';
        body := (pgherald.merge_source(rel, options, base)).before;
        steady := true;
        purpose := format('Trigger of %s before UPDATE, written by pgherald.watch: do not edit, call watch again.', rel);
        return next;
        name := base || '_left';
        body := (pgherald.merge_source(rel, options, base)).left_row;
        steady := (pgherald.parts(rel, options, base, 'DELETE', 'old')).steady;
        purpose := format('DELETE trigger of rows of %s, for those that MERGE moves, written by pgherald.watch: do not edit, call watch again.', rel);
        return next;
    end if;
    for p in select * from pgherald.path(rel, options ->> 'project') w where w.step > 1 and options ->> 'project' <> '*' loop
        relation := p.relation;
        name := base || '_moved_' || p.step;
        arguments := '';
        source := pgherald.moved_source(rel, options, base, p.step);
        body := source.body;
        steady := source.steady;
        queries := source.queries;
        purpose := format('UPDATE trigger of %s for the sake of %s, written by pgherald.watch: do not edit, call watch again.', p.relation, rel);
        return next;
        name := base || '_lookup_' || p.step;
        arguments := format('keys %s[]', format_type(format('pg_catalog.%I', p.key_type)::regtype, null));
        body := pgherald.lookup_source(rel, options, p.step);
        steady := false;
        queries := null;
        purpose := format('The projects that rows of %s lead to, for %s, written by pgherald.watch: do not edit, call watch again.', p.relation, rel);
        return next;
    end loop;
end $$;
revoke all on function pgherald.function_sources(regclass, jsonb, text) from public;
grant execute on function pgherald.function_sources(regclass, jsonb, text) to public;
comment on function pgherald.function_sources(regclass, jsonb, text) is
    'The functions that a table watched with these options has: one for each operation, and two for each table in the middle of a path.';
