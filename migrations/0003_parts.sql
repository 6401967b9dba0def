-- These return other columns now, which `create or replace` refuses. Nothing depends on them; they come again with all functions
-- that have changed.
drop function if exists pgherald.parts(regclass, jsonb, text, text, text);
drop function if exists pgherald.column_text(regclass, name, text);
