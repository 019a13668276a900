//! What a picture shows, whatever its format: uplinks, bridges and masters, and what is attached to them.

use std::collections::BTreeMap;

use crate::cli::operator::doctor::{Finding, faults};
use crate::cli::operator::known::{Known, host_link, ports, state};
use crate::lifecycle::Check;
use crate::lifecycle::inventory::{Attachment, Network};

/// All that a picture shows. Everything in it is in an order that depends only on names.
#[derive(Debug, Default)]
pub(super) struct Graph {
    pub(super) uplinks: Vec<Uplink>,
    pub(super) devices: Vec<Device>,
    /// What is wrong, and what helps.
    pub(super) problems: Vec<Finding>,
}

/// A link of the host with a default route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Uplink {
    pub(super) name: String,
    pub(super) addresses: Vec<String>,
}

/// What attachments are put on: a bridge of the host, a master, or nothing but the host's routes.
#[derive(Debug, Default)]
pub(super) struct Device {
    /// None where the host routes to each container, or nobody knows.
    pub(super) name: Option<String>,
    pub(super) kind: &'static str,
    pub(super) networks: Vec<String>,
    pub(super) conflists: Vec<String>,
    pub(super) pools: Vec<String>,
    /// All of its networks are `--internal`: no packet goes to an uplink.
    pub(super) internal: bool,
    /// What is wrong with it, a sentence each.
    pub(super) broken: Vec<String>,
    pub(super) attached: Vec<Attached>,
}

/// A container's end, or an orphan.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Attached {
    pub(super) is_orphan: bool,
    /// None if nobody has told its name.
    pub(super) container: Option<String>,
    pub(super) network: String,
    pub(super) conflist: String,
    pub(super) addresses: Vec<String>,
    /// The host's end.
    pub(super) interface: Option<String>,
    pub(super) ports: Vec<String>,
    pub(super) state: &'static str,
    pub(super) project: Option<String>,
    pub(super) broken: Vec<String>,
}

/// How one device is told from another: by its name; without one, by the conflist.
type Key = (Option<String>, String);

impl Device {
    /// Its name; where there is no device, the conflist's.
    pub(super) fn title(&self) -> String {
        let title = self.name.clone().or_else(|| self.conflists.first().cloned());
        title.unwrap_or_else(|| "-".to_owned())
    }

    pub(super) fn is_broken(&self) -> bool {
        !self.broken.is_empty()
    }
}

impl Attached {
    /// Docker's name of the container, or `-`.
    pub(super) fn name(&self) -> &str {
        self.container.as_deref().unwrap_or("-")
    }

    pub(super) fn is_broken(&self) -> bool {
        !self.broken.is_empty()
    }

    /// The name, and in which state it is unless it is up.
    pub(super) fn title(&self) -> String {
        match self.state {
            "up" => self.name().to_owned(),
            state => format!("{} ({state})", self.name()),
        }
    }
}

impl Graph {
    /// The picture of all that is known. `network` leaves out what is not on networks of that name.
    pub(super) fn of(
        known: &Known,
        (problems, checks): (Vec<Finding>, &[Check]),
        uplinks: Vec<Uplink>,
        network: Option<&str>,
    ) -> Self {
        let mut devices: BTreeMap<Key, Device> = BTreeMap::new();
        let shown: Vec<&Network> = match network {
            None => known.inventory.networks.iter().collect(),
            Some(name) => known.networks_called(name),
        };
        for it in &shown {
            let device = devices.entry(key_of_network(known, it)).or_default();
            device.take_network(known, it);
        }
        for attachment in &known.inventory.attachments {
            // No container has had it, and it is about to go.
            if attachment.spare && state(attachment) != "orphan" {
                continue;
            }
            let of_network = shown.iter().find(|it| it.network == attachment.network);
            // Of a network that Docker has removed, only orphans are left.
            if of_network.is_none() && network.is_some() {
                continue;
            }
            let device = devices.entry(key_of(known, attachment)).or_default();
            if let Some(of_network) = of_network {
                device.take_network(known, of_network);
            }
            device.take(known, attachment, checks);
        }
        for (name, attached) in unattached(known, &shown) {
            devices.entry(name).or_default().attached.push(attached);
        }
        let devices = devices.into_iter().map(|((name, _), device)| Device { name, ..device });
        let mut graph = Self { uplinks, devices: devices.collect(), problems };
        graph.put_in_order(known);
        graph
    }

    fn put_in_order(&mut self, known: &Known) {
        self.uplinks.sort();
        for device in &mut self.devices {
            device.kind = kind(known, device);
            device.networks.sort();
            device.conflists.sort();
            // Orphans come last, and before them what nobody can name.
            let rank = |it: &Attached| (it.is_orphan, it.container.is_none());
            device.attached.sort_by(|one, other| (rank(one), one).cmp(&(rank(other), other)));
            device.broken.sort();
            device.broken.dedup();
            let networks = known.inventory.networks.iter();
            let mut on_it =
                networks.filter(|it| device.networks.iter().any(|on| on == known.network_name(it)));
            device.internal = !device.networks.is_empty() && on_it.all(|it| it.internal);
        }
    }

    /// How many containers there are, each once; an orphan is none.
    pub(super) fn containers(&self) -> usize {
        let attached = self.devices.iter().flat_map(|device| &device.attached);
        let names = attached.filter(|it| !it.is_orphan).map(Attached::name);
        let mut names: Vec<&str> = names.collect();
        names.sort_unstable();
        let unnamed = names.iter().filter(|name| **name == "-").count();
        names.dedup();
        names.len() + unnamed.saturating_sub(1)
    }

    /// How many networks there are.
    pub(super) fn networks(&self) -> usize {
        let mut networks: Vec<_> = self.devices.iter().flat_map(|it| &it.networks).collect();
        networks.sort();
        networks.dedup();
        networks.len()
    }

    /// `3 networks, 8 containers; 1 problem`.
    pub(super) fn summary(&self) -> String {
        let count = |count: usize, what: &str| match count {
            1 => format!("1 {what}"),
            _ => format!("{count} {what}s"),
        };
        let problems = match self.problems.len() {
            0 => "nothing is amiss".to_owned(),
            problems => count(problems, "problem"),
        };
        format!(
            "{}, {}; {problems}",
            count(self.networks(), "network"),
            count(self.containers(), "container")
        )
    }
}

impl Device {
    fn take_network(&mut self, known: &Known, network: &Network) {
        let name = known.network_name(network).to_owned();
        if self.networks.contains(&name) {
            return;
        }
        self.networks.push(name);
        let conflist = known.conflist(&network.conflist);
        if conflist.is_none() {
            self.broken.push(format!(
                "conflist {} is not there; run 'cnm-cni validate'",
                network.conflist
            ));
        }
        if self.conflists.contains(&network.conflist) {
            return;
        }
        self.conflists.push(network.conflist.clone());
        let of_docker = network.docker_pools.iter().map(ToString::to_string);
        let of_conflist = conflist.into_iter().flat_map(|it| &it.pools);
        match network.docker_pools.is_empty() {
            true => self.pools.extend(of_conflist.map(|pool| pool.subnet.to_string())),
            false => self.pools.extend(of_docker),
        }
    }

    fn take(&mut self, known: &Known, attachment: &Attachment, checks: &[Check]) {
        let row = known.row(attachment);
        let (names, own) = (&row.names, key_of(known, attachment).0);
        let mut broken = Vec::new();
        let check = checks.iter().find(|check| check.endpoint == attachment.endpoint);
        for fault in check.into_iter().flat_map(|check| faults(names.container(), check)) {
            match fault.link.is_some() && fault.link == own {
                true => self.broken.push(fault.to_string()),
                false => broken.push(fault.to_string()),
            }
        }
        let removal = attachment.removal.as_ref().and_then(|removal| removal.error.as_ref());
        if let Some(error) = removal {
            broken.push(format!(
                "DEL has failed: {error}; run 'cnm-cni orphans retry {}'",
                attachment.attachment
            ));
        }
        self.attached.push(Attached {
            is_orphan: state(attachment) == "orphan",
            container: names.container.clone(),
            network: names.network(&attachment.network).to_owned(),
            conflist: attachment.conflist.clone(),
            addresses: attachment.addresses.iter().map(|it| it.addr().to_string()).collect(),
            interface: host_link(attachment)
                .filter(|it| Some(*it) != own.as_deref())
                .map(str::to_owned),
            ports: ports(attachment).collect(),
            state: state(attachment),
            project: names.project.clone(),
            broken,
        });
    }
}

/// The containers that run and have nothing on a network that Docker has them on.
fn unattached(known: &Known, networks: &[&Network]) -> Vec<(Key, Attached)> {
    let mut unattached = Vec::new();
    let has = |endpoint| known.inventory.attachments.iter().any(|it| it.endpoint == endpoint);
    for container in known.names.containers.iter().filter(|it| it.state == "running") {
        for end in &container.ends {
            let network = networks.iter().find(|it| Some(&it.network) == end.network_id.as_ref());
            let (Some(network), Some(endpoint)) = (network, end.endpoint.clone()) else { continue };
            if has(endpoint) {
                continue;
            }
            let attached = Attached {
                is_orphan: false,
                container: Some(container.name.clone()),
                network: end.network.clone(),
                conflist: network.conflist.clone(),
                addresses: Vec::new(),
                interface: None,
                ports: Vec::new(),
                state: "not attached",
                project: container.project.clone(),
                broken: vec![format!(
                    "it is here for Docker, and has no attachment; run 'docker restart {}'",
                    container.name
                )],
            };
            unattached.push((key_of_network(known, network), attached));
        }
    }
    unattached
}

/// The device of an attachment: the outermost bridge, or the master that its conflist names.
fn key_of(known: &Known, attachment: &Attachment) -> Key {
    let device = known.conflist(&attachment.conflist).and_then(|it| it.device.as_ref());
    match attachment.host_links.as_slice() {
        [_, .., bridge] => (Some(bridge.clone()), String::new()),
        [link] if device == Some(link) => (Some(link.clone()), String::new()),
        // Before Join has looked at the host.
        [] if device.is_some() => (device.cloned(), String::new()),
        _ => (None, attachment.conflist.clone()),
    }
}

/// The device of a network that has no attachment yet.
fn key_of_network(known: &Known, network: &Network) -> Key {
    let attachments = known.inventory.attachments.iter();
    if let Some(one) = attachments.clone().find(|it| it.network == network.network) {
        return key_of(known, one);
    }
    match known.conflist(&network.conflist).and_then(|it| it.device.clone()) {
        Some(device) => (Some(device), String::new()),
        None => (None, network.conflist.clone()),
    }
}

/// What a device is, by the plugin that makes interfaces on it.
fn kind(known: &Known, device: &Device) -> &'static str {
    let mut conflists = device.conflists.iter().filter_map(|name| known.conflist(name));
    let first = conflists.find_map(|it| it.plugins.first()).map(String::as_str);
    match (&device.name, first) {
        (None, None) => "no conflist",
        (None, Some(_)) => "routed by the host",
        (Some(_), Some("macvlan" | "ipvlan" | "vlan" | "host-device")) => "master",
        (Some(_), _) => "bridge",
    }
}
