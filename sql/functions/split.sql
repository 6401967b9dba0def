-- 7,999 bytes is what NOTIFY carries (one more aborts the writer), and a relay adds up to 30; octet_length counts bytes as the server does.
-- 65,536 bytes are about ten notifications: beyond that, and for an id that fits nowhere, the whole resource is told.
-- A quote inside a JSON string has a backslash, so what is searched for here is nowhere but where it belongs.
create or replace function pgherald.split(payloads text[]) returns text[]
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
declare
    done text[] := '{}';
    payload text;
    head text;
    tail text;
    ids text[];
    id text;
    part text;
    room integer;
begin
    foreach payload in array payloads loop
        if octet_length(payload) <= 7969 then
            done := done || payload;
            continue;
        end if;
        head := split_part(payload, '"ids":[', 1);
        tail := ',"cursor"' || split_part(payload, '],"cursor"', 2);
        room := 7969 - octet_length(head || '"ids":[]' || tail);
        if octet_length(payload) <= 65536 then
            ids := array(select e.value::text from json_array_elements(payload::json -> 'ids') e);
        end if;
        if ids is null or exists (select from unnest(ids) i where octet_length(i) > room) then
            done := done || (head || '"ids":null' || tail);
            continue;
        end if;
        part := null;
        foreach id in array ids loop
            if octet_length(part) + 1 + octet_length(id) > room then
                done := done || (head || '"ids":[' || part || ']' || tail);
                part := null;
            end if;
            part := coalesce(part || ',', '') || id;
        end loop;
        done := done || (head || '"ids":[' || part || ']' || tail);
    end loop;
    return done;
end $$;
revoke all on function pgherald.split(text[]) from public;
grant execute on function pgherald.split(text[]) to public;
comment on function pgherald.split(text[]) is
    'Payloads of any length in, payloads that NOTIFY carries out: long lists of ids in several, or the whole resource.';
