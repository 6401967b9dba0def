//! When somebody wants to be woken, kept for all of them in one place: ten thousand timers that hardly ever fire cost
//! more than a look at ten thousand numbers now and then.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Alarms that lie beside each other in memory.
const BLOCK: usize = 1024;
/// No alarm is set.
const NEVER: u64 = u64::MAX;

/// One alarm, held by whoever sets it.
#[derive(Debug)]
pub struct Alarm {
    block: Arc<Block>,
    place: u32,
}

/// Moments, in milliseconds from when it all began.
#[derive(Debug)]
struct Block {
    began: Instant,
    moments: [AtomicU64; BLOCK],
}

/// All alarms of some owners of one kind.
#[derive(Debug)]
pub struct Alarms<T> {
    began: Instant,
    places: Mutex<Places<T>>,
}

#[derive(Debug)]
struct Places<T> {
    blocks: Vec<Arc<Block>>,
    /// Who is woken, by place.
    owners: Vec<Option<Arc<T>>>,
    free: Vec<u32>,
}

impl Alarm {
    /// Wakes its owner at `at`, or a little later, and again and again until it is set anew.
    pub fn set(&self, at: Instant) {
        // Never before: whoever is woken finds that the moment has come.
        let since = at.saturating_duration_since(self.block.began) + Duration::from_micros(999);
        let millis = u64::try_from(since.as_millis()).unwrap_or(NEVER);
        self.block.moments[self.place as usize % BLOCK].store(millis, Ordering::Relaxed);
    }
}

impl<T> Default for Alarms<T> {
    fn default() -> Self {
        let places = Places { blocks: Vec::new(), owners: Vec::new(), free: Vec::new() };
        Self { began: Instant::now(), places: Mutex::new(places) }
    }
}

impl<T> Alarms<T> {
    /// Takes an owner in, who is made with an alarm that is not set. Give it back with [`Alarms::remove`].
    pub fn add(&self, owner: impl FnOnce(Alarm) -> T) -> Arc<T> {
        let mut places = self.lock();
        let place = places.free.pop().unwrap_or_else(|| {
            places.owners.push(None);
            #[allow(clippy::cast_possible_truncation, reason = "sessions are fewer than settings allow numbers")]
            let place = (places.owners.len() - 1) as u32;
            place
        });
        if place as usize / BLOCK == places.blocks.len() {
            let moments = [const { AtomicU64::new(NEVER) }; BLOCK];
            places.blocks.push(Arc::new(Block { began: self.began, moments }));
        }
        let block = Arc::clone(&places.blocks[place as usize / BLOCK]);
        let owner = Arc::new(owner(Alarm { block, place }));
        places.owners[place as usize] = Some(Arc::clone(&owner));
        owner
    }

    /// The owner of `alarm` is woken no more.
    pub fn remove(&self, alarm: &Alarm) {
        let mut places = self.lock();
        alarm.block.moments[alarm.place as usize % BLOCK].store(NEVER, Ordering::Relaxed);
        if places.owners[alarm.place as usize].take().is_some() {
            places.free.push(alarm.place);
        }
    }

    /// Wakes everybody whose time has come; how many.
    pub fn sweep(&self, now: Instant, wake: impl Fn(&T)) -> usize {
        let now = u64::try_from(now.saturating_duration_since(self.began).as_millis()).unwrap_or(NEVER);
        let (places, mut woken) = (self.lock(), 0);
        for (number, block) in places.blocks.iter().enumerate() {
            for (place, at) in block.moments.iter().enumerate() {
                if at.load(Ordering::Relaxed) <= now
                    && let Some(Some(owner)) = places.owners.get(number * BLOCK + place)
                {
                    wake(owner);
                    woken += 1;
                }
            }
        }
        woken
    }

    fn lock(&self) -> MutexGuard<'_, Places<T>> {
        // A panic elsewhere leaves it whole: owners come and go one at a time.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
