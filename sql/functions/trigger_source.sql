-- Writes the body of one trigger function. All of it is static SQL: at run time a single-row statement costs one query
-- and one expression. The body runs with the writer's rights and search_path, so every name and operator in it is
-- qualified; "set search_path" on the function would cost more than the rest.
--
-- Three queries over the transition tables, from precise to coarse:
--   fast  one project, nothing moved, one payload: by far the usual case. Looks at max_ids + 1 rows at most.
--   slow  several projects, a moved row or changed key (old and new differ), a null, or ids beyond one payload.
--   bulk  more than max_ids rows: every project once, the whole resource; more than max_ids projects: all of them.
-- UPDATE: both transition tables hold the rows in one order, so equal lists of ids mean that no key changed.
-- A row of no project, or whose project is longer than 200 bytes or "*", is told to every project, without its id.
-- A composite key is its columns joined by ":", nothing escaped: two keys that read the same are told as one, and both rows are covered.
create or replace function pgherald.trigger_source(
    rel regclass, options jsonb, operation text,
    out fast text, out slow text, out bulk text, out body text, out steady boolean)
language plpgsql stable set search_path = '' as $$
declare
    everyone boolean := options ->> 'project' = '*';
    max_ids integer := (options ->> 'max_ids')::integer;
    key name[] := coalesce(
        (select array_agg(k.name order by k.position) from jsonb_array_elements_text(options -> 'id') with ordinality k(name, position)),
        pgherald.primary_key(rel));
    head text := quote_literal(format('{"%s":%s,"action":"%s","project_id":',
        case when options ->> 'resource' is null then 'table' else 'resource' end,
        to_json(coalesce(options ->> 'resource', (select c.relname from pg_catalog.pg_class c where c.oid = rel))),
        case when operation = 'TRUNCATE' then 'DELETE' else operation end));
    tail text := $t$',"cursor":"' operator(pg_catalog.||) pg_catalog.pg_current_xact_id()::pg_catalog.text operator(pg_catalog.||) '"}'$t$;
    id record;
    project record;
    id_json text;         -- of a row r: its id as a JSON string
    project_key text;     -- of a row r: what its project is grouped and compared by
    project_json text;    -- of such a key k: the JSON string
    one_project text;     -- condition on the aggregates of table n (and o)
    known text;           -- condition on a key k: ids may be named
    aggregates text;      -- what the fast query wants to know of one transition table, before and
    bound text;           -- behind the table's name
    changed text;
begin
    steady := true;
    if operation = 'TRUNCATE' then
        fast := format($q$select 1, %s operator(pg_catalog.||) '"*","ids":null' operator(pg_catalog.||) %s$q$, head, tail);
    else
        if key is null then
            raise exception 'cannot watch %: it has no primary key', rel
                using errcode = 'invalid_table_definition', hint = 'Pass id => array[''column'', ...] that names a row.';
        end if;
        select string_agg(c.expression, $q$ operator(pg_catalog.||) ':' operator(pg_catalog.||) $q$ order by k.position) as expression,
               bool_and(c.plain) as plain, bool_and(c.steady) as steady
          into id
          from unnest(key) with ordinality k(name, position) cross join lateral pgherald.column_text(rel, k.name) c;
        id_json := case when id.plain then format($q$('"' operator(pg_catalog.||) %s operator(pg_catalog.||) '"')$q$, id.expression)
                        else format('pg_catalog.to_json(%s)::pg_catalog.text', id.expression) end || ' collate pg_catalog."C"';
        steady := id.steady;

        if everyone then
            project_key := $q$'*'::pg_catalog.text$q$;
            project_json := $q$'"*"'$q$;
            one_project := 'true';
            known := 'true';
        else
            select * into project from pgherald.column_text(rel, (options ->> 'project')::name);
            steady := steady and project.steady;
            project_key := case when project.plain then format($q$coalesce(%s, '*') collate pg_catalog."C"$q$, project.expression)
                else format($q$case when pg_catalog.octet_length(%1$s) operator(pg_catalog.<=) 200 then %1$s else '*' end collate pg_catalog."C"$q$, project.expression) end;
            project_json := case when project.plain then $q$'"' operator(pg_catalog.||) k operator(pg_catalog.||) '"'$q$
                                 else 'pg_catalog.to_json(k)::pg_catalog.text' end;
            one_project := $q$n.k operator(pg_catalog.=) n.k_max and n.k operator(pg_catalog.<>) '*'$q$;
            known := $q$k operator(pg_catalog.<>) '*'$q$;
        end if;

        aggregates := format(
            'select pg_catalog.count(*) as rows, pg_catalog.count(s.j) as ids_known, pg_catalog.string_agg(s.j, '','') as ids%s '
            'from (select %s as j%s from ',
            case when everyone then '' else ', pg_catalog.min(s.k) as k, pg_catalog.max(s.k) as k_max' end,
            id_json, case when everyone then '' else format(', %s as k', project_key) end);
        bound := format(' r limit %s) s', max_ids + 1);
        fast := format($q$select n.rows, case when n.rows operator(pg_catalog.>) 0 and n.ids_known operator(pg_catalog.=) n.rows and %s%s
    then %s operator(pg_catalog.||) %s operator(pg_catalog.||) ',"ids":[' operator(pg_catalog.||) n.ids operator(pg_catalog.||) ']' operator(pg_catalog.||) %s end
    from (%s) n%s$q$,
            one_project,
            case when operation <> 'UPDATE' then ''
                 when everyone then ' and n.ids operator(pg_catalog.=) o.ids'
                 else ' and n.ids operator(pg_catalog.=) o.ids and n.k operator(pg_catalog.=) o.k and n.k operator(pg_catalog.=) o.k_max' end,
            head, regexp_replace(project_json, '\mk\M', 'n.k'), tail,
            aggregates || case when operation = 'DELETE' then 'pgherald_old' else 'pgherald_new' end || bound,
            case when operation = 'UPDATE' then format(',
         (%s) o', aggregates || 'pgherald_old' || bound) else '' end);

        changed := case operation when 'INSERT' then 'select %s from pgherald_new r' when 'DELETE' then 'select %s from pgherald_old r'
                   else 'select %1$s from pgherald_new r union all select %1$s from pgherald_old r' end;
        slow := format($q$select pg_catalog.array_agg(m) from (select k, case when pg_catalog.count(j) operator(pg_catalog.=) pg_catalog.count(*) and %s
        then pg_catalog.array_agg(%sj) end as ids from (%s) s group by k) q,
    lateral pgherald.payloads(%s operator(pg_catalog.||) %s, q.ids, %s) m$q$,
            known,
            case when operation = 'UPDATE' then 'distinct ' else '' end,             format(changed, format('%s as k, %s as j', project_key, id_json)), head, project_json, tail);
        bulk := format($q$select case when pg_catalog.count(*) operator(pg_catalog.<=) %s
        then pg_catalog.array_agg(%s operator(pg_catalog.||) %s operator(pg_catalog.||) ',"ids":null' operator(pg_catalog.||) %s)
        else array[%s operator(pg_catalog.||) '"*","ids":null' operator(pg_catalog.||) %s] end
    from (select distinct k from (%s) s) q$q$,
            max_ids, head, project_json, tail, head, tail, format(changed, project_key || ' as k'));
    end if;

    body := format($body$
#variable_conflict use_column
declare
    changed pg_catalog.int8;
    payload pg_catalog.text;
    payloads pg_catalog.text[];
begin
    %s
    into changed, payload;
    %s
    -- the emission. A full queue fails the COMMIT, where nobody can catch it; asking also frees what a dead listener left.
    if pg_catalog.pg_notification_queue_usage() operator(pg_catalog.>) 0.9::pg_catalog.float8 then
        raise exception 'the notification queue is nearly full';
    elsif payloads is null then
        perform pg_catalog.pg_notify('cache_invalidate', payload);
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
$body$, fast, case when operation <> 'TRUNCATE' then format($body$
    if changed operator(pg_catalog.=) 0 then
        return null;
    elsif changed operator(pg_catalog.>) %s then
    %s
    into payloads;
    elsif payload is null or pg_catalog.octet_length(payload) operator(pg_catalog.>) 7999 then
    %s
    into payloads;
    end if;
$body$, max_ids, bulk, slow) else '' end);
end $$;
revoke all on function pgherald.trigger_source(regclass, jsonb, text) from public;
grant execute on function pgherald.trigger_source(regclass, jsonb, text) to public;
comment on function pgherald.trigger_source(regclass, jsonb, text) is
    'The body of a generated trigger function, and its three queries, which watch() tries before any writer does.';
