-- What the board of the demo adds to the sample: a column of work under way, people who share projects, and more to do.
alter table tasks add column started boolean not null default false;

insert into project_members values (7, 'carol', 'member'), (8, 'carol', 'member');
insert into sprints values
    ('00000000-0000-4000-8000-000000000017', 7, 'Launch');
insert into tasks (project_id, sprint_id, title, started, done) values
    (7, '00000000-0000-4000-8000-000000000007', 'Move the blog over', true, false),
    (7, '00000000-0000-4000-8000-000000000007', 'Compress the pictures', true, false),
    (7, '00000000-0000-4000-8000-000000000007', 'Register the domain', true, true),
    (7, '00000000-0000-4000-8000-000000000017', 'Invite the first ten customers', false, false),
    (7, '00000000-0000-4000-8000-000000000017', 'Agree on a date', true, true),
    (7, null, 'Answer the open questions of the support team about the new sign-in page', false, false),
    (8, '00000000-0000-4000-8000-000000000008', 'Collect the time sheets', true, false),
    (8, null, 'Ask the bank about holidays', false, false);
