//! `cnm-cni show`: to whom a thing belongs, and all that is known about it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use anyhow::bail;
use jiff::Timestamp;
use serde::Serialize;

use super::candidates;
use super::known::{Known, Row, Sources, has_id, ports};
use super::names::is_beginning_of_id;
use super::pools::{Holder, holders};
use super::thing::{PORT_FORM, Thing};
use crate::cli::output::{Format, complain, line, print};
use crate::cli::time::age;
use crate::docker::Wanted;
use crate::lifecycle::inventory::{Attachment, Owner};
use crate::server::control::{Attachments, INTERFACE_NAMES};

const HELP: &str = "\
Examples:
  cnm-cni show web-1                  # a container: all of its networks
  cnm-cni show 10.22.0.17             # who has an address
  cnm-cni show :8080                  # who publishes a port; or :53/udp
  cnm-cni show 02:42:0a:16:00:11      # whose MAC address that is
  cnm-cni show veth3f2a91bc           # whose interface; a bridge: all on it
  cnm-cni show 0198c0de               # by the beginning of an id
  cnm-cni show web-1 --format json | jq -r '.[].sandbox'

Exit status: 0; 1 if nothing is known of it.

See also: 'cnm-cni ls', 'cnm-cni pools', 'cnm-cni doctor'.";

/// Show who has an address, port, MAC, interface or id, and all that is known of it
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = HELP)]
pub(in crate::cli) struct Args {
    /// A container, an address, :PORT, a MAC address, an interface at either end, or the beginning of
    /// a container's, an endpoint's or an attachment's id. The exact name of a container takes precedence
    #[arg(value_name = "THING", add = candidates::containers())]
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
    let mut found = found(&known, &args.thing);
    let mut names = HashMap::new();
    if !found.is_empty() {
        if let Some(note) = also(&known, &args.thing) {
            complain(&line(&note));
        }
        let ids = found.iter().map(|it| it.attachment.clone()).collect();
        names = args.interface_names(ids);
    } else if known.names.container_named(&args.thing).is_none()
        && Thing::read(&args.thing).may_be_interface()
        && known.inventory.driver.is_some()
    {
        // The interface in a container: the driver has to look into every container, which takes a second or
        // two for a thousand of them.
        names = args.interface_names(Vec::new());
        names.retain(|_, name| *name == args.thing);
        let called = known.inventory.attachments.iter();
        found = called.filter(|it| names.contains_key(&it.attachment)).collect();
    }
    if found.is_empty() {
        return elsewhere(args, &known);
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

/// The attachments that a word means. Docker lets a container be called like an address, an interface or the
/// beginning of an id: the container of exactly that name is meant then.
pub(super) fn found<'k>(known: &'k Known, word: &str) -> Vec<&'k Attachment> {
    match known.names.container_named(word) {
        Some(container) => known.attachments_of(container).collect(),
        None => found_by_form(known, word),
    }
}

/// Who else is meant, if a container has exactly that name.
pub(super) fn also(known: &Known, word: &str) -> Option<String> {
    let own = found(known, word);
    let others: Vec<_> = found_by_form(known, word)
        .into_iter()
        .filter(|it| !own.iter().any(|own| own.attachment == it.attachment))
        .map(|it| known.row(it).names.container.unwrap_or_else(|| it.attachment.clone()))
        .collect();
    let (what, instead) = match Thing::read(word) {
        Thing::Address(address) => ("address", format!("'cnm-cni show {address}/32'")),
        Thing::Mac(mac) => ("MAC address", format!("'cnm-cni show {mac}'")),
        Thing::Port(_) | Thing::Name(_) => {
            ("interface or id", "'cnm-cni ls --format wide'".to_owned())
        }
    };
    (!others.is_empty()).then(|| {
        format!(
            "note: this is the container of that name; {word} is also the {what} of {}: {instead}",
            others.join(", ")
        )
    })
}

/// The attachments that a word means by its form, whatever containers are called.
fn found_by_form<'k>(known: &'k Known, word: &str) -> Vec<&'k Attachment> {
    let all = known.inventory.attachments.iter().chain(&known.inventory.spares);
    match &Thing::read(word) {
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
            let containers = known.names.containers.iter();
            let containers =
                containers.filter(|it| is_beginning_of_id(name) && it.id.starts_with(name));
            let containers: Vec<_> = containers.collect();
            let has = |it: &&Attachment| {
                has_id(it, name)
                    || it.if_name == *name
                    || it.host_links.contains(name)
                    || containers.iter().any(|container| container.has(&it.endpoint))
            };
            all.filter(has).collect()
        }
    }
}

/// What is known of a thing that no attachment has: a lease, or nothing.
fn elsewhere(args: &Args, known: &Known) -> anyhow::Result<()> {
    let held = match (known.names.container_named(&args.thing), Thing::read(&args.thing)) {
        (None, Thing::Address(address)) => held(known, address),
        _ => None,
    };
    match held {
        Some((conflist, holder)) => {
            print(args.format, &[&holder], |_| line(&lease(conflist, &holder)))
        }
        None => bail!(nowhere(known, &args.thing)),
    }
}

/// The conflist that has given an address to nobody of Docker's, and to whom.
fn held(known: &Known, address: IpAddr) -> Option<(&str, Holder)> {
    known.inventory.conflists.iter().find_map(|conflist| {
        let held = holders(known, conflist).into_iter().find(|it| it.address == address);
        held.map(|holder| (conflist.conflist.as_str(), holder))
    })
}

/// An address that another runtime or nobody has, or that is left of an attachment that is gone.
fn lease(conflist: &str, holder: &Holder) -> String {
    let Holder { address, cni_container_id: id, .. } = holder;
    match holder.owner {
        Owner::Other => format!(
            "{address} is a lease of conflist {conflist}, and no container's of Docker's: another runtime \
             has it, for CNI_CONTAINERID {id}"
        ),
        _ if id.is_empty() => format!(
            "{address} is a lease of conflist {conflist} that names no owner; 'cnm-cni gc' tells whether it is \
             garbage"
        ),
        _ => format!(
            "{address} is a lease of conflist {conflist} that is left of attachment {id}, which is on no \
             record; 'cnm-cni gc' tells whether it is garbage"
        ),
    }
}

/// Why no attachment is found by a word.
pub(super) fn nowhere(known: &Known, word: &str) -> String {
    if known.names.container_named(word).is_some() {
        return known.names.nothing_called(word);
    }
    match &Thing::read(word) {
        Thing::Address(address) => of_address(known, *address),
        Thing::Port(wanted) => wanted.nobody_has(),
        Thing::Mac(_) => {
            format!("no container on a network of this driver has the MAC address {word}")
        }
        Thing::Name(name) if name.starts_with(':') => format!("{word:?} is no port: {PORT_FORM}"),
        Thing::Name(name) => {
            if let Some(network) = known.networks_called(name).first() {
                let called = known.network_name(network);
                return format!(
                    "{word} is a network: 'cnm-cni net {called}' tells what it is made of"
                );
            }
            let nothing = known.names.nothing_called(word);
            match name.parse::<u16>() {
                Ok(_) => format!("{nothing}; {PORT_FORM}"),
                Err(_) => nothing,
            }
        }
    }
}

fn of_address(known: &Known, address: IpAddr) -> String {
    let attachments = &known.inventory.attachments;
    if let Some(it) = attachments.iter().find(|it| it.gateways.contains(&address)) {
        return format!(
            "{address} is the gateway of the containers on conflist {}, on {} of the host",
            it.conflist,
            it.host_links.last().map_or("an interface", String::as_str)
        );
    }
    if let Some((conflist, holder)) = held(known, address) {
        return lease(conflist, &holder);
    }
    let pools = known.inventory.conflists.iter();
    let free = pools.filter(|it| it.pools.iter().any(|pool| pool.has(address)));
    let free: Vec<_> = free.map(|it| it.conflist.as_str()).collect();
    match free.is_empty() {
        true => format!("{address} is no address of this driver's: no conflist gives it"),
        false => format!("{address} is free: nobody has it of conflist {}", free.join(", ")),
    }
}

impl Shown<'_> {
    /// All of it, a line each.
    pub(super) fn details(&self, known: &Known, now: Timestamp) -> String {
        let Row { names, state, attachment } = &self.row;
        let network = names.network(&attachment.network);
        let who = if attachment.spare { "a spare" } else { names.container() };
        let mut text = line(&format!("{who} on network {network}"));
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
        if !attachment.spare {
            tell("endpoint", attachment.endpoint.to_string());
        }
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
