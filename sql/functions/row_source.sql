-- No transition tables: for one row it costs what a statement trigger costs, for many far more. Beyond max_ids rows of a
-- transaction the whole resource is told; PostgreSQL keeps equal notifications of a transaction only once.
-- Sessions that have called the function keep what they know of the types of new and old: so the types are written into it,
-- for a refresh to replace it when they change.
create or replace function pgherald.row_source(
    rel regclass, options jsonb, base text, operation text,
    out body text, out steady boolean, out queries text[])
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    p record := pgherald.parts(rel, options, base, operation, case when operation = 'DELETE' then 'old' else 'new' end);
    old record := pgherald.parts(rel, options, base, operation, 'old');
    moves boolean := operation = 'UPDATE';
    -- the casts keep PostgreSQL from comparing column by column
    same text := format('row(%s)::pg_catalog.record operator(pg_catalog.*=) row(%s)::pg_catalog.record', p.compared, old.compared);
    told text := format('case when ids is not null and %s and seen operator(pg_catalog.<=) %s then %s else %s end',
        p.is_known, options ->> 'max_ids', p.named, p.whole);
    shown text := format($q$pg_catalog.concat(',"rows":[', x, ']'%s, '}')$q$,
        case when moves then $q$, case when x operator(pg_catalog.<>) old_x then pg_catalog.concat(',"old_rows":[', old_x, ']') end$q$ end);
    counted text;
    at_once text[];
begin
    steady := p.steady;
    counted := concat(
        case when moves and p.compared is not null then format(
$body$    if %s then
        return null;
    end if;
$body$, same) end,
        format(
$body$    if pg_catalog.current_setting('pgherald.rows', true) operator(pg_catalog.<>) '' then
        seen := pg_catalog.current_setting('pgherald.rows', true)::pg_catalog.int8 operator(pg_catalog.+) 1;
    end if;
    if seen operator(pg_catalog.<=) %s then
        sent := pg_catalog.set_config('pgherald.rows', seen::pg_catalog.text, true);
    end if;
$body$, options ->> 'max_ids'));
    -- an id and a project that did not change
    if p.included is null and p.lookup is null then
        at_once := array[p.named_at_once,
            concat('(select ', p.id_at_once, ' as ids, ', p.project, ' as k', case when moves then format(', %s as old_ids, %s as old_k', old.id_at_once, old.project) end, ') q'),
            concat('seen operator(pg_catalog.<=) ', options ->> 'max_ids',
                case when p.separator = ',' then ' and pg_catalog.octet_length(ids) operator(pg_catalog.<=) 6000' else ' and ids is not null' end,
                ' and ', p.is_known, case when moves then ' and ids operator(pg_catalog.=) old_ids and k operator(pg_catalog.=) old_k' end)];
    end if;
    queries := array[format('select %s from pgherald_new new, pgherald_old old', concat_ws(', ', p.id, coalesce(p.project, p.via), p.included, same))];
    body := pgherald.body(
        concat(E'    -- ', regexp_replace((select string_agg(concat_ws(' ', a.attname, a.atttypid::regtype), ', ' order by a.attnum)
                from pg_catalog.pg_attribute a where a.attrelid = rel and a.attnum > 0 and not a.attisdropped), '[^ -~]', '?', 'g'), E'\n',
            format(E'    seen pg_catalog.int8 := 1;\n    ids pg_catalog.text;\n    k %s;\n', p.k_type),
            case when moves then format(E'    old_ids pg_catalog.text;\n    old_k %s;\n    first pg_catalog.text;\n', p.k_type) end,
            case when p.included is not null then E'    x pg_catalog.text;\n' || case when moves then E'    old_x pg_catalog.text;\n' else '' end end,
            case when p.lookup is not null then E'    projects pg_catalog.text[];\n' end),
        concat(
            p.tail_first,
            case when p.lookup is not null then format(E'    projects := %s(array[%s]);\n', p.lookup, concat_ws(', ', p.via, case when moves then old.via end)) end,
            format(E'    ids := %s;\n    k := %s;\n    payload := %s;\n', p.id, coalesce(p.project, 'projects[1]'), told),
            case when moves then format(E'    old_ids := %s;\n    old_k := %s;\n', old.id, coalesce(old.project, 'projects[2]')) end,
            case when p.included is not null then format(
$body$    if ids is not null and %s and seen operator(pg_catalog.<=) %s%s then
        x := %s;%s
        if pg_catalog.octet_length(payload) operator(pg_catalog.+) pg_catalog.octet_length(%s) operator(pg_catalog.<=) 7970 then
            payload := pg_catalog.concat(pg_catalog.left(payload, -1), %6$s);
        end if;
    end if;
$body$, p.is_known, least(100, (options ->> 'max_ids')::integer), case when moves then ' and ids operator(pg_catalog.=) old_ids and k operator(pg_catalog.=) old_k' end,
                p.included, case when moves then format(E'\n        old_x := %s;', old.included) end, shown) end,
            case when moves then format(
$body$    if ids operator(pg_catalog.=) old_ids and k operator(pg_catalog.=) old_k then
        null;
    else
        first := payload;
        ids := old_ids;
        k := old_k;
        payload := %s;
        payloads := pgherald.split(array[first, payload]);
    end if;
$body$, told) end,
            E'    if payloads is null and pg_catalog.octet_length(payload) operator(pg_catalog.>) 7969 then\n        payloads := pgherald.split(array[payload]);\n    end if;'), p.everything, counted, at_once);
end $$;
revoke all on function pgherald.row_source(regclass, jsonb, text, text) from public;
grant execute on function pgherald.row_source(regclass, jsonb, text, text) to public;
comment on function pgherald.row_source(regclass, jsonb, text, text) is 'The body of a row-level trigger function.';
