//! The exemption of an attachment's addresses from the policy of the host's FORWARD chain.
//!
//! Docker sets that policy to DROP, which also drops what two containers on one bridge
//! send each other, and what comes in for a published port. The reference `firewall`
//! plugin would let the former pass, not the latter, and its rules go before everybody
//! else's. These are *appended*: whatever an administrator, Docker or a network policy has
//! to say comes first, and only the policy is overruled. Without a DROP policy they change
//! nothing.
//!
//! ```text
//! -A FORWARD -s ADDRESS                                           -j ACCEPT
//! -A FORWARD -d ADDRESS --ctstate RELATED,ESTABLISHED,DNAT        -j ACCEPT
//! ```
//!
//! With `-o forward=open` the second one accepts whatever is sent to the address, as it would reach a
//! pod: on a network that is routed from host to host, others open connections to it.
//!
//! On an `--internal` network only what stays in the subnet is accepted, whatever routes a
//! container makes for itself:
//!
//! ```text
//! -A FORWARD -s ADDRESS -d SUBNET                                 -j ACCEPT
//! ```
//!
//! Join writes them, beside its own work: Docker lets the endpoints of one network be created one
//! after another only, and joined side by side.
//!
//! Each rule bears a comment with the attachment's id, and is found by it again. The
//! host's own `iptables-restore` writes them, as Docker and the plugins do. On a host that
//! has none, nobody sets a policy with it either.

use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;
use std::process::{Output, Stdio};

use ipnet::IpNet;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::cni::NetworkConfigList;
use crate::cnm::Forward;
use crate::crash;
use crate::lifecycle::record::{Attachment, AttachmentId};
use crate::lifecycle::{Error, Result};

/// The commands of one address family.
struct Family {
    list: &'static str,
    restore: &'static str,
}

const IPV4: Family = Family { list: "iptables", restore: "iptables-restore" };
const IPV6: Family = Family { list: "ip6tables", restore: "ip6tables-restore" };

/// Seconds to wait for whoever holds the lock of the tables.
const WAIT: &str = "10";

/// Whether a chain's attachments are to be exempt.
pub(crate) fn applies(wanted: Forward, list: &NetworkConfigList) -> bool {
    match wanted {
        Forward::Always | Forward::Open => true,
        Forward::Never => false,
        Forward::Auto => list
            .plugins()
            .first()
            .is_some_and(|plugin| matches!(plugin.plugin_type(), "bridge" | "ptp")),
    }
}

/// Whether a chain's attachments are exempt when the user does not say otherwise.
#[must_use]
pub fn exempts_by_default(list: &NetworkConfigList) -> bool {
    applies(Forward::Auto, list)
}

/// Writes the rules for every address that ADD gave, if the attachment is to be exempt.
pub(crate) async fn exempt(attachment: &Attachment) -> Result<()> {
    if !attachment.forwarded {
        return Ok(());
    }
    let (ipv4, ipv6) = by_family(attachment);
    // Both to their end, so that neither writes rules when they are withdrawn already.
    let (ipv4, ipv6) = tokio::join!(IPV4.apply(ipv4), IPV6.apply(ipv6));
    ipv4?;
    ipv6?;
    Ok(())
}

/// Writes the rules again, unless all of them are there.
pub(crate) async fn complete(attachment: &Attachment) -> Result<()> {
    if !missing(attachment).await?.is_empty() {
        // What is there would be there twice.
        withdraw(attachment).await?;
        exempt(attachment).await?;
    }
    Ok(())
}

/// The rules of an exempt attachment that are not there.
pub(crate) async fn missing(attachment: &Attachment) -> Result<Vec<String>> {
    if !attachment.forwarded {
        return Ok(Vec::new());
    }
    let (ipv4, ipv6) = by_family(attachment);
    let present = list(Table::Filter).await?;
    let rules = ipv4.lines().chain(ipv6.lines());
    let missing = rules.filter(|rule| !present.iter().any(|present| present == rule));
    Ok(missing.map(str::to_owned).collect())
}

/// Removes the rules of an attachment, if it is exempt.
pub(crate) async fn withdraw(attachment: &Attachment) -> Result<()> {
    if attachment.forwarded { withdraw_all(attachment.id).await } else { Ok(()) }
}

/// Removes whatever rules bear the attachment's id.
pub(crate) async fn withdraw_all(id: AttachmentId) -> Result<()> {
    let (ipv4, ipv6) = tokio::join!(IPV4.remove(id), IPV6.remove(id));
    ipv4?;
    ipv6
}

/// The attachments that have rules, with the addresses that they are for.
pub(crate) async fn marked() -> Result<Vec<(AttachmentId, IpAddr)>> {
    let rules = list(Table::Filter).await?;
    let marked = rules.iter().filter_map(|rule| {
        let id = rule.split_once("\"cnm-cni ")?.1.split_once('"')?.0;
        let address = rule.split_once("-s ").or_else(|| rule.split_once("-d "))?.1;
        let address = address.split(['/', ' ']).next()?.parse().ok()?;
        Some((AttachmentId::parse(id)?, address))
    });
    let mut marked: Vec<_> = marked.collect();
    marked.dedup();
    Ok(marked)
}

/// A table of the host's rules.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Table {
    /// Its chain FORWARD.
    Filter,
    /// All its chains.
    Nat,
}

/// The rules of both families.
pub(crate) async fn list(table: Table) -> Result<Vec<String>> {
    let arguments: &[&str] = match table {
        Table::Filter => &["-S", "FORWARD"],
        Table::Nat => &["-t", "nat", "-S"],
    };
    let mut rules = Vec::new();
    for family in [IPV4, IPV6] {
        let mut list = Command::new(family.list);
        let Some(output) = family.run(list.args(["-w", WAIT]).args(arguments), "").await? else {
            continue;
        };
        rules.extend(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned));
    }
    Ok(rules)
}

fn comment(id: AttachmentId) -> String {
    format!("\"cnm-cni {id}\"")
}

/// The rules for every address that ADD gave, a line each.
fn by_family(attachment: &Attachment) -> (String, String) {
    let ips = attachment.result.iter().flat_map(|result| &result.ips);
    let (ipv4, ipv6): (Vec<IpNet>, Vec<IpNet>) =
        ips.map(|ip| ip.address).partition(|address| address.addr().is_ipv4());
    (rules(attachment, &ipv4), rules(attachment, &ipv6))
}

/// As `iptables -S` prints them, so that they are found again.
fn rules(attachment: &Attachment, addresses: &[IpNet]) -> String {
    let comment = comment(attachment.id);
    let states = match attachment.open {
        true => "",
        false => " -m conntrack --ctstate RELATED,ESTABLISHED,DNAT",
    };
    addresses.iter().fold(String::new(), |mut rules, net| {
        let (address, subnet) = (IpNet::from(net.addr()), net.trunc());
        // Writing to a string cannot fail.
        let _ = if attachment.internal {
            writeln!(
                rules,
                "-A FORWARD -s {address} -d {subnet} -m comment --comment {comment} -j ACCEPT"
            )
        } else {
            writeln!(
                rules,
                "-A FORWARD -s {address} -m comment --comment {comment} -j ACCEPT\n\
                 -A FORWARD -d {address}{states} -m comment --comment {comment} -j ACCEPT"
            )
        };
        rules
    })
}

impl Family {
    async fn remove(&self, id: AttachmentId) -> Result<()> {
        let mut list = Command::new(self.list);
        let Some(output) = self.run(list.args(["-w", WAIT, "-S", "FORWARD"]), "").await? else {
            return Ok(());
        };
        let comment = comment(id);
        let rules = String::from_utf8_lossy(&output.stdout);
        let removals = rules
            .lines()
            .filter(|rule| rule.contains(&comment))
            .filter_map(|rule| rule.strip_prefix("-A "))
            .fold(String::new(), |removals, rule| removals + "-D " + rule + "\n");
        self.apply(removals).await
    }

    /// Applies lines of the filter table, all or none.
    async fn apply(&self, lines: String) -> Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let mut restore = Command::new(self.restore);
        let table = format!("*filter\n{lines}COMMIT\n");
        crash::point(format_args!("{}: run", self.restore));
        self.run(restore.args(["--noflush", "--wait", WAIT]), &table).await?;
        crash::point(format_args!("{}: ended", self.restore));
        Ok(())
    }

    /// Runs one of the commands; none where the host does not have it.
    async fn run(&self, command: &mut Command, input: &str) -> Result<Option<Output>> {
        let failed = |reason: String| Error::Forward { command: self.restore, reason };
        let spawned = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let mut child = match spawned {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            spawned => spawned.map_err(|error| failed(error.to_string()))?,
        };
        if let Some(mut stdin) = child.stdin.take() {
            // A command that ends before it has read everything says why by itself.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        let output = child.wait_with_output().await.map_err(|error| failed(error.to_string()))?;
        if output.status.success() {
            Ok(Some(output))
        } else {
            Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
        }
    }
}
