//! Reads the bodies of calls, with limits for size, for time, and for all together.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use futures_util::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::error::Error;

/// Largest body that is read, in bytes. Docker's largest calls, with hundreds of published
/// ports, have some tens of kilobytes.
pub(super) const LIMIT: usize = 1 << 20;

/// How much of a refused body is read and dropped, in bytes, before the connection is closed. Many clients
/// read the answer only after they have written the whole body.
const PATIENCE: usize = 64 << 20;

/// How long a body may take to arrive. dockerd sends its own at once.
const ARRIVES_WITHIN: Duration = Duration::from_secs(60);

/// How much memory all bodies together may use, in bytes, and the unit in which it is counted.
const ALL_BODIES: usize = 16 << 20;
const PORTION: usize = 16 << 10;

/// The memory for the bodies of all calls. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Bodies(Arc<Semaphore>);

impl Default for Bodies {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ALL_BODIES / PORTION)))
    }
}

/// A part of that memory, until it is dropped.
#[derive(Debug)]
pub(super) struct Room(Option<OwnedSemaphorePermit>);

impl Room {
    /// Makes room for `bytes` in total.
    fn widen(&mut self, bodies: &Bodies, bytes: usize) -> Result<(), Error> {
        let held = self.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = bytes.div_ceil(PORTION).saturating_sub(held);
        let more = u32::try_from(more).map_err(|_| Error::BodyTooLarge { limit: LIMIT })?;
        let more = Arc::clone(&bodies.0).try_acquire_many_owned(more).map_err(|_| Error::Busy)?;
        match &mut self.0 {
            Some(held) => held.merge(more),
            None => self.0 = Some(more),
        }
        Ok(())
    }
}

/// Reads the body of a request, even if its call does not need it: a connection with an unread body cannot
/// be used again, and would be closed.
pub(super) async fn whole(body: Body, bodies: &Bodies) -> Result<(Vec<u8>, Room), Error> {
    timeout(ARRIVES_WITHIN, read(body, bodies)).await.map_err(|_| Error::BodySlow)?
}

async fn read(body: Body, bodies: &Bodies) -> Result<(Vec<u8>, Room), Error> {
    let mut pieces = body.into_data_stream();
    let (mut kept, mut room) = (Vec::new(), Room(None));
    let (mut seen, mut refused) = (0, None);
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(Error::BodyBroken)?;
        seen += piece.len();
        if refused.is_none() && seen > LIMIT {
            refused = Some(Error::BodyTooLarge { limit: LIMIT });
        } else if refused.is_none() {
            refused = room.widen(bodies, seen).err();
        }
        if refused.is_none() {
            kept.extend_from_slice(&piece);
            continue;
        }
        (kept, room) = (Vec::new(), Room(None));
        if seen > PATIENCE {
            break;
        }
    }
    match refused {
        Some(error) => Err(error),
        None => Ok((kept, room)),
    }
}
