// Prints the SQL that installs one of the schemas, as its own application would: `node print.mjs pg-boss`, in a folder
// with the packages of package-lock.json and requirements.txt. Each migration is a transaction of its own.
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

const read = (...path) => readFileSync(join(...path), 'utf8');
const list = (...path) => readdirSync(join(...path)).sort();
const transaction = (sql) => `begin;\n${sql}\n;commit;\n`;

const schemas = {
    'pg-boss': async () => (await import('pg-boss')).default.getConstructionPlans(),

    // Its migrations are what an introspected database lacks: this one has nothing.
    'better-auth': async () => {
        const { getMigrations } = await import('better-auth/db');
        const { jwt, organization, twoFactor } = await import('better-auth/plugins');
        const { DummyDriver, Kysely, PostgresAdapter, PostgresIntrospector, PostgresQueryCompiler } = await import('kysely');
        const db = new Kysely({ dialect: {
            createAdapter: () => new PostgresAdapter(),
            createDriver: () => new DummyDriver(),
            createIntrospector: (db) => new PostgresIntrospector(db),
            createQueryCompiler: () => new PostgresQueryCompiler(),
        } });
        const plugins = [organization({ teams: { enabled: true } }), jwt(), twoFactor()];
        const logger = { disabled: true };
        return (await getMigrations({ database: { db, type: 'postgres' }, plugins, logger })).compileMigrations();
    },

    // The table of migrations is made by the program: website/docs/schema.md of graphile-worker.
    'graphile-worker': () => 'create schema graphile_worker;\n'
        + 'create table graphile_worker.migrations (id int primary key, ts timestamptz default now() not null,'
        + ' breaking boolean not null default false);\n'
        + list('node_modules/graphile-worker/sql')
            .map((file) => read('node_modules/graphile-worker/sql', file))
            .map((sql) => transaction(sql.replaceAll(/:GRAPHILE_WORKER_SCHEMA\b/g, 'graphile_worker'))).join(''),

    // A file a table, to be run in the order that their comments ask for, each followed by _after_each.sql.
    logto: () => {
        const at = 'node_modules/@logto/schemas';
        const tables = list(at, 'tables').filter((file) => /^[a-z]|_functions/.test(file))
            .map((file) => [file.replace('.sql', ''), read(at, 'tables', file)]);
        const tenants = read(at, 'lib/models/tenants.js').match(/Sql \*\/ `([^`]*)`/)[1];
        tables.push(['tenants', tenants.replace('${TenantTag.Development}', 'development')]);
        const place = ([, sql]) => Number(sql.match(/init_order = ([\d.]+)/)?.[1] ?? 10);
        tables.sort((one, other) => place(one) - place(other));
        const each = read(at, 'tables/_after_each.sql');
        const all = [read(at, 'tables/_before_all.sql')];
        for (const [table, sql] of tables) {
            all.push(sql, sql.includes('no_after_each') ? '' : each.replaceAll('${name}', table));
        }
        return [...all, read(at, 'tables/_after_all.sql')].join('\n;\n').replaceAll('${password}', 'secret');
    },

    procrastinate: () => read('python/procrastinate/sql/schema.sql'),

    // A script of several statements cannot build an index concurrently.
    litellm: () => list('python/litellm_proxy_extras/migrations').filter((file) => /^\d/.test(file))
        .map((file) => read('python/litellm_proxy_extras/migrations', file, 'migration.sql'))
        .map((sql) => transaction(sql.replaceAll(/\bCONCURRENTLY\b/g, ''))).join(''),
};
process.stdout.write(await schemas[process.argv[2]]());
