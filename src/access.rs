//! May this subject see this project? Asked of the database, or of the token's own claim.

use std::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::BytesMut;
use metrics::counter;
use moka::future::Cache;
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};

use crate::config::Config;
use crate::database::{Database, DatabaseError};
use crate::event::{ProjectId, Scope};
use crate::metrics as m;
use crate::token::Claims;

/// Answers kept. At about 200 bytes each this is 20 MB at most.
const CACHE_ENTRIES_MAX: u64 = 100_000;
/// Projects that share one count of changes void one another's answers; so many counts make that rare.
const GENERATIONS: usize = 1024;

/// The database did not answer. Never to be read as "allowed".
#[derive(Clone, Debug, thiserror::Error)]
#[error("membership can't be checked now: come back later")]
pub struct Unavailable;

/// An answer, and of which time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the project may be seen.
    pub allowed: bool,
    /// [`Access::generation`] of the project, read before the question was asked. Where that has moved on, a change of
    /// the members may have overtaken this answer.
    pub generation: u64,
}

/// The rule of `[authorize]`, with its answers for a while.
pub struct Access {
    rule: Rule,
    cache: Cache<(u64, ProjectId, Arc<str>), bool>,
    generations: Box<[AtomicU64]>,
    hasher: RandomState,
}

enum Rule {
    Query { database: Arc<Database>, sql: String },
    Claim,
}

impl Access {
    /// Takes the rule; with a query, runs it once for nobody, so that a missing table is found at start-up.
    pub async fn open(config: &Config, database: Arc<Database>) -> Result<Self, DatabaseError> {
        let authorize = &config.authorize;
        let rule = match &authorize.claim {
            Some(_) => Rule::Claim,
            None => Rule::Query { database, sql: authorize.query.clone() },
        };
        if let Rule::Query { database, sql } = &rule {
            match ask(database, sql, "", "").await {
                Err(error) if !error.is_bad_value() => return Err(error.context("authorize.query")),
                Ok(_) | Err(_) => {}
            }
        }
        let cache = Cache::builder().max_capacity(CACHE_ENTRIES_MAX).time_to_live(authorize.cache_ttl).build();
        let generations = (0..GENERATIONS).map(|_| AtomicU64::new(0)).collect();
        Ok(Self { rule, cache, generations, hasher: RandomState::new() })
    }

    /// Whether the bearer of `claims` may see `project` now, or could within `authorize.cache_ttl`.
    /// Equal questions at the same time make one query.
    pub async fn allowed(&self, claims: &Claims, project: &ProjectId) -> Result<Verdict, Unavailable> {
        let generation = self.generation(project);
        let verdict = |allowed| Verdict { allowed, generation };
        let Rule::Query { database, sql } = &self.rule else {
            return Ok(verdict(claims.projects.contains(project)));
        };
        let key = (generation, project.clone(), Arc::clone(&claims.subject));
        if let Some(known) = self.cache.get(&key).await {
            counter!(m::ACCESS_CACHE_HITS).increment(1);
            return Ok(verdict(known));
        }
        let query = async {
            let answer = match ask(database, sql, project.as_str(), &claims.subject).await {
                // 'abc' where the column is an integer: no such project, not a broken database.
                Err(error) if error.is_bad_value() => Ok(false),
                other => other,
            };
            let result = match &answer {
                Ok(true) => "allowed",
                Ok(false) => "denied",
                Err(_) => "error",
            };
            counter!(m::ACCESS_QUERIES, "result" => result).increment(1);
            answer.map_err(|error| {
                tracing::warn!(%error, "membership query failed");
                Unavailable
            })
        };
        self.cache.try_get_with(key, query).await.map(verdict).map_err(|_| Unavailable)
    }

    /// Grows when the members of `project` may have changed: part of every key, so that all answers before are void,
    /// those under way included.
    pub fn generation(&self, project: &ProjectId) -> u64 {
        self.count(project).load(Ordering::Acquire)
    }

    /// Membership may have changed there: forget what is known.
    pub fn forget(&self, scope: &Scope) {
        let grow = |count: &AtomicU64| {
            count.fetch_add(1, Ordering::AcqRel);
        };
        match scope {
            Scope::Project(project) => grow(self.count(project)),
            Scope::EveryProject => self.generations.iter().for_each(grow),
        }
    }

    fn count(&self, project: &ProjectId) -> &AtomicU64 {
        let hash = self.hasher.hash_one(project);
        &self.generations[(hash % self.generations.len() as u64) as usize]
    }
}

async fn ask(database: &Database, sql: &str, project: &str, subject: &str) -> Result<bool, DatabaseError> {
    // UNKNOWN lets Postgres infer the types from the query; unnamed, so it works through any pooler.
    let parameters: [(&(dyn ToSql + Sync), Type); 2] =
        [(&AsText(project), Type::UNKNOWN), (&AsText(subject), Type::UNKNOWN)];
    database.exists(sql, &parameters).await
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
