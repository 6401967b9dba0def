-- From PostgreSQL 15 on MERGE may move a row to another partition, and then no transition table shows it: the UPDATE trigger
-- fires without the row. Row triggers see it as a DELETE and an INSERT. So while a statement updates a partitioned table
-- (pgherald.updating), the deletes in it leave an id and a project behind (pgherald.left_...); where the UPDATE trigger does not find
-- those among its rows, it tells everything. An UPDATE that moves rows costs little more, and everything else nothing.
create or replace function pgherald.merge_source(
    rel regclass, options jsonb, base text, out before text, out left_row text, out prologue text)
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    old record := pgherald.parts(rel, options, base, 'DELETE', 'old');
    p record := pgherald.parts(rel, options, base, 'UPDATE', 'r');
    -- each table has its own: triggers of the application may update another in between
    mark text := format('pgherald.left_%s', substring(base from '[0-9a-f]{8}(?:_\d+)?$'));
    depth text := $q$case when pg_catalog.current_setting('pgherald.updating', true) operator(pg_catalog.<>) ''
            then pg_catalog.current_setting('pgherald.updating', true)::pg_catalog.int4 else 0 end$q$;
begin
    before := pgherald.guarded('', format(E'    sent := pg_catalog.set_config(\'pgherald.updating\', ((%s) operator(pg_catalog.+) 1)::pg_catalog.text, true);', depth), p.everything);
    left_row := pgherald.guarded('', format(E'    sent := pg_catalog.set_config(%L, pg_catalog.concat(%s, \' \', %s), true);', mark, old.id, coalesce(old.project, old.via)), p.everything);
    prologue := format($body$    sent := pg_catalog.set_config('pgherald.updating', case when (%1$s) operator(pg_catalog.>) 1
            then ((%1$s) operator(pg_catalog.-) 1)::pg_catalog.text else '' end, true);
    if pg_catalog.current_setting(%3$L, true) operator(pg_catalog.<>) '' then
        merged := not exists (select from pgherald_old r where pg_catalog.concat(%2$s, ' ', %4$s) operator(pg_catalog.=) pg_catalog.current_setting(%3$L, true));
        sent := pg_catalog.set_config(%3$L, '', true);
    end if;
$body$, depth, p.id, mark, coalesce(p.project, p.via));
end $$;
revoke all on function pgherald.merge_source(regclass, jsonb, text) from public;
grant execute on function pgherald.merge_source(regclass, jsonb, text) to public;
comment on function pgherald.merge_source(regclass, jsonb, text) is
    'What a partitioned table needs besides, so that rows which MERGE moves are not lost: the bodies of a trigger before UPDATE and of one after each deleted row, and how its UPDATE trigger begins.';
