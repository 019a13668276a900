//! DeleteEndpoint: writes the intent to disk; then restores the interface in staging as ADD left it, and
//! runs DEL.
//!
//! The reference plugins find what to remove by the *live* addresses of the interface: a DEL that does not
//! see them leaks a masquerade chain for every container. So the addresses are put back first. An interface
//! that was lost with its namespace is replaced by a stand-in with the same addresses. An address whose
//! rule is gone already is left out, because some versions of the plugins fail for it at every DEL.

use crate::cnm::EndpointRequest;
use crate::lifecycle::driver::Driver;

impl Driver {
    /// `NetworkDriver.DeleteEndpoint`. An unknown endpoint is gone already.
    ///
    /// The answer is given once the intent is on disk, before DEL has run, unless the configuration asks to
    /// wait. Docker forgets the endpoint whatever the answer is, so a DEL that fails is no error for
    /// Docker: see [`crate::lifecycle::removal`].
    pub async fn delete_endpoint(&self, request: EndpointRequest) {
        let mut slot = self.endpoints.lock(&request.endpoint_id).await;
        let Some(orphan) = self.removals.release(&mut slot).await else { return };
        if self.sync_delete {
            // Logged where it failed; it is tried again.
            let _ = self.removals.now(orphan).await;
        } else {
            self.removals.soon(orphan);
        }
    }
}
