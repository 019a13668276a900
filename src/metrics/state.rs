//! How things stand, as it is gathered for a scrape.

use std::collections::BTreeMap;
use std::time::Duration;

use prometheus_client::registry::Registry;

use super::kinds::{alone, gauge, seconds};
use super::names::Names;

/// How things stand.
#[derive(Debug, Default)]
pub struct State {
    /// How many attachments there are, by conflist and phase.
    pub attachments: BTreeMap<(String, String), u64>,
    /// How many there may be.
    pub max_attachments: usize,
    /// How many networks there are, by conflist.
    pub networks: BTreeMap<String, u64>,
    /// How many there may be.
    pub max_networks: usize,
    /// The pools of addresses that are known.
    pub pools: Vec<Pool>,
    /// How many spares are ready, by conflist.
    pub spares: BTreeMap<String, u64>,
    /// The orphans.
    pub orphans: Orphans,
    /// How many host ports are held.
    pub ports: usize,
    /// The conflists that networks can use, and whether their plugins can be run.
    pub conflists: BTreeMap<String, bool>,
    /// How many files of the CNI folder have no usable conflist.
    pub unusable_files: usize,
    /// How many records cannot be read.
    pub unreadable_records: usize,
}

/// A pool of addresses.
#[derive(Debug)]
pub struct Pool {
    /// The conflist that gives them.
    pub conflist: String,
    /// The subnet that they are in.
    pub subnet: String,
    /// How many containers they are enough for.
    pub size: u64,
    /// How many are left.
    pub free: u64,
    /// How many each owner has.
    pub used: Vec<(&'static str, u64)>,
}

/// The orphans.
#[derive(Debug, Default)]
pub struct Orphans {
    /// How many there are in each state.
    pub states: BTreeMap<OrphanState, u64>,
    /// For how long the oldest has been one.
    pub oldest: Duration,
}

/// The state of an orphan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum OrphanState {
    /// Its DEL has not failed yet.
    Removing,
    /// Its DEL has failed, and is tried again.
    Retrying,
    /// The driver has given up.
    GivenUp,
}

impl OrphanState {
    const ALL: [Self; 3] = [Self::Removing, Self::Retrying, Self::GivenUp];

    fn as_str(self) -> &'static str {
        match self {
            Self::Removing => "removing",
            Self::Retrying => "retrying",
            Self::GivenUp => "given_up",
        }
    }
}

/// How many pools have series of their own.
const MOST_POOLS: usize = 200;

impl State {
    pub(super) fn register(&self, names: &Names, registry: &mut Registry) {
        let conflist = |name: &str| ("conflist", names.conflist(name));
        let attachments = self.attachments.iter().map(|((name, phase), count)| {
            (vec![conflist(name), ("phase", phase.clone())], *count as f64)
        });
        gauge(registry, "attachments", "Attachments, by conflist and phase", attachments);
        gauge(
            registry,
            "attachments_limit",
            "How many attachments there may be",
            alone(self.max_attachments as f64),
        );
        let networks = self.networks.iter();
        let networks = networks.map(|(name, count)| (vec![conflist(name)], *count as f64));
        gauge(registry, "networks", "Docker's networks on this driver, by conflist", networks);
        gauge(
            registry,
            "networks_limit",
            "How many networks there may be",
            alone(self.max_networks as f64),
        );
        self.register_pools(names, registry);
        self.register_ends(names, registry);
        self.register_host(names, registry);
    }

    /// Attachments that no container has: not yet, or not any more; and their ports.
    fn register_ends(&self, names: &Names, registry: &mut Registry) {
        let conflist = |name: &str| ("conflist", names.conflist(name));
        let spares = self.spares.iter();
        let spares = spares.map(|(name, count)| (vec![conflist(name)], *count as f64));
        gauge(
            registry,
            "spares_ready",
            "Attachments that are ready before a container asks, by conflist",
            spares,
        );
        let orphans = OrphanState::ALL.into_iter().map(|state| {
            let count = self.orphans.states.get(&state).copied().unwrap_or_default();
            (vec![("state", state.as_str().to_owned())], count as f64)
        });
        gauge(
            registry,
            "orphans",
            "Attachments that Docker has deleted and that are not removed yet, by state",
            orphans,
        );
        gauge(
            registry,
            "orphan_oldest_seconds",
            "For how long the oldest orphan has been one; 0 if there is none",
            alone(seconds(self.orphans.oldest)),
        );
        gauge(
            registry,
            "ports_held",
            "Host ports that are held for containers",
            alone(self.ports as f64),
        );
    }

    /// What the host has for the driver: conflists, plugins, records.
    fn register_host(&self, names: &Names, registry: &mut Registry) {
        let conflist = |name: &str| ("conflist", names.conflist(name));
        // Of several that share a label, one that is not usable counts.
        let mut usable = BTreeMap::new();
        for (name, is_usable) in &self.conflists {
            *usable.entry(conflist(name)).or_insert(true) &= is_usable;
        }
        gauge(
            registry,
            "conflist_usable",
            "Whether the plugins of a conflist can be run: 1 or 0",
            usable.into_iter().map(|(label, usable)| (vec![label], f64::from(u8::from(usable)))),
        );
        gauge(
            registry,
            "conflist_files_unusable",
            "Files of the CNI folder that contain no usable conflist",
            alone(self.unusable_files as f64),
        );
        gauge(
            registry,
            "records_unreadable",
            "Files in the folder of records that cannot be read",
            alone(self.unreadable_records as f64),
        );
    }

    fn register_pools(&self, names: &Names, registry: &mut Registry) {
        let labels = |place: usize, pool: &Pool| {
            let subnet = if place < MOST_POOLS { &*pool.subnet } else { "other" };
            vec![("conflist", names.conflist(&pool.conflist)), ("pool", subnet.to_owned())]
        };
        let pools = || self.pools.iter().enumerate();
        let sizes = pools().map(|(place, pool)| (labels(place, pool), pool.size as f64));
        gauge(registry, "pool_addresses", "Addresses that containers can be given", sizes);
        let free = pools().map(|(place, pool)| (labels(place, pool), pool.free as f64));
        gauge(registry, "pool_addresses_free", "Addresses that are left", free);
        let used = pools().flat_map(|(place, pool)| {
            pool.used.iter().map(move |(owner, count)| {
                let mut labels = labels(place, pool);
                labels.push(("owner", (*owner).to_owned()));
                (labels, *count as f64)
            })
        });
        gauge(registry, "pool_addresses_used", "Addresses that are taken, by owner", used);
    }
}
