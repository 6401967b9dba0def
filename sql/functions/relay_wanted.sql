-- Definer rights, because nobody may read the queue. After a return to notify, a transaction that had begun before may still append,
-- or have told nobody: these hold a lock (see append). A statement that runs meanwhile may have the old body of its trigger and no
-- lock yet: so a relay is wanted for another hour. There may also be triggers that could not be rewritten.
-- Where a dump without data was restored there is no transport, but there are triggers. On a standby there is no queue to read.
create or replace function pgherald.relay_wanted() returns boolean
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    relayed boolean := coalesce((select t.transport = 'relay' from pgherald.transport t), true);
begin
    if relayed or pg_is_in_recovery() then
        return relayed;
    end if;
    return exists (select from pgherald.queue)
        -- it was ever relay (see set_transport)
        or pg_sequence_last_value('pgherald.queue_ordinals') is not null
           and exists (select from pgherald.transport t where t.changed_at > clock_timestamp() - interval '1 hour')
        or exists (select from pgherald.appending())
        or exists (select from pg_locks l where l.locktype = 'advisory' and l.classid = 7434 and l.objid in (1, 2, 11, 12, 13) and l.objsubid = 2
                      and l.mode = 'ShareLock' and l.database = (select d.oid from pg_database d where d.datname = current_database()));
end $$;
revoke all on function pgherald.relay_wanted() from public;
grant execute on function pgherald.relay_wanted() to public;
comment on function pgherald.relay_wanted() is 'Whether a daemon has to relay: the transport is relay or not known, or there is something in the queue, or there are triggers that append to it, or transactions that did, or it was relay within the last hour.';
