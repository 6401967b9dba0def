-- For a writer who has appended and could not say "I saw you awake" in passing (see emission): it tries again, and rings.
-- It also comes here now and then to look whether there is room.
-- A bell cannot be rung from a transaction that is prepared: where there are such, the relay never sleeps.
create or replace function pgherald.ring() returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
begin
    if pg_relation_size('pgherald.queue_0') > pgherald.queue_limit() / 4 and pgherald.close_queue() then
        raise exception 'the queue of the relay is full' using errcode = 'program_limit_exceeded',
            hint = 'No daemon sends on what is in it: see `pgherald doctor`.';
    elsif pg_try_advisory_xact_lock_shared(7434, 2) then
        return;
    -- a full queue fails the COMMIT, where nobody can catch it
    elsif pg_notification_queue_usage() > 0.9 then
        raise exception 'the notification queue is nearly full';
    end if;
    perform pg_notify('pgherald_bell', '');
end $$;
revoke all on function pgherald.ring() from public;
grant execute on function pgherald.ring() to public;
comment on function pgherald.ring() is
    'Wakes the relay when this transaction commits, where it sleeps. Called after an append; raises where the queue is full.';
