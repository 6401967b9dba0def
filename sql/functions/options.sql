-- Every option is checked here, so that a mistake is told at once and in one voice.
create or replace function pgherald.options(
    rel regclass, project text, id name[], resource text, max_ids integer, columns name[], include name[], mode text, always boolean)
returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    col name;
    step record;
begin
    perform pgherald.check_watchable(rel, mode);
    -- The triggers of a table have one name, so it can tell in the name of one parent only.
    select r.child, other.tgrelid::regclass as parent into step
      from pgherald.relations(rel) r(child)
      join pg_catalog.pg_trigger t on t.tgrelid = r.child and t.tgname = 'pgherald_truncate'
      join pg_catalog.pg_trigger other on other.tgfoid = t.tgfoid and other.tgname = t.tgname
     where r.child <> rel and other.tgrelid <> r.child and pgherald.settings(other.tgrelid) is not null
       and other.tgrelid not in (select o from pgherald.relations(rel) o)
       and rel not in (select o from pgherald.relations(other.tgrelid) o)
     limit 1;
    if found then
        raise exception 'cannot watch %: % below it tells in the name of % already', rel, step.child, step.parent
            using errcode = 'object_not_in_prerequisite_state', hint = format('Watch %s by itself, or unwatch %s.', step.child, step.parent);
    end if;
    if project is null or project = '' then
        raise exception 'cannot watch %: which project?', rel using errcode = 'null_value_not_allowed',
            hint = 'Pass project => ''column'', ''column->column'' along foreign keys, or ''*'' to tell every project.';
    elsif id = '{}' or columns = '{}' or include = '{}' then
        raise exception 'cannot watch %: % is empty', rel, case when id = '{}' then 'id' when columns = '{}' then 'columns' else 'include' end
            using errcode = 'invalid_parameter_value', hint = 'Pass array[''column'', ...], or leave it out.';
    elsif resource = '' or octet_length(resource) > 200 then
        raise exception 'cannot watch %: a resource has 1 to 200 bytes', rel using errcode = 'invalid_parameter_value';
    elsif coalesce(resource, (select c.relname from pg_catalog.pg_class c where c.oid = rel)) ~ E'[\\u0001-\\u001f\\u007f-\\u009f]' then
        raise exception 'cannot watch %: its name, or resource, has control characters, and no frame carries those', rel
            using errcode = 'invalid_parameter_value', hint = 'Pass resource => ''a label without them''.';
    elsif max_ids is null or max_ids not between 1 and 10000 then
        raise exception 'cannot watch %: max_ids is %, and may be 1 to 10000', rel, coalesce(max_ids::text, 'null')
            using errcode = 'invalid_parameter_value';
    elsif mode is null or mode not in ('statement', 'row') then
        raise exception 'cannot watch %: mode is %', rel, coalesce(quote_literal(mode), 'null')
            using errcode = 'invalid_parameter_value', hint = 'It may be statement or row.';
    elsif always and mode <> 'row' then
        raise exception 'cannot watch %: always needs mode => ''row''', rel
            using errcode = 'invalid_parameter_value', hint = 'Logical replication fires no statement triggers but TRUNCATE''s.';
    end if;
    foreach col in array coalesce(columns, '{}') || coalesce(include, '{}') loop
        perform pgherald.column_text(rel, col);
    end loop;
    foreach col in array coalesce(columns, '{}') loop
        begin
            execute format('select distinct null::%s limit 0', (pgherald.column_text(rel, col)).base_type);
        exception when undefined_function then
            raise exception 'cannot watch %: column % has a type without equality, so nobody can tell whether it changed', rel, quote_ident(col)
                using errcode = 'undefined_function',
                      hint = 'Leave it out of columns, watch without columns, or make it a type with equality, such as jsonb for json.';
        end;
    end loop;
    if project <> '*' then
        for step in select * from pgherald.path(rel, project) p where p.step > 1 loop
            if not pg_has_role((select c.relowner from pg_catalog.pg_class c where c.oid = step.relation), 'usage') then
                raise exception 'cannot watch %: its path leads through %, which needs a trigger too, and only its owner may', rel, step.relation
                    using errcode = 'insufficient_privilege', hint = 'Call it as a member of both owners, or keep the project in a column of the table.';
            end if;
            perform pgherald.check_watchable(step.relation, 'statement');
        end loop;
    end if;
    return jsonb_strip_nulls(jsonb_build_object('project', project, 'id', id, 'resource', resource, 'max_ids', max_ids,
        'columns', columns, 'include', include, 'mode', mode, 'always', coalesce(always, false)));
end $$;
revoke all on function pgherald.options(regclass, text, name[], text, integer, name[], name[], text, boolean) from public;
grant execute on function pgherald.options(regclass, text, name[], text, integer, name[], name[], text, boolean) to public;
comment on function pgherald.options(regclass, text, name[], text, integer, name[], name[], text, boolean) is
    'The parameters of watch() as one document, checked; raises what is wrong with them.';
