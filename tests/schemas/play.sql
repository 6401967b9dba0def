-- Writes to any schema, knowing nothing but the catalog: for tests/it/schemas.rs. What it writes depends on the schema
-- alone, so that two databases can be compared.
create schema play;

-- The tables of the application with their partitions, and the table in whose name pgherald speaks of them.
create view play.tables as
select c.oid::regclass as rel, coalesce(pg_partition_root(c.oid), c.oid)::regclass as root, named.relname as label
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  join pg_class named on named.oid = coalesce(pg_partition_root(c.oid), c.oid)
 where c.relkind in ('r', 'p') and c.relpersistence <> 't' and n.nspname not in ('pg_catalog', 'information_schema', 'pgherald', 'play');

-- Watches every table: the project is the first column that refers to another table, else the first of the key, else
-- there is none; a table without a primary key is named by its first columns.
create function play.watch(options text) returns table (relation regclass, outcome text) language plpgsql as $$
begin
    for relation in select distinct t.root from play.tables t order by t.root loop
        execute format('select pgherald.watch(%L, project => %L, id => %L%s)', relation,
            coalesce((
                select a.attname from pg_attribute a
                  join pg_constraint k on k.conrelid = a.attrelid and a.attnum = any (k.conkey) and k.contype in ('f', 'p')
                 where a.attrelid = relation and a.atttypid = any ('{int2,int4,int8,uuid,text,varchar}'::regtype[])
                 order by k.contype, a.attnum limit 1), '*'),
            case when pgherald.primary_key(relation) is null then (
                select array_agg(first.attname) from (
                    select a.attname from pg_attribute a
                     where a.attrelid = relation and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
                     order by a.attnum limit 3) first) end,
            options) into outcome;
        return next;
    end loop;
end $$;

-- Every row of every watched table as an event would name it; the version changes with every UPDATE.
create function play.rows() returns table (label text, project text, id text, version text)
language plpgsql set timezone = 'UTC' as $$
declare
    w record;
begin
    for w in select * from pgherald.watched loop
        return query execute format('select %L, coalesce(%s::text, ''*''), %s, concat_ws(''/'', tableoid, ctid, xmin) from %s r',
            (select relname from pg_class where oid = w.relation),
            case when w.project = '*' then '''*''' else format('r.%I', w.project) end,
            (select string_agg(format('r.%I::text', name), $q$||':'||$q$ order by position) from unnest(w.id) with ordinality i(name, position)),
            w.relation);
    end loop;
end $$;

-- How many rows each table has.
create function play.counts() returns text language plpgsql as $$
declare
    t record;
    n bigint;
    counts text := '';
begin
    for t in select rel from play.tables order by rel::text loop
        execute format('select count(*) from %s', t.rel) into n;
        counts := counts || format('%s: %s, ', t.rel, n);
    end loop;
    return counts;
end $$;

-- The n-th value of a type, as a literal.
create function play.literal(kind oid, size integer, n integer) returns text language sql as $$
    select case
        when t.typtype = 'd' then play.literal(t.typbasetype, t.typtypmod, n)
        when t.typtype = 'e' then (
            select (array_agg(e.enumlabel order by e.enumsortorder))[1 + n % count(*)::integer] from pg_enum e where e.enumtypid = t.oid)
        when t.typtype = 'r' then 'empty'
        when t.typcategory = 'A' then format('{%s}', to_json(play.literal(t.typelem, -1, n)))
        when t.typcategory = 'N' then n::text
        when t.typcategory = 'D' then '2006-02-0' || n
        when t.typcategory = 'T' then n || ' days'
        when t.typcategory = 'B' then 'true'
        when t.typcategory = 'I' then '10.0.0.' || n
        when t.typname = 'uuid' then md5(n::text)
        when t.typname in ('json', 'jsonb') then format('{"n": %s}', n)
        when t.typname = 'bytea' then '\x0' || n
        when t.typname = 'point' then '(1,1)'
        when t.typname = 'circle' then format('<(%s0,0),1>', n)
        when t.typcategory = 'S' then right('it''s "' || n, case when size > 4 then size - 4 else 100 end)
    end from pg_type t where t.oid = kind
$$;

-- One row: foreign keys refer to the n-th row there, other columns have a value that their constraints or the bounds of
-- the (first) partition name, or the n-th of their type. Columns with a default keep it.
create function play.insert_statement(rel regclass, n integer) returns text language sql as $$
    with leaf as (select relid from pg_partition_tree(rel) where isleaf union all select rel),
    rules as (
        select pg_get_constraintdef(k.oid) as rule from pg_constraint k where k.conrelid in (select relid from leaf) and k.contype = 'c'
        union all
        select pg_get_partition_constraintdef(relid) from (select relid from leaf order by relid::text limit 1) first
    )
    select coalesce(format('insert into %s (%s) values (%s)', rel, string_agg(quote_ident(a.attname), ', ' order by a.attnum),
        string_agg(coalesce(
            (select format('(select f.%1$I from %2$s f order by f::text offset %3$s %% nullif((select count(*) from %2$s), 0) limit 1)',
                    other.attname, k.confrelid::regclass, n)
               from pg_constraint k
               join unnest(k.conkey, k.confkey) pair(own, other) on pair.own = a.attnum
               join pg_attribute other on other.attrelid = k.confrelid and other.attnum = pair.other
              where k.conrelid in (select relid from leaf) and k.contype = 'f' order by cardinality(k.conkey), k.conname limit 1),
            (select quote_literal((regexp_match(rule, a.attname || '\M"?[^'']*''([^'']+)'''))[1]) from rules
              where rule ~ ('\m' || a.attname || '\M"?[^'']*''[^'']+''') order by rule limit 1),
            quote_literal(play.literal(a.atttypid, a.atttypmod, n)), 'null'), ', ' order by a.attnum)), format('insert into %s default values', rel))
      from pg_attribute a
     where a.attrelid = rel and a.attnum > 0 and not a.attisdropped and a.attgenerated = '' and a.attidentity = ''
       and (not a.atthasdef or a.atttypid = 'uuid'::regtype)
$$;

-- Tries one statement. Deferred constraints speak up at once, so that the transaction commits.
create function play.write(what text, rel regclass, n integer, out count bigint, out code text) language plpgsql as $$
begin
    set constraints all immediate;
    execute case what
        when 'insert' then play.insert_statement(rel, n)
        when 'update' then format('update %s set %s', rel, (
            select string_agg(format('%1$I = %1$I', a.attname), ', ') from pg_attribute a
             where a.attrelid = rel and a.attnum > 0 and not a.attisdropped and a.attgenerated = '' and a.attidentity <> 'a'))
        when 'delete one' then format('delete from %s where (tableoid, ctid) = (select tableoid, ctid from %1$s f order by f::text limit 1)', rel)
        when 'delete' then format('delete from %s', rel)
        when 'truncate' then format('truncate %s cascade', rel)
    end;
    get diagnostics count = row_count;
exception when others then
    code := sqlstate || ' ' || sqlerrm;
end $$;

-- What a visitor could have left behind. Roles are the server's: their names may hold that of the database.
create view play.catalog as
select kind || ' ' || replace(what, '_' || current_database(), '') as entry from (
    select 'trigger' as kind, concat_ws(' ', tgrelid::regclass, pg_get_triggerdef(oid), tgenabled) as what from pg_trigger where not tgisinternal
    union all
    select 'function', concat_ws(' ', oid::regprocedure, proacl) from pg_proc where oid >= 16384
    union all
    select 'relation', concat_ws(' ', oid::regclass, relacl, reloptions) from pg_class where oid >= 16384 and relkind in ('r', 'p', 'v', 'S')
    union all
    select 'comment', concat_ws(' ', classoid::regclass, objsubid, description) from pg_description where objoid >= 16384
) all_of_it;
