-- Replaces functions only: no table is locked, no writer waits. What is in flight comes by the old way, and is heard as well.
create or replace function pgherald.set_transport(transport text) returns text
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    owner regrole := (select n.nspowner from pg_catalog.pg_namespace n where n.nspname = 'pgherald');
    known text;
    watched regclass;
    stray regclass;
begin
    if set_transport.transport is null or set_transport.transport not in ('notify', 'relay') then
        raise exception 'cannot set the transport to %', coalesce(quote_literal(set_transport.transport), 'null')
            using errcode = 'invalid_parameter_value', hint = 'It may be notify or relay.';
    elsif not pg_has_role(owner, 'usage') then
        raise exception 'cannot set the transport: only %, who owns schema pgherald, may', owner
            using errcode = 'insufficient_privilege', hint = format('Connect as %s or as a superuser.', owner);
    elsif current_setting('transaction_isolation') <> 'read committed' then
        -- tables that were watched since its snapshot would be left out
        raise exception 'cannot set the transport in a transaction that is %', current_setting('transaction_isolation')
            using errcode = 'invalid_transaction_state', hint = 'begin isolation level read committed; select pgherald.set_transport(...); commit';
    end if;
    perform pg_advisory_xact_lock(7434, 4);     -- calls of watch() end before, or see the new one
    select t.transport into known from pgherald.transport t;
    if known is distinct from set_transport.transport then
        insert into pgherald.transport (transport) values (set_transport.transport)
            on conflict (only_row) do update set transport = excluded.transport, changed_at = default;
    end if;
    if set_transport.transport = 'relay' and pg_sequence_last_value('pgherald.queue_ordinals') is null then
        -- with a value it says that there was a relay
        perform setval('pgherald.queue_ordinals', 9999999999);
    end if;
    -- all of them in any case: one may have been restored from elsewhere
    for watched in
        select t.tgrelid from pg_catalog.pg_trigger t where t.tgname = 'pgherald_truncate' and pgherald.settings(t.tgrelid) is not null
    loop
        begin
            perform pgherald.generate(watched);
        exception when others then
            raise warning '%: its trigger functions could not be rewritten, and go on as before: %', watched, sqlerrm
                using hint = 'Both transports reach the daemons. See `pgherald doctor`.';
        end;
    end loop;
    for stray in select a.* from pgherald.appending() a where set_transport.transport = 'notify' loop
        raise warning '%: its triggers still append to the queue', stray
            using hint = 'Daemons go on relaying for them. pgherald.watch() or pgherald.unwatch() it.';
    end loop;
    perform pg_notify('pgherald_transport', set_transport.transport), pg_notify('pgherald_bell', '');
    return case when known = set_transport.transport then 'unchanged' else 'changed' end;
end $$;
revoke all on function pgherald.set_transport(text) from public;
grant execute on function pgherald.set_transport(text) to public;
comment on function pgherald.set_transport(text) is
    'How triggers tell the daemons from now on. notify: pg_notify in the writer''s transaction, whose commits wait for one another. relay: an append to a queue, which one daemon sends on; where no daemon lives nothing is kept. Only the schema''s owner may call it. Returns changed or unchanged.';
