//! The host as it was when it was looked at: rules, links and settings, read once for many endpoints.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use tokio::sync::Mutex;

use super::rules::{HostRules, Reading, reading};
use crate::lifecycle::driver::Driver;
use crate::lifecycle::error::Result;
use crate::lifecycle::host::host_side;
use crate::netlink::{Address, Link, Netlink, Route};

/// The host as it was when it was looked at.
pub(super) struct HostState {
    pub(super) rules: HostRules,
    pub(super) links: Reading<HostLinks>,
    /// Those that were asked for, as they were then. Most endpoints ask for the same ones.
    settings: Mutex<HashMap<String, Option<String>>>,
}

impl HostState {
    pub(super) async fn read(driver: &Driver) -> Self {
        let own = &driver.interfaces.own_background;
        let links = async { reading(HostLinks::read(own).await) };
        let (rules, links) = tokio::join!(HostRules::read(&driver.exemptions), links);
        Self { rules, links, settings: Mutex::default() }
    }

    /// What the host has for a setting; none if it has no such setting.
    pub(super) async fn setting(&self, name: &str) -> Option<String> {
        match self.settings.lock().await.entry(name.to_owned()) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(unknown) => unknown.insert(host_side::setting(name).await).clone(),
        }
    }
}

/// The host's links, with their addresses and routes.
pub(super) struct HostLinks {
    links: Vec<Link>,
    by_name: HashMap<String, usize>,
    by_index: HashMap<u32, usize>,
    addresses: HashMap<u32, Vec<Address>>,
    routes: HashMap<u32, Vec<Route>>,
}

impl HostLinks {
    /// Reads all. The kernel walks through all routes to list those of one link, too.
    async fn read(own: &Netlink) -> Result<Self> {
        let links = own.links().await?;
        let mut all = Self {
            by_name: HashMap::new(),
            by_index: HashMap::new(),
            addresses: HashMap::new(),
            routes: HashMap::new(),
            links,
        };
        for (position, link) in all.links.iter().enumerate() {
            all.by_index.insert(link.index, position);
            for name in [&link.name].into_iter().chain(&link.alternative_names) {
                all.by_name.insert(name.clone(), position);
            }
        }
        for (index, address) in own.all_addresses().await? {
            all.addresses.entry(index).or_default().push(address);
        }
        for route in own.all_routes().await? {
            let hops = route.next_hops.iter().map(|hop| hop.link);
            for index in route.link.into_iter().chain(hops).collect::<Vec<_>>() {
                all.routes.entry(index).or_default().push(route.clone());
            }
        }
        Ok(all)
    }

    /// The link of this name, or alternative name.
    pub(super) fn link(&self, name: &str) -> Option<&Link> {
        self.by_name.get(name).and_then(|position| self.links.get(*position))
    }

    /// The link of this index.
    pub(super) fn link_by_index(&self, index: u32) -> Option<&Link> {
        self.by_index.get(&index).and_then(|position| self.links.get(*position))
    }

    /// The addresses of a link.
    pub(super) fn addresses(&self, index: u32) -> &[Address] {
        self.addresses.get(&index).map(Vec::as_slice).unwrap_or_default()
    }

    /// The routes that leave by a link, of all tables.
    pub(super) fn routes(&self, index: u32) -> &[Route] {
        self.routes.get(&index).map(Vec::as_slice).unwrap_or_default()
    }
}
