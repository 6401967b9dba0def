-- Runs with the caller's rights: owning the table is the right to watch it, and nothing else is needed.
-- Calling it again with nothing to change takes no lock that anybody would notice; a change of options replaces the
-- functions; new partitions get their triggers. Locks where there is something to do: SHARE UPDATE EXCLUSIVE, so that two
-- calls wait for each other, and what CREATE TRIGGER takes (SHARE ROW EXCLUSIVE: writers wait until the transaction ends).
create or replace function pgherald.watch(
    rel regclass, project text default 'project_id', id name[] default null, resource text default null,
    max_ids integer default 1000, columns name[] default null, include name[] default null,
    mode text default 'statement', always boolean default false)
returns text
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
    options jsonb := pgherald.options(rel, project, id, resource, max_ids, columns, include, mode, always);
    known boolean := pgherald.settings(rel) is not null;
    todo text[];
    next text;
    due boolean;
begin
    if not exists (select from pgherald.steps(rel, options)) then
        return 'unchanged';
    end if;
    -- Parents first, as applications write them; CREATE TRIGGER would lock them last.
    for next in select p.relation::text from pgherald.path(rel, project) p where project <> '*' and p.step > 1 order by p.step desc loop
        execute format('lock table %s in share row exclusive mode', next);
    end loop;
    execute format('lock table %s in share update exclusive mode', rel);
    known := pgherald.settings(rel) is not null;
    if known then
        due := exists (select from pgherald.steps(rel, options) s where s.reason is not null);
        for next in select s.statement from pgherald.steps(rel, options) s where s.kind = 'comment' loop
            execute next;
        end loop;
        perform pgherald.generate(rel);
        todo := array(select s.statement from pgherald.steps(rel, options) s where s.kind in ('trigger', 'surplus'));
    else
        -- generate() believes nothing but a comment on a trigger, so it makes empty functions first.
        todo := array(select s.statement from pgherald.steps(rel, options) s where s.kind <> 'function');
        perform pgherald.generate(rel, cardinality(regexp_split_to_array(project, '->')), pgherald.may_merge(rel, options));
    end if;
    foreach next in array todo loop
        execute next;
    end loop;
    if known then
        perform pgherald.drop_unused();
    else
        perform pgherald.generate(rel);
    end if;
    perform pgherald.check_queries(rel);
    return case when not known then 'watched' when due then 'changed' else 'unchanged' end;
end $$;
revoke all on function pgherald.watch(regclass, text, name[], text, integer, name[], name[], text, boolean) from public;
grant execute on function pgherald.watch(regclass, text, name[], text, integer, name[], name[], text, boolean) to public;
comment on function pgherald.watch(regclass, text, name[], text, integer, name[], name[], text, boolean) is
    'Tells browsers about every change of this table, its partitions and children. project: the column that holds a row''s project, a path to it along foreign keys such as "task_id->project_id", or "*" for every project. id: the columns that name a row, the primary key if left out; several are joined by ":", nothing escaped. resource: the label to send in place of the table''s name. max_ids: a statement that changes more rows is told as the whole resource. columns: an UPDATE that changes none of them is silent. include: columns that travel along where they are small, none if left out. mode: statement, or row for tables that are written one row at a time and for subscribers of logical replication. always: with mode row, fires under session_replication_role = replica too. Only the table''s owner may call it; writers need no grant. Returns watched, changed or unchanged.';
