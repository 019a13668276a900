//! The driver, from the time that it is opening on.
//!
//! Reading a thousand records from a cold disk takes its time. dockerd's handshake does not wait
//! for that; every call that needs the driver does.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use tokio::sync::SetOnce;

use crate::lifecycle::Driver;

/// A driver that may still be opening. Clones are of the same one.
#[derive(Debug, Clone, Default)]
pub struct Opening(Arc<SetOnce<Arc<Driver>>>);

impl Opening {
    /// The driver is open. Calls that wait for it go on.
    pub fn done(&self, driver: Arc<Driver>) {
        // A driver is opened once: a second one would have no business here.
        let _ = self.0.set(driver);
    }

    /// The driver, once it is open.
    pub(super) async fn wait(&self) -> Arc<Driver> {
        Arc::clone(self.0.wait().await)
    }

    /// The driver, if it is open.
    pub(super) fn now(&self) -> Option<&Arc<Driver>> {
        self.0.get()
    }
}

impl From<Arc<Driver>> for Opening {
    fn from(driver: Arc<Driver>) -> Self {
        Self(Arc::new(SetOnce::new_with(Some(driver))))
    }
}

/// The driver, for a handler that cannot do without it.
pub(super) struct Opened(pub(super) Arc<Driver>);

impl FromRequestParts<Opening> for Opened {
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, opening: &Opening) -> Result<Self, Infallible> {
        Ok(Self(opening.wait().await))
    }
}
