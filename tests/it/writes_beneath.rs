//! No row goes untold that is written beneath a statement: by foreign keys, triggers, rules and views.

use crate::witness::told;

#[tokio::test]
async fn foreign_keys_that_cascade() {
    told(
        "create table projects (id int primary key, name text);
         create table lists (id int primary key, project_id int references projects on delete cascade on update cascade);
         create table cards (id int primary key, project_id int, list int references lists on delete cascade on update cascade);
         create table notes (id int primary key, project_id int, card int references cards on delete set null);
         create table marks (id int primary key, card int default 3 references cards on delete set default deferrable initially deferred,
             project_id int default 0 references projects on delete set default on update cascade);
         create table late (id int primary key, project_id int,
             card int references cards on delete cascade deferrable initially deferred);
         create table self (id int primary key, project_id int, parent int references self on delete cascade);
         insert into projects values (0), (7), (8); insert into lists values (1, 7), (2, 7), (3, 8);
         insert into cards select g, case g % 3 when 2 then 8 else 7 end, g % 3 + 1 from generate_series(1, 12) g;
         insert into cards values (13, 7, 1);
         insert into notes select g, 7, g from generate_series(1, 12) g; insert into marks values (1, 6, 7), (2, 4, 8);
         insert into late values (1, 7, 6), (2, 8, 6), (3, 8, 13);
         insert into self values (1, 7, null), (2, 7, 1), (3, 8, 2), (4, 8, 2), (5, 7, 5);
         select pgherald.watch('projects', project => 'id'$mode);
         select pgherald.watch(t$mode) from unnest(array['lists', 'cards', 'notes', 'marks', 'late', 'self']::regclass[]) t;",
        &[
            // the parent, its children, and theirs; the default is set at commit
            (
                "delete from lists where id = 2",
                "lists DELETE 7/2, cards DELETE 7/1 7/4 7/7 7/10, notes UPDATE 7/1 7/4 7/7 7/10, marks UPDATE 8/2",
            ),
            (
                "begin; delete from cards where id = 6; savepoint a; delete from cards where id = 9; rollback to a; commit",
                "cards DELETE 7/6, notes UPDATE 7/6, marks UPDATE 7/1, late DELETE 7/1 8/2",
            ),
            ("begin; delete from cards where id = 13; set constraints all immediate; commit", "cards DELETE 7/13, late DELETE 8/3"),
            // keys that change: of a parent, and of what is the project of its children
            ("update lists set id = 10 where id = 1", "lists UPDATE 7/1 7/10, cards UPDATE 7/3 7/9 7/12"),
            ("update projects set id = 9 where id = 8", "projects UPDATE 8/8 9/9, lists UPDATE 8/3 9/3, marks UPDATE 8/2 9/2"),
            (
                "delete from projects where id = 9",
                "projects DELETE 9/9, lists DELETE 9/3, cards DELETE 8/2 8/5 8/8 8/11, notes UPDATE 7/2 7/5 7/8 7/11, marks UPDATE 9/2 0/2",
            ),
            ("delete from self where id in (1, 5)", "self DELETE 7/1 7/2 8/3 8/4 7/5"),
            (
                "truncate projects cascade",
                "projects DELETE */*, lists DELETE */*, cards DELETE */*, notes DELETE */*, marks DELETE */*, late DELETE */*",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn foreign_keys_between_partitioned_tables() {
    told(
        "create table lists (id int, part int, project_id int, primary key (id, part)) partition by list (part);
         create table lists1 partition of lists for values in (1); create table lists2 partition of lists default;
         create table cards (id int, part int, project_id int, list int, list_part int, primary key (id, part),
             foreign key (list, list_part) references lists on delete cascade on update cascade) partition by list (part);
         create table cards1 partition of cards for values in (1); create table cards2 partition of cards default;
         insert into lists values (1, 1, 7), (2, 2, 7), (3, 1, 8);
         insert into cards select g, g % 2 + 1, 7 + g % 2, (g - 1) / 4 + 1, case (g - 1) / 4 when 1 then 2 else 1 end from generate_series(1, 12) g;
         select pgherald.watch('lists'$mode), pgherald.watch('cards'$mode);",
        &[
            ("delete from lists where id = 1", "lists DELETE 7/1:1, cards DELETE 8/1:2 7/2:1 8/3:2 7/4:1"),
            ("delete from lists2", "lists DELETE 7/2:2, cards DELETE 8/5:2 7/6:1 8/7:2 7/8:1"),
            ("update lists set id = 5", "lists UPDATE 8/3:1 8/5:1, cards UPDATE 8/9:2 7/10:1 8/11:2 7/12:1"),
        ],
    )
    .await;
}

/// Triggers of an application, sorted before and behind ours, that write to watched tables.
const TRIGGERS: &str = "create table tasks (id int primary key, project_id int, title text);
    create table log (id text primary key, project_id int, at int default 1);
    create table totals (project_id int primary key, n int not null default 0);
    create function a_before() returns trigger language plpgsql as $$ begin
        if tg_op = 'DELETE' then
            if old.title = 'keep' then return null; end if;
            insert into log values ('gone-' || old.id, old.project_id); return old;
        end if;
        new.project_id := coalesce(new.project_id, 7);
        if new.title = 'skip' then return null; end if;
        if new.title = 'renumber' then new.id := new.id + 100; end if;
        if new.title = 'log' then insert into log values ('before-' || new.id, new.project_id); end if;
        return new; end $$;
    create function after_row() returns trigger language plpgsql as $$ begin
        if new.title = 'count' then
            insert into totals values (new.project_id, 1) on conflict (project_id) do update set n = totals.n + 1;
        elsif new.title = 'parent' then
            insert into tasks values (new.id + 1000, 8, 'child'), (new.id + 2000, 9, 'child');
            update tasks set title = 'done' where id = new.id;
        elsif new.title = 'down' and new.id > 1 then
            insert into tasks values (new.id - 1, new.project_id, 'down');
        end if;
        return null; end $$;
    create function after_statement() returns trigger language plpgsql as $$ begin
        insert into log select tg_name || '-' || id, project_id from new where title = 'statement';
        update tasks set title = 'done' where title = 'statement'; return null; end $$;
    create function at_commit() returns trigger language plpgsql as $$ begin
        if new.title = 'commit' then insert into log values ('commit-' || new.id, new.project_id); end if; return null; end $$;
    create trigger a_before before insert or update or delete on tasks for each row execute function a_before();
    create trigger a_after after insert on tasks for each row execute function after_row();
    create trigger z_after after update on tasks for each row execute function after_row();
    create trigger a_statement after insert on tasks referencing new table as new for each statement execute function after_statement();
    create trigger z_statement after insert on tasks referencing new table as new for each statement execute function after_statement();
    create constraint trigger at_commit after insert on tasks initially deferred for each row execute function at_commit();
    select pgherald.watch('tasks'$mode), pgherald.watch('log'$mode), pgherald.watch('totals'$mode);";

#[tokio::test]
async fn triggers_of_the_application() {
    told(
        TRIGGERS,
        &[
            // what a trigger before has made of the row; what it has skipped
            ("insert into tasks values (1, null, 'renumber'), (2, 8, 'skip'), (3, 8, null)", "tasks INSERT 7/101 8/3"),
            ("update tasks set title = 'renumber' where id = 3", "tasks UPDATE 8/3 8/103"),
            ("update tasks set title = 'skip'; delete from tasks where title = 'skip'", ""),
            ("insert into tasks values (5, null, 'log')", "tasks INSERT 7/5, log INSERT 7/before-5"),
            ("delete from tasks where id in (5, 101)", "tasks DELETE 7/5 7/101, log INSERT 7/gone-5 7/gone-101"),
            // other tables
            ("insert into tasks values (11, 7, 'count'), (12, 8, 'count'), (13, 7, 'count')",
             "tasks INSERT 7/11 8/12 7/13, totals INSERT 7/7 8/8, totals UPDATE 7/7"),
            ("update tasks set title = 'count' where id in (11, 12)", "tasks UPDATE 7/11 8/12, totals UPDATE 7/7 8/8"),
            // the same table, from row triggers and from statement triggers before and behind ours
            ("insert into tasks values (21, 7, 'parent')", "tasks INSERT 7/21 8/1021 9/2021, tasks UPDATE 7/21"),
            ("update tasks set title = 'parent' where id = 11", "tasks UPDATE 7/11, tasks INSERT 8/1011 9/2011"),
            ("delete from tasks where id < 1000", "tasks DELETE 7/11 8/12 7/13 7/21 8/103, log INSERT 7/gone-11 8/gone-12 7/gone-13 7/gone-21 8/gone-103"),
            ("insert into tasks values (8, 9, 'down')", "tasks INSERT 9/8 9/7 9/6 9/5 9/4 9/3 9/2 9/1"),
            ("insert into tasks values (31, 7, 'statement')", "tasks INSERT 7/31, tasks UPDATE 7/31, log INSERT 7/a_statement-31 7/z_statement-31"),
            // at commit
            ("begin; insert into tasks values (41, 7, 'commit'); savepoint a; insert into tasks values (42, 7, 'commit'); rollback to a; commit",
             "tasks INSERT 7/41, log INSERT 7/commit-41"),
        ]
        .map(|(sql, expected)| (sql, expected)),
    )
    .await;
}

#[tokio::test]
async fn views_and_rules() {
    told(
        "create table tasks (id int primary key, project_id int, title text default 'new');
         create table log (id text primary key, project_id int);
         create table inbox (id int, project_id int);
         create view all_tasks as select project_id as p, id, title from tasks;
         create view open_tasks as select id, project_id, title from tasks where title <> 'done' with check option;
         create view nested as select * from open_tasks where project_id = 7;
         create view board as select t.id, t.project_id, l.id as note from tasks t left join log l on l.id = t.id::text;
         create function on_board() returns trigger language plpgsql as $$ begin
             if tg_op = 'INSERT' then insert into tasks values (new.id, new.project_id); insert into log values (new.id, new.project_id); return new;
             elsif tg_op = 'UPDATE' then update tasks set project_id = new.project_id where id = old.id; return new; end if;
             delete from log where id = old.id::text; delete from tasks where id = old.id; return old; end $$;
         create trigger on_board instead of insert or update or delete on board for each row execute function on_board();
         create rule filed as on insert to inbox do instead insert into tasks values (new.id, new.project_id, 'inbox');
         create rule noted as on update to tasks do also insert into log values ('r' || new.id, new.project_id);
         create rule kept as on delete to log where old.id = 'r4' do instead nothing;
         select pgherald.watch('tasks'$mode), pgherald.watch('log'$mode);",
        &[
            ("insert into all_tasks (p, id) values (7, 1), (8, 2)", "tasks INSERT 7/1 8/2"),
            ("insert into nested values (3, 7, 'x'); insert into open_tasks values (4, 9, 'x')", "tasks INSERT 7/3 9/4"),
            ("update nested set title = 'y'", "tasks UPDATE 7/1 7/3, log INSERT 7/r1 7/r3"),
            ("delete from all_tasks where id in (1, 2)", "tasks DELETE 7/1 8/2"),
            ("insert into board values (11, 7), (12, 8)", "tasks INSERT 7/11 8/12, log INSERT 7/11 8/12"),
            ("update board set project_id = 9 where id = 11", "tasks UPDATE 7/11 9/11, log INSERT 9/r11"),
            ("delete from board where id in (11, 12)", "tasks DELETE 9/11 8/12, log DELETE 7/11 8/12"),
            ("insert into inbox values (21, 7), (22, 8)", "tasks INSERT 7/21 8/22"),
            ("update tasks set title = 'z' where id = 4", "tasks UPDATE 9/4, log INSERT 9/r4"),
            ("delete from log", "log DELETE 7/r1 7/r3 9/r11"),
        ],
    )
    .await;
}
