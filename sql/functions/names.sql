create or replace function pgherald.names(list jsonb) returns name[]
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select array_agg(n.name::name order by n.position) from jsonb_array_elements_text(list) with ordinality n(name, position)
$$;
revoke all on function pgherald.names(jsonb) from public;
grant execute on function pgherald.names(jsonb) to public;
comment on function pgherald.names(jsonb) is 'A JSON list of names as an array; null for null.';
