-- The two ways in which a trigger sends a payload, or several in payloads.
--   notify   A full queue fails the COMMIT, where nobody can catch it; asking also frees what a dead listener left.
--   relay    The short cut: one statement that appends to the queue's usual table and says in the same subtransaction "I saw you
--            awake" (see append). Where it can't, and now and then, ring() goes on. append() knows everything else.
--            Where no daemon lives nothing is worked out; the daemon that comes next waits for this transaction and tells all.
-- at_once is for the usual case: a format of a statement that finds out, sends and ends it, from the expression of a payload,
-- what it is selected from, and on which condition; where that does not hold it does nothing, and the long way follows.
create or replace function pgherald.emission(transport text, out declarations text, out opening text, out at_once text, out emission text)
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
declare
    usual text := $s$pg_catalog.pg_sequence_last_value('pgherald.queue_slot'::pg_catalog.regclass) operator(pg_catalog.=) 0$s$;
    append text;
begin
    if transport = 'relay' then
        declarations := E'    awake pg_catalog.bool;\n';
        opening := $s$    if pg_catalog.pg_try_advisory_xact_lock_shared(7434, 1) then
        if pg_catalog.pg_try_advisory_xact_lock_shared(7434, 11) and pg_catalog.pg_try_advisory_xact_lock_shared(7434, 12)
            and pg_catalog.pg_try_advisory_xact_lock_shared(7434, 13)
        then
            return null;
        end if;
    end if;
$s$;
        -- One in 64 looks in ring() whether there is room. Not by chance: random() would change what setseed() gives the application.
        append := $s$into pgherald.queue_0 (payload)
        %s
        returning pg_catalog.pg_lsn_hash(pg_catalog.pg_current_wal_insert_lsn()) operator(pg_catalog.>) -2080374784
            and pg_catalog.pg_try_advisory_xact_lock_shared(7434, 2) into awake;$s$;
        -- not as a condition of the statement: that would lock the table where rows go to another
        at_once := format($s$    if %s then
        insert %s
    end if;
    if awake then
        return null;
    elsif not awake then
        perform pgherald.ring();
        return null;
    end if;
$s$, usual, format(append, E'select %s\n          from %s\n         where %s'));
        emission := format($s$
    -- the emission
    if payloads is null and %s then
        insert %s
        if not awake then
            perform pgherald.ring();
        end if;
    else
        perform pgherald.append(coalesce(payloads, array[payload]));
    end if;$s$, usual, format(append, 'values (payload)'));
    else
        at_once := $s$    select pg_catalog.pg_notify('cache_invalidate', %s)
      from %s
     where %s
       and pg_catalog.pg_notification_queue_usage() operator(pg_catalog.<=) 0.9::pg_catalog.float8
      into sent;
    if found then
        return null;
    end if;
$s$;
        emission := $s$
    -- the emission
    if pg_catalog.pg_notification_queue_usage() operator(pg_catalog.>) 0.9::pg_catalog.float8 then
        raise exception 'the notification queue is nearly full';
    elsif payloads is null then
        sent := pg_catalog.pg_notify('cache_invalidate', payload);
    else
        foreach payload in array payloads loop
            sent := pg_catalog.pg_notify('cache_invalidate', payload);
        end loop;
    end if;$s$;
    end if;
end $$;
revoke all on function pgherald.emission(text) from public;
grant execute on function pgherald.emission(text) to public;
comment on function pgherald.emission(text) is
    'The parts of a trigger function''s body that differ with the transport: what it declares, how it begins, how it sends the one row of a usual statement, and how it sends all else.';
