-- Five queries over the transition tables, in which j is the id of a row, k its project, x its included columns:
--   at_once  the usual case, one row, and that alone: one statement finds out, and sends.
--   single   looks at two rows at most, to see how many there are.
--   one      several rows, the first two of one project: all of it, if they all are; cheaper than the next.
--   grouped  the ids of each project. UPDATE: both transition tables hold the rows in one order, so equal lists of ids
--            mean that no key changed and no row moved. Null where there are more than max_ids rows.
--   bulk     those: every project once, the whole resource; more than max_ids projects: "*".
-- With columns, an UPDATE is about the rows of either transition table that are not in the other.
-- Included columns travel where all fits into one notification; where a row moved or a key changed, they don't.
create or replace function pgherald.statement_source(
    rel regclass, options jsonb, base text, operation text,
    out body text, out steady boolean, out queries text[])
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    p record := pgherald.parts(rel, options, base, operation, 'r');
    max_ids integer := (options ->> 'max_ids')::integer;
    moves boolean := operation = 'UPDATE';
    merges boolean := moves and pgherald.may_merge(rel, options);
    -- where a trigger of the application turns a row away from the partition that it moves to, there is an old row and no new one
    uneven boolean := moves and (select c.relkind = 'p' from pg_catalog.pg_class c where c.oid = rel);
    by_columns boolean := moves and p.compared is not null;
    with_rows boolean := p.included is not null;
    try_one boolean := not by_columns and not with_rows;
    this text;              -- one of the transition tables
    other text;             -- and the other
    ones text[];
    ones_at_once text[];
    many text[];
    bounded text[];
    limited text[];
    too_long text := E'        if pg_catalog.octet_length(payload) operator(pg_catalog.>) 7969 then\n            payloads := pgherald.split(array[payload]);\n        end if;\n';
    shown text;             -- the end of a payload with rows
    fits text;              -- and whether there is room for it
    at_once text[];
    single text;
    one text;
    grouped text;
    bulk text;
begin
    steady := p.steady;
    if operation = 'TRUNCATE' then
        body := pgherald.body('', format(E'%s        payload := %s;', p.tail_first, p.everywhere), p.everything);
        return;
    end if;
    foreach this in array case operation when 'INSERT' then array['pgherald_new'] when 'DELETE' then array['pgherald_old']
                                         else array['pgherald_new', 'pgherald_old'] end loop
        other := case this when 'pgherald_new' then 'pgherald_old' else 'pgherald_new' end;
        ones := ones || format('(select %s as j, %s as k%s%s from %s r)', p.id, coalesce(p.project, p.via),
            case when with_rows then format(', %s as x', p.included) end,
            case when by_columns then format(', row(%s) as v', p.compared) end, this);
        ones_at_once := ones_at_once || format('(select %s as j, %s as k%s%s from %s r)', p.id_at_once, p.project,
            case when moves then format(', %s as same_j, %s as same_k', p.id_as_is, p.project_as_is) end,
            case when by_columns then format(', row(%s) as v', p.compared) end, this);
        many := many || concat(
            format('select %s as j, %s as k, %s as w', p.id, coalesce(p.project, 'l.project'), case this when 'pgherald_new' then 'true' else 'false' end),
            case when with_rows and not by_columns
                 then format(', case when not exists (select from %s offset 100 limit 1) then %s end as x', this, p.included) end,
            ' from ', case when by_columns then format('(select %1$s from %2$s r except all select %1$s from %3$s r) r', p.identical, this, other)
                           else this || ' r' end,
            case when p.lookup is not null then format(
                $q$ left join (select u.key, u.project from (select array(select distinct %1$s from %2$s r) as keys offset 0) d,
                unnest(d.keys, %3$s(d.keys)) u(key, project)) l on l.key operator(pg_catalog.=) %1$s$q$, p.via, this, p.lookup) end);
        limited := limited || format('(%s limit %s)', many[cardinality(many)], max_ids + 1);
        bounded := bounded || concat(many[cardinality(many)],
            case when not by_columns then format(' where not exists (select from %s offset %s limit 1)', this, max_ids) end,
            case when not by_columns and uneven then format(' and not exists (select from %s offset %s limit 1)', other, max_ids) end);
    end loop;

    single := concat('select a.j',
        case when p.lookup is null then ', a.k' else ', l.projects[1]' end,
        case when with_rows then ', a.x' end,
        case when moves then ', b.j' || case when p.lookup is null then ', b.k' else ', l.projects[2]' end end,
        case when moves and with_rows then ', b.x' end,
        case when by_columns then ', a.v operator(pg_catalog.*<>) b.v' end,
        ' from ', ones[1], ' a', case when moves then ', ' || ones[2] || ' b' end,
        case when p.lookup is not null then format(' cross join lateral (select %s(array[a.k%s]) as projects offset 0) l',
            p.lookup, case when moves then ', b.k' end) end,
        ' limit 2');

    -- the same again for exactly one row, whose payload is known without looking at it
    if not with_rows and not merges and p.lookup is null then
        at_once := array[p.named_at_once,
            concat('(select a.j as ids, a.k as k', case when moves then ', a.same_j operator(pg_catalog.=) b.same_j and a.same_k operator(pg_catalog.=) b.same_k as stays' end,
                case when by_columns then ', a.v operator(pg_catalog.*<>) b.v as changed' end,
                ' from ', ones_at_once[1], ' a', case when moves then ', ' || ones_at_once[2] || ' b' end, ') q'),
            concat('not exists (select from ', case operation when 'DELETE' then 'pgherald_old' else 'pgherald_new' end, ' offset 1 limit 1)',
                case when uneven then ' and not exists (select from pgherald_old offset 1 limit 1)' end,
                case when p.separator = ',' then ' and pg_catalog.octet_length(ids) operator(pg_catalog.<=) 6000' when not moves then ' and ids is not null' end,
                -- what is equal is not null, but may be "*"
                case when moves then ' and stays' end,
                case when not moves or p.k_type <> 'pg_catalog.int8' then ' and ' || p.is_known end,
                case when by_columns then ' and changed' end)];
    end if;

    one := format($q$select pg_catalog.count(*), case when pg_catalog.count(j) operator(pg_catalog.=) pg_catalog.count(*) and pg_catalog.count(k) operator(pg_catalog.=) pg_catalog.count(*)
                  and pg_catalog.min(k) operator(pg_catalog.=) pg_catalog.max(k)%s then pg_catalog.string_agg(j, %L)%s end, pg_catalog.min(k)
          from (%s) s$q$,
        case when moves then format($q$ and pg_catalog.string_agg(j, %1$L) filter (where w) operator(pg_catalog.=) pg_catalog.string_agg(j, %1$L) filter (where not w)$q$, p.separator) end,
        p.separator, case when moves then ' filter (where w)' end, array_to_string(limited, ' union all '));

    if by_columns then
        grouped := format($q$select k, pg_catalog.count(j) operator(pg_catalog.=) pg_catalog.count(*) and pg_catalog.count(*) operator(pg_catalog.<=) %s as j_known,
                  pg_catalog.string_agg(distinct j, %L) as ids from (%s) s group by k$q$, max_ids * 2, p.separator, array_to_string(bounded, ' union all '));
    elsif moves then
        grouped := format($q$select k, j_known, ids operator(pg_catalog.=) old_ids as same%5$s,
                  case when old_ids is null or ids operator(pg_catalog.=) old_ids then ids when ids is null then old_ids
                  else (select pg_catalog.string_agg(distinct e.value::pg_catalog.text collate pg_catalog."C", %1$L)
                          from pg_catalog.%3$s(pg_catalog.format(%4$L, ids, old_ids)::pg_catalog.json) e) end as ids
              from (select k, pg_catalog.count(j) operator(pg_catalog.=) pg_catalog.count(*) as j_known%6$s,
                           pg_catalog.string_agg(j, %1$L) filter (where w) as ids, pg_catalog.string_agg(j, %1$L) filter (where not w) as old_ids
                      from (%2$s) s group by k) b$q$,
            p.separator, array_to_string(bounded, ' union all '),
            case when p.separator = ',' then 'json_array_elements' else 'json_array_elements_text' end,
            replace(p.list, '%s', '%s' || p.separator || '%s'),
            case when with_rows then ', x, old_x' end,
            case when with_rows then $q$, pg_catalog.string_agg(x, ',') filter (where w) as x, pg_catalog.string_agg(x, ',') filter (where not w) as old_x$q$ end);
    else
        grouped := format($q$select k, pg_catalog.count(j) operator(pg_catalog.=) pg_catalog.count(*) as j_known, true as same%s,
                  pg_catalog.string_agg(j, %L) as ids from (%s) s group by k$q$,
            case when with_rows then $q$, pg_catalog.string_agg(x, ',') as x$q$ end, p.separator, bounded[1]);
    end if;

    shown := format($q$pg_catalog.concat(',"rows":[', x, ']'%s, '}')$q$,
        case when moves then $q$, case when x operator(pg_catalog.<>) old_x then pg_catalog.concat(',"old_rows":[', old_x, ']') end$q$ end);
    fits := format('x is not null and pg_catalog.octet_length(payload) operator(pg_catalog.+) pg_catalog.octet_length(%s) operator(pg_catalog.<=) 7970', shown);
    grouped := format($q$(select case when j_known and %s then %s
                  else %s end as payload%s
              from (%s) a) q$q$, p.is_known, p.named, p.whole,
        case when with_rows and not by_columns then format(', case when j_known and same and %s then x end as x%s', p.is_known, case when moves then ', old_x' end) end,
        grouped);
    if with_rows and not by_columns then
        grouped := format('(select case when %s then pg_catalog.concat(pg_catalog.left(payload, -1), %s) else payload end as payload from %s) q', fits, shown, grouped);
    end if;
    grouped := format($q$select case %swhen pg_catalog.max(pg_catalog.octet_length(payload)) operator(pg_catalog.>) 7969
                then pgherald.split(pg_catalog.array_agg(payload)) else pg_catalog.array_agg(payload) end
      from %s$q$,
        case when by_columns then format('when pg_catalog.count(*) operator(pg_catalog.>) %s then array[%s] ', max_ids, p.everywhere) end, grouped);
    bulk := format('select case when pg_catalog.count(*) operator(pg_catalog.<=) %s then pg_catalog.array_agg(%s) else array[%s] end
      from (select distinct k from (%s) s) q', max_ids, p.whole, p.everywhere, array_to_string(many, ' union all '));
    queries := array_remove(array[single, one, grouped, bulk, 'select ' || at_once[1] || ' from ' || at_once[2] || ' where ' || at_once[3]], null);

    body := pgherald.body(
        concat(format(E'    seen pg_catalog.int8;\n    ids pg_catalog.text;\n    k %s;\n    old_k %1$s;\n', p.k_type),
            case when with_rows then E'    x pg_catalog.text;\n' end,
            case when moves then E'    old_ids pg_catalog.text;\n' end,
            case when moves and with_rows then E'    old_x pg_catalog.text;\n' end,
            case when by_columns then E'    changed pg_catalog.bool;\n' end,
            case when merges then E'    merged pg_catalog.bool;\n' end),
        format($body$    for %s in
        %s
    loop
        seen := coalesce(seen, 0) operator(pg_catalog.+) 1;
%s    end loop;
    %sif seen operator(pg_catalog.=) 1 and ids is not null and %s%s then
        payload := %s;
%s%s    elsif %s%s then
        return null;
    else
%s%s        if payload is null and seen operator(pg_catalog.<=) %s then
            %s
              into payloads;
        end if;
        if payload is null and payloads is null then
            %s
        end if;
    end if;$body$,
            concat('ids, k', case when with_rows then ', x' end, case when moves then ', old_ids, old_k' end,
                   case when moves and with_rows then ', old_x' end, case when by_columns then ', changed' end),
            single,
            case when try_one and not moves then E'        old_k := coalesce(old_k, k);\n' end,
            case when merges then format(E'if merged then\n%s        payload := %s;\n    els', p.tail_first, p.everywhere) end,
            p.is_known, case when moves then ' and ids operator(pg_catalog.=) old_ids and k operator(pg_catalog.=) old_k' end
                || case when by_columns then ' and changed' else '' end,
            p.named_at_once,
            case when with_rows then format(E'        if %s then\n            payload := pg_catalog.concat(pg_catalog.left(payload, -1), %s);\n        end if;\n', fits, shown) end,
            case when p.separator = ',' then too_long end,
            case when uneven then 'seen is null and not exists (select from pgherald_old)' else 'seen is null' end,
            case when by_columns then ' or seen operator(pg_catalog.=) 1 and not changed' end,
            p.tail_first || case when uneven then E'        seen := coalesce(seen, 2);\n' else '' end,
            case when try_one then format($body$        if seen operator(pg_catalog.=) 2 and k operator(pg_catalog.=) old_k then
            %s
              into seen, ids, k;
            if ids is not null and seen operator(pg_catalog.<=) %s and %s then
                payload := %s;
%s            end if;
        end if;
$body$, one, max_ids * case when moves then 2 else 1 end, p.is_known, p.named, too_long) end,
            max_ids * case when moves then 2 else 1 end,
            grouped,
            case when by_columns then 'return null;' else bulk || E'\n              into payloads;' end), p.everything,
        case when merges then (pgherald.merge_source(rel, options, base)).prologue else '' end, at_once);
end $$;
revoke all on function pgherald.statement_source(regclass, jsonb, text, text) from public;
grant execute on function pgherald.statement_source(regclass, jsonb, text, text) to public;
comment on function pgherald.statement_source(regclass, jsonb, text, text) is
    'The body of a statement-level trigger function, and its queries, which watch() tries before any writer does.';
