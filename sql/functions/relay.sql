-- One step of the relay: waits until there is something in the queue, then sends it on. Each statement sees what was committed
-- before it, and the notifications leave when the caller's transaction, which is this call, commits.
-- Bounded by lsn and not by place: of one row of the application, the older change always has the lower one. Within one
-- statement's append the place decides.
-- Equal payloads of a step are of one transaction and become one, as NOTIFY has it.
-- Definer rights: only the schema's owner may take rows out of the queue, and whoever may execute this.
create or replace function pgherald.relay(patience_ms integer, max_rows integer, out taken bigint, out waiting bigint, out seconds float8)
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    deadline timestamptz := clock_timestamp() + patience_ms * interval '1 ms';
    quiet boolean := patience_ms > 50;
    -- A little less, as the server rounds up to milliseconds. The longer when nothing comes: waking up is what an idle relay costs.
    pauses float8[] := case when patience_ms > 200 then array[0.0039, 0.0039, 0.0039]
                            when quiet then array[0.0019, 0.0019, 0.0029]
                            else array[0.0009, 0.0009, 0.0009] end;
    looks integer := 0;
    all_after integer := case when patience_ms > 200 then 10 else 20 end;
    slot integer := coalesce(pg_sequence_last_value('pgherald.queue_slot'), 0);
    bytes bigint;
    -- the first that is left for the next step
    first_lsn pg_lsn;
    first_table oid;
    first_place tid;
    sent_on bigint;
    unfit bigint;           -- what NOTIFY would refuse: only a stranger appends such
    dropped bigint;
    woke_at timestamptz := clock_timestamp();
    looked_at timestamptz;
    found_at timestamptz;
begin
    taken := 0;
    waiting := 0;
    seconds := 0;
    -- back to the table that writers have a short cut to as soon as it is free
    if slot between 1 and 3 and pg_relation_size('pgherald.queue_0') <= 65536 then
        perform setval('pgherald.queue_slot', 0);
        slot := 0;
    end if;
    loop
        -- Rows are nearly always in the table that writers have a short cut to, and looking into all five takes twice as long.
        -- All at first, as whoever alters or drops them locks the parent before its children.
        if looks % all_after = 0 or slot <> 0 then
            exit when exists (select from pgherald.queue);
        else
            exit when exists (select from only pgherald.queue_0);
        end if;
        looked_at := clock_timestamp();
        if looked_at >= deadline then
            if quiet or slot = 4 then
                perform pgherald.shrink_queue();
            end if;
            perform pgherald.open_queue(pgherald.queue_bytes());
            return;
        end if;
        -- not much more than half of the time is spent with looking, however large the tables are
        perform pg_sleep(greatest(pauses[1 + looks % 3], extract(epoch from looked_at - woke_at)::float8));
        woke_at := clock_timestamp();
        looks := looks + 1;
    end loop;
    found_at := clock_timestamp();
    if pg_notification_queue_usage() > 0.8 then
        -- a listener does not read, and a full queue of NOTIFY would fail us: ours can wait, and can become coarser
        waiting := (select count(*) from pgherald.queue);
        return;
    end if;
    -- as queue_bytes(), which would take longer to call
    bytes := pg_relation_size('pgherald.queue_0') + pg_relation_size('pgherald.queue_1')
           + pg_relation_size('pgherald.queue_2') + pg_relation_size('pgherald.queue_3');
    -- two questions, because the second would be planned anew each time
    if bytes > pgherald.queue_limit() / 4 then
        if exists (select from pgherald.queue offset 200000) then
            -- each step reads all that waits: after a transaction of millions it would be at it for hours
            for k in 0..3 loop
                execute format('delete from only pgherald.queue_%s where ctid = any (array(select q.ctid from only pgherald.queue_%1$s q limit 200000))', k);
                get diagnostics dropped = row_count;
                taken := taken + dropped;
            end loop;
            waiting := 1;       -- how many is not worth another look at millions
            perform pgherald.count_dropped(null, 'more than 200000 rows waited in the queue of the relay');
            return;
        end if;
    end if;
    if bytes > 1048576 then
        select q.lsn, q.tableoid, q.ctid into first_lsn, first_table, first_place
          from pgherald.queue q order by q.lsn, q.tableoid, q.ctid offset max_rows limit 1;
    end if;
    with gone as (
        delete from pgherald.queue q where first_lsn is null or (q.lsn, q.tableoid, q.ctid) < (first_lsn, first_table, first_place)
        returning q.lsn, q.tableoid, q.ctid, q.payload
    ), placed as (
        select g.payload, row_number() over (order by g.lsn, g.tableoid, g.ctid) as place
          from gone g where octet_length(g.payload) between 2 and 7969
    ), sent as (
        select pg_notify('cache_invalidate', format('%s,"ordinal":%s}', left(p.payload, -1), nextval('pgherald.queue_ordinals')))
          from (select p.payload from placed p group by p.payload order by min(p.place)) p
    )
    select g.taken, g.unfit, (select count(*) from sent) into taken, unfit, sent_on
      from (select count(*) as taken, count(*) filter (where octet_length(g.payload) > 7969) as unfit from gone g) g;
    if unfit > 0 then
        perform pgherald.count_dropped(null, 'a payload of more than 7969 bytes was appended');
    end if;
    if first_lsn is not null then
        waiting := (select count(*) from pgherald.queue);
    elsif bytes > pgherald.queue_limit() / 16 or slot = 4 then
        -- the rest can wait until nothing comes
        perform pgherald.open_queue(bytes);
    end if;
    seconds := extract(epoch from clock_timestamp() - found_at);
end $$;
revoke all on function pgherald.relay(integer, integer) from public;
comment on function pgherald.relay(integer, integer) is
    'Waits up to patience_ms milliseconds for something in the queue, looking every millisecond (where that is more than 50, every two or three; more than 200, every four), then sends about max_rows of it (or a megabyte) on to the listeners, oldest first. Where more than 200,000 rows wait it drops as many, which makes every browser refetch. taken: the rows that left the queue; waiting: those that are still in it, about; seconds: how long sending took. Where it has waited so long in vain it also truncates the queue''s usual table. For the daemon''s role: grant it where that does not own the schema.';
