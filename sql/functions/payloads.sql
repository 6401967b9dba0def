-- 7,999 bytes is what NOTIFY carries (a payload of 8,000 aborts the writer); octet_length counts bytes as the server does.
-- 65,536 bytes of ids are ten notifications: beyond that, and for a single id that fits nowhere, the whole resource is told.
create or replace function pgherald.payloads(head text, ids text[], tail text) returns setof text
language plpgsql immutable set search_path = '' as $$
declare
    room integer := 7999 - octet_length(head) - octet_length(tail) - octet_length(',"ids":[]');
    part text;
    next_id text;
begin
    if ids is null
       or (select sum(octet_length(i) + 1) > 65536 or max(octet_length(i)) > room from unnest(ids) i) then
        return next head || ',"ids":null' || tail;
        return;
    end if;
    foreach next_id in array ids loop
        if octet_length(part) + 1 + octet_length(next_id) > room then
            return next head || ',"ids":[' || part || ']' || tail;
            part := null;
        end if;
        part := coalesce(part || ',', '') || next_id;
    end loop;
    return next head || ',"ids":[' || part || ']' || tail;
end $$;
revoke all on function pgherald.payloads(text, text[], text) from public;
grant execute on function pgherald.payloads(text, text[], text) to public;
comment on function pgherald.payloads(text, text[], text) is
    'The notifications that carry these ids (each a JSON string), split under the limit of NOTIFY; null ids = the whole resource.';
