create or replace function pgherald.renamed(rel regclass, options jsonb) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    result jsonb := options - 'known';
    list text;
    names text[] := regexp_split_to_array(options ->> 'project', '\s*->\s*');
    relation regclass := rel;
begin
    foreach list in array array['id', 'columns', 'include'] loop
        if options ? list then
            result := jsonb_set(result, array[list], (select jsonb_agg(pgherald.current_name(rel, n.name, options) order by n.position)
                from jsonb_array_elements_text(options -> list) with ordinality n(name, position)));
        end if;
    end loop;
    if options -> 'known' ? format('%s.%s', rel::oid, options ->> 'project') then
        names := array[options ->> 'project'];
    end if;
    for i in 1 .. cardinality(names) loop
        names[i] := pgherald.current_name(relation, names[i], options);
        relation := (pgherald.foreign_key(relation, names[i])).target;
        exit when relation is null;
    end loop;
    return jsonb_set(result, '{project}', to_jsonb(array_to_string(names, '->')));
end $$;
revoke all on function pgherald.renamed(regclass, jsonb) from public;
grant execute on function pgherald.renamed(regclass, jsonb) to public;
comment on function pgherald.renamed(regclass, jsonb) is
    'The options of a watched table, with the names that its columns, and those along its path, have now.';
