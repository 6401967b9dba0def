-- plain: the text is short and needs no JSON escaping. Where ALTER TABLE changes the type, the expression must fail, so that
-- the loss is counted: a cast to the type of today would read '007' as 7. Integers may grow, and an oid may become a regclass, whose
-- number is told.
-- as_is: the same to compare two rows by, where the expression is only a guard.
-- steady: the text does not depend on the writer's DateStyle, TimeZone, bytea_output and the like.
create or replace function pgherald.column_text(
    rel regclass, col name, alias text default 'r',
    out expression text, out project text, out as_is text, out integral boolean, out plain boolean, out steady boolean, out builtin boolean, out type_name name, out base_type text)
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
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
    type_name := base.typname;
    base_type := format_type(base.oid, null);       -- no domain: its checks are somebody's code
    builtin := base.nspname = 'pg_catalog' and base.typtype = 'b';
    integral := builtin and base.typname in ('int2', 'int4', 'int8');
    plain := integral or builtin and base.typname in ('uuid', 'oid', 'bool');
    steady := plain or base.typtype = 'e'
        or builtin and base.typname in ('text', 'varchar', 'bpchar', 'char', 'name', 'numeric');
    expression := case
        when integral then format('(%s.%I operator(pg_catalog.|) 0::pg_catalog.%I)', alias, col, base.typname)
        when plain then format('coalesce(%s.%I, null::pg_catalog.%3$I)::pg_catalog.%3$I::pg_catalog.text', alias, col, base.typname)
        else format('%s.%I::pg_catalog.text', alias, col)
    end;
    as_is := case when plain then format('%s.%I', alias, col) else expression end;
    project := case when integral then expression when plain then format($q$coalesce(%s, '*') collate pg_catalog."C"$q$, expression) else format(
        $q$case when pg_catalog.octet_length(%1$s) operator(pg_catalog.<=) 200 and pg_catalog.octet_length(%1$s) operator(pg_catalog.>) 0 then %1$s else '*' end collate pg_catalog."C"$q$, expression) end;
end $$;
revoke all on function pgherald.column_text(regclass, name, text) from public;
grant execute on function pgherald.column_text(regclass, name, text) to public;
comment on function pgherald.column_text(regclass, name, text) is
    'How a generated trigger reads column alias.col: as an integer where it is one, as text otherwise; and as a project, where none and more than 200 bytes are "*". Raises where there is no such column, and says which there are.';
