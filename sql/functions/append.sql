-- How a writer hands payloads to the relay, with the writer's rights.
--
-- Advisory locks, which writers only ever try, shared, until the end of their transaction:
--   (7434, 1), (7434, 11), (7434, 12), (7434, 13) PRESENT
--                       Each daemon holds one of them. As soon as a try fails, somebody lives. Where all succeed nobody would
--                       read the queue: nothing is appended, and a daemon that comes later sees who holds the one that it
--                       takes, and tells all when they end.
--   (7434, 2) ASLEEP    Held by the relay only while it sleeps. A try that succeeds keeps it from falling asleep before this
--                       transaction has ended, and one that fails means that somebody must wake it.
-- The try must be in the subtransaction of the append: where that is rolled back both go, and where it is not, neither does.
create or replace function pgherald.append(payloads text[]) returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    slot integer := coalesce(pg_sequence_last_value('pgherald.queue_slot'), 0);
begin
    if pg_try_advisory_xact_lock_shared(7434, 1) and pg_try_advisory_xact_lock_shared(7434, 11)
        and pg_try_advisory_xact_lock_shared(7434, 12) and pg_try_advisory_xact_lock_shared(7434, 13)
    then
        return;
    -- looking takes a lock on each table for a moment: one in 64 does, and whoever brings much
    elsif slot = 4
        or (pg_lsn_hash(pg_current_wal_insert_lsn()) <= -2080374784 or cardinality(payloads) > 64) and pgherald.close_queue()
    then
        raise exception 'the queue of the relay is full' using errcode = 'program_limit_exceeded',
            hint = 'No daemon sends on what is in it: see `pgherald doctor`.';
    end if;
    case slot
        when 1 then insert into pgherald.queue_1 (payload) select unnest(payloads);
        when 2 then insert into pgherald.queue_2 (payload) select unnest(payloads);
        when 3 then insert into pgherald.queue_3 (payload) select unnest(payloads);
        else        insert into pgherald.queue_0 (payload) select unnest(payloads);
    end case;
    if not pg_try_advisory_xact_lock_shared(7434, 2) then
        perform pgherald.ring();
    end if;
end $$;
revoke all on function pgherald.append(text[]) from public;
grant execute on function pgherald.append(text[]) to public;
comment on function pgherald.append(text[]) is
    'Appends payloads of 2 to 7,969 bytes to the queue of the relay and wakes it where it sleeps; nothing where no daemon lives. Called by the triggers; raises where the queue is full.';
