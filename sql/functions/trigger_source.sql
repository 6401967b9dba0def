-- Writes the body of one trigger function. All of it is static SQL: a single-row statement costs one query and a few
-- expressions. The body runs with the writer's rights and search_path, so every name and operator in it is qualified;
-- "set search_path" on the function would cost as much as the rest.
--
-- Three queries over the transition tables:
--   fast     one project, nothing moved: by far the usual case. Looks at max_ids + 1 rows at most.
--   grouped  several projects, a moved row or a changed key (old and new differ), or a null.
--   bulk     more than max_ids rows: every project once, the whole resource; more than max_ids projects: "*".
-- In them j is the id of a row, k its project, w whether it is a new row.
-- UPDATE: both transition tables hold the rows in one order, so equal lists of ids mean that no key changed.
-- A row of no project, or whose project is longer than 200 bytes or "*", is told to every project, without its id.
-- A composite key is its columns joined by ":", nothing escaped: keys that read the same are told as one, and cover both rows.
-- pgherald.origin of the writer's session travels along, its first hundred characters.
-- format() and not "||" in the bodies: one function to set up in place of ten.
create or replace function pgherald.trigger_source(
    rel regclass, options jsonb, operation text,
    out fast text, out grouped text, out bulk text, out body text, out steady boolean)
language plpgsql stable set search_path = '' as $$
declare
    key name[] := coalesce(
        (select array_agg(k.name order by k.position) from jsonb_array_elements_text(options -> 'id') with ordinality k(name, position)),
        pgherald.primary_key(rel));
    max_ids integer := (options ->> 'max_ids')::integer;
    rows_max integer := max_ids * case when operation = 'UPDATE' then 2 else 1 end;
    head text := replace(format('{"%s":%s,"action":"%s","project_id":',
        case when options ? 'resource' then 'resource' else 'table' end,
        to_json(coalesce(options ->> 'resource', (select c.relname from pg_catalog.pg_class c where c.oid = rel))),
        case when operation = 'TRUNCATE' then 'DELETE' else operation end), '%', '%%');
    tail text := ',"cursor":"%s"%s}';
    -- no nullif(): it would look for "=" in the writer's search_path.
    cursor text := $q$pg_catalog.pg_current_xact_id(), case when pg_catalog.current_setting('pgherald.origin', true) operator(pg_catalog.<>) ''
                then pg_catalog.concat(',"origin":', pg_catalog.to_json(pg_catalog.left(pg_catalog.current_setting('pgherald.origin', true), 100))) else '' end$q$;
    everywhere text := format('pg_catalog.format(%L, %s)', head || '"*","ids":null' || tail, cursor);
    id record;
    project record;
    separator text;         -- between the ids of a list
    slot text;              -- the place of the project in a payload
    slot_value text;        -- and what fills it, from k
    is_known text;          -- condition on the k of a group: it is a project
    is_one text;            -- condition on the aggregates over k: one project, and known
    named text;             -- the payload with ids
    whole text;             -- the payload without
    new_rows text;
    old_rows text;
    bound text := format(' limit %s', max_ids + 1);
begin
    if operation = 'TRUNCATE' then
        steady := true;
        fast := 'select 1, ' || everywhere;
    else
        if key is null then
            raise exception 'cannot watch %: it has no primary key', rel
                using errcode = 'invalid_table_definition', hint = 'Pass id => array[''column'', ...] that names a row.';
        end if;
        select string_agg(c.expression || '::pg_catalog.text', $q$ operator(pg_catalog.||) ':' operator(pg_catalog.||) $q$ order by k.position) as expression,
               bool_and(c.plain) as plain, bool_and(c.steady) as steady
          into id
          from unnest(key) with ordinality k(name, position) cross join lateral pgherald.column_text(rel, k.name) c;
        separator := case when id.plain then '","' else ',' end;

        if options ->> 'project' = '*' then
            select $q$'*'::pg_catalog.text$q$ as expression, true as steady into project;
            slot := '"%s"';
            slot_value := $q$'*'$q$;
            is_known := 'true';
            is_one := 'true';
        else
            select * into project from pgherald.column_text(rel, (options ->> 'project')::name);
            slot := case when project.plain then '"%s"' else '%s' end;
            if project.integral then
                slot_value := $q$coalesce(k::pg_catalog.text, '*')$q$;
                is_known := 'k is not null';
                is_one := 'k operator(pg_catalog.=) k_max and k_count operator(pg_catalog.=) n';
            else
                slot_value := case when project.plain then 'k' else 'pg_catalog.to_json(k)' end;
                is_known := $q$k operator(pg_catalog.<>) '*'$q$;
                is_one := 'k operator(pg_catalog.=) k_max and ' || is_known;
                project.expression := format(
                    $q$case when pg_catalog.octet_length(%1$s) operator(pg_catalog.<=) 200 then %1$s else '*' end collate pg_catalog."C"$q$,
                    project.expression);
            end if;
        end if;
        steady := id.steady and project.steady;
        named := format('pg_catalog.format(%L, %s, ids, %s)',
            head || slot || ',"ids":' || case when id.plain then '["%s"]' else '[%s]' end || tail, slot_value, cursor);
        whole := format('pg_catalog.format(%L, %s, %s)', head || slot || ',"ids":null' || tail, slot_value, cursor);

        new_rows := format('select %s as j, %s as k, true as w from pgherald_new r',
            case when id.plain then id.expression else format('pg_catalog.to_json(%s)::pg_catalog.text', id.expression) end || ' collate pg_catalog."C"',
            project.expression);
        old_rows := regexp_replace(new_rows, 'true as w from pgherald_new r$', 'false as w from pgherald_old r');
        if operation = 'UPDATE' then
            fast := format('(%s) union all (%s)', new_rows || bound, old_rows || bound);
            grouped := format('%s union all %s', new_rows, old_rows);
        else
            grouped := case when operation = 'INSERT' then new_rows else old_rows end;
            fast := grouped || bound;
        end if;
        bulk := format('select distinct k from (%s) s', grouped);

        fast := format($q$select n, case when j_count operator(pg_catalog.=) n and ids is not null%s and %s
        then %s end
      from (select pg_catalog.count(*) as n, pg_catalog.count(j) as j_count, %s%s from (%s) s) a$q$,
            case when operation = 'UPDATE' then ' and ids operator(pg_catalog.=) old_ids' else '' end, is_one, named,
            case when is_known = 'true' then '' else 'pg_catalog.min(k) as k, pg_catalog.max(k) as k_max, pg_catalog.count(k) as k_count, ' end,
            case when operation <> 'UPDATE' then format('pg_catalog.string_agg(j, %L) as ids', separator)
                 else format('pg_catalog.string_agg(j, %1$L) filter (where w) as ids, pg_catalog.string_agg(j, %1$L) filter (where not w) as old_ids', separator) end,
            fast);

        grouped := case when operation <> 'UPDATE'
            then format('select k, pg_catalog.count(j) operator(pg_catalog.=) pg_catalog.count(*) as j_known, pg_catalog.string_agg(j, %L) as ids
              from (%s) s group by k', separator, grouped)
            else format($q$select k, j_known, case when old_ids is null or ids operator(pg_catalog.=) old_ids then ids when ids is null then old_ids
                  else (select pg_catalog.string_agg(distinct e.value::pg_catalog.text collate pg_catalog."C", %1$L)
                          from pg_catalog.%3$s(pg_catalog.format(%4$L, ids, old_ids)::pg_catalog.json) e) end as ids
              from (select k, pg_catalog.count(j) operator(pg_catalog.=) pg_catalog.count(*) as j_known,
                           pg_catalog.string_agg(j, %1$L) filter (where w) as ids, pg_catalog.string_agg(j, %1$L) filter (where not w) as old_ids
                      from (%2$s) s group by k) b$q$,
                separator, grouped,
                case when id.plain then 'json_array_elements_text' else 'json_array_elements' end,
                case when id.plain then '["%s","%s"]' else '[%s,%s]' end)
            end;
        grouped := format($q$select case when pg_catalog.max(pg_catalog.octet_length(p)) operator(pg_catalog.<=) 7999
                then pg_catalog.array_agg(p) else pgherald.split(pg_catalog.array_agg(p)) end
      from (select case when j_known and %s then %s
                   else %s end as p
              from (%s) a) q$q$, is_known, named, whole, grouped);

        bulk := format($q$select case when pg_catalog.count(*) operator(pg_catalog.<=) %s
                then pg_catalog.array_agg(%s)
                else array[%s] end from (%s) q$q$, max_ids, whole, everywhere, bulk);
    end if;

    body := format($body$
#variable_conflict use_column
declare
    changed pg_catalog.int8;
    payload pg_catalog.text;
    payloads pg_catalog.text[];
    sent pg_catalog.text;
begin
    %s
      into changed, payload;
%s
    -- the emission. A full queue fails the COMMIT, where nobody can catch it; asking also frees what a dead listener left.
    if pg_catalog.pg_notification_queue_usage() operator(pg_catalog.>) 0.9::pg_catalog.float8 then
        raise exception 'the notification queue is nearly full';
    elsif payloads is null then
        sent := pg_catalog.pg_notify('cache_invalidate', payload);
    else
        perform pg_catalog.pg_notify('cache_invalidate', m) from pg_catalog.unnest(payloads) m;
    end if;
    return null;
exception when others then
    begin
        perform pgherald.count_dropped(tg_relid, sqlerrm);
    exception when others then
        null;
    end;
    return null;
end
$body$, fast, case when operation = 'TRUNCATE' then '' else format($body$
    if changed operator(pg_catalog.=) 0 then
        return null;
    elsif changed operator(pg_catalog.>) %s then
        %s
          into payloads;
    elsif payload is null then
        %s
          into payloads;
    elsif pg_catalog.octet_length(payload) operator(pg_catalog.>) 7999 then
        payloads := pgherald.split(array[payload]);
    end if;
$body$, rows_max, bulk, grouped) end);
end $$;
revoke all on function pgherald.trigger_source(regclass, jsonb, text) from public;
grant execute on function pgherald.trigger_source(regclass, jsonb, text) to public;
comment on function pgherald.trigger_source(regclass, jsonb, text) is
    'The body of a generated trigger function, and its three queries, which watch() tries before any writer does.';
