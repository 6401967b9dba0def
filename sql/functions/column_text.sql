-- plain: the text is short and needs no JSON escaping. The cast to the type of today is on purpose: where ALTER TABLE
-- changes the type it fails, the loss is counted, and no broken JSON gets out. int8 for all integers: they may grow.
-- steady: the text does not depend on the writer's DateStyle, TimeZone, bytea_output and the like.
create or replace function pgherald.column_text(rel regclass, col name, out expression text, out integral boolean, out plain boolean, out steady boolean)
language plpgsql stable set search_path = '' as $$
declare
    base record;
    generated text;
begin
    select t.oid, t.typname, t.typtype, t.typbasetype, n.nspname, a.attgenerated into base
      from pg_catalog.pg_attribute a
      join pg_catalog.pg_type t on t.oid = a.atttypid
      join pg_catalog.pg_namespace n on n.oid = t.typnamespace
     where a.attrelid = rel and a.attname = col and a.attnum > 0 and not a.attisdropped;
    if not found then
        raise exception 'cannot watch %: it has no column %', rel, quote_ident(col)
            using errcode = 'undefined_column',
                  detail = format('Its columns: %s.', (select string_agg(quote_ident(a.attname), ', ' order by a.attnum)
                      from pg_catalog.pg_attribute a where a.attrelid = rel and a.attnum > 0 and not a.attisdropped)),
                  hint = 'Pass project => ''column'' for the project, or ''*'' to tell every project; id => array[''column'', ...] for the key.';
    end if;
    generated := base.attgenerated;
    if generated = 'v' then
        raise exception 'cannot watch %: column % is a virtual generated one, which triggers see as null', rel, quote_ident(col)
            using errcode = 'feature_not_supported', hint = 'Name the columns that it is made of, or make it a stored one.';
    end if;
    while base.typtype = 'd' loop
        select t.oid, t.typname, t.typtype, t.typbasetype, n.nspname into base
          from pg_catalog.pg_type t join pg_catalog.pg_namespace n on n.oid = t.typnamespace where t.oid = base.typbasetype;
    end loop;
    integral := base.nspname = 'pg_catalog' and base.typname in ('int2', 'int4', 'int8');
    plain := integral or base.nspname = 'pg_catalog' and base.typname in ('uuid', 'oid', 'bool');
    steady := plain or base.typtype = 'e'
        or base.nspname = 'pg_catalog' and base.typname in ('text', 'varchar', 'bpchar', 'char', 'name', 'numeric');
    expression := case
        when integral then format('r.%I::pg_catalog.int8', col)
        when plain then format('r.%I::pg_catalog.%I::pg_catalog.text', col, base.typname)
        else format('r.%I::pg_catalog.text', col)
    end;
end $$;
revoke all on function pgherald.column_text(regclass, name) from public;
grant execute on function pgherald.column_text(regclass, name) to public;
comment on function pgherald.column_text(regclass, name) is
    'How a generated trigger reads column r.col: as int8 where it is integral, as text otherwise. Raises where there is no such column, and says which there are.';
