create or replace function pgherald.queue_files_limit() returns bigint
language sql immutable set search_path = pg_catalog, pg_temp as $$ select 16 * pgherald.queue_limit() $$;
revoke all on function pgherald.queue_files_limit() from public;
comment on function pgherald.queue_files_limit() is
    'How many bytes the files of the relay''s queue may have, with what cannot be removed from them: because of pg_dump, or of a transaction that does not end. Beyond that the queue counts as full.';
