//! May this subject see this project? Asked of the database, or of the token's own claim.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use metrics::counter;
use moka::future::Cache;

use crate::asker::Asker;
pub use crate::asker::Unavailable;
use crate::config::Config;
use crate::database::{Database, DatabaseError};
use crate::event::{ProjectId, Scope};
use crate::hub::Hub;
use crate::metrics as m;
use crate::token::Claims;

/// Answers kept. At about 200 bytes each this is 20 MB at most.
const CACHE_ENTRIES_MAX: u64 = 100_000;
/// Projects that share one count of changes void one another's answers; so many counts make that rare.
const GENERATIONS: usize = 1024;

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
    /// `authorize.recheck_on`.
    recheck_on: Vec<String>,
    cache: Cache<(u64, ProjectId, Arc<str>), bool>,
    generations: Box<[AtomicU64]>,
    hasher: RandomState,
    /// Every change of members that the relay sends on is heard, and none was kept back by a writer who found no daemon.
    complete: AtomicBool,
}

enum Rule {
    Query(Asker),
    Claim,
}

impl Access {
    /// Takes the rule; with a query, runs it once for nobody, so that a missing table is found at start-up, and once
    /// for no subjects at all, so that a query that can't be asked about many is.
    pub async fn open(config: &Config, database: Arc<Database>) -> Result<Self, DatabaseError> {
        let authorize = &config.authorize;
        let rule = match &authorize.claim {
            Some(_) => Rule::Claim,
            None => Rule::Query(Asker::new(authorize.query.clone(), database).await?),
        };
        let cache = Cache::builder().max_capacity(CACHE_ENTRIES_MAX).time_to_live(authorize.cache_ttl).build();
        let generations = (0..GENERATIONS).map(|_| AtomicU64::new(0)).collect();
        let recheck_on = authorize.recheck_on.clone();
        Ok(Self { rule, recheck_on, cache, generations, hasher: RandomState::new(), complete: AtomicBool::new(false) })
    }

    /// Whether the bearer of `claims` may see `project` now, or could within `authorize.cache_ttl`. A no is not kept: who
    /// has just become a member comes before anybody tells of it.
    /// Equal questions at the same time make one query.
    pub async fn allowed(&self, claims: &Claims, project: &ProjectId) -> Result<Verdict, Unavailable> {
        let generation = self.generation(project);
        let verdict = |allowed| Verdict { allowed, generation };
        let Rule::Query(asker) = &self.rule else {
            return Ok(verdict(claims.projects.contains(project)));
        };
        let key = (generation, project.clone(), Arc::clone(&claims.subject));
        if let Some(known) = self.cache.get(&key).await {
            counter!(m::ACCESS_CACHE_HITS).increment(1);
            return Ok(verdict(known));
        }
        let question = asker.ask("subscribe", project, &claims.subject);
        let allowed = self.cache.try_get_with(key.clone(), question).await.map_err(|_| Unavailable)?;
        if !allowed {
            self.cache.invalidate(&key).await;
        }
        Ok(verdict(allowed))
    }

    /// Who of `subjects` may see `project` now: one query however many there are, past the cache. Only where one of
    /// them is no value of its column's type are there more, to find out which.
    /// Without a query ([`Access::rechecks`]) there is nobody to ask, and nobody is named.
    pub async fn recheck(&self, project: &ProjectId, subjects: &[Arc<str>]) -> Result<HashSet<Arc<str>>, Unavailable> {
        let Rule::Query(asker) = &self.rule else { return Ok(HashSet::new()) };
        let (mut allowed, mut left) = (HashSet::new(), vec![subjects]);
        while let Some(some) = left.pop() {
            match some {
                [] => {}
                [subject] => {
                    if asker.ask("recheck", project, subject).await? {
                        allowed.insert(Arc::clone(subject));
                    }
                }
                many => match asker.ask_many(project, many).await? {
                    Some(places) => allowed.extend(places.into_iter().filter_map(|at| many.get(at).cloned())),
                    // Is it the project, which is the same for all?
                    None if many.len() == subjects.len() && asker.ask_many(project, &[]).await?.is_none() => break,
                    None => left.extend(<[_; 2]>::from(many.split_at(many.len() / 2))),
                },
            }
        }
        Ok(allowed)
    }

    /// Whether the rule is a query, whose answers change without a new token.
    pub fn rechecks(&self) -> bool {
        matches!(self.rule, Rule::Query(_))
    }

    /// Whether members may have changed with this resource.
    pub fn concerns(&self, resource: &str) -> bool {
        self.recheck_on.iter().any(|known| known == resource)
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

    /// Whether every change of members is heard by way of the relay: not while writers may have found nobody, who then tell nobody.
    pub fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Acquire)
    }

    /// See [`Access::is_complete`].
    pub fn set_complete(&self, complete: bool) {
        self.complete.store(complete, Ordering::Release);
    }

    /// Membership may have changed there, and the rule is a query: older answers are void, and what follows waits for new ones.
    pub fn doubt(&self, hub: &Hub, scope: &Scope) {
        if self.rechecks() {
            self.forget(scope);
            hub.hold(scope);
        }
    }

    fn count(&self, project: &ProjectId) -> &AtomicU64 {
        let hash = self.hasher.hash_one(project);
        &self.generations[(hash % self.generations.len() as u64) as usize]
    }
}
