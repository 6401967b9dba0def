-- What pgherald keeps in a database: one schema, two small tables, one sequence.
-- Functions live in sql/functions and are applied again whenever their file changed.
-- Applied by `pgherald migrate`, which has made sure that schema pgherald is the installer's own.

revoke all on schema pgherald from public;
grant usage on schema pgherald to public;
comment on schema pgherald is
    'pgherald: tells browsers which of their cached data is stale. Installed by "pgherald migrate".';

create table pgherald.migrations (
    version    integer     not null primary key check (version > 0),
    name       text        not null,
    checksum   text        not null,
    applied_at timestamptz not null default pg_catalog.clock_timestamp()
);
comment on table pgherald.migrations is 'The migrations that were applied here, each once.';
comment on column pgherald.migrations.version is 'The number in front of the file name.';
comment on column pgherald.migrations.name is 'The file in migrations/.';
comment on column pgherald.migrations.checksum is 'SHA-256 of the file, in hex. A file that differs later is refused.';
comment on column pgherald.migrations.applied_at is 'When.';

create table pgherald.functions (
    name       text        not null primary key,
    checksum   text        not null,
    applied_at timestamptz not null default pg_catalog.clock_timestamp()
);
comment on table pgherald.functions is 'The files in sql/functions as last applied here.';
comment on column pgherald.functions.name is 'The file in sql/functions/.';
comment on column pgherald.functions.checksum is 'SHA-256 of the file, in hex. A file that differs later is applied again.';
comment on column pgherald.functions.applied_at is 'When.';

create sequence pgherald.dropped;
comment on sequence pgherald.dropped is
    'Counts the notifications that were lost so that a write could succeed. A sequence, because it counts in transactions that roll back too. The daemon polls pg_sequence_last_value (null until the first loss) and answers a rise with "reconnect".';

-- The daemon's role reads these; writers need nothing of them.
revoke all on pgherald.migrations, pgherald.functions, pgherald.dropped from public;
grant select on pgherald.migrations, pgherald.functions, pgherald.dropped to public;
