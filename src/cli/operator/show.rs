//! `cnm-cni show`: to whom a thing belongs, and all that is known about it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use anyhow::bail;
use jiff::Timestamp;
use serde::Serialize;

use super::known::{Known, Row, Sources, has_id, ports};
use super::pools::{Holder, holders};
use super::thing::Thing;
use crate::cli::output::{Format, line, print};
use crate::cli::time::age;
use crate::docker::Wanted;
use crate::lifecycle::inventory::Attachment;
use crate::server::control::{Attachments, INTERFACE_NAMES};

const HELP: &str = "\
Examples:
  cnm-cni show web-1                  # a container: all of its networks
  cnm-cni show 10.22.0.17             # who has an address
  cnm-cni show :8080                  # who publishes a port of the host; :53/udp, 192.0.2.1:8080
  cnm-cni show 02:42:0a:16:00:11      # whose MAC address that is
  cnm-cni show veth3f2a91bc           # whose interface that is; a bridge: all on it
  cnm-cni show 0198c0de               # an endpoint, an attachment: the beginning of an id
  cnm-cni show web-1 --format json | jq -r '.[].sandbox'

Exit status: 0; 1 if nothing is known of it.

See also: 'cnm-cni ls', 'cnm-cni pools', 'cnm-cni doctor'.";

/// Tell whose an address, port, MAC, interface or id is, and all that is known of it
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = HELP)]
pub(in crate::cli) struct Args {
    /// A container, an address, :PORT, a MAC address, an interface at either end, or the beginning of
    /// a container's, an endpoint's or an attachment's id
    #[arg(value_name = "THING")]
    thing: String,

    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,

    #[command(flatten)]
    sources: Sources,
}

/// All that is known about an attachment, as JSON has it.
#[derive(Debug, Serialize)]
pub(super) struct Shown<'k> {
    #[serde(flatten)]
    pub(super) row: Row<'k>,
    /// The interface's name in the container.
    pub(super) interface: Option<String>,
}

pub(in crate::cli) fn run(args: &Args, outer: &Wanted) -> anyhow::Result<()> {
    let known = args.sources.ask(outer)?;
    let thing = Thing::read(&args.thing);
    let mut found = found(&known, &thing);
    let mut names = HashMap::new();
    if !found.is_empty() {
        let ids = found.iter().map(|it| it.attachment.clone()).collect();
        names = args.interface_names(ids);
    } else if thing.may_be_interface() && known.inventory.driver.is_some() {
        // The interface in a container: the driver has to look into every container.
        names = args.interface_names(Vec::new());
        names.retain(|_, name| *name == args.thing);
        let called = known.inventory.attachments.iter();
        found = called.filter(|it| names.contains_key(&it.attachment)).collect();
    }
    if found.is_empty() {
        return elsewhere(args, &known, &thing);
    }
    let shown = found.into_iter().map(|attachment| Shown {
        row: known.row(attachment),
        interface: names.get(&attachment.attachment).cloned(),
    });
    let shown: Vec<_> = shown.collect();
    print(args.format, &shown, |shown| {
        let now = Timestamp::now();
        shown.iter().map(|it| it.details(&known, now)).collect::<Vec<_>>().join("\n")
    })
}

impl Args {
    /// The names of interfaces in their containers; empty if the driver does not answer.
    fn interface_names(&self, attachments: Vec<String>) -> HashMap<String, String> {
        let asked: anyhow::Result<Vec<(String, String)>> =
            self.sources.socket.ask(INTERFACE_NAMES, &Attachments { attachments });
        asked.unwrap_or_default().into_iter().collect()
    }
}

/// The attachments that a thing belongs to.
pub(super) fn found<'k>(known: &'k Known, thing: &Thing) -> Vec<&'k Attachment> {
    let all = known.inventory.attachments.iter();
    match thing {
        Thing::Address(address) => {
            all.filter(|it| it.addresses.iter().any(|net| net.addr() == *address)).collect()
        }
        Thing::Port(wanted) => all
            .filter(|it| {
                it.ports.iter().any(|it| wanted.is(it.host_ip, it.host_port, &it.protocol))
            })
            .collect(),
        Thing::Mac(mac) => all
            .filter(|it| it.mac.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(mac)))
            .collect(),
        Thing::Name(name) => {
            let of_container: Vec<&Attachment> = known
                .names
                .containers_called(name)
                .flat_map(|it| known.attachments_of(it))
                .collect();
            if !of_container.is_empty() {
                return of_container;
            }
            all.filter(|it| has_id(it, name) || it.if_name == *name || it.host_links.contains(name))
                .collect()
        }
    }
}

/// What is known about a thing that no attachment has.
fn elsewhere(args: &Args, known: &Known, thing: &Thing) -> anyhow::Result<()> {
    let what = &args.thing;
    match thing {
        Thing::Address(address) => {
            let gateway =
                known.inventory.attachments.iter().find(|it| it.gateways.contains(address));
            if let Some(it) = gateway {
                let conflist = &it.conflist;
                bail!(
                    "{what} is the gateway of the containers on conflist {conflist}, on {} of the host",
                    it.host_links.last().map_or("an interface", String::as_str)
                );
            }
            let mut told = Vec::new();
            for conflist in &known.inventory.conflists {
                let held = holders(known, conflist).into_iter().find(|it| it.address == *address);
                told.extend(held.map(|holder| (conflist, holder)));
            }
            if let Some((conflist, holder)) = told.first() {
                return held_elsewhere(args.format, &conflist.conflist, *address, holder);
            }
            let pools = known.inventory.conflists.iter();
            let free = pools.filter(|it| it.pools.iter().any(|pool| pool.has(*address)));
            let free: Vec<_> = free.map(|it| it.conflist.as_str()).collect();
            match free.is_empty() {
                true => bail!("{what} is no address of this driver's: no conflist gives it"),
                false => bail!("{what} is free: nobody has it of conflist {}", free.join(", ")),
            }
        }
        Thing::Port(wanted) => bail!(
            "no container on a network of this driver publishes {what}; 'ss --listening --processes \
             sport = :{}' tells what else of the host has it",
            wanted.number
        ),
        Thing::Mac(_) => {
            bail!("no container on a network of this driver has the MAC address {what}")
        }
        Thing::Name(name) => {
            if let Some(network) = known.networks_called(name).first() {
                bail!(
                    "{what} is a network: 'cnm-cni net {}' tells what it is made of",
                    known.network_name(network)
                );
            }
            let mut containers = known.names.containers_called(name);
            match containers.next() {
                Some(container) => bail!(
                    "container {} ({}) has nothing on a network of this driver; 'cnm-cni doctor {what}' \
                     looks for the reason",
                    container.name,
                    container.state
                ),
                None => bail!(
                    "nothing on a network of this driver is called {what}; 'cnm-cni ls' lists all there is"
                ),
            }
        }
    }
}

/// An address that another runtime has, or that is left of an attachment that is gone.
fn held_elsewhere(
    format: Format,
    conflist: &str,
    address: IpAddr,
    holder: &Holder,
) -> anyhow::Result<()> {
    print(format, &[holder], |_| {
        let id = &holder.cni_container_id;
        line(&match holder.owner {
            "other" => format!(
                "{address} is a lease of conflist {conflist}, and no container's of Docker's: another \
                 runtime has it, for CNI_CONTAINERID {id}"
            ),
            _ => format!(
                "{address} is a lease of conflist {conflist} that is left of attachment {id}, which is on \
                 no record; 'cnm-cni gc' tells whether it is garbage"
            ),
        })
    })
}

impl Shown<'_> {
    /// All of it, a line each.
    pub(super) fn details(&self, known: &Known, now: Timestamp) -> String {
        let Row { names, state, attachment } = &self.row;
        let network = names.network(&attachment.network);
        let mut text = line(&format!("{} on network {network}", names.container()));
        let mut tell = |what: &str, value: String| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{}", line(&format!("  {what:<12}{value}")));
        };
        let stroke = || "-".to_owned();
        let list = |all: Vec<String>| if all.is_empty() { stroke() } else { all.join(", ") };
        if let Some(id) = &names.container_id {
            tell("container", id.clone());
        }
        if let (Some(project), Some(service)) = (&names.project, &names.service) {
            tell("compose", format!("project {project}, service {service}"));
        }
        tell("network", attachment.network.to_string());
        tell("conflist", format!("{}: {}", attachment.conflist, attachment.plugins.join(" ")));
        let file = known.conflist(&attachment.conflist).and_then(|it| it.file.as_ref());
        if let Some(file) = file {
            tell("file", file.display().to_string());
        }
        let since = attachment.made.map(|made| format!(", made {made} ({} ago)", age(made, now)));
        tell("state", format!("{state}{}", since.unwrap_or_default()));
        tell("addresses", list(attachment.addresses.iter().map(ToString::to_string).collect()));
        let default = if attachment.is_gateway { " (the container's default)" } else { "" };
        let gateways = attachment.gateways.iter().map(ToString::to_string).collect();
        tell("gateways", format!("{}{default}", list(gateways)));
        tell("MAC", attachment.mac.clone().unwrap_or_else(stroke));
        tell("MTU", attachment.mtu.map_or_else(stroke, |mtu| mtu.to_string()));
        tell("interface", self.interface.clone().unwrap_or_else(stroke));
        tell("of the host", list(attachment.host_links.clone()));
        tell("ports", list(ports(attachment).collect()));
        tell("endpoint", attachment.endpoint.to_string());
        tell("attachment", format!("{} (CNI_CONTAINERID)", attachment.attachment));
        tell("CNI_IFNAME", attachment.if_name.clone());
        tell(
            "namespace",
            attachment.sandbox.as_ref().map_or_else(stroke, |it| it.display().to_string()),
        );
        if let Some(removal) = &attachment.removal {
            let error = removal.error.as_deref().unwrap_or("DEL is under way");
            let failed = match removal.attempts {
                0 => String::new(),
                attempts => format!(", failed {attempts} times"),
            };
            tell("removal", format!("since {}{failed}: {error}", removal.since));
            if removal.error.is_some() {
                tell("remedy", format!("cnm-cni orphans retry {}", attachment.attachment));
            }
        }
        text
    }
}
