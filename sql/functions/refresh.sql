-- After a migration of the application. One table that cannot be watched any more does not stop the others; what it
-- cannot send meanwhile is counted and makes browsers refetch.
create or replace function pgherald.refresh() returns table (relation regclass, outcome text, reason text)
language plpgsql volatile set search_path = '' as $$
#variable_conflict use_column
declare
    message text;
    advice text;
begin
    for relation in select w.relation from pgherald.watched w order by w.relation::text loop
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
end $$;
revoke all on function pgherald.refresh() from public;
grant execute on function pgherald.refresh() to public;
comment on function pgherald.refresh() is
    'Watches every watched table again, with the options that it has. A row for each: relation, outcome (changed, unchanged or failed) and, where it failed, the reason.';
