//! The gate for work that Docker does not wait for: removals, checks, collection. Whatever a piece
//! of it runs (plugins, `iptables`, moves of interfaces) it runs inside.
//!
//! A few pieces of work are inside at a time, however many wait: each may start several processes and
//! move an interface, and all of them share the kernel's lock on links, the tables' and the
//! processors. While Docker starts a container, only one of them begins at a time, so that
//! background work goes on under any load and is in nobody's way.

use std::sync::Arc;

use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep_until};

/// How many pieces of background work run at a time.
const PLACES: usize = 8;

/// How many places there are while Docker waits for something.
const ALWAYS: usize = 1;

/// How long it is taken to wait yet when it has been answered: a container's start is several calls,
/// with work of Docker's own between them.
const UNTIL_NEXT_CALL: Duration = Duration::from_millis(300);

/// The gate. Clones are the same gate.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    /// Places that are there in any case.
    always: Arc<Semaphore>,
    /// Further ones, for while Docker waits for nothing.
    quiet: Arc<Semaphore>,
    ahead: Arc<watch::Sender<Waiting>>,
}

/// What Docker waits for.
#[derive(Debug, Default, Clone, Copy)]
struct Waiting {
    count: usize,
    /// When it was answered last.
    answered: Option<Instant>,
}

impl Waiting {
    /// When background work may go on; none while Docker waits.
    fn over(self) -> Option<Instant> {
        let answered = self.answered.map_or_else(Instant::now, |time| time + UNTIL_NEXT_CALL);
        (self.count == 0).then_some(answered)
    }

    fn is_over(self) -> bool {
        self.over().is_some_and(|time| time <= Instant::now())
    }
}

/// Leave to be inside the gate, until it is dropped. Who has one must not wait for another.
#[derive(Debug)]
pub(crate) struct Pass {
    /// None if it needs no place.
    _place: Option<OwnedSemaphorePermit>,
    _ahead: Option<Ahead>,
}

/// Something that Docker waits for, until it is dropped.
#[derive(Debug)]
pub(crate) struct Ahead {
    ahead: Arc<watch::Sender<Waiting>>,
}

impl Gate {
    /// A gate for work that runs plugins, of which so many may run at a time: at least half of them are
    /// left to Docker.
    pub(crate) fn new(plugins: usize) -> Self {
        let places = PLACES.min(plugins / 2).max(ALWAYS);
        Self {
            always: Arc::new(Semaphore::new(ALWAYS)),
            quiet: Arc::new(Semaphore::new(places - ALWAYS)),
            ahead: Arc::default(),
        }
    }

    /// Waits for a place, behind who came before. A caller that stops waiting has no place.
    pub(crate) async fn enter(&self) -> Pass {
        // Nobody closes the semaphores.
        let place = tokio::select! {
            place = Arc::clone(&self.always).acquire_owned() => place.ok(),
            place = self.when_quiet() => place,
        };
        Pass { _place: place, _ahead: None }
    }

    /// The same, until Docker has come to wait for the work: then it goes ahead, and needs no place.
    pub(crate) async fn enter_unless(&self, wanted: impl Future<Output = ()>) -> Pass {
        tokio::select! {
            biased;
            () = wanted => Pass { _place: None, _ahead: Some(self.ahead()) },
            pass = self.enter() => pass,
        }
    }

    /// Waits for one of the further places.
    async fn when_quiet(&self) -> Option<OwnedSemaphorePermit> {
        let mut ahead = self.ahead.subscribe();
        loop {
            // The sender lives as long as this gate.
            let waiting = ahead.wait_for(|waiting| waiting.count == 0).await.map(|it| *it);
            if let Some(time) = waiting.ok().and_then(Waiting::over) {
                sleep_until(time).await;
            }
            let permit = Arc::clone(&self.quiet).acquire_owned().await.ok();
            let waiting = *ahead.borrow();
            if waiting.is_over() {
                return permit;
            }
        }
    }

    /// Has background work keep out of the way until the return value is dropped. Never
    /// waits: what Docker waits for needs no place.
    #[must_use]
    pub(crate) fn ahead(&self) -> Ahead {
        self.ahead.send_modify(|waiting| waiting.count += 1);
        Ahead { ahead: Arc::clone(&self.ahead) }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.ahead.send_modify(|waiting| {
            waiting.count -= 1;
            waiting.answered = Some(Instant::now());
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

    /// Lets so many tasks pass, and tells how many were inside at a time.
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
        assert_eq!(most_inside(&Gate::new(32), 300).await, PLACES);
        assert_eq!(most_inside(&Gate::new(4), 300).await, 2, "half of the plugins are Docker's");
        assert_eq!(most_inside(&Gate::new(1), 300).await, 1);
    }

    #[tokio::test]
    async fn while_docker_starts_a_container_work_goes_on_one_at_a_time() {
        let gate = Gate::new(32);
        let ahead = [gate.ahead(), gate.ahead()];
        assert_eq!(most_inside(&gate, 50).await, ALWAYS);
        drop(ahead);
        // Not at once: the next call may come soon.
        let all = async { while most_inside(&gate, 50).await < PLACES {} };
        timeout(SOON, all).await.unwrap();
    }

    #[tokio::test]
    async fn work_that_waits_goes_on_when_docker_has_been_answered() {
        let gate = Gate::new(32);
        let ahead = gate.ahead();
        let first = gate.enter().await;
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { gate.enter().await }
        });
        yield_now().await;
        assert!(!waiting.is_finished());
        drop(ahead);
        timeout(SOON, waiting).await.unwrap().unwrap();
        drop(first);
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
