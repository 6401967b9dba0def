-- What the bodies of all triggers of a table are made of: expressions over one changed row (alias), and the payloads as
-- expressions over ids (a list), k (a project) and pgherald_tail. format() and not "||": one function to set up in place of ten.
-- A row of no project, or whose project is longer than 200 bytes or "*", is told to every project, without its id.
-- A composite key is its columns joined by ":", nothing escaped: keys that read the same are told as one, and cover both rows.
create or replace function pgherald.parts(
    rel regclass, options jsonb, base text, operation text, alias text,
    out id text, out id_at_once text, out id_as_is text, out separator text, out list text,
    out project text, out project_as_is text, out k_type text, out is_known text, out via text, out lookup text,
    out included text, out compared text, out identical text,
    out named text, out named_at_once text, out whole text, out everywhere text, out steady boolean,
    out tail_first text, out everything text)
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    head text := replace(format('{"%s":%s,"action":"%s","project_id":',
        case when options ? 'resource' then 'resource' else 'table' end,
        to_json(coalesce(options ->> 'resource', (select c.relname from pg_catalog.pg_class c where c.oid = rel))),
        case when operation = 'TRUNCATE' then 'DELETE' else operation end), '%', '%%');
    tail text := ',"cursor":"%s"%s}';   -- what pgherald_tail is,
    tail_value text := 'pg_catalog.pg_current_xact_id(), pgherald_origin';  -- and what fills it
    key name[] := coalesce(pgherald.names(options -> 'id'), pgherald.primary_key(rel));
    col name;
    depends_on name[];      -- the columns that ids, projects and the application's filter are made of
    plain boolean;
    slot text := '"%s"';    -- the place of the project in a payload
    slot_value text;        -- and what fills it, from k
    slot_known text := 'k'; -- the same where k is known
    first record;           -- the step that begins at the row,
    last record;            -- the one that ends at the project,
    own record;             -- and their columns
    final record;
begin
    tail_first := format(E'        pgherald_tail := pg_catalog.format(%L, %s);\n', tail, tail_value);
    everything := replace(head, '%%', '%') || '"*","ids":null}';
    everywhere := format('pg_catalog.format(%L, pgherald_tail)', head || '"*","ids":null%s');
    steady := true;
    if operation = 'TRUNCATE' then
        return;
    elsif key is null then
        raise exception 'cannot watch %: it has no primary key', rel
            using errcode = 'invalid_table_definition', hint = 'Pass id => array[''column'', ...] that names a row.';
    end if;

    select string_agg(c.expression || '::pg_catalog.text', $q$ operator(pg_catalog.||) ':' operator(pg_catalog.||) $q$ order by k.position),
           case when count(*) = 1 and bool_and(c.integral) then min(c.expression) end,
           case when count(*) = 1 and bool_and(c.plain) then min(c.as_is) end, bool_and(c.plain), bool_and(c.steady)
      into id, id_at_once, id_as_is, plain, steady
      from unnest(key) with ordinality k(name, position) cross join lateral pgherald.column_text(rel, k.name, alias) c;
    id := case when plain then id else format('pg_catalog.to_json(%s)::pg_catalog.text', id) end || ' collate pg_catalog."C"';
    id_as_is := coalesce(id_as_is, id);
    id_at_once := coalesce(id_at_once, id);
    separator := case when plain then '","' else ',' end;
    list := case when plain then '["%s"]' else '[%s]' end;
    depends_on := key;

    if options ->> 'project' = '*' then
        project := $q$'*'::pg_catalog.text$q$;
        project_as_is := project;
        k_type := 'pg_catalog.text';
        slot_value := $q$'*'$q$;
        slot_known := slot_value;
        is_known := 'true';
    else
        select * into first from pgherald.path(rel, options ->> 'project') p order by p.step limit 1;
        select * into last from pgherald.path(rel, options ->> 'project') p order by p.step desc limit 1;
        own := pgherald.column_text(rel, first.col, alias);
        final := pgherald.column_text(last.relation, last.col, 'r');
        depends_on := depends_on || first.col;
        steady := steady and own.steady;
        if final.integral and last.step = 1 then
            k_type := 'pg_catalog.int8';
            slot_value := $q$coalesce(k::pg_catalog.text, '*')$q$;
            is_known := 'k is not null';
        else
            k_type := 'pg_catalog.text';
            is_known := $q$k operator(pg_catalog.<>) '*'$q$;
            if final.plain then
                slot_value := $q$coalesce(k, '*')$q$;
            else
                slot := '%s';
                slot_value := $q$pg_catalog.to_json(coalesce(k, '*'))$q$;
                slot_known := 'pg_catalog.to_json(k)';
            end if;
        end if;
        if last.step = 1 then
            project := own.project;
            project_as_is := case when own.plain then own.as_is else project end;
        else
            lookup := format('pgherald.%I', base || '_lookup_2');
            via := (select format('%s.%I::pg_catalog.%I%s', alias, first.col, p.key_type, case when p.key_collation is not null then ' collate pg_catalog."C"' else '' end)
                      from pgherald.path(rel, options ->> 'project') p where p.step = 2);
        end if;
    end if;

    if lookup is not null then
        for col in select u.name from unnest(depends_on || pgherald.names(options -> 'columns') || pgherald.names(options -> 'include')) u(name) loop
            if not (pgherald.column_text(rel, col)).builtin then
                raise exception 'cannot watch %: column % is of a type that is not PostgreSQL''s own, and triggers that follow a path read no such', rel, quote_ident(col)
                    using errcode = 'feature_not_supported', hint = 'Leave it out of columns and include, or keep the project in a column of the table.';
            end if;
        end loop;
    end if;
    if options ? 'columns' then
        -- EXCEPT asks the type what is equal, and 7 is 7.0, and "a" may be "A": what may read differently is compared as it reads
        select string_agg(format('%s.%I', alias, c.name), ', '),
               string_agg(case when t.builtin and t.type_name in ('int2', 'int4', 'int8', 'oid', 'uuid', 'bool', 'date', 'timestamp', 'timestamptz', 'bytea')
                               then format('%s.%I', alias, c.name) else format('%s.%I::pg_catalog.text collate pg_catalog."C" as %2$I', alias, c.name) end, ', ')
          into compared, identical
          from (select distinct u.name from unnest(depends_on || pgherald.names(options -> 'columns')) u(name) order by u.name) c
         cross join lateral pgherald.column_text(rel, c.name) t;
    end if;
    if options ? 'include' then
        -- What is not small does not travel, and is not made into JSON to find that out.
        select format('case when %s operator(pg_catalog.<=) 4000 then pg_catalog.json_build_object(%s)::pg_catalog.text else ''null'' end',
                      string_agg(format('coalesce(pg_catalog.pg_column_size(%s.%I), 0)', alias, i.name), ' operator(pg_catalog.+) ' order by i.position),
                      string_agg(format('%L, %s.%I', i.name, alias, i.name), ', ' order by i.position)),
               bool_and(c.steady) and parts.steady
          into included, steady
          from unnest(pgherald.names(options -> 'include')) with ordinality i(name, position)
         cross join lateral pgherald.column_text(rel, i.name, alias) c;
    end if;

    named := format('pg_catalog.format(%L, %s, ids, pgherald_tail)', head || slot || ',"ids":' || list || '%s', slot_value);
    named_at_once := format('pg_catalog.format(%L, %s, ids, %s)', head || slot || ',"ids":' || list || tail, slot_known, tail_value);
    whole := format('pg_catalog.format(%L, %s, pgherald_tail)', head || slot || ',"ids":null%s', slot_value);
end $$;
revoke all on function pgherald.parts(regclass, jsonb, text, text, text) from public;
grant execute on function pgherald.parts(regclass, jsonb, text, text, text) to public;
comment on function pgherald.parts(regclass, jsonb, text, text, text) is
    'The expressions that the triggers of a table are made of, for one operation: id, project (or via, the column that a lookup begins at), the included columns, and the payloads.';
