-- The two roles of pgherald, in the database of the connection: psql -Xq -f roles.sql 'postgresql://dba@host/app'
-- Running it again equals running it once. Names are variables, such as -v daemon=herald:
--
--   owner       pgherald_owner    owns schema pgherald and all that is in it; nobody logs in as it
--   daemon      pgherald_daemon   what `pgherald serve` connects as; may connect, LISTEN (any role may), read membership, relay
--   membership  project_members   the table that authorize.query reads
--
-- Run it as a superuser, or as a role with CREATEROLE that owns the database (or has CREATE on it). Such a role becomes
-- a member of the owner role, because only a member can install in its name.
--
-- Then, in this order:
--   pgherald migrate                          as whoever ran this: all it creates belongs to the owner role
--   this script again                         before `pgherald transport relay`: what the daemon needs for it is there only now
--   \password pgherald_daemon                 or a line in pg_hba.conf with peer, cert, gss: this script sets no password
--   select pgherald.watch('public.tasks');    as the owner of the table: owning it is the right to watch it, no grant is needed
--   pgherald serve                            with database.url = postgresql://pgherald_daemon@host/app
--
-- Whoever writes to watched tables needs nothing: what triggers need of schema pgherald, PUBLIC has.
-- To let somebody watch tables that he does not own, make him a member of their owner: grant app_owner to somebody;

\set ON_ERROR_STOP on
\if :{?owner}
\else
    \set owner pgherald_owner
\endif
\if :{?daemon}
\else
    \set daemon pgherald_daemon
\endif
\if :{?membership}
\else
    \set membership project_members
\endif

begin;
set local client_min_messages = warning;
-- Looked up as you see it, everything else as nobody can shadow it. The daemon looks it up on a search_path of its own:
-- a table outside of schema public needs its schema in authorize.query.
select coalesce(pg_catalog.to_regclass(:'membership')::pg_catalog.oid, 0::pg_catalog.oid) as membership_oid \gset
set local search_path = '';
select not exists (select from pg_roles where rolname = :'owner') as owner_is_new,
       not exists (select from pg_roles where rolname = :'daemon') as daemon_is_new \gset

\if :owner_is_new
    create role :"owner" nologin;
    -- Since PostgreSQL 16 CREATEROLE lets its holder administer the role, but not act as it.
    select format('grant %I to %I', :'owner', current_user) from pg_roles where rolname = current_user and not rolsuper \gexec
\endif
\if :daemon_is_new
    create role :"daemon" login;
\endif
select oid as owner_oid from pg_roles where rolname = :'owner' \gset

select format('create schema pgherald authorization %I', :'owner')
 where not exists (select from pg_namespace where nspname = 'pgherald') \gexec

-- Where pgherald is installed already, by somebody else, all of it is handed over. A schema of that name with other
-- things in it stays as it is.
select to_regclass('pgherald.migrations') is not null as installed \gset
\if :installed
    select format('alter schema pgherald owner to %I', :'owner')
      from pg_namespace where nspname = 'pgherald' and nspowner <> :owner_oid \gexec
    -- Sequences that belong to a column follow their table.
    select format('alter table %s owner to %I', c.oid::regclass, :'owner')
      from pg_class c
     where c.relnamespace = 'pgherald'::regnamespace and c.relkind in ('r', 'p', 'v', 'S') and c.relowner <> :owner_oid
       and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid
                          and d.refclassid = 'pg_class'::regclass and d.deptype in ('a', 'i')) \gexec
    select format('alter routine %s owner to %I', p.oid::regprocedure, :'owner')
      from pg_proc p where p.pronamespace = 'pgherald'::regnamespace and p.proowner <> :owner_oid \gexec
\endif

-- The daemon. The counter of lost notifications and the list of migrations are open to everybody once they exist.
select format('grant connect on database %I to %I', current_database(), :'daemon')
 where not has_database_privilege(:'daemon', current_database(), 'connect') \gexec
select format('grant usage on schema pgherald to %I', :'daemon')
 where not has_schema_privilege(:'daemon', 'pgherald', 'usage') \gexec

-- It may relay, where what it needs for that is there already.
select to_regprocedure('pgherald.relay(integer, integer)') is not null and to_regprocedure('pgherald.recycle(bigint)') is not null as relay_is_there \gset
\if :relay_is_there
    select format('grant execute on function pgherald.relay(integer, integer), pgherald.recycle(bigint) to %I', :'daemon')
     where not (has_function_privilege(:'daemon', 'pgherald.relay(integer, integer)', 'execute')
                and has_function_privilege(:'daemon', 'pgherald.recycle(bigint)', 'execute')) \gexec
\endif

-- Membership: only where you may grant it. Where you may not, the report tells who has to.
select format('grant usage on schema %I to %I', n.nspname, :'daemon')
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where c.oid = :membership_oid and pg_has_role(n.nspowner, 'usage')
   and not has_schema_privilege(:'daemon', n.oid, 'usage') \gexec
select format('grant select on %s to %I', c.oid::regclass, :'daemon')
  from pg_class c
 where c.oid = :membership_oid and pg_has_role(c.relowner, 'usage')
   and not has_table_privilege(:'daemon', c.oid, 'select') \gexec

\echo '== Roles of pgherald, and what is still to do'
select 'schema pgherald belongs to ' || :'owner' as what,
       case when n.nspowner = :owner_oid then 'yes'
            else format('no: to %s, and it is not pgherald''s: rename or drop it', n.nspowner::regrole) end as is_so
  from pg_namespace n where n.nspname = 'pgherald'
union all
select 'pgherald is installed', case when :'installed' then 'yes' else 'not yet: pgherald migrate' end
union all
select :'daemon' || ' may relay',
       case when not :'relay_is_there' then 'not yet: pgherald migrate, then run this again'
            when has_function_privilege(:'daemon', to_regprocedure('pgherald.relay(integer, integer)'), 'execute')
                 and has_function_privilege(:'daemon', to_regprocedure('pgherald.recycle(bigint)'), 'execute') then 'yes'
            else 'no: see above' end
union all
select :'daemon' || ' may log in', case when rolcanlogin then 'yes' else format('no: alter role %I login', rolname) end
  from pg_roles where rolname = :'daemon'
union all
select format('%s may read %s', :'daemon', :'membership'),
       case when c.oid is null then 'no: there is no such table here; run this again with -v membership=schema.table, unless authorize.claim is used'
            when not has_schema_privilege(:'daemon', n.oid, 'usage')
                then format('no: as %s: grant usage on schema %I to %I; then run this again', n.nspowner::regrole, n.nspname, :'daemon')
            when not has_table_privilege(:'daemon', c.oid, 'select')
                then format('no: as %s: grant select on %s to %I', c.relowner::regrole, c.oid::regclass, :'daemon')
            when c.relrowsecurity
                then format('yes, the rows that its policies show: create policy ... on %s for select to %I using (true)', c.oid::regclass, :'daemon')
            else 'yes' end
  from (select) here left join pg_class c on c.oid = :membership_oid left join pg_namespace n on n.oid = c.relnamespace;
commit;
