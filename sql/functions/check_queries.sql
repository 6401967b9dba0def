-- Plans and runs the queries of the triggers of a table over no rows. Not over the table: planning looks into indexes,
-- whose expressions are its owner's code, as are the checks of domains, and whoever refreshes may be a superuser.
create or replace function pgherald.check_queries(rel regclass) returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    source regclass;
    query text;
    no_row text;
    reason text;
begin
    for source, query in select f.relation, unnest(f.queries) from pgherald.function_sources(rel, pgherald.settings(rel), pgherald.base_name(rel)) f loop
        select string_agg(format('null::%s%s as %I', t.base_type, ' collate ' || c.name, a.attname), ', ' order by a.attnum)
          into no_row
          from pg_attribute a
         cross join lateral (
            with recursive base as (
                select y.oid, y.typtype, y.typbasetype from pg_type y where y.oid = a.atttypid
                union all
                select y.oid, y.typtype, y.typbasetype from base b join pg_type y on y.oid = b.typbasetype where b.typtype = 'd'
            )
            select format_type(b.oid, null) as base_type from base b where b.typtype <> 'd') t
          left join (select o.oid, format('%I.%I', n.nspname, o.collname) as name from pg_collation o join pg_namespace n on n.oid = o.collnamespace) c
                 on c.oid = a.attcollation
         where a.attrelid = source and a.attnum > 0 and not a.attisdropped;
        -- the variables of a trigger, and no column of that name
        query := regexp_replace(query, $r$(?<![\w."']|\mas )pgherald_(tail|origin)(?![\w"'])$r$, $r$''::pg_catalog.text$r$, 'g');
        execute format('with pgherald_new as materialized (select %s limit 0), pgherald_old as materialized (select %1$s limit 0) select from (%s) q limit 0',
            no_row, query);
    end loop;
exception
    when insufficient_privilege then
        raise;
    when others then
        get stacked diagnostics reason = message_text;
        raise exception 'cannot watch %: the query of its trigger fails: %', rel, reason
            using errcode = 'feature_not_supported', hint = 'Choose other columns for project and id, or call pgherald.notify() from the application.';
end $$;
revoke all on function pgherald.check_queries(regclass) from public;
grant execute on function pgherald.check_queries(regclass) to public;
comment on function pgherald.check_queries(regclass) is 'Raises where a query of this table''s triggers would fail.';
