-- A notification is lost: count it, so that the daemon makes every browser ask again.
-- Not nextval(), which would change what lastval() gives the application. Two at once may count as one: the daemon looks
-- whether the number has changed, and tells again as those end who were writing then.
-- Definer rights, because a writer has none on the sequence. The log stays readable when a trigger fails at every write:
-- the first ten losses, then one in a hundred.
create or replace function pgherald.count_dropped(relation oid, reason text) returns void
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    n bigint := setval('pgherald.dropped', coalesce(pg_sequence_last_value('pgherald.dropped'), 0) + 1);
begin
    if n <= 10 or n % 100 = 0 then
        raise log 'pgherald: notification % of % lost: %', n, relation::regclass, reason;
    end if;
end $$;
revoke all on function pgherald.count_dropped(oid, text) from public;
grant execute on function pgherald.count_dropped(oid, text) to public;
comment on function pgherald.count_dropped(oid, text) is
    'Called by the generated triggers where a notification could not be sent: counts it in pgherald.dropped and logs the reason.';
