//! Routes.

mod form;
mod message;

use rtnetlink::Handle;
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST};
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::session::Session;
use super::{Error, Failure, Netlink, Turn, or_absent};
pub use form::{Attribute, MAIN_TABLE, NextHop, Route};
use message::{read, write};

impl Netlink {
    /// The routes that leave by a link, of all tables, IPv4 first.
    ///
    /// Fails if the link is not there: [`Error::is_not_found`].
    pub async fn routes(&self, index: u32) -> Result<Vec<Route>, Error> {
        let object = format!("the routes of link {index}");
        let work = move |mut turn: Turn| async move { list(&mut turn, Some(index)).await };
        self.run("list", object, work).await
    }

    /// All routes of all tables, IPv4 first.
    pub async fn all_routes(&self) -> Result<Vec<Route>, Error> {
        let work = |mut turn: Turn| async move { list(&mut turn, None).await };
        self.run("list", "the routes".into(), work).await
    }

    /// Adds a route.
    ///
    /// Fails if its table has a route to the same
    /// destination with the same metric and type of service, wherever that leads: [`Error::is_exists`].
    pub async fn add_route(&self, route: &Route) -> Result<(), Error> {
        let message = write(route);
        let request = |netlink: &Handle| netlink.route().add(message).execute();
        self.request("add", described(route), request).await
    }

    /// Adds a route in place of the one that its table has to the same destination with the
    /// same metric and type of service, wherever that leads.
    pub async fn replace_route(&self, route: &Route) -> Result<(), Error> {
        let message = write(route);
        let request = |netlink: &Handle| netlink.route().add(message).replace().execute();
        self.request("set", described(route), request).await
    }

    /// Adds a route before those that its table has to the same destination with the same metric
    /// and type of service (`ip route prepend`): it is the one that counts then.
    pub async fn prepend_route(&self, route: &Route) -> Result<(), Error> {
        let request = RouteNetlinkMessage::NewRoute(write(route));
        let work = |mut turn: Turn| async move {
            let flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE;
            turn.exchange(request, flags, &Some).await.map(drop)
        };
        self.run("prepend", described(route), work).await
    }

    /// Removes exactly this route. Succeeds if it is gone.
    pub async fn remove_route(&self, route: &Route) -> Result<(), Error> {
        let message = write(route);
        let request = |netlink: &Handle| netlink.route().del(message).execute();
        or_absent(self.request("remove", described(route), request).await)
    }
}

/// The routes of all tables; those that leave by `link` if one is given.
pub(super) async fn list(session: &mut Session, link: Option<u32>) -> Result<Vec<Route>, Failure> {
    let mut routes = Vec::new();
    // A kernel without IPv6 answers the second request with all that it has.
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut message = RouteMessage::default();
        message.header.address_family = family;
        message.attributes.extend(link.map(RouteAttribute::Oif));
        let request = RouteNetlinkMessage::GetRoute(message);
        let read = |one| read(one, family).unwrap_or_default();
        routes.append(&mut session.dump(request, read).await?);
    }
    Ok(routes)
}

fn described(route: &Route) -> String {
    let over = route.gateway.map(|gateway| format!(" over {gateway}")).unwrap_or_default();
    let on = route.link.map(|link| format!(" on link {link}")).unwrap_or_default();
    let table = Some(route.table).filter(|table| *table != MAIN_TABLE);
    let table = table.map(|table| format!(" in table {table}")).unwrap_or_default();
    format!("the route to {}{over}{on}{table}", route.destination)
}

#[cfg(test)]
mod tests;
