//! DeleteEndpoint: writes the intent to disk; then restores the interface in staging as ADD left it, and
//! runs DEL.
//!
//! The reference plugins find what to remove by the *live* addresses of the interface: a DEL that does not
//! see them leaks a masquerade chain for every container. So the addresses are put back first. An interface
//! that was lost with its namespace is replaced by a stand-in with the same addresses. An address whose
//! rule is gone already is left out, because some versions of the plugins fail for it at every DEL.

use crate::cnm::{EndpointId, EndpointRequest};
use crate::lifecycle::driver::Driver;
use crate::lifecycle::error::chain;
use crate::lifecycle::record::Attachment;

impl Driver {
    /// `NetworkDriver.DeleteEndpoint`. An unknown endpoint is gone already.
    ///
    /// The answer is given once the intent is on disk, before DEL has run, unless the configuration asks to
    /// wait. Docker forgets the endpoint whatever the answer is, so a DEL that fails is no error for
    /// Docker: see [`crate::lifecycle::removal`].
    pub async fn delete_endpoint(&self, request: EndpointRequest) {
        let mut slot = self.endpoints.lock(&request.endpoint_id).await;
        let joined = slot.as_ref().and_then(Attachment::joined);
        let beside = joined.map(|joined| self.interfaces.sandboxes.beside(joined));
        let Some(orphan) = self.removals.release(&mut slot).await else { return };
        if let Some(beside) = beside.filter(|beside| !beside.is_empty()) {
            self.look_at_default_routes(beside);
        }
        if self.sync_delete {
            // Logged where it failed; it is tried again.
            let _ = self.removals.now(orphan).await;
        } else {
            self.removals.soon(orphan);
        }
    }

    /// A container left a network; these are the endpoints that it has on others. In the background, they get the
    /// default routes that nobody else has, and that Docker makes no call for.
    pub fn look_at_default_routes(&self, endpoints: Vec<EndpointId>) {
        let driver = self.clone();
        self.background.spawn(async move { driver.restore_default_routes(endpoints).await });
    }

    /// The container left a network, and may live on without the default route that it had there. Docker has
    /// removed that one before DeleteEndpoint. If the whole container ends, its namespace may be gone by now.
    async fn restore_default_routes(&self, endpoints: Vec<EndpointId>) {
        for endpoint in endpoints {
            let slot = self.endpoints.lock(&endpoint).await;
            let Some(joined) = slot.as_ref().and_then(Attachment::settled) else { continue };
            if let Err(error) = self.interfaces.restore_default_routes(joined).await {
                tracing::debug!(
                    endpoint = endpoint.short(),
                    error = chain(&error),
                    "its default route is not looked at"
                );
            }
        }
    }
}
