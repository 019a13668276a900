//! Which endpoint may have a spare, and whether that is still as ADD left it.
//!
//! An endpoint may have one if it asks for nothing that ADD needs to know. It may publish ports: the plugins that
//! declare `portMappings` are run alone for them, as when the gateway moves.

use tokio::time::Instant;

use super::{Spares, make};
use crate::cnm::{EndpointInterface, EndpointOptions, SpareCount};
use crate::lifecycle::attach::ChainInput;
use crate::lifecycle::error::{Result, chain};
use crate::lifecycle::host::restore_masquerade;
use crate::lifecycle::record::{Network, Spare};
use crate::metrics::Unused;
use crate::translate::{self, PORT_MAPPINGS};

/// Whether a spare has all that the endpoint asks for.
pub(crate) fn may_serve(
    input: &ChainInput,
    options: &EndpointOptions,
    interface: &EndpointInterface,
) -> bool {
    let besides_ports = EndpointOptions { ports: Vec::new(), ..options.clone() };
    // Only ADD could publish them.
    let too_late = !options.ports.is_empty()
        && input.list.declares(PORT_MAPPINGS)
        && !input.list.adds(PORT_MAPPINGS);
    besides_ports == EndpointOptions::default()
        && *interface == EndpointInterface::default()
        && !too_late
        && may_have_any(input)
}

/// Whether a network on that chain has spares at all. A lease of `dhcp` would take an address of a LAN for
/// nobody, and would have to be renewed in staging.
pub(super) fn may_have_any(input: &ChainInput) -> bool {
    translate::dhcp_socket(&input.list).is_none()
}

impl Spares {
    /// Takes a spare of the network for an endpoint; none if no spare is ready. A spare that differs from what its
    /// ADD would make now is removed in the background.
    pub(crate) async fn take(&self, network: &Network, input: &ChainInput) -> Option<Spare> {
        if self.wanted(network) == SpareCount::Number(0) {
            return None;
        }
        loop {
            let next = self.shelves().shelf(&network.id).spares.pop_front();
            let spare = next?;
            match self.fault(&spare, input).await {
                Ok(None) => {
                    let mut shelves = self.shelves();
                    let shelf = shelves.shelf(&network.id);
                    shelf.usage.start(true, Instant::now());
                    shelf.claimed = true;
                    drop(shelves);
                    self.parts.history.spare_claimed(network);
                    self.look_soon();
                    return Some(spare);
                }
                Ok(Some(fault)) => {
                    tracing::info!(attachment = %spare.id, fault = fault.words(),
                        "a spare cannot be used");
                    if fault == Fault::Host {
                        // Who has changed it may change the next one too.
                        self.rest(&network.id, make::FIRST_REST);
                    }
                    self.remove_soon(vec![spare], Unused::Outdated).await;
                }
                Err(error) => {
                    tracing::warn!(attachment = %spare.id, error = chain(&error),
                        "a spare cannot be used");
                    self.remove_soon(vec![spare], Unused::Outdated).await;
                }
            }
        }
    }

    /// Notes that an attachment was made for an endpoint which could have had a spare.
    pub(crate) fn missed(&self, network: &Network) {
        if self.wanted(network) != SpareCount::Number(0) {
            self.parts.history.spare_missed(network);
        }
        self.shelves().shelf(&network.id).usage.start(false, Instant::now());
        self.look_soon();
    }

    /// Why the spare is not what its ADD would make now; none if it is.
    async fn fault(&self, spare: &Spare, input: &ChainInput) -> Result<Option<Fault>> {
        if !input.was_given_to(spare) {
            return Ok(Some(Fault::Conflist));
        }
        let is_lost = async {
            // What can be put back is compared while Docker goes on: see [`Spares::put_back`].
            !restore_masquerade::is_possible(spare)
                && spare.masqueraded().next().is_some()
                && self.host_rules.read().await.lost(spare).next().is_some()
        };
        let (is_parked, is_lost) = tokio::join!(self.parts.interfaces.is_parked(spare), is_lost);
        Ok((!is_parked? || is_lost).then_some(Fault::Host))
    }
}

/// Why a spare is not what its ADD would make now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Conflist,
    Host,
}

impl Fault {
    fn words(self) -> &'static str {
        match self {
            Self::Conflist => "the conflist has changed since",
            Self::Host => "its interface, the link behind it, or its rules are not as they were",
        }
    }
}
