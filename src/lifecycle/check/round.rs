//! One round of checks, over the endpoints that a caller asks about.
//!
//! A few endpoints are checked at a time, inside the gate for background work. A check waits for its
//! endpoint before it enters the gate: the call that holds the endpoint may wait for work that needs a
//! place.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::endpoint::Look;
use super::reload::Reload;
use super::report::{ChainCheck, Check, answers_to};
use super::shared::{Shared, Task};
use crate::cnm::EndpointId;
use crate::lifecycle::driver::Driver;
use crate::lifecycle::record::Attachment;

/// How many endpoints are checked at a time.
const AT_A_TIME: usize = 6;

/// How often the check of an endpoint is begun if Docker's calls interrupt it.
const MOST_TRIES: u32 = 5;

/// One round of checks.
struct Round {
    which: Vec<String>,
    shared: Shared,
    waiting: Mutex<VecDeque<(usize, Waiting)>>,
    done: Mutex<BTreeMap<usize, Check>>,
    /// The caller does not wait any more.
    abandoned: CancellationToken,
}

/// An endpoint that is to be checked.
struct Waiting {
    endpoint: EndpointId,
    /// It had joined before the host was looked at, so its links and rules have to be there.
    joined: bool,
}

/// Works on the endpoints that `which` names, or on all if it names none. Returns the checks in their order.
pub(super) async fn run(driver: &Driver, which: &[String], task: Task) -> Vec<Check> {
    let round = Arc::new(Round::of(driver, which, task));
    let _abandon = round.abandoned.clone().drop_guard();
    let mut workers = Vec::new();
    for _ in 0..AT_A_TIME.min(round.waiting().len()) {
        let (driver, round) = (driver.clone(), Arc::clone(&round));
        workers.push(driver.background.clone().spawn(async move { round.work(&driver).await }));
    }
    for worker in workers {
        // A task that panicked has logged it.
        let _ = worker.await;
    }
    std::mem::take(&mut *round.done()).into_values().collect()
}

impl Round {
    fn of(driver: &Driver, which: &[String], task: Task) -> Self {
        let mut ids = driver.endpoints.ids();
        ids.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        let waiting = ids.into_iter().filter_map(|endpoint| {
            let slot = driver.endpoints.try_lock(&endpoint);
            let attachment = slot.as_ref().map(|slot| slot.as_ref());
            let joined = match attachment {
                // A call works on it.
                None => false,
                Some(attachment) => {
                    let attachment = attachment.filter(|it| is_named(it, which))?;
                    attachment.joined().is_some()
                }
            };
            drop(slot);
            Some(Waiting { endpoint, joined })
        });
        Self {
            which: which.to_vec(),
            shared: Shared::new(task),
            waiting: Mutex::new(waiting.enumerate().collect()),
            done: Mutex::default(),
            abandoned: CancellationToken::new(),
        }
    }

    async fn work(&self, driver: &Driver) {
        loop {
            let next = self.waiting().pop_front();
            let Some((position, waiting)) = next.filter(|_| !self.abandoned.is_cancelled()) else {
                return;
            };
            if let Some(check) = self.check(driver, &waiting).await {
                self.done().insert(position, check);
            }
        }
    }

    /// Checks one endpoint; none if it has gone, or is not asked for.
    async fn check(&self, driver: &Driver, waiting: &Waiting) -> Option<Check> {
        let (mut interrupted, mut repaired) = (None, Vec::new());
        for _ in 0..MOST_TRIES {
            // The endpoint is held while this waits for a place, so that it cannot change; but a call of
            // Docker's for it comes first.
            let mut slot = driver.endpoints.lock_after_calls(&waiting.endpoint).await?;
            let attachment = slot.as_ref().filter(|it| is_named(it, &self.which))?;
            let wanted = || slot.call_waits();
            let _place = tokio::select! {
                biased;
                () = wanted() => {
                    interrupted = Some(Check::of(attachment));
                    continue;
                }
                place = driver.gate.enter_to_look() => place,
            };
            if self.shared.task == Task::Reload {
                let (shared, attachment) = (&self.shared, slot.as_mut()?);
                return Some(Reload { driver, shared, attachment }.run().await);
            }
            let look = Look { driver, shared: &self.shared, attachment, joined: waiting.joined };
            match look.check(wanted, &mut repaired).await {
                Some(check) => return Some(check),
                None => interrupted = Some(Check::of(attachment)),
            }
        }
        let why = "Docker, or the driver for Docker, was at work on the endpoint each time: check it again";
        let why = ChainCheck::NotAsked(why.into());
        interrupted.map(|check| Check { chain: why, repaired, ..check })
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<(usize, Waiting)>> {
        // Whole even if a holder panicked: every change is one step.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn done(&self) -> MutexGuard<'_, BTreeMap<usize, Check>> {
        // Likewise.
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_named(attachment: &Attachment, which: &[String]) -> bool {
    let is = |name: &String| {
        answers_to(name, &attachment.endpoint, attachment.sandbox(), attachment.addresses())
    };
    which.is_empty() || which.iter().any(is)
}
