-- Definer rights: the functions live in schema pgherald, where nobody but the installer may create anything (who may,
-- could lay a trap for the superuser who calls pgherald.watch('...') there).
-- What they contain is read from the comment of the table's own trigger, which only the table's owner can write:
-- so it is harmless that everybody may call this. Without such a comment they are empty, for watch() to make its triggers.
--
-- A watched table keeps the names that it has, whatever it is called by now. A new one gets names that are readable, fit
-- into 63 bytes, and are no other table's: tables may swap names, and two long names may begin alike.
create or replace function pgherald.generate(rel regclass) returns text
language plpgsql volatile security definer set search_path = '' as $$
declare
    options jsonb := pgherald.settings(rel);
    base text;
    wanted text;
    owner regrole := (select c.relowner from pg_catalog.pg_class c where c.oid = rel);
    attempt integer := 1;
    operation text;
    source record;
    steady text := ' set timezone = ''UTC'' set datestyle = ''ISO, YMD'' set intervalstyle = ''postgres'' set bytea_output = ''hex'''
        ' set extra_float_digits = 1 set lc_monetary = ''C'' set quote_all_identifiers = off set search_path = ''''';
begin
    if options is not null then
        select regexp_replace(p.proname, '_insert$', '') into base
          from pg_catalog.pg_trigger t join pg_catalog.pg_proc p on p.oid = t.tgfoid
         where t.tgrelid = rel and t.tgname = 'pgherald_insert';
    else
        if not pg_has_role(session_user, owner, 'member') then
            raise exception 'cannot watch %: only its owner may', rel using errcode = 'insufficient_privilege';
        end if;
        select n.nspname || '.' || c.relname into wanted
          from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.oid = rel;
        wanted := left(regexp_replace(wanted, '[^A-Za-z0-9]+', '_', 'g'), 36)
            || '_' || left(encode(sha256(convert_to(wanted, 'UTF8')), 'hex'), 8);
        base := wanted;
        while exists (select from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
                       where n.nspname = 'pgherald'
                         and p.proname in (base || '_insert', base || '_update', base || '_delete', base || '_truncate')) loop
            attempt := attempt + 1;
            base := wanted || '_' || attempt;
        end loop;
    end if;
    foreach operation in array array['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE'] loop
        if options is null then
            execute format('create function pgherald.%I() returns trigger language plpgsql as ''begin return null; end''',
                base || '_' || lower(operation));
        else
            source := pgherald.trigger_source(rel, options, operation);
            execute format('create or replace function pgherald.%I() returns trigger language plpgsql%s as %L',
                base || '_' || lower(operation), case when source.steady then '' else steady end, source.body);
        end if;
        execute format('comment on function pgherald.%I() is %L', base || '_' || lower(operation),
            format('%s trigger of %s, written by pgherald.watch: do not edit, call watch again.', operation, rel));
        -- CREATE TRIGGER asks for it; a trigger that fires does not. Not to public: who puts this function on a table of
        -- his own, could then have it rewritten from there.
        execute format('revoke all on function pgherald.%I() from public', base || '_' || lower(operation));
        execute format('grant execute on function pgherald.%I() to %s', base || '_' || lower(operation), owner);
    end loop;
    return base;
end $$;
revoke all on function pgherald.generate(regclass) from public;
grant execute on function pgherald.generate(regclass) to public;
comment on function pgherald.generate(regclass) is
    'Writes the trigger functions of a table from the options in the comment of its trigger, and returns what their names begin with; called by pgherald.watch.';
