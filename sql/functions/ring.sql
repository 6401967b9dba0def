-- A bell cannot be rung from a transaction that is prepared: where there are such, the relay never sleeps.
create or replace function pgherald.ring() returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
begin
    -- a full queue fails the COMMIT, where nobody can catch it
    if pg_notification_queue_usage() > 0.9 then
        raise exception 'the notification queue is nearly full';
    end if;
    perform pg_notify('pgherald_bell', '');
end $$;
revoke all on function pgherald.ring() from public;
grant execute on function pgherald.ring() to public;
comment on function pgherald.ring() is 'Wakes the relay when this transaction commits.';
