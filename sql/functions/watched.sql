create or replace view pgherald.watched as
select root.tgrelid::regclass as relation,
       s.options ->> 'project' as project,
       case when pg_catalog.jsonb_typeof(s.options -> 'id') = 'array'
            then array(select pg_catalog.jsonb_array_elements_text(s.options -> 'id')::name)
            else pgherald.primary_key(root.tgrelid) end as id,
       s.options ->> 'resource' as resource,
       (s.options ->> 'max_ids')::integer as max_ids,
       on_each.enabled = on_each.relations * 4 as enabled,
       on_each.relations,
       on_each.triggers
  from pg_catalog.pg_trigger root
 cross join lateral (select pgherald.settings(root.tgrelid) as options) s
 cross join lateral (
    select pg_catalog.count(distinct r) as relations,
           pg_catalog.count(t.oid) as triggers,
           pg_catalog.count(t.oid) filter (where t.tgenabled <> 'D') as enabled
      from pgherald.relations(root.tgrelid) r
      left join (pg_catalog.pg_trigger t
                 join pg_catalog.pg_proc p on p.oid = t.tgfoid
                 join pg_catalog.pg_namespace n on n.oid = p.pronamespace
                                               and n.nspname = 'pgherald')
             on t.tgrelid = r) on_each
 where root.tgname = 'pgherald_insert' and s.options is not null;
revoke all on pgherald.watched from public;
grant select on pgherald.watched to public;
comment on view pgherald.watched is 'Every watched table, one row; its partitions are counted in relations and triggers.';
comment on column pgherald.watched.project is 'The column of the project, "*" for every project.';
comment on column pgherald.watched.id is 'The columns that name a row.';
comment on column pgherald.watched.resource is 'The label that is sent in place of the table''s name, null without one.';
comment on column pgherald.watched.max_ids is 'A statement that changes more rows is told as the whole resource.';
comment on column pgherald.watched.enabled is 'Every trigger is there, on every partition, and none is disabled. False: call watch again.';
comment on column pgherald.watched.relations is 'How many tables that is: 1, and its partitions.';
comment on column pgherald.watched.triggers is 'How many triggers they have.';
