-- The body of every generated trigger function. All of it is static SQL that runs with the writer's rights and search_path,
-- so every name and operator in it is qualified; "set search_path" on the function would cost as much as the rest (and is there where it runs with the installer's rights).
create or replace function pgherald.guarded(declarations text, statements text, everything text) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select format($body$
#variable_conflict use_column
declare
%s    sent pg_catalog.text;
begin
%s
    return null;
exception when others then
    begin
        perform pgherald.count_dropped(tg_relid, sqlerrm);
    exception when others then
        -- not even that: then everything of it to everyone, by nothing of ours
        begin
            if pg_catalog.pg_notification_queue_usage() operator(pg_catalog.<=) 0.9::pg_catalog.float8 then
                sent := pg_catalog.pg_notify('cache_invalidate', %L);
            end if;
        exception when others then
            null;
        end;
    end;
    return null;
end
$body$, declarations, statements, everything)
$$;
revoke all on function pgherald.guarded(text, text, text) from public;
grant execute on function pgherald.guarded(text, text, text) to public;
comment on function pgherald.guarded(text, text, text) is
    'A trigger function around statements: what fails in them is counted, and no writer fails because of it. everything is the payload that is left where even counting fails.';
