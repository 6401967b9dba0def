//! The application: writes to the database, and knows what it has changed, in which commit, and who was a member then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use futures_util::{StreamExt, stream};
use proptest::sample::Index;
use tokio_postgres::{AsyncMessage, Client, NoTls};

use super::history::{OPEN, PROJECTS, SUBJECTS, Write};
use crate::witness::Transport;
use crate::world::{Database, connect, until};

/// The last payload of all, of nothing that anybody asks for.
const END: &str = r#"{"resource":"end","action":"UPDATE","project_id":"-"}"#;

/// Project and subject.
pub type Members = BTreeSet<(usize, usize)>;

/// One row, or the whole resource, that has changed.
#[derive(Clone, Debug)]
pub struct Change {
    /// `None` = of every project.
    pub project: Option<usize>,
    pub resource: &'static str,
    /// `None` = any row.
    pub id: Option<String>,
    /// At this place of its transaction, or when that was committed.
    pub members: Arc<Members>,
    /// When it was written.
    pub written: Arc<Members>,
}

/// What was committed.
#[derive(Clone, Debug)]
pub struct Commit {
    pub transaction: u64,
    /// Just before COMMIT was said.
    pub said: Instant,
    pub changes: Vec<Change>,
    /// After it.
    pub members: Arc<Members>,
}

/// A transaction under way.
struct Begun {
    transaction: u64,
    changes: Vec<Change>,
    /// Rows that are there once it is committed.
    rows: BTreeMap<usize, usize>,
}

pub struct Application {
    pub database: Database,
    others: Vec<Client>,
    open: Vec<Option<Begun>>,
    /// Task and project.
    rows: BTreeMap<usize, usize>,
    members: Arc<Members>,
    next: usize,
    /// In the order in which they were said.
    pub commits: Vec<Commit>,
    /// Every payload, in commit order.
    pub payloads: Arc<Mutex<Vec<String>>>,
}

impl Application {
    pub async fn new(transport: Transport) -> Self {
        let database = Database::sample().await;
        let projects: String = (1..=PROJECTS).map(|p| format!("insert into projects values ({p}, 'p{p}');")).collect();
        let members: Members = (1..=PROJECTS).flat_map(|p| (0..SUBJECTS).map(move |s| (p, s))).collect();
        let inserts: String =
            members.iter().map(|(p, s)| format!("insert into project_members values ({p}, 's{s}');")).collect();
        database
            .run(&format!(
                "truncate tasks; {projects} {inserts}
                 create table pages (path text primary key, project_id int); select pgherald.watch('pages')"
            ))
            .await;
        let mut others = Vec::new();
        for _ in 0..OPEN + 3 {
            others.push(connect(&database.url).await);
        }
        let payloads = listen(&database).await;
        let application = Self {
            database,
            others,
            open: (0..OPEN).map(|_| None).collect(),
            rows: BTreeMap::new(),
            members: Arc::new(members),
            next: 1,
            commits: Vec::new(),
            payloads,
        };
        application.switch(transport).await;
        application
    }

    /// Sets the transport.
    pub async fn switch(&self, to: Transport) {
        self.database.run(&format!("select pgherald.set_transport('{to:?}')").to_lowercase()).await;
    }

    /// Kills connections by the start of their names, those of this database.
    pub async fn kill(&self, name: &str) {
        let kill = format!(
            "select pg_terminate_backend(pid) from pg_stat_activity
             where datname = current_database() and application_name = '{name}'"
        );
        self.database.run(&kill).await;
    }

    /// Waits until all is delivered that ever will be; the payloads, in the order in which every daemon hears them.
    pub async fn delivered(&self) -> Vec<String> {
        until("the queue to be empty", async || {
            let empty = "select not exists (select from pgherald.queue)";
            self.database.client.query_one(empty, &[]).await.unwrap().get(0)
        })
        .await;
        self.database.run(&format!("notify cache_invalidate, '{END}'")).await;
        until("the last payload to be delivered", async || {
            self.payloads.lock().unwrap().iter().any(|last| last == END)
        })
        .await;
        let payloads = self.payloads.lock().unwrap();
        payloads.iter().filter(|payload| *payload != END).cloned().collect()
    }

    pub fn is_member(&self, project: usize, subject: usize) -> bool {
        self.members.contains(&(project, subject))
    }

    /// A transaction, committed or rolled back.
    pub async fn write(&mut self, writes: &[Write], commits: bool) {
        if writes.iter().any(|write| matches!(write, Write::Truncate)) {
            // It waits for every writer of the table.
            for slot in 0..OPEN {
                self.end(slot, true).await;
            }
        }
        let before = (self.rows.clone(), Arc::clone(&self.members));
        let (mut sql, mut changes) = (String::new(), Vec::new());
        for write in writes {
            let mut rows = std::mem::take(&mut self.rows);
            sql += &self.statement(write, &mut rows, &mut changes);
            self.rows = rows;
        }
        let transaction = begin(&self.database.client, &sql).await;
        let said = Instant::now();
        self.database.run(if commits { "commit" } else { "rollback" }).await;
        if commits {
            self.commits.push(Commit { transaction, said, changes, members: Arc::clone(&self.members) });
        } else {
            (self.rows, self.members) = before;
        }
    }

    /// Transactions at the same time; they only add.
    pub async fn together(&mut self, all: &[Vec<Write>]) {
        let mut prepared = Vec::new();
        for writes in all {
            let (mut rows, mut changes) = (BTreeMap::new(), Vec::new());
            let sql: String = writes.iter().map(|write| self.statement(write, &mut rows, &mut changes)).collect();
            self.rows.extend(rows);
            prepared.push((sql, changes));
        }
        let members = &self.members;
        let work = self.others[OPEN..].iter().zip(prepared).map(|(client, (sql, changes))| async move {
            let transaction = begin(client, &sql).await;
            let said = Instant::now();
            client.batch_execute("commit").await.unwrap();
            Commit { transaction, said, changes, members: Arc::clone(members) }
        });
        let done = futures_util::future::join_all(work).await;
        self.commits.extend(done);
    }

    /// Begins a transaction, unless there is one.
    pub async fn begin(&mut self, slot: usize, writes: &[Write]) {
        if self.open[slot].is_none() {
            let (mut rows, mut changes) = (BTreeMap::new(), Vec::new());
            let sql: String = writes.iter().map(|write| self.statement(write, &mut rows, &mut changes)).collect();
            let transaction = begin(&self.others[slot], &sql).await;
            self.open[slot] = Some(Begun { transaction, changes, rows });
        }
    }

    /// Ends it, if there is one.
    pub async fn end(&mut self, slot: usize, commits: bool) {
        let Some(Begun { transaction, mut changes, rows }) = self.open[slot].take() else { return };
        let said = Instant::now();
        self.others[slot].batch_execute(if commits { "commit" } else { "rollback" }).await.unwrap();
        if commits {
            // Members are those of the commit, not those of the statement.
            changes.iter_mut().for_each(|change| change.members = Arc::clone(&self.members));
            self.rows.extend(rows);
            let members = Arc::clone(&self.members);
            self.commits.push(Commit { transaction, said, changes, members });
        }
    }

    /// The SQL of a statement; what it changes is noted.
    fn statement(&mut self, write: &Write, rows: &mut BTreeMap<usize, usize>, changes: &mut Vec<Change>) -> String {
        let members = Arc::clone(&self.members);
        let mut note = |project: usize, resource, id: Option<String>| {
            let project = (project > 0).then_some(project);
            changes.push(Change {
                project,
                resource,
                id,
                members: Arc::clone(&members),
                written: Arc::clone(&members),
            });
        };
        match write {
            Write::Insert { project, rows: count } => {
                let (from, to) = (self.next, self.next + count - 1);
                self.next += count;
                for id in from..=to {
                    rows.insert(id, *project);
                    note(*project, "task", Some(id.to_string()));
                }
                format!(
                    "insert into tasks (id, project_id, title) select n, {project}, 'x' from generate_series({from}, {to}) n;"
                )
            }
            Write::Pages { project, rows: count } => {
                let (from, to) = (self.next, self.next + count - 1);
                self.next += count;
                let long = "x".repeat(300);
                (from..=to).for_each(|id| note(*project, "page", Some(format!("{long}{id}"))));
                format!("insert into pages select '{long}' || n, {project} from generate_series({from}, {to}) n;")
            }
            Write::Update { picks } => {
                let picked = pick(rows, picks);
                picked.iter().for_each(|id| note(rows[id], "task", Some(id.to_string())));
                format!("update tasks set done = not done where id in ({});", list(&picked))
            }
            Write::Delete { picks } => {
                let picked = pick(rows, picks);
                picked.iter().for_each(|id| note(rows[id], "task", Some(id.to_string())));
                rows.retain(|id, _| !picked.contains(id));
                format!("delete from tasks where id in ({});", list(&picked))
            }
            Write::Move { pick: one, project } => {
                let picked = pick(rows, &[*one]);
                for id in &picked {
                    note(rows[id], "task", Some(id.to_string()));
                    note(*project, "task", Some(id.to_string()));
                    rows.insert(*id, *project);
                }
                format!("update tasks set project_id = {project} where id in ({});", list(&picked))
            }
            Write::Hand { project, cursor } => {
                self.next += 1;
                let (id, name) = (self.next, if *project == 0 { "*".into() } else { project.to_string() });
                note(*project, "note", Some(id.to_string()));
                if *cursor {
                    format!("select pgherald.notify('note', '{id}', 'UPDATE', '{name}');")
                } else {
                    format!(
                        r#"select pg_notify('cache_invalidate', '{{"resource":"note","id":"{id}","action":"UPDATE","project_id":"{name}"}}');"#
                    )
                }
            }
            Write::Truncate => {
                note(0, "task", None);
                rows.clear();
                "truncate tasks;".to_owned()
            }
            Write::Member { project, subject, joins } => {
                let mut after = Members::clone(&self.members);
                let changed =
                    if *joins { after.insert((*project, *subject)) } else { after.remove(&(*project, *subject)) };
                if !changed {
                    return String::new();
                }
                self.members = Arc::new(after);
                changes.push(Change {
                    project: Some(*project),
                    resource: "project_members",
                    id: Some(format!("{project}:s{subject}")),
                    members: Arc::clone(&self.members),
                    written: Arc::clone(&self.members),
                });
                if *joins {
                    format!("insert into project_members values ({project}, 's{subject}');")
                } else {
                    format!("delete from project_members where (project_id, user_id) = ({project}, 's{subject}');")
                }
            }
        }
    }

    /// A change of each project that every subscription hears.
    pub async fn mark(&mut self) {
        let said = Instant::now();
        let sql: String = (1..=PROJECTS)
            .map(|project| format!("select pgherald.notify('marker', '1', 'UPDATE', '{project}');"))
            .collect();
        let transaction = begin(&self.database.client, &sql).await;
        self.database.run("commit").await;
        let members = Arc::clone(&self.members);
        let change = |project| Change {
            project: Some(project),
            resource: "marker",
            id: Some("1".into()),
            members: Arc::clone(&members),
            written: Arc::clone(&members),
        };
        let changes = (1..=PROJECTS).map(change).collect();
        self.commits.push(Commit { transaction, said, changes, members: Arc::clone(&members) });
    }
}

fn pick(rows: &BTreeMap<usize, usize>, picks: &[Index]) -> BTreeSet<usize> {
    let ids: Vec<usize> = rows.keys().copied().collect();
    picks.iter().filter(|_| !ids.is_empty()).map(|pick| *pick.get(&ids)).collect()
}

fn list(ids: &BTreeSet<usize>) -> String {
    let ids: Vec<String> = std::iter::once(&0).chain(ids).map(usize::to_string).collect();
    ids.join(",")
}

/// Begins a transaction with these statements; its id.
async fn begin(client: &Client, sql: &str) -> u64 {
    client.batch_execute("begin").await.unwrap();
    let row = client.query_one("select pg_current_xact_id()::text", &[]).await.unwrap();
    client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    row.get::<_, String>(0).parse().unwrap()
}

/// Hears what the daemons hear.
async fn listen(database: &Database) -> Arc<Mutex<Vec<String>>> {
    let (listener, mut connection) = tokio_postgres::connect(&database.url, NoTls).await.unwrap();
    let payloads = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&payloads);
    tokio::spawn(async move {
        let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
        while let Some(Ok(message)) = messages.next().await {
            if let AsyncMessage::Notification(notification) = message {
                heard.lock().unwrap().push(notification.payload().to_owned());
            }
        }
    });
    listener.batch_execute("listen cache_invalidate").await.unwrap();
    // It lives as long as its client.
    tokio::spawn(async move {
        let _alive = listener;
        std::future::pending::<()>().await;
    });
    payloads
}
