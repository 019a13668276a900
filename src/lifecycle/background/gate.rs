//! The gate for work that Docker does not wait for: removals, checks, collection. A piece of work runs
//! plugins or `iptables`, and moves interfaces, only while it is inside the gate.
//!
//! Only a few pieces of work are inside at a time, however many wait. Work that changes links or rules needs
//! the same kernel locks as Docker, and Docker waits for all that hold or want a lock before it. So few changes
//! run at a time. While Docker starts a container, only one runs, with rests between. Background work thus
//! continues under any load, and does not slow Docker down. Work that only reads, such as a check, needs no
//! such lock, and does not wait for Docker.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep_until};

use crate::cnm::EndpointId;

/// How many pieces of work that change something run at a time. The kernel changes one link at a time;
/// meanwhile the other pieces do something else.
const CHANGES: usize = 4;

/// How many changes run at a time while Docker waits for something.
const ALWAYS: usize = 1;

/// How many pieces of work that only read run at a time.
const LOOKS: usize = 6;

/// How long Docker counts as waiting after an answer: a container's start is several calls, with Docker's
/// own work between them.
const UNTIL_NEXT_CALL: Duration = Duration::from_millis(300);

/// The longest rest after a change. A change that took longer was not busy all the time.
const LONGEST_REST: Duration = Duration::from_millis(200);

/// The gate. Clones are the same gate.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    /// For changes, in any case.
    always: Arc<Semaphore>,
    /// For changes, while Docker waits for nothing.
    quiet: Arc<Semaphore>,
    /// Only one change waits for that at a time, and the others wait for this lock, so that a call does not
    /// wake hundreds.
    first: Arc<Mutex<()>>,
    /// Until when no change begins while Docker waits.
    rest: Arc<watch::Sender<Option<Instant>>>,
    looks: Arc<Semaphore>,
    docker: Arc<watch::Sender<Waiting>>,
}

/// What Docker waits for.
#[derive(Debug, Default)]
struct Waiting {
    /// How many calls are under way.
    count: usize,
    /// The endpoints whose next call is awaited, and until when.
    between_calls: HashMap<EndpointId, Instant>,
}

impl Waiting {
    /// When background work may continue; none while Docker waits.
    fn over(&self) -> Option<Instant> {
        let last = self.between_calls.values().max().copied();
        (self.count == 0).then(|| last.unwrap_or_else(Instant::now))
    }

    fn is_over(&self) -> bool {
        self.over().is_some_and(|time| time <= Instant::now())
    }
}

/// A place inside the gate, until it is dropped. A task that has one must not wait for another.
#[derive(Debug)]
pub(crate) struct Pass {
    /// None if the work needs no place.
    _place: Option<OwnedSemaphorePermit>,
    _rest: Option<Rest>,
    _call: Option<DockerCall>,
}

/// Keeps the kernel's locks free for Docker after a change that ran while Docker waited, for as long as
/// that change took.
#[derive(Debug)]
struct Rest {
    begun: Instant,
    until: Arc<watch::Sender<Option<Instant>>>,
}

impl Drop for Rest {
    fn drop(&mut self) {
        let now = Instant::now();
        self.until.send_replace(Some(now + (now - self.begun).min(LONGEST_REST)));
    }
}

/// A call of Docker's that is under way, until this is dropped.
#[derive(Debug)]
pub(crate) struct DockerCall {
    docker: Arc<watch::Sender<Waiting>>,
    endpoint: EndpointId,
    is_last: bool,
}

impl Gate {
    /// A gate for work that runs plugins, of which `plugins` may run at a time. At least half of them are
    /// left to Docker.
    pub(crate) fn new(plugins: usize) -> Self {
        let places = |most: usize| most.min(plugins / 4).max(1);
        Self {
            always: Arc::new(Semaphore::new(ALWAYS)),
            quiet: Arc::new(Semaphore::new(places(CHANGES) - ALWAYS)),
            first: Arc::default(),
            rest: Arc::default(),
            looks: Arc::new(Semaphore::new(places(LOOKS))),
            docker: Arc::default(),
        }
    }

    /// Waits for a place, in the order of arrival. A caller that stops waiting has no place.
    pub(crate) async fn enter(&self) -> Pass {
        tokio::select! {
            biased;
            place = self.when_quiet() => Pass { _place: place, _rest: None, _call: None },
            pass = self.in_any_case() => pass,
        }
    }

    /// The same for work that can always wait: it begins while Docker waits for nothing.
    pub(crate) async fn enter_when_quiet(&self) -> Pass {
        loop {
            self.until_quiet().await;
            let pass = self.enter().await;
            if self.docker.borrow().is_over() {
                return pass;
            }
        }
    }

    /// As [`Gate::enter`], for work that changes no link and no rule. It does not wait for Docker.
    pub(crate) async fn enter_to_look(&self) -> Pass {
        // Nobody closes the semaphores.
        let place = Arc::clone(&self.looks).acquire_owned().await.ok();
        Pass { _place: place, _rest: None, _call: None }
    }

    /// Waits for the place that exists also while Docker waits.
    async fn in_any_case(&self) -> Pass {
        let place = Arc::clone(&self.always).acquire_owned().await.ok();
        let until = *self.rest.borrow();
        if let Some(until) = until {
            tokio::select! {
                () = sleep_until(until) => {}
                () = self.until_quiet() => {}
            }
        }
        let rest = Rest { begun: Instant::now(), until: Arc::clone(&self.rest) };
        Pass { _place: place, _rest: Some(rest), _call: None }
    }

    /// As [`Gate::enter`], for work on `endpoint`. Once Docker waits for this work, it begins at once and
    /// needs no place.
    pub(crate) async fn enter_unless(
        &self,
        endpoint: &EndpointId,
        wanted: impl Future<Output = ()>,
    ) -> Pass {
        tokio::select! {
            biased;
            () = wanted => {
                let call = Some(self.docker_call(endpoint).last());
                Pass { _place: None, _rest: None, _call: call }
            }
            pass = self.enter() => pass,
        }
    }

    /// Waits for a place that exists only while Docker waits for nothing.
    async fn when_quiet(&self) -> Option<OwnedSemaphorePermit> {
        let _first = self.first.lock().await;
        loop {
            self.until_quiet().await;
            let place = Arc::clone(&self.quiet).acquire_owned().await.ok();
            if self.docker.borrow().is_over() {
                return place;
            }
        }
    }

    /// Waits until Docker waits for nothing.
    async fn until_quiet(&self) {
        let mut docker = self.docker.subscribe();
        loop {
            // The sender lives as long as this gate.
            let waiting = docker.wait_for(|waiting| waiting.count == 0).await;
            let Some(over) = waiting.ok().and_then(|waiting| waiting.over()) else { continue };
            if over <= Instant::now() {
                return;
            }
            tokio::select! {
                () = sleep_until(over) => return,
                // The awaited call has come, or will not come.
                _ = docker.changed() => {}
            }
        }
    }

    /// A call of Docker's for an endpoint begins. Background work is slow until the return value is dropped, and
    /// for a moment after that. The call itself never waits, and needs no place.
    #[must_use]
    pub(crate) fn docker_call(&self, endpoint: &EndpointId) -> DockerCall {
        self.docker.send_modify(|waiting| waiting.count += 1);
        DockerCall { docker: Arc::clone(&self.docker), endpoint: endpoint.clone(), is_last: false }
    }
}

impl DockerCall {
    /// No more calls follow for the start of this endpoint.
    #[must_use]
    pub(crate) fn last(mut self) -> Self {
        self.is_last = true;
        self
    }
}

impl Drop for DockerCall {
    fn drop(&mut self) {
        let now = Instant::now();
        self.docker.send_modify(|waiting| {
            waiting.count -= 1;
            waiting.between_calls.retain(|_, until| *until > now);
            match self.is_last {
                true => waiting.between_calls.remove(&self.endpoint),
                false => waiting.between_calls.insert(self.endpoint.clone(), now + UNTIL_NEXT_CALL),
            };
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::task::{JoinSet, yield_now};
    use tokio::time::timeout;

    use super::*;

    /// Far longer than anything here takes.
    const SOON: Duration = Duration::from_secs(10);

    fn id(text: &str) -> EndpointId {
        text.parse().unwrap()
    }

    /// Lets so many tasks pass the gate, and returns how many were inside at a time.
    async fn most_inside(gate: &Gate, tasks: usize) -> usize {
        let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut set = JoinSet::new();
        for _ in 0..tasks {
            let (gate, inside, most) = (gate.clone(), Arc::clone(&inside), Arc::clone(&most));
            set.spawn(async move {
                let _pass = gate.enter().await;
                most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                for _ in 0..5 {
                    yield_now().await;
                }
                inside.fetch_sub(1, Ordering::SeqCst);
            });
        }
        timeout(SOON, set.join_all()).await.unwrap();
        most.load(Ordering::SeqCst)
    }

    #[tokio::test]
    async fn few_are_inside_however_many_come() {
        assert_eq!(most_inside(&Gate::new(32), 300).await, CHANGES);
        assert_eq!(most_inside(&Gate::new(8), 300).await, 2, "as many look, the rest is Docker's");
        assert_eq!(most_inside(&Gate::new(1), 300).await, 1);
    }

    #[tokio::test]
    async fn while_docker_starts_a_container_work_goes_on_one_at_a_time() {
        let gate = Gate::new(32);
        let call = [gate.docker_call(&id("e1")), gate.docker_call(&id("e2"))];
        assert_eq!(most_inside(&gate, 50).await, ALWAYS);
        drop(call);
        // Not at once: the next call may come soon.
        let all = async { while most_inside(&gate, 50).await < CHANGES {} };
        timeout(SOON, all).await.unwrap();
    }

    #[tokio::test]
    async fn work_that_waits_goes_on_when_docker_has_been_answered() {
        let gate = Gate::new(32);
        let call = gate.docker_call(&id("e1"));
        let first = gate.enter().await;
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { gate.enter().await }
        });
        yield_now().await;
        assert!(!waiting.is_finished());
        drop(call);
        timeout(SOON, waiting).await.unwrap().unwrap();
        drop(first);
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_next_call_of_a_start_is_waited_for() {
        let gate = Gate::new(32);
        let other = gate.docker_call(&id("e0"));
        let _first = gate.enter().await;
        drop(other.last());
        let entered = || timeout(UNTIL_NEXT_CALL / 2, gate.enter());
        drop(gate.docker_call(&id("e1")));
        entered().await.unwrap_err();
        // The last call for another endpoint says nothing about this one.
        drop(gate.docker_call(&id("e2")).last());
        entered().await.unwrap();
        drop(gate.docker_call(&id("e1")));
        drop(gate.docker_call(&id("e1")).last());
        timeout(Duration::ZERO, entered()).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn what_can_always_wait_begins_once_docker_waits_for_nothing() {
        // With few plugins there is one place for changes.
        for plugins in [32, 1] {
            let gate = Gate::new(plugins);
            let call = gate.docker_call(&id("e1"));
            timeout(Duration::from_millis(50), gate.enter_when_quiet()).await.unwrap_err();
            drop(call.last());
            timeout(SOON, gate.enter_when_quiet()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn who_only_looks_does_not_wait_for_docker() {
        let gate = Gate::new(32);
        let _call = gate.docker_call(&id("e1"));
        let mut looks = Vec::new();
        for _ in 0..LOOKS {
            looks.push(timeout(SOON, gate.enter_to_look()).await.unwrap());
        }
        timeout(Duration::ZERO, gate.enter_to_look()).await.unwrap_err();
        timeout(SOON, gate.enter()).await.expect("looks leave changes their places");
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_beside_docker_is_followed_by_as_long_a_rest() {
        let gate = Gate::new(32);
        let call = gate.docker_call(&id("e1"));
        let change = gate.enter().await;
        let took = LONGEST_REST / 2;
        tokio::time::advance(took).await;
        drop(change);
        timeout(took - Duration::from_millis(10), gate.enter()).await.unwrap_err();
        timeout(took, gate.enter()).await.unwrap();
        // There is no rest when Docker does not wait.
        let change = gate.enter().await;
        tokio::time::advance(LONGEST_REST).await;
        drop(change);
        drop(call.last());
        timeout(LONGEST_REST / 2, gate.enter()).await.unwrap();
    }

    #[tokio::test]
    async fn who_stops_waiting_takes_no_place() {
        let gate = Gate::new(1);
        let pass = gate.enter().await;
        timeout(Duration::ZERO, gate.enter()).await.unwrap_err();
        drop(pass);
        timeout(SOON, gate.enter()).await.unwrap();
    }
}
