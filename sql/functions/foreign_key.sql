-- Of two foreign keys on one column the older is followed. Only NO ACTION is ever deferred: all else changes the rows at once.
create or replace function pgherald.foreign_key(rel regclass, col name, out target regclass, out key name, out deferred boolean)
language sql stable set search_path = pg_catalog, pg_temp as $$
    select c.confrelid::regclass, k.attname, c.condeferrable and c.confdeltype = 'a'
      from pg_catalog.pg_constraint c
      join pg_catalog.pg_attribute a on a.attrelid = c.conrelid and a.attnum = c.conkey[1]
      join pg_catalog.pg_attribute k on k.attrelid = c.confrelid and k.attnum = c.confkey[1]
     where c.conrelid = rel and c.contype = 'f' and cardinality(c.conkey) = 1 and a.attname = col
     order by c.oid limit 1
$$;
revoke all on function pgherald.foreign_key(regclass, name) from public;
grant execute on function pgherald.foreign_key(regclass, name) to public;
comment on function pgherald.foreign_key(regclass, name) is
    'The table and column that this column references by itself, and whether a referenced row may go and come back in one transaction; nulls where it is not a foreign key alone.';
