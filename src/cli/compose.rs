//! The networks of a compose file, as `docker compose` reads them.
//!
//! The driver does not parse the file itself: the `docker compose` of this machine does, with its meaning
//! of variables, several files, `extends` and `include`. It will also make the networks.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use ipnet::IpNet;
use serde::Deserialize;

use super::new_network::{DEFAULT, NewNetwork, Subnet};

/// Networks to explain.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Project {
    pub(super) networks: Vec<Of>,
    /// Networks of other drivers, and networks that exist already, a phrase each.
    pub(super) others: Vec<String>,
}

/// A network, and what the file asks of it.
#[derive(Debug, PartialEq)]
pub(super) struct Of {
    pub(super) network: NewNetwork,
    /// Services that ask for an address, each with the reason why Docker refuses that if CNI chooses the
    /// addresses.
    pub(super) fixed: Vec<String>,
}

impl Project {
    /// A network without a compose file.
    pub(super) fn of(network: NewNetwork) -> Self {
        Self { networks: vec![Of { network, fixed: Vec::new() }], others: Vec::new() }
    }
}

/// The part of `docker compose config --format json` that matters here.
#[derive(Deserialize)]
struct File {
    #[serde(default)]
    networks: BTreeMap<String, Network>,
    #[serde(default)]
    services: BTreeMap<String, Service>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Network {
    name: String,
    driver: String,
    driver_opts: BTreeMap<String, String>,
    ipam: Ipam,
    external: bool,
    internal: bool,
    attachable: bool,
    enable_ipv6: bool,
    labels: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Ipam {
    driver: Option<String>,
    config: Vec<IpamConfig>,
}

#[derive(Deserialize)]
struct IpamConfig {
    subnet: Option<IpNet>,
    ip_range: Option<IpNet>,
    gateway: Option<IpAddr>,
    #[serde(default)]
    aux_addresses: BTreeMap<String, IpAddr>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Service {
    networks: BTreeMap<String, Option<Membership>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Membership {
    ipv4_address: Option<IpAddr>,
    ipv6_address: Option<IpAddr>,
}

/// Reads a compose file for the networks of `driver`.
///
/// # Errors
/// `docker compose` is missing, or refuses the file.
pub(super) fn read(file: &Path, driver: &str) -> anyhow::Result<Project> {
    const NEEDED: &str = "'docker compose' has to read the file; on Debian it is in the package \
                          docker-compose, elsewhere in docker-compose-plugin";
    // 'docker compose' would read it to its end.
    if fs::metadata(file).is_ok_and(|found| !found.is_file()) {
        bail!("{} is no regular file, but a folder, a pipe or a device", file.display());
    }
    let output = Command::new("docker")
        .args(["compose", "--file"])
        .arg(file)
        .args(["config", "--format", "json"])
        .output()
        .context(NEEDED)?;
    let said = String::from_utf8_lossy(&output.stderr);
    // The error of a docker without compose, which may parse --file as its own flag.
    const ABSENT: [&str; 3] =
        ["unknown flag: --file", "is not a docker command", "unknown command: docker compose"];
    if ABSENT.iter().any(|words| said.contains(words)) {
        bail!(NEEDED);
    }
    if !output.status.success() {
        bail!("docker compose cannot read {}: {}", file.display(), said.trim());
    }
    let config = serde_json::from_slice(&output.stdout);
    Ok(of_driver(config.context("what 'docker compose config' says is not understood")?, driver))
}

fn of_driver(File { networks, services }: File, driver: &str) -> Project {
    let mut project = Project::default();
    for (key, network) in networks {
        if network.external {
            project.others.push(format!("network {key}, which the file does not make"));
        } else if network.driver != driver {
            let other = if network.driver.is_empty() { "Docker's own" } else { &network.driver };
            project.others.push(format!("network {key} of driver {other}"));
        } else {
            project.networks.push(Of { fixed: fixed(&services, &key), network: network.wanted() });
        }
    }
    project
}

/// Services that ask for an address of the network, each with the reason why that is refused.
fn fixed(services: &BTreeMap<String, Service>, network: &str) -> Vec<String> {
    let of = services.iter().filter_map(|(name, service)| {
        let membership = service.networks.get(network)?.as_ref()?;
        let address = membership.ipv4_address.or(membership.ipv6_address)?;
        Some(format!(
            "service {name} asks for {address}, which Docker refuses on a network with ipam: \
             {{driver: \"null\"}}; let Docker choose, by ipam: {{config: [{{subnet: …}}]}} with the \
             conflist's own subnet, or leave the address out"
        ))
    });
    of.collect()
}

impl Network {
    fn wanted(self) -> NewNetwork {
        let subnets = self.ipam.config.into_iter().filter_map(|it| {
            Some(Subnet {
                range: it.ip_range,
                gateway: it.gateway,
                reserved: it.aux_addresses,
                ..Subnet::new(it.subnet?)
            })
        });
        NewNetwork {
            name: self.name,
            driver: self.driver,
            // If Compose names no driver, Docker uses its own default.
            ipam_driver: Some(self.ipam.driver.unwrap_or_else(|| DEFAULT.to_owned())),
            subnets: subnets.collect(),
            options: self.driver_opts,
            labels: self.labels,
            internal: self.internal,
            ipv6: self.enable_ipv6,
            attachable: self.attachable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_what_compose_makes_of_the_file() {
        let file = r#"{
            "name": "p",
            "networks": {
                "back": {"name": "p_back", "driver": "cni", "ipam": {"driver": "null"},
                         "driver_opts": {"conflist": "k8s"}},
                "front": {"name": "p_front", "driver": "cni", "internal": true, "ipam": {"config":
                          [{"subnet": "10.9.0.0/24", "gateway": "10.9.0.1"}]}},
                "plain": {"name": "p_plain", "ipam": {}},
                "there": {"name": "there", "external": true}
            },
            "services": {"db": {"networks": {"back": {"ipv4_address": "10.9.0.7"}, "front": null}}}
        }"#;
        let Project { networks, others } = of_driver(serde_json::from_str(file).unwrap(), "cni");
        let [back, front] = &networks[..] else { panic!("{networks:?}") };
        assert_eq!(back.network.name, "p_back");
        assert_eq!(back.network.conflist(), Some("k8s"));
        assert!(back.network.is_by_cni() && !front.network.is_by_cni());
        assert!(back.fixed[0].starts_with("service db asks for 10.9.0.7, "), "{:?}", back.fixed);
        assert!(front.fixed.is_empty() && front.network.internal);
        assert_eq!(front.network.subnets[0].gateway, Some("10.9.0.1".parse().unwrap()));
        assert_eq!(
            others,
            ["network plain of driver Docker's own", "network there, which the file does not make"]
        );
    }
}
