-- The usual case is tried at once: an expression of its payload, what that is selected from, on which condition (see emission).
-- The statements leave a payload, or several in payloads; everything is one that needs no looking; what is in first must
-- happen even where nobody is told.
create or replace function pgherald.body(declarations text, statements text, everything text, first text default '', usual text[] default null) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
    select pgherald.guarded(concat($d$    pgherald_tail pg_catalog.text;
    payload pg_catalog.text;
    payloads pg_catalog.text[];
    pgherald_origin pg_catalog.text;
$d$, e.declarations, body.declarations), concat(first, e.opening, $s$    if pg_catalog.current_setting('pgherald.origin', true) operator(pg_catalog.<>) '' then
        pgherald_origin := pg_catalog.concat(',"origin":', pg_catalog.to_json(pg_catalog.left(pg_catalog.current_setting('pgherald.origin', true), 100)));
    end if;
$s$, case when usual is not null then format(e.at_once, usual[1], usual[2], usual[3]) end, statements, e.emission), everything)
      from pgherald.emission((select t.transport from pgherald.transport t)) e
$$;
revoke all on function pgherald.body(text, text, text, text, text[]) from public;
grant execute on function pgherald.body(text, text, text, text, text[]) to public;
comment on function pgherald.body(text, text, text, text, text[]) is
    'The body of a trigger function that sends what its statements find out, by the transport that is set.';
