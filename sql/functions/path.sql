-- The way from a row to its project: one step for a column of the table itself, more along foreign keys.
-- Along foreign keys, the triggers run with the installer's rights, because a writer may have none on the tables in between.
-- So this refuses what would make that a way around anybody's rights: tables that the owner of rel may not read, row
-- security, and (with parts(), for the other columns) types that are not PostgreSQL's own, whose casts anybody may have
-- written.
create or replace function pgherald.path(rel regclass, project text)
returns table (step integer, relation regclass, col name, key name, key_type text, key_collation text, deferred boolean)
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    owner oid := (select c.relowner from pg_catalog.pg_class c where c.oid = rel);
    names text[] := regexp_split_to_array(project, '\s*->\s*');
    link record;
    referenced record;
begin
    relation := rel;
    step := 1;
    if cardinality(names) = 1 or exists (select from pg_catalog.pg_attribute a
        where a.attrelid = rel and a.attname = project and a.attnum > 0 and not a.attisdropped)
    then
        col := project;
        return next;
        return;
    end if;
    loop
        col := names[step];
        if not (select c.builtin from pgherald.column_text(relation, col) c) then
            raise exception 'cannot watch %: %.% is of a type that is not PostgreSQL''s own, and a path cannot follow it', rel, relation, quote_ident(col)
                using errcode = 'feature_not_supported', hint = 'Keep the project in a column of the table, or pass project => ''*''.';
        end if;
        return next;
        exit when step = cardinality(names);

        select * into link from pgherald.foreign_key(relation, col);
        if link.target is null then
            raise exception 'cannot watch %: there is no foreign key on %(%) alone', rel, relation, quote_ident(col)
                using errcode = 'undefined_object',
                      hint = 'A path is column->column->...: each but the last references the table of the next by itself.';
        end if;
        relation := link.target;
        key := link.key;
        deferred := link.deferred;
        referenced := pgherald.column_text(relation, key);
        key_type := case when referenced.integral then 'int8' when referenced.type_name = 'varchar' then 'text' else referenced.type_name end;
        key_collation := (select format('%I.%I', n.nspname, o.collname)
                            from pg_catalog.pg_attribute a
                            join pg_catalog.pg_collation o on o.oid = a.attcollation
                            join pg_catalog.pg_namespace n on n.oid = o.collnamespace
                           where a.attrelid = relation and a.attname = key);
        step := step + 1;
        if not referenced.builtin then
            raise exception 'cannot watch %: %.% is of a type that is not PostgreSQL''s own, and a path cannot follow it', rel, relation, quote_ident(key)
                using errcode = 'feature_not_supported', hint = 'Keep the project in a column of the table, or pass project => ''*''.';
        end if;
        perform pgherald.check_readable(rel, relation, key, owner);
        perform pgherald.check_readable(rel, relation, names[step], owner);
    end loop;
end $$;
revoke all on function pgherald.path(regclass, text) from public;
grant execute on function pgherald.path(regclass, text) to public;
comment on function pgherald.path(regclass, text) is
    'The steps of a project path: the table, the column that leads on, and (but for the first) the column that is referenced, its type and collation, and whether its row may be deleted and inserted anew beneath those that reference it. Raises where a step is no foreign key or may not be taken.';
