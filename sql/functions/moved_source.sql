-- A row in the middle of a path now leads to another project: whatever reached its project through it has moved along.
-- All of the resource is told, to the projects that it left and to those that it came to; and told again as the
-- transactions of this time end, because one of them may have looked its project up before.
-- Where the foreign key is deferrable, a row may also be deleted and inserted anew while its children stay. So of two kinds of
-- statements that touch the table in one transaction, the second tells everybody; one kind alone, the usual case, tells nothing.
create or replace function pgherald.moved_source(rel regclass, options jsonb, base text, step integer, out body text, out steady boolean, out queries text[])
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    p record := pgherald.parts(rel, options, base, 'UPDATE', 'r');
    here record;
    next record;
    col record;
    pair text;
    rows text;
    moved text;             -- what comes before there is something to tell
begin
    select * into here from pgherald.path(rel, options ->> 'project') w where w.step = moved_source.step;
    select * into next from pgherald.path(rel, options ->> 'project') w where w.step = moved_source.step + 1;
    col := pgherald.column_text(here.relation, here.col);
    steady := col.steady;
    pair := format('r.%I, r.%I', here.key, here.col);
    rows := format('((select %1$s from pgherald_new r except all select %1$s from pgherald_old r)
            union all (select %1$s from pgherald_old r except all select %1$s from pgherald_new r)) r', pair);
    rows := case when next.step is null
        then format('select distinct %s as k from %s', col.project || case when col.integral then '::pg_catalog.text' else '' end, rows)
        else format('select distinct k from pg_catalog.unnest(pgherald.%I(array(select r.%I::pg_catalog.%I from %s))) k',
            base || '_lookup_' || next.step, here.col, next.key_type, rows) end;
    queries := array[
        -- the casts keep PostgreSQL from comparing column by column
        format('select row(a.%1$I, a.%2$I)::pg_catalog.record operator(pg_catalog.*<>) row(b.%1$I, b.%2$I)::pg_catalog.record'
            ' from pgherald_new a, pgherald_old b limit 2', here.key, here.col),
        format('select case when pg_catalog.count(*) operator(pg_catalog.<=) %s then pg_catalog.array_agg(%s) else array[%s] end from (%s) q',
            options ->> 'max_ids', p.whole, p.everywhere, rows)];
    moved := format($body$    for changed in %s loop
        seen := seen operator(pg_catalog.+) 1;
    end loop;
    if seen operator(pg_catalog.=) 0 or seen operator(pg_catalog.=) 1 and not changed then
        return null;
    end if;
$body$, queries[1]);
    if here.deferred then
        moved := format($body$    if tg_op operator(pg_catalog.=) 'DELETE' then
        if not exists (select from pgherald_old) then
            return null;
        end if;
    elsif tg_op operator(pg_catalog.=) 'INSERT' then
        if not exists (select from pgherald_new) then
            return null;
        end if;
    else
%s    end if;
    if pg_catalog.current_setting(%2$L, true) operator(pg_catalog.<>) '' then
        another := pg_catalog.current_setting(%2$L, true) operator(pg_catalog.<>) tg_op;
    else
        sent := pg_catalog.set_config(%2$L, tg_op, true);
    end if;
    if not another and tg_op operator(pg_catalog.<>) 'UPDATE' then
        return null;
    end if;
$body$, moved, format('pgherald.moved_%s_%s', substring(base from '[0-9a-f]{8}(?:_\d+)?$'), step));
    end if;
    body := pgherald.body(E'    seen pg_catalog.int4 := 0;\n    changed pg_catalog.bool;\n    another pg_catalog.bool := false;\n', format(
$body$%s%s    pgherald_tail := pg_catalog.concat(',"again":true', pgherald_tail);
    if another then
        payload := %s;
    else
        %s
          into payloads;
        if payloads is null then
            return null;
        end if;
    end if;$body$,
        moved, p.tail_first, p.everywhere, queries[2]), p.everything);
end $$;
revoke all on function pgherald.moved_source(regclass, jsonb, text, integer) from public;
grant execute on function pgherald.moved_source(regclass, jsonb, text, integer) to public;
comment on function pgherald.moved_source(regclass, jsonb, text, integer) is
    'The body of the trigger function that a table in the middle of a path gets.';
