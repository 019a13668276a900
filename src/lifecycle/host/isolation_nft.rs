//! The isolation rules on a host without `iptables`: a table of nftables.

use std::fmt::Write as _;

use super::docker_bridges::DockerBridges;
use super::names::Names;
use crate::lifecycle::error::{Error, Result};
use crate::lifecycle::record::Network;
use crate::process::host;

const COMMAND: &str = "nft";

/// Replaces the table in one step, or removes it if no network is isolated.
pub(super) async fn write(
    names: &Names,
    isolated: &[&Network],
    docker: &DockerBridges,
) -> Result<()> {
    let text = table(&names.table, isolated, docker);
    let written = host::run(COMMAND, &["-f", "-"], text.as_bytes()).await;
    if written.map_err(|failed| error(&failed))?.is_none() && !isolated.is_empty() {
        tracing::warn!("networks are not kept apart: the host has neither iptables nor nft");
    }
    Ok(())
}

/// Whether the table exists; its rules are not compared.
pub(super) async fn is_there(names: &Names) -> Result<bool> {
    match host::run(COMMAND, &["list", "table", "inet", &names.table], b"").await {
        Ok(listed) => Ok(listed.is_some()),
        Err(host::Failed::Exit { stderr, .. }) if stderr.contains("No such file or directory") => {
            Ok(false)
        }
        Err(failed) => Err(error(&failed)),
    }
}

fn error(failed: &host::Failed) -> Error {
    let operation = "keep networks apart";
    Error::HostRules { operation, command: COMMAND, reason: failed.to_string() }
}

fn table(name: &str, isolated: &[&Network], docker: &DockerBridges) -> String {
    // Made first, so that it can be deleted whether or not it existed.
    let mut text = format!("add table inet {name}\ndelete table inet {name}\n");
    if isolated.is_empty() {
        return text;
    }
    let (mut sent, mut out, mut received) = (String::new(), String::new(), String::new());
    // Writing to a string cannot fail.
    for network in isolated.iter().filter(|network| network.options.internal) {
        if let Some(bridge) = network.own_bridge() {
            _ = writeln!(sent, "iifname \"{bridge}\" oifname != \"{bridge}\" drop");
            _ = writeln!(sent, "iifname != \"{bridge}\" oifname \"{bridge}\" drop");
        }
    }
    sent += "ct state established,related return\nct status dnat return\n";
    for network in isolated {
        if let Some(bridge) = network.own_bridge() {
            _ = writeln!(sent, "iifname \"{bridge}\" oifname != \"{bridge}\" jump out");
            _ = writeln!(received, "oifname \"{bridge}\" drop");
            continue;
        }
        for one in &network.isolated_subnets {
            let ip = if one.addr().is_ipv4() { "ip" } else { "ip6" };
            let same = |other: &&ipnet::IpNet| other.addr().is_ipv4() == one.addr().is_ipv4();
            for other in network.isolated_subnets.iter().filter(same) {
                _ = writeln!(sent, "{ip} saddr {one} {ip} daddr {other} return");
            }
            _ = writeln!(sent, "{ip} saddr {one} jump out");
            _ = writeln!(received, "{ip} daddr {one} drop");
        }
    }
    for bridge in &docker.not {
        _ = writeln!(sent, "iifname \"{bridge}\" return");
        _ = writeln!(out, "oifname \"{bridge}\" goto in");
    }
    let usual = ["docker0", "br-*"].into_iter();
    for bridge in usual.chain(docker.named.iter().map(String::as_str)) {
        _ = writeln!(sent, "iifname \"{bridge}\" jump in");
        _ = writeln!(out, "oifname \"{bridge}\" drop");
    }
    out += "jump in\n";
    _ = write!(
        text,
        "table inet {name} {{\nchain in {{\n{received}}}\nchain out {{\n{out}}}\nchain forward {{\n\
         type filter hook forward priority -150; policy accept;\n{sent}}}\n}}\n"
    );
    text
}
