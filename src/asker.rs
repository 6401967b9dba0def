//! Asks the database what `authorize.query` wants to know: about one subject, or about many at once.

use std::error::Error;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::BytesMut;
use metrics::counter;
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};

use crate::database::{Database, DatabaseError};
use crate::event::ProjectId;
use crate::metrics as m;
use crate::query::{self, Query};

/// A type that reads whatever PostgreSQL reads, where `$2` of a query shows none.
const ANY_TEXT: &str = "pg_catalog.text";

/// The database did not answer. Never to be read as "allowed".
#[derive(Clone, Debug, thiserror::Error)]
#[error("membership can't be checked now: come back later")]
pub struct Unavailable;

/// The query of `[authorize]` and where it is asked.
pub struct Asker {
    database: Arc<Database>,
    sql: String,
    query: Query,
    /// The same about many subjects; made anew where a migration of the application gave them another type.
    of_many: ArcSwap<String>,
}

impl Asker {
    /// Runs the query once for nobody, so that a missing table is found at start-up, and once for no subjects at all, so
    /// that a query that can't be asked about many is.
    pub async fn new(sql: String, database: Arc<Database>) -> Result<Self, DatabaseError> {
        match question(&database, &sql, "", "").await {
            Err(error) if !error.is_bad_value() => return Err(error.context("authorize.query")),
            Ok(_) | Err(_) => {}
        }
        // PostgreSQL has understood it by now.
        let query = Query::parse(&sql).map_err(|error| {
            DatabaseError::new(format!("authorize.query {error}: leave out its comments and unusual literals"))
        })?;
        let asker = Self { database, sql, query, of_many: ArcSwap::default() };
        let tried = async {
            asker.learn().await?;
            asker.places(None, "{}").await
        };
        match tried.await {
            Err(error) if !error.is_bad_value() => Err(error.context(
                "authorize.query answers for one subject but not for many at once, which must be one SELECT with $2 as \
                 a value in it that the daemon's role may run: rewrite it (docs/operations.md, Who may see a project)",
            )),
            Ok(_) | Err(_) => Ok(asker),
        }
    }

    /// Finds out of which type subjects are.
    async fn learn(&self) -> Result<(), DatabaseError> {
        let nobody: (&(dyn ToSql + Sync), Type) = (&None::<AsText<'_>>, Type::UNKNOWN);
        let rows = match self.database.query(&self.query.subject_type(), &[nobody.clone(), nobody]).await {
            // A domain that allows no null.
            Err(error) if error.is_bad_value() => Vec::new(),
            other => other?,
        };
        let known: Option<String> = rows.first().and_then(|row| row.get(1));
        self.of_many.store(Arc::new(self.query.of_many(known.as_deref().unwrap_or(ANY_TEXT))));
        Ok(())
    }

    /// Whether a subject may see a project, asked, counted and logged.
    pub async fn ask(&self, kind: &'static str, project: &ProjectId, subject: &str) -> Result<bool, Unavailable> {
        let answer = match question(&self.database, &self.sql, project.as_str(), subject).await {
            // 'abc' where the column is an integer: no such project, not a broken database.
            Err(error) if error.is_bad_value() => Ok(false),
            other => other,
        };
        tell(kind, answer, |allowed| *allowed)
    }

    /// The places of those who may, asked, counted and logged; `None` = one of the values is bad.
    pub async fn ask_many(
        &self,
        project: &ProjectId,
        subjects: &[Arc<str>],
    ) -> Result<Option<Vec<usize>>, Unavailable> {
        let array = query::array(subjects.iter().map(|subject| &**subject));
        let mut answer = self.places(Some(project), &array).await;
        if answer.as_ref().is_err_and(DatabaseError::is_bad_query) {
            answer = match self.learn().await {
                Ok(()) => self.places(Some(project), &array).await,
                Err(error) => Err(error),
            };
        }
        let answer = match answer {
            Err(error) if error.is_bad_value() => Ok(None),
            other => other.map(Some),
        };
        tell("recheck", answer, |places| places.as_ref().is_some_and(|places| places.len() == subjects.len()))
    }

    async fn places(&self, project: Option<&ProjectId>, subjects: &str) -> Result<Vec<usize>, DatabaseError> {
        let project = project.map(|project| AsText(project.as_str()));
        let sql = self.of_many.load_full();
        let rows = self.database.query(&sql, &[(&project, Type::UNKNOWN), (&AsText(subjects), Type::UNKNOWN)]).await?;
        // PostgreSQL counts from 1.
        Ok(rows.iter().filter_map(|row| usize::try_from(row.get::<_, i64>(0) - 1).ok()).collect())
    }
}

async fn question(database: &Database, sql: &str, project: &str, subject: &str) -> Result<bool, DatabaseError> {
    // UNKNOWN lets Postgres infer the types from the query; unnamed, so it works through any pooler.
    let parameters: [(&(dyn ToSql + Sync), Type); 2] =
        [(&AsText(project), Type::UNKNOWN), (&AsText(subject), Type::UNKNOWN)];
    Ok(!database.query(sql, &parameters).await?.is_empty())
}

/// Counts an answer, and logs where there is none. `allowed` says whether it is yes for everyone.
fn tell<T>(
    kind: &'static str,
    answer: Result<T, DatabaseError>,
    allowed: impl FnOnce(&T) -> bool,
) -> Result<T, Unavailable> {
    let result = match &answer {
        Ok(answer) if allowed(answer) => "allowed",
        Ok(_) => "denied",
        Err(_) => "error",
    };
    counter!(m::ACCESS_QUERIES, "kind" => kind, "result" => result).increment(1);
    answer.map_err(|error| {
        tracing::warn!(%error, kind, "membership query failed");
        Unavailable
    })
}

/// A parameter sent in text form, whatever its type: Postgres reads it as it reads a literal.
#[derive(Debug)]
struct AsText<'a>(&'a str);

impl ToSql for AsText<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}
