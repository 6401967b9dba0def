//! The tasks of the sample application, as its members read and write them.

use serde::{Deserialize, Serialize};
use tokio_postgres::{Error, Row, Transaction};

use super::Refused;
use crate::database::Database;

/// The longest title, in characters.
const TITLE_MAX: usize = 200;

/// A card of the board.
#[derive(Debug, Serialize)]
pub struct Task {
    id: String,
    title: String,
    status: String,
    sprint: Option<String>,
}

/// The columns of a [`Task`].
const TASK: &str = "tasks.id::text, title, case when done then 'done' when started then 'doing' else 'todo' end, \
    (select name from sprints where sprints.id = tasks.sprint_id)";

impl From<&Row> for Task {
    fn from(row: &Row) -> Self {
        Self { id: row.get(0), title: row.get(1), status: row.get(2), sprint: row.get(3) }
    }
}

/// What a client may set.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    title: Option<String>,
    status: Option<Status>,
}

/// The columns of the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Todo,
    Doing,
    Done,
}

impl Draft {
    /// Reads a body; `Malformed` says what is wrong with it.
    pub fn read(body: &[u8]) -> Result<Self, Refused> {
        let mut draft: Self = super::read(body)?;
        if let Some(title) = &mut draft.title {
            *title = title.trim().to_owned();
            if !(1..=TITLE_MAX).contains(&title.chars().count()) || title.contains('\0') {
                return Err(Refused::Malformed(format!("title: 1 to {TITLE_MAX} characters")));
            }
        }
        Ok(draft)
    }

    /// `started` and `done`, as the table has it.
    fn progress(&self) -> (Option<bool>, Option<bool>) {
        let status = self.status;
        (status.map(|status| status != Status::Todo), status.map(|status| status == Status::Done))
    }
}

/// Somebody at work in a project.
pub struct Caller<'a> {
    pub database: &'a Database,
    /// Who the token says it is.
    pub subject: &'a str,
    pub project: i32,
    /// What the page calls its writes: it comes back in their frames.
    pub origin: Option<&'a str>,
}

impl Caller<'_> {
    /// All tasks of the project, oldest first.
    pub async fn list(&self) -> Result<Vec<Task>, Refused> {
        let sql = format!("select {TASK} from tasks where project_id = $1 order by tasks.id");
        let rows = self.as_member(async |transaction| transaction.query(&sql, &[&self.project]).await).await?;
        Ok(rows.iter().map(Task::from).collect())
    }

    /// A new task, "to do" unless the draft says else.
    pub async fn add(&self, draft: &Draft) -> Result<Task, Refused> {
        let Some(title) = &draft.title else { return Err(Refused::Malformed("title: missing".into())) };
        let (started, done) = draft.progress();
        let sql = format!(
            "insert into tasks (project_id, title, started, done) \
             values ($1, $2, coalesce($3, false), coalesce($4, false)) returning {TASK}"
        );
        self.one(&sql, &[&self.project, title, &started, &done]).await
    }

    /// The task with what the draft sets.
    pub async fn change(&self, id: i32, draft: &Draft) -> Result<Task, Refused> {
        let (started, done) = draft.progress();
        let sql = format!(
            "update tasks set title = coalesce($3, title), started = coalesce($4, started), done = coalesce($5, done) \
             where project_id = $1 and id = $2 returning {TASK}"
        );
        self.one(&sql, &[&self.project, &id, &draft.title, &started, &done]).await
    }

    /// The task as it was.
    pub async fn remove(&self, id: i32) -> Result<Task, Refused> {
        let sql = format!("delete from tasks where project_id = $1 and id = $2 returning {TASK}");
        self.one(&sql, &[&self.project, &id]).await
    }

    /// The one row that a write returns.
    async fn one(&self, sql: &str, with: &[&(dyn tokio_postgres::types::ToSql + Sync)]) -> Result<Task, Refused> {
        let row = self.as_member(async |transaction| transaction.query_opt(sql, with).await).await?;
        row.as_ref().map(Task::from).ok_or(Refused::NotFound("there is no such task in this project"))
    }

    /// Does `work` in a transaction that begins with the question whether the caller is a member.
    async fn as_member<T>(&self, work: impl AsyncFnOnce(&Transaction<'_>) -> Result<T, Error>) -> Result<T, Refused> {
        let worked = self.database.write(async |transaction| {
            let member = "select from project_members where project_id = $1 and user_id = $2";
            if transaction.query_opt(member, &[&self.project, &self.subject]).await?.is_none() {
                return Ok(None);
            }
            if let Some(origin) = &self.origin {
                transaction.execute("select set_config('pgherald.origin', $1, true)", &[origin]).await?;
            }
            work(transaction).await.map(Some)
        });
        worked.await?.ok_or(Refused::Forbidden)
    }
}
