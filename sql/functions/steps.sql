-- Watching is made of these statements, and of nothing else: watch() executes them, plan() prints them, and where there are
-- some for a watched table, a refresh is due.
--   function   run with the installer's rights, by generate()
--   trigger    run with the caller's: one that is missing or disabled
--   surplus    the same: one that is not needed, such as on a detached partition
--   comment    holds the options, and is what generate() reads; without a reason where only the numbers of columns are new
create or replace function pgherald.steps(rel regclass, options jsonb)
returns table (kind text, statement text, reason text)
language plpgsql stable set search_path = pg_catalog, pg_temp set quote_all_identifiers = off as $$
#variable_conflict use_column
declare
    own text := pgherald.base_name(rel);
    owner regrole := (select c.relowner from pg_catalog.pg_class c where c.oid = rel);
    enabled "char" := case when (options ->> 'always')::boolean then 'A' else 'O' end;
    steady_settings text := ' set timezone = ''UTC'' set datestyle = ''ISO, YMD'' set intervalstyle = ''postgres'' set bytea_output = ''hex'''
        ' set extra_float_digits = 1 set lc_monetary = ''C'' set quote_all_identifiers = off set search_path = pg_catalog, pg_temp';
    known jsonb := pgherald.column_numbers(rel, options);
    w record;
    old record;
    others text;            -- who may call a function and should not, such as an owner of before
begin
    for w in select * from pgherald.function_sources(rel, options, own) loop
        select p.oid, p.prosrc, p.proconfig, p.prosecdef, p.proacl, p.proowner, pg_get_function_identity_arguments(p.oid) as arguments into old
          from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
         where n.nspname = 'pgherald' and p.proname = w.name;
        others := (select string_agg(a.grantee::regrole::text, ', ') from aclexplode(old.proacl) a where a.grantee not in (0, owner, old.proowner));
        if old.prosrc = w.body and (coalesce(cardinality(old.proconfig), 0) <= 1) = w.steady and old.arguments = w.arguments and old.prosecdef = w.definer
            and has_function_privilege(owner, old.oid, 'execute') and others is null
        then
            continue;
        end if;
        kind := 'function';
        reason := case when old.oid is null then 'a function is missing' else 'the functions were written for other columns, another owner or another version' end;
        statement := concat(
            case when old.arguments <> w.arguments then format(E'drop function pgherald.%I(%s);\n', w.name, old.arguments) end,
            format(E'create or replace function pgherald.%I(%s) returns %s\nlanguage plpgsql%s%s as %s;\n', w.name, w.arguments,
                case when w.arguments = '' then 'trigger' else 'text[]' end,
                case when w.arguments = '' then '' else ' stable' end || case when w.definer then ' security definer' else '' end,
                case when not w.steady then E'\n' || steady_settings when w.definer then ' set search_path = pg_catalog, pg_temp' else '' end,
                case when strpos(w.body, '$pgherald$') = 0 then '$pgherald$' || w.body || '$pgherald$' else quote_literal(w.body) end),
            format(E'comment on function pgherald.%I(%s) is %L;\n', w.name, w.arguments, w.purpose),
            -- CREATE TRIGGER asks for EXECUTE; a trigger that fires does not. Not to public: who puts this function on a table of
            -- his own, could then have it rewritten from there; and a lookup reads what its caller may not.
            format(E'revoke all on function pgherald.%1$I(%2$s) from public;\ngrant execute on function pgherald.%1$I(%2$s) to %3$s;\n',
                w.name, w.arguments, owner),
            case when others is not null then format(E'revoke all on function pgherald.%I(%s) from %s;\n', w.name, w.arguments, others) end);
        return next;
    end loop;

    kind := 'trigger';
    for w in select * from pgherald.trigger_definitions(rel, options, own) loop
        select t.tgfoid, t.tgenabled, t.tgtype, p.proname into old
          from pg_catalog.pg_trigger t join pg_catalog.pg_proc p on p.oid = t.tgfoid where t.tgrelid = w.relation and t.tgname = w.name;
        if old.proname is null or old.proname <> w.function or (old.tgtype & 1 = 1) <> w.by_row then
            reason := format('%s has no trigger %s of it', w.relation, w.name);
            statement := concat(
                case when old.proname is not null then format(E'drop trigger %I on %s;\n', w.name, w.relation) end,
                w.definition, E';\n',
                case when enabled = 'A' then format(E'alter table %s%s enable always trigger %I;\n', case when w.by_row then '' else 'only ' end, w.relation, w.name) end);
            return next;
        elsif exists (select from pg_catalog.pg_trigger t
                       where t.tgname = w.name and t.tgenabled <> enabled
                         and (t.tgrelid = w.relation or w.by_row and t.tgrelid in (select f.relid from pg_partition_tree(w.relation) f)))
        then
            reason := format('trigger %s of %s is disabled', w.name, w.relation);
            statement := format(E'alter table %s%s enable %strigger %I;\n', case when w.by_row then '' else 'only ' end, w.relation,
                case when enabled = 'A' then 'always ' else '' end, w.name);
            return next;
        end if;
    end loop;
    kind := 'surplus';
    for w in select t.tgname, t.tgrelid::regclass as relation
               from pg_catalog.pg_trigger t
               join pg_catalog.pg_proc p on p.oid = t.tgfoid
               join pg_catalog.pg_namespace n on n.oid = p.pronamespace and n.nspname = 'pgherald'
              where (p.proname ~ format('^%s_(insert|update|delete|truncate|before|left|moved_\d+)$', own) or p.proname !~ '_moved_\d+$' and t.tgrelid in (select pgherald.relations(rel)))
                and not t.tgisinternal and t.tgparentid = 0
                and not exists (select from pgherald.trigger_definitions(rel, options, own) d where d.relation = t.tgrelid and d.name = t.tgname)
    loop
        reason := format('%s has a trigger that it needs no more', w.relation);
        statement := format(E'drop trigger %I on %s;\n', w.tgname, w.relation);
        return next;
    end loop;

    if options || known is distinct from pgherald.settings(rel) then
        kind := 'comment';
        reason := case when options is distinct from pgherald.settings(rel) - 'known' then 'the options are others' end;
        statement := format(E'comment on trigger pgherald_truncate on %s is %L;\n', rel, options || known);
        return next;
    end if;
end $$;
revoke all on function pgherald.steps(regclass, jsonb) from public;
grant execute on function pgherald.steps(regclass, jsonb) to public;
comment on function pgherald.steps(regclass, jsonb) is
    'What is to be executed so that this table is watched with these options: kind (function, trigger, surplus or comment), the statement and why it is needed. Nothing where all is as it should be.';
