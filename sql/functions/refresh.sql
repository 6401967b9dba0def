-- After a migration of the application. One table that cannot be watched any more does not stop the others; what it
-- cannot send meanwhile is counted and makes browsers refetch.
create or replace function pgherald.refresh() returns table (relation regclass, outcome text, reason text)
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    message text;
    advice text;
    lost record;
begin
    for relation in
        select t.tgrelid from pg_catalog.pg_trigger t join pg_catalog.pg_class c on c.oid = t.tgrelid
         where t.tgname = 'pgherald_truncate' and pgherald.settings(t.tgrelid) is not null
         order by c.relispartition, t.tgrelid::regclass::text
    loop
        -- a partition that was attached since: its parent has just taken it over
        continue when pgherald.settings(relation) is null;
        begin
            outcome := pgherald.watch_again(relation);
            reason := null;
        exception when others then
            get stacked diagnostics message = message_text, advice = pg_exception_hint;
            outcome := 'failed';
            reason := concat_ws(': ', message, nullif(advice, ''));
        end;
        return next;
    end loop;
    -- of dropped tables: what they left on others, and their functions
    for lost in
        select t.tgname, t.tgrelid::regclass as on_table
          from pgherald.generated() g join pg_catalog.pg_trigger t on t.tgfoid = g.function
         where g.role = 'moved' and t.tgparentid = 0 and pg_has_role((select c.relowner from pg_catalog.pg_class c where c.oid = t.tgrelid), 'usage')
           and not exists (select from pgherald.generated() o join pg_catalog.pg_trigger r on r.tgfoid = o.function
                            where o.base = g.base and o.role = 'truncate')
    loop
        execute format('drop trigger %I on %s', lost.tgname, lost.on_table);
    end loop;
    perform pgherald.drop_unused();
end $$;
revoke all on function pgherald.refresh() from public;
grant execute on function pgherald.refresh() to public;
comment on function pgherald.refresh() is
    'Watches every watched table again, with the options that it has. A row for each: relation, outcome (changed, unchanged or failed) and, where it failed, the reason. Follows new partitions, renamed or retyped columns and changed keys, and clears away what dropped tables have left.';
