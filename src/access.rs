//! May this subject see this project? Asked of the database, or of the token's own claim.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::BytesMut;
use metrics::counter;
use moka::future::Cache;
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};

use crate::config::Config;
use crate::database::{Database, DatabaseError};
use crate::event::ProjectId;
use crate::metrics as m;
use crate::token::Claims;

/// Answers kept. At about 200 bytes each this is 20 MB at most.
const CACHE_ENTRIES_MAX: u64 = 100_000;

/// The database did not answer. Never to be read as "allowed".
#[derive(Clone, Debug, thiserror::Error)]
#[error("membership can't be checked now: come back later")]
pub struct Unavailable;

/// The rule of `[authorize]`, with its answers for a while.
pub struct Access {
    rule: Rule,
    cache: Cache<(u64, ProjectId, Arc<str>), bool>,
    /// Part of every key: counting up makes all answers void, those under way included.
    generation: AtomicU64,
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
        Ok(Self { rule, cache, generation: AtomicU64::new(0) })
    }

    /// Whether the bearer of `claims` may see `project` now, or could within `authorize.cache_ttl`.
    /// Equal questions at the same time make one query.
    pub async fn allowed(&self, claims: &Claims, project: &ProjectId) -> Result<bool, Unavailable> {
        let Rule::Query { database, sql } = &self.rule else {
            return Ok(claims.projects.contains(project));
        };
        let key = (self.generation.load(Ordering::Acquire), project.clone(), Arc::clone(&claims.subject));
        if let Some(known) = self.cache.get(&key).await {
            counter!(m::ACCESS_CACHE_HITS).increment(1);
            return Ok(known);
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
        self.cache.try_get_with(key, query).await.map_err(|_| Unavailable)
    }

    /// Membership may have changed: forget what is known.
    pub fn forget(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
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
