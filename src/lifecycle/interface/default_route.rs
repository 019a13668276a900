//! The default route of a container, and the route to its gateway.

use std::path::Path;

use super::Interfaces;
use super::place::Place;
use super::sandboxes::{covers, on_link};
use crate::lifecycle::error::Result;
use crate::lifecycle::record::Joined;
use crate::netlink::{MAIN_TABLE, Netlink, Route};
use crate::netns;

impl Interfaces {
    /// The routes in a sandbox that Docker has made already.
    pub(crate) async fn live_routes(&self, sandbox: &Path) -> Result<Vec<Route>> {
        match netns::identity(sandbox)? {
            Some(_) => Ok(Netlink::in_netns(sandbox).await?.all_routes().await?),
            None => Ok(Vec::new()),
        }
    }

    /// Makes the default route and the most specific route to its gateway use the same link, so that Docker
    /// finds the one by the other. With `is_gateway` this is the endpoint's link; otherwise it is the link
    /// of the default route.
    pub(crate) async fn align_default_route(
        &self,
        joined: Joined<'_>,
        is_gateway: bool,
    ) -> Result<()> {
        if on_link(joined).is_empty() || !self.sandboxes.is_shared(joined) {
            return Ok(());
        }
        let Place::Sandbox(netlink, link) = self.locate(&joined).await? else { return Ok(()) };
        for gateway in joined.answer().gateways() {
            let mut routes = netlink.all_routes().await?;
            routes.retain(|route| route.table == MAIN_TABLE && route.link.is_some());
            let Some(default) =
                routes.iter().find(|route| route.is_default() && route.gateway == Some(gateway))
            else {
                continue;
            };
            let wanted = if is_gateway { Some(link.index) } else { default.link };
            let mut ways: Vec<&Route> = (routes.iter())
                .filter(|route| route.gateway.is_none() && covers(&route.destination, gateway))
                .collect();
            ways.sort_by_key(|route| std::cmp::Reverse(route.destination.prefix_len()));
            let (Some(&first), Some(&ours)) =
                (ways.first(), ways.iter().find(|route| route.link == wanted))
            else {
                continue;
            };
            if first.link != wanted {
                netlink
                    .replace_route(&Route { link: wanted, source: None, ..first.clone() })
                    .await?;
                let theirs = Route { link: first.link, source: None, ..ours.clone() };
                netlink.replace_route(&theirs).await?;
            }
            if default.link != wanted {
                let moved = Route { link: wanted, source: None, ..default.clone() };
                netlink.replace_route(&moved).await?;
            }
        }
        Ok(())
    }
}
