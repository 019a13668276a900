//! Plugins that have others do the work: which ones, and where their subnets come from.
//!
//! The configuration of a network does not show either. So far `flannel` is known: it has
//! `bridge` and `host-local` attach (or what its configuration names), with the subnets that the
//! host's agent, flanneld, has written to a file.

use std::path::PathBuf;

use ipnet::IpNet;
use serde_json::Value;

use crate::cni::PluginConfig;
use crate::whole;

/// The host's agent has not written which subnet the plugin is to use.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot read the host's subnet from {}: {reason}; flanneld writes it once it has one",
    file.display()
)]
pub struct NoSubnet {
    /// Where it is to be.
    pub file: PathBuf,
    /// Why it is not.
    pub reason: String,
}

/// What a plugin delegates to.
#[derive(Debug)]
pub(in crate::cni) struct Delegate {
    /// The plugin that makes the interface.
    pub(in crate::cni) plugin_type: String,
    /// The one that it lets choose the addresses.
    pub(in crate::cni) ipam_type: String,
    /// Where the host's agent writes the subnets.
    subnets: PathBuf,
}

impl Delegate {
    /// None if the plugin does its work itself, as far as that is known.
    pub(in crate::cni) fn of(plugin: &PluginConfig) -> Option<Self> {
        if plugin.plugin_type() != "flannel" {
            return None;
        }
        let text = |value: Option<&Value>, usual: &str| {
            value
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
                .unwrap_or(usual)
                .to_owned()
        };
        Some(Self {
            plugin_type: text(plugin.get("delegate").and_then(|it| it.get("type")), "bridge"),
            ipam_type: plugin.ipam_type().unwrap_or("host-local").to_owned(),
            subnets: text(plugin.get("subnetFile"), "/run/flannel/subnet.env").into(),
        })
    }

    /// The subnets of this host, one for each family.
    ///
    /// # Errors
    /// The agent has written none yet, or not in this place.
    pub(in crate::cni) fn subnets(&self) -> Result<Vec<IpNet>, NoSubnet> {
        let file = &self.subnets;
        let text = whole::read_text(file, whole::SMALL);
        let text = text.map_err(|error| self.unwritten(error.to_string()))?;
        let of_lines = text.lines().filter_map(|line| {
            let (key, net) = line.split_once('=')?;
            matches!(key, "FLANNEL_SUBNET" | "FLANNEL_IPV6_SUBNET").then_some(net)
        });
        let subnets: Result<Vec<_>, _> =
            of_lines.map(|net| net.trim().parse::<IpNet>().map(|net| net.trunc())).collect();
        match subnets {
            Ok(subnets) if subnets.is_empty() => Err(self.unwritten("no subnet is in it".into())),
            Ok(subnets) => Ok(subnets),
            Err(error) => Err(self.unwritten(error.to_string())),
        }
    }

    fn unwritten(&self, reason: String) -> NoSubnet {
        NoSubnet { file: self.subnets.clone(), reason }
    }
}
