-- The body of every generated trigger function. All of it is static SQL that runs with the writer's rights and search_path,
-- so every name and operator in it is qualified; "set search_path" on the function would cost as much as the rest.
-- The latter leave one payload, or several in payloads. pgherald_tail is how every payload ends: the transaction, and the first
-- hundred characters of pgherald.origin. No nullif() there: it would look for "=" in the writer's search_path.
create or replace function pgherald.body(declarations text, look text, tell text) returns text
language sql immutable set search_path = '' as $$
    select format($body$
#variable_conflict use_column
declare
%s    pgherald_tail pg_catalog.text;
    payload pg_catalog.text;
    payloads pg_catalog.text[];
    sent pg_catalog.text;
begin
%s    pgherald_tail := pg_catalog.format(',"cursor":"%%s"%%s}', pg_catalog.pg_current_xact_id(), case when pg_catalog.current_setting('pgherald.origin', true) operator(pg_catalog.<>) ''
        then pg_catalog.concat(',"origin":', pg_catalog.to_json(pg_catalog.left(pg_catalog.current_setting('pgherald.origin', true), 100))) end);
%s
    if payloads is null and pg_catalog.octet_length(payload) operator(pg_catalog.>) 7999 then
        payloads := pgherald.split(array[payload]);
    end if;
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
        null;
    end;
    return null;
end
$body$, declarations, look, tell)
$$;
revoke all on function pgherald.body(text, text, text) from public;
grant execute on function pgherald.body(text, text, text) to public;
comment on function pgherald.body(text, text, text) is
    'A trigger function around statements that look whether there is something to tell, and others that make it a payload: it sends, and what it cannot send it counts. No writer fails because of it.';
