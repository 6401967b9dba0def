-- The body of every generated trigger function. All of it is static SQL that runs with the writer's rights and search_path,
-- so every name and operator in it is qualified; "set search_path" on the function would cost as much as the rest.
-- The statements leave a payload, or several in payloads; everything is one that needs no looking.
create or replace function pgherald.body(declarations text, statements text, everything text) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select format($body$
#variable_conflict use_column
declare
%s    pgherald_tail pg_catalog.text;
    payload pg_catalog.text;
    payloads pg_catalog.text[];
    sent pg_catalog.text;
begin
%s
    -- the emission. A full queue fails the COMMIT, where nobody can catch it; asking also frees what a dead listener left.
    if pg_catalog.pg_notification_queue_usage() operator(pg_catalog.>) 0.9::pg_catalog.float8 then
        raise exception 'the notification queue is nearly full';
    elsif payloads is null then
        sent := pg_catalog.pg_notify('cache_invalidate', payload);
    else
        foreach payload in array payloads loop
            sent := pg_catalog.pg_notify('cache_invalidate', payload);
        end loop;
    end if;
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
revoke all on function pgherald.body(text, text, text) from public;
grant execute on function pgherald.body(text, text, text) to public;
comment on function pgherald.body(text, text, text) is
    'A trigger function around statements that find out what to tell: it sends, and what it cannot send it counts. No writer fails because of it.';
