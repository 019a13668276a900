//! What the endpoints of one sandbox must not both tell Docker.
//!
//! A gateway outside of every subnet needs a route on the link, and pod networks all have the
//! same one, 169.254.1.1. Docker adds such a route exclusively: the second network of a container
//! would fail with "file exists". So the second endpoint is given a wider one, 169.254.1.0/31,
//! the third a /30. Each leads over its own link, so the gateway can be reached over that
//! one whichever endpoint Docker sets up first, and when the others go.
//!
//! Docker then looks up by which link the gateway is reached, and the narrowest route wins:
//! where it means a later endpoint, [`Inner::take_gateway`] puts its default route right.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;

use super::place::Place;
use super::record::Attachment;
use super::{Inner, Result};
use crate::cnm::{EndpointId, JoinResponse};
use crate::netlink::{MAIN_TABLE, Route};
use crate::translate;

/// Which endpoint told Docker which routes on the link, in which sandbox.
#[derive(Debug, Default)]
pub(super) struct Sandboxes {
    told: Mutex<HashMap<EndpointId, (PathBuf, Vec<IpNet>)>>,
}

impl Attachment {
    /// The answer to Join; none before ADD has succeeded.
    pub(super) fn join_answer(&self) -> Option<JoinResponse> {
        let result = self.result.as_ref()?;
        let answer = translate::join_answer(result, &self.parameters.if_name, self.internal);
        Some(translate::widened(answer, self.widened))
    }
}

impl Sandboxes {
    /// What these attachments told, after a start.
    pub(super) fn of<'a>(attachments: impl Iterator<Item = &'a Attachment>) -> Self {
        let sandboxes = Self::default();
        for attachment in attachments.filter(|attachment| attachment.phase.is_live()) {
            sandboxes.enter(attachment);
        }
        sandboxes
    }

    /// By how many bits an attachment's routes to its gateways have to be wider than those of
    /// the other endpoints in its sandbox.
    pub(super) fn widening(&self, attachment: &Attachment) -> u8 {
        /// So many networks with the same gateway on one container.
        const MOST: u8 = 16;
        let Some(sandbox) = &attachment.sandbox else { return 0 };
        let told = self.told();
        let others: Vec<&IpNet> = told
            .iter()
            .filter(|(endpoint, (place, _))| **endpoint != attachment.endpoint && place == sandbox)
            .flat_map(|(_, (_, routes))| routes)
            .collect();
        let is_free = |bits: &u8| {
            let wider = Attachment { widened: *bits, ..attachment.clone() };
            !on_link(&wider).iter().any(|route| others.contains(&route))
        };
        (0..MOST).find(is_free).unwrap_or(0)
    }

    /// Remembers what an attachment tells.
    pub(super) fn enter(&self, attachment: &Attachment) {
        if let Some(sandbox) = &attachment.sandbox {
            let told = (sandbox.clone(), on_link(attachment));
            self.told().insert(attachment.endpoint.clone(), told);
        }
    }

    /// Forgets what an endpoint told.
    pub(super) fn leave(&self, endpoint: &EndpointId) {
        self.told().remove(endpoint);
    }

    fn told(&self) -> MutexGuard<'_, HashMap<EndpointId, (PathBuf, Vec<IpNet>)>> {
        // The map is whole even if a holder panicked: every change is one insert or remove.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn on_link(attachment: &Attachment) -> Vec<IpNet> {
    let routes = attachment.join_answer().map(|answer| answer.static_routes).unwrap_or_default();
    let routes = routes.into_iter().filter(|route| route.next_hop.is_none());
    routes.map(|route| route.destination).collect()
}

impl Inner {
    /// The endpoint has become its sandbox's gateway. Where Docker has led the default route over
    /// another endpoint's link, because both have the same gateway, it is led over this one's.
    pub(super) async fn take_gateway(&self, attachment: &Attachment) -> Result<()> {
        if attachment.widened == 0 {
            return Ok(());
        }
        let Some(answer) = attachment.join_answer() else { return Ok(()) };
        let Place::Sandbox(netlink, link) = self.locate(attachment).await? else { return Ok(()) };
        let gateways = [answer.gateway.map(IpAddr::from), answer.gateway_ipv6.map(IpAddr::from)];
        for route in netlink.all_routes().await? {
            let astray = route.is_default()
                && route.table == MAIN_TABLE
                && route.gateway.is_some()
                && gateways.contains(&route.gateway)
                && route.link != Some(link.index);
            if astray {
                let ours = Route { link: Some(link.index), source: None, ..route.clone() };
                netlink.replace_route(&ours).await?;
            }
        }
        Ok(())
    }
}
