create or replace function pgherald.plan(
    rel regclass, project text default 'project_id', id name[] default null, resource text default null,
    max_ids integer default 1000, columns name[] default null, include name[] default null,
    mode text default 'statement', always boolean default false)
returns table (statement text, reason text)
language sql stable set search_path = pg_catalog, pg_temp as $$
    select s.statement, s.reason
      from pgherald.steps(rel, pgherald.options(rel, project, id, resource, max_ids, columns, include, mode, always)) s
$$;
revoke all on function pgherald.plan(regclass, text, name[], text, integer, name[], name[], text, boolean) from public;
grant execute on function pgherald.plan(regclass, text, name[], text, integer, name[], name[], text, boolean) to public;
comment on function pgherald.plan(regclass, text, name[], text, integer, name[], name[], text, boolean) is
    'What pgherald.watch would execute with the same parameters, and why: reads only, takes no lock. Nothing where all is as it should be. The functions are made with the installer''s rights, the rest with the caller''s.';
