-- For application code, where no trigger can serve. Unlike a trigger it complains about arguments that make no sense;
-- a lost notification is counted in the same way.
create or replace function pgherald.notify(resource text, id text, action text default 'UPDATE', project_id text default null)
returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    everyone boolean := coalesce(octet_length(project_id) not between 1 and 200, true);
    payload text := format('{"resource":%s,"action":"%s","project_id":%s,"ids":%s,"cursor":"%s"%s}',
        to_json(resource), upper(action), to_json(case when everyone then '*' else project_id end),
        case when everyone or id is null then 'null' else format('[%s]', to_json(id)) end, pg_current_xact_id(),
        ',"origin":' || to_json(left(nullif(current_setting('pgherald.origin', true), ''), 100))::text);
begin
    if resource is null or octet_length(resource) not between 1 and 200 then
        raise exception 'cannot notify: a resource has 1 to 200 bytes' using errcode = 'invalid_parameter_value';
    elsif action is null or upper(action) not in ('INSERT', 'UPDATE', 'DELETE') then
        raise exception 'cannot notify: action is %', coalesce(quote_literal(action), 'null')
            using errcode = 'invalid_parameter_value', hint = 'It may be INSERT, UPDATE or DELETE.';
    end if;
    -- the emission; who only reads may not append
    if (select t.transport from pgherald.transport t) = 'relay' and current_setting('transaction_read_only') = 'off' then
        begin
            perform pgherald.append(pgherald.split(array[payload]));
        exception when others then
            perform pgherald.count_dropped(null, format('notify(%L): %s', resource, sqlerrm));
        end;
    elsif pg_notification_queue_usage() > 0.9 then
        perform pgherald.count_dropped(null, format('notify(%L): the notification queue is nearly full', resource));
    else
        perform pg_notify('cache_invalidate', p) from unnest(pgherald.split(array[payload])) p;
    end if;
end $$;
revoke all on function pgherald.notify(text, text, text, text) from public;
grant execute on function pgherald.notify(text, text, text, text) to public;
comment on function pgherald.notify(text, text, text, text) is
    'Tells browsers that a row of this resource is stale. id null: the whole resource. action: INSERT, UPDATE or DELETE. project_id "*": every project; null: the same without the id, as for a row of no project.';
