create or replace function pgherald.due(rel regclass, out reason text, out triggers_due boolean)
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    select string_agg(distinct s.reason, '; '), coalesce(bool_or(s.kind = 'trigger'), false) into reason, triggers_due
      from pgherald.steps(rel, pgherald.settings(rel) - 'known') s;
exception when others then
    reason := sqlerrm;
    triggers_due := false;
end $$;
revoke all on function pgherald.due(regclass) from public;
grant execute on function pgherald.due(regclass) to public;
comment on function pgherald.due(regclass) is
    'Why a watched table needs pgherald.refresh(), null where it does not; and whether triggers are missing or disabled.';
