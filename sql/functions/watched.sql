create or replace view pgherald.watched as
select root.tgrelid::regclass as relation,
       s.options ->> 'project' as project,
       coalesce(pgherald.names(s.options -> 'id'), pgherald.primary_key(root.tgrelid)) as id,
       s.options ->> 'resource' as resource,
       (s.options ->> 'max_ids')::integer as max_ids,
       not on_each.disabled and not d.triggers_due as enabled,
       on_each.relations,
       on_each.triggers,
       pgherald.names(s.options -> 'columns') as columns,
       pgherald.names(s.options -> 'include') as include,
       s.options ->> 'mode' as mode,
       (s.options ->> 'always')::boolean as always,
       d.reason as refresh_due
  from pg_catalog.pg_trigger root
 cross join lateral (select pgherald.settings(root.tgrelid) as options) s
 cross join lateral (
    select pg_catalog.count(distinct r) as relations,
           pg_catalog.count(t.oid) as triggers,
           coalesce(pg_catalog.bool_or(t.tgenabled = 'D'), false) as disabled
      from pgherald.relations(root.tgrelid) r
      left join (pg_catalog.pg_trigger t join pgherald.generated() g on g.function = t.tgfoid and g.role <> 'moved')
             on t.tgrelid = r) on_each
 cross join lateral pgherald.due(root.tgrelid) d
 where root.tgname = 'pgherald_truncate' and s.options is not null;
revoke all on pgherald.watched from public;
grant select on pgherald.watched to public;
comment on view pgherald.watched is 'Every watched table, one row; its partitions and children are counted in relations and triggers.';
comment on column pgherald.watched.project is 'The column of the project, a path to it along foreign keys, or "*" for every project.';
comment on column pgherald.watched.id is 'The columns that name a row.';
comment on column pgherald.watched.resource is 'The label that is sent in place of the table''s name, null without one.';
comment on column pgherald.watched.max_ids is 'A statement that changes more rows is told as the whole resource.';
comment on column pgherald.watched.enabled is 'Every trigger is there, on every partition and child, and none is disabled. False: call pgherald.refresh().';
comment on column pgherald.watched.relations is 'How many tables that is: 1, its partitions and its children.';
comment on column pgherald.watched.triggers is 'How many triggers they have.';
comment on column pgherald.watched.columns is 'An UPDATE that changes none of these is silent; null: every UPDATE is told.';
comment on column pgherald.watched.include is 'The columns that travel along, null for none.';
comment on column pgherald.watched.mode is 'statement or row: how often the triggers fire.';
comment on column pgherald.watched.always is 'The triggers fire under session_replication_role = replica, too.';
comment on column pgherald.watched.refresh_due is 'Why pgherald.refresh() is due, such as a new partition, a renamed column or a changed key; null where it is not.';
