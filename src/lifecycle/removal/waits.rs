//! What a new endpoint waits for: removals that are under way and have what it needs.
//!
//! Every conflict has the same rule: the endpoint waits until the removal and its retries are over, at most
//! until the limit. Then its ADD is tried once more. What an endpoint asks for by name is compared before its
//! chain runs. A conflict that only the chain finds (an exhausted pool, a device) may be with any removal of the
//! same conflist.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::{Cell, Claims, Removals};
use crate::lifecycle::error::{Error, Remaining, Result};

/// How long one waits for removals.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The limit of a wait that begins now.
pub(crate) fn limit() -> Instant {
    Instant::now() + PATIENCE
}

impl Removals {
    /// Waits until no orphan has what is claimed. Orphans that have it are removed before other background
    /// work; one in a pause is tried at once.
    ///
    /// # Errors
    /// An orphan still has it, and is not tried again before the `limit`, or is being removed then.
    pub(crate) async fn wait_for(&self, claims: &Claims, limit: Instant) -> Result<()> {
        while let Some((cell, what)) = self.orphans.with(claims) {
            tracing::debug!(attachment = %cell.id, what, "waiting for an orphan");
            let _asked = cell.ask();
            if let Some(reason) = cell.is_gone_by(limit).await {
                return Err(Error::Orphaned { what, attachment: cell.id.to_string(), reason });
            }
        }
        Ok(())
    }
}

/// Waits until these orphans are gone. Returns one that is left, and why.
pub(crate) async fn until_gone(cells: Vec<Arc<Cell>>, limit: Instant) -> Option<Remaining> {
    // All attempts begin at once.
    let waits: Vec<_> = cells.iter().map(|cell| (cell.id, cell.is_gone_by(limit))).collect();
    let mut remaining = None;
    for (id, wait) in waits {
        if let Some(reason) = wait.await {
            remaining = Some(Remaining { attachment: id.to_string(), reason });
        }
    }
    remaining
}

impl Cell {
    /// Waits until the orphan is gone, through every attempt that begins before the `limit`. Returns why it
    /// is still there; none if it is gone. An orphan in a pause is tried at once.
    fn is_gone_by(&self, limit: Instant) -> impl Future<Output = Option<String>> + use<> {
        let mut state = self.state.subscribe();
        let ended = state.borrow().ended;
        self.hurry();
        async move {
            let over = state.wait_for(|state| {
                let in_vain = state.rests && state.until.is_none_or(|until| until > limit);
                state.gone || (state.ended > ended && in_vain)
            });
            let outcome = timeout_at(limit, over).await.map(|state| state.map(|it| it.clone()));
            match outcome {
                Ok(Ok(state)) if !state.gone => state.error,
                // Before the sender was dropped, it has sent that the orphan is gone.
                Ok(_) => None,
                Err(_) => {
                    let failed = state.borrow().error.clone();
                    let late = || format!("it has not ended within {} s", PATIENCE.as_secs());
                    Some(failed.unwrap_or_else(late))
                }
            }
        }
    }

    /// Starts an attempt now, and waits for its end: the error, or none if the orphan is gone.
    pub(super) fn try_now(&self) -> impl Future<Output = Option<String>> + use<> {
        let mut state = self.state.subscribe();
        let (ended, limit) = (state.borrow().ended, limit());
        self.hurry();
        async move {
            let over = state.wait_for(|state| state.gone || state.ended > ended);
            match timeout_at(limit, over).await {
                Ok(Ok(state)) if !state.gone => state.error.clone(),
                // As above.
                Ok(_) => None,
                Err(_) => Some(format!(
                    "it has not ended within {} s, and goes on in the background",
                    PATIENCE.as_secs()
                )),
            }
        }
    }
}
