//! A driver that is still reading its records.
//!
//! Reading a thousand records from a cold disk takes time. dockerd's handshake does not wait for that;
//! every call that needs the driver does.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use tokio::sync::SetOnce;

use crate::lifecycle::Driver;

/// A driver that may still be opening. Clones are of the same one.
#[derive(Debug, Clone, Default)]
pub struct Opening(Arc<State>);

#[derive(Debug, Default)]
struct State {
    driver: SetOnce<Arc<Driver>>,
    /// A dockerd has called before the driver was open.
    called_early: Mutex<bool>,
}

impl Opening {
    /// The driver is open. Calls that wait for it continue.
    pub fn done(&self, driver: Arc<Driver>) {
        let called_early = self.0.called_early.lock().unwrap_or_else(PoisonError::into_inner);
        if *called_early {
            // Before any waiting call: that call may be about something that the last dockerd left.
            driver.activate();
        }
        // A driver is opened once: a second value would be ignored.
        let _ = self.0.driver.set(driver);
    }

    /// Notifies the driver of a new dockerd: now, or before anything else once the driver is open.
    pub(super) fn activate(&self) {
        let mut called_early = self.0.called_early.lock().unwrap_or_else(PoisonError::into_inner);
        match self.now() {
            Some(driver) => driver.activate(),
            None => *called_early = true,
        }
    }

    /// The driver, if it is open.
    pub(super) fn now(&self) -> Option<&Arc<Driver>> {
        self.0.driver.get()
    }
}

impl From<Arc<Driver>> for Opening {
    fn from(driver: Arc<Driver>) -> Self {
        let opening = Self::default();
        opening.done(driver);
        opening
    }
}

/// The driver, for a handler that needs it.
pub(super) struct Opened(pub(super) Arc<Driver>);

impl FromRequestParts<Opening> for Opened {
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, opening: &Opening) -> Result<Self, Infallible> {
        Ok(Self(Arc::clone(opening.0.driver.wait().await)))
    }
}
