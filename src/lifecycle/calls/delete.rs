//! DeleteEndpoint: the intent on disk; then the interface back in staging as ADD left it, and DEL.
//!
//! The reference plugins find what to remove by the *live* addresses of the interface: a
//! DEL that does not see them leaks a masquerade chain for every container. So the
//! addresses are put back first, and an interface that was lost with its namespace gets a
//! stand-in that bears them. An address whose rule is gone already is left out: some versions
//! of the plugins fail for it, each time again.

use crate::cnm::EndpointRequest;
use crate::lifecycle::driver::Driver;

impl Driver {
    /// `NetworkDriver.DeleteEndpoint`. An unknown endpoint is gone already.
    ///
    /// Answered once the intent is on disk, and before DEL has run, unless the configuration
    /// asks for that. Docker forgets the endpoint whatever is answered, so a DEL that fails
    /// is no error to it: see [`crate::lifecycle::removal`].
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
