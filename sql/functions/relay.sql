-- One step of the relay: waits until there is something in the queue, then sends it on. Each statement sees what was committed
-- before it, and the notifications leave when the caller's transaction, which is this call, commits.
-- Bounded by id and not by place: of one row of the application, the older change always has the lower id.
-- Equal payloads of a step are of one transaction and become one, as NOTIFY has it.
-- Definer rights: only the schema's owner may take rows out of the queue, and whoever may execute this.
create or replace function pgherald.relay(patience_ms integer, max_rows integer, out taken bigint, out waiting bigint, out seconds float8)
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    deadline timestamptz := clock_timestamp() + patience_ms * interval '1 ms';
    looks integer := 0;
    slot integer := coalesce(pg_sequence_last_value('pgherald.queue_slot'), 0);
    -- the id that was given out last before we took any; read here first, because who drops the sequence locks it before the tables
    newest bigint := pg_sequence_last_value('pgherald.queue_ids');
    beyond bigint;          -- the first id that is left for the next step
    sent_on bigint;
    unfit bigint;           -- what NOTIFY would refuse: only a stranger appends such
    found_at timestamptz;
begin
    taken := 0;
    waiting := 0;
    seconds := 0;
    loop
        -- rows are nearly always in the table that writers have a short cut to, and looking into all five takes twice as long
        if looks % 4 = 0 or slot <> 0 then
            exit when exists (select from pgherald.queue);
        else
            exit when exists (select from only pgherald.queue_0);
        end if;
        if clock_timestamp() >= deadline then
            perform pgherald.note_relayed(pg_sequence_last_value('pgherald.queue_ids') - 1);
            return;
        end if;
        -- what has waited for ten milliseconds can wait for one more
        perform pg_sleep(case when looks < 10 then 0.001 else 0.002 end);
        looks := looks + 1;
    end loop;
    newest := pg_sequence_last_value('pgherald.queue_ids');
    found_at := clock_timestamp();
    if pg_notification_queue_usage() > 0.5 then
        -- a listener does not read, and a full queue of NOTIFY would fail us: ours can wait, and can become coarser
        waiting := (select count(*) from pgherald.queue);
        return;
    end if;
    beyond := (select q.id from pgherald.queue q order by q.id offset max_rows limit 1);
    with gone as (
        delete from pgherald.queue q where beyond is null or q.id < beyond returning q.id, q.payload
    ), sent as (
        select pg_notify('cache_invalidate', left(p.payload, -1) || ',"ordinal":' || p.id || '}')
          from (select min(g.id) as id, g.payload from gone g where octet_length(g.payload) between 2 and 7969 group by g.payload order by 1) p
    )
    select (select count(*) from gone), count(*), (select count(*) from gone g where octet_length(g.payload) > 7969)
      into taken, sent_on, unfit from sent;
    if unfit > 0 then
        perform pgherald.count_dropped(null, 'a payload of more than 7969 bytes was appended');
    end if;
    if beyond is not null then
        waiting := (select count(*) from pgherald.queue);
    end if;
    perform pgherald.note_relayed(coalesce(beyond - 1, newest));
    seconds := extract(epoch from clock_timestamp() - found_at);
end $$;
revoke all on function pgherald.relay(integer, integer) from public;
comment on function pgherald.relay(integer, integer) is
    'Waits up to patience_ms milliseconds for something in the queue, then sends about max_rows of it on to the listeners, oldest first. taken: the rows that left the queue; waiting: those that are still in it; seconds: how long sending took. For the daemon''s role: grant it where that does not own the schema.';
