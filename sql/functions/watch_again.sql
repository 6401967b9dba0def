-- The options as they were given, on the table as it is now; a renamed column is followed.
create or replace function pgherald.watch_again(rel regclass) returns text
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    options jsonb := pgherald.settings(rel);
begin
    if options is null then
        raise exception 'cannot watch % again: it is not watched', rel
            using errcode = 'object_not_in_prerequisite_state', hint = 'Call pgherald.watch.';
    end if;
    options := pgherald.renamed(rel, options);
    return pgherald.watch(rel,
        project => options ->> 'project',
        id => pgherald.names(options -> 'id'),
        resource => options ->> 'resource',
        max_ids => (options ->> 'max_ids')::integer,
        columns => pgherald.names(options -> 'columns'),
        include => pgherald.names(options -> 'include'),
        mode => options ->> 'mode',
        always => (options ->> 'always')::boolean);
end $$;
revoke all on function pgherald.watch_again(regclass) from public;
grant execute on function pgherald.watch_again(regclass) to public;
comment on function pgherald.watch_again(regclass) is
    'Watches a table again with the options that it has: after new partitions, a renamed column, a changed key or type, a disabled trigger. Returns changed or unchanged.';
