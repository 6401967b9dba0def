-- The statements leave a payload, or several in payloads; everything is one that needs no looking.
create or replace function pgherald.body(declarations text, statements text, everything text) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select pgherald.guarded($d$    pgherald_tail pg_catalog.text;
    payload pg_catalog.text;
    payloads pg_catalog.text[];
$d$ || declarations, statements || $s$
    -- the emission. A full queue fails the COMMIT, where nobody can catch it; asking also frees what a dead listener left.
    if pg_catalog.pg_notification_queue_usage() operator(pg_catalog.>) 0.9::pg_catalog.float8 then
        raise exception 'the notification queue is nearly full';
    elsif payloads is null then
        sent := pg_catalog.pg_notify('cache_invalidate', payload);
    else
        foreach payload in array payloads loop
            sent := pg_catalog.pg_notify('cache_invalidate', payload);
        end loop;
    end if;$s$, everything)
$$;
revoke all on function pgherald.body(text, text, text) from public;
grant execute on function pgherald.body(text, text, text) to public;
comment on function pgherald.body(text, text, text) is
    'The body of a trigger function that sends what its statements find out.';
