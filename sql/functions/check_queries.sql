-- Plans and runs the queries of the triggers of a table over no rows.
create or replace function pgherald.check_queries(rel regclass) returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    source regclass;
    query text;
    reason text;
begin
    for source, query in select f.relation, unnest(f.queries) from pgherald.function_sources(rel, pgherald.settings(rel), pgherald.base_name(rel)) f loop
        execute format('with pgherald_new as (select * from %s), pgherald_old as (select * from %1$s) select from (%s) q limit 0', source,
            replace(query, 'pgherald_tail', '''''::pg_catalog.text'));
    end loop;
exception
    when insufficient_privilege then
        raise;
    when others then
        get stacked diagnostics reason = message_text;
        raise exception 'cannot watch %: the query of its trigger fails: %', rel, reason
            using errcode = 'feature_not_supported', hint = 'Choose other columns for project and id, or call pgherald.notify() from the application.';
end $$;
revoke all on function pgherald.check_queries(regclass) from public;
grant execute on function pgherald.check_queries(regclass) to public;
comment on function pgherald.check_queries(regclass) is 'Raises where a query of this table''s triggers would fail.';
