//! A conflist, as the operator is shown it, with the leases of its addresses.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cni::{ConfDir, ConfigError, NetworkConfigList, PluginConfig};
use crate::lifecycle::error::{Result, chain};
use crate::lifecycle::host_folders;
use crate::lifecycle::judgement::embedded;
use crate::lifecycle::record::Network;
use crate::translate::{self, AddressPool};
use crate::whole;

/// A conflist, as the operator is shown it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflist {
    /// Its name.
    pub conflist: String,
    /// Its file; none if it is built in.
    pub file: Option<PathBuf>,
    /// The chain: the types of its plugins.
    pub plugins: Vec<String>,
    /// The IPAM plugin.
    pub ipam: Option<String>,
    /// The bridge, or the parent interface, of its containers, if it names one.
    pub device: Option<String>,
    /// The addresses that it gives, if its configuration has them.
    pub pools: Vec<AddressPool>,
    /// Who has which address, by the leases of `host-local`; none if another IPAM plugin keeps them.
    pub leases: Option<Vec<Lease>>,
}

/// An address that `host-local` has given out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Lease {
    /// The address.
    pub address: IpAddr,
    /// The `CNI_CONTAINERID` that it was given to; empty if the lease names no owner.
    pub container_id: String,
    /// The `CNI_IFNAME`; none where an old version of the plugin wrote it.
    pub if_name: Option<String>,
}

/// The conflists that networks can use, including networks' own chains; and the problems of files that
/// contain none.
pub(super) fn known(
    conf_dir: &ConfDir,
    networks: &[Network],
) -> Result<(Vec<Conflist>, Vec<String>)> {
    let own = networks.iter().filter_map(|network| network.own_chain.clone());
    let (lists, problems) = lists(conf_dir, own)?;
    let conflists = lists.into_iter().map(|(list, file)| Conflist::of(&list, file));
    Ok((conflists.collect::<Result<_>>()?, problems))
}

/// A conflist as it is written, and its file if it has one.
type Written = (NetworkConfigList, Option<PathBuf>);

/// The same as they are written. `own` are networks' own chains.
pub(super) fn lists(
    conf_dir: &ConfDir,
    own: impl Iterator<Item = NetworkConfigList>,
) -> Result<(Vec<Written>, Vec<String>)> {
    let listing = conf_dir.list();
    let in_files = listing.networks.into_iter().filter(|listed| listed.list.makes_interface());
    let mut lists: Vec<_> = in_files.map(|listed| (listed.list, Some(listed.file))).collect();
    let built_in = embedded()?;
    if lists.iter().all(|(list, _)| list.name() != built_in.name()) {
        lists.push((built_in, None));
    }
    lists.extend(own.map(|list| (list, None)));
    // `validate` reports a conflist that another file hides; it does no harm.
    let problems = listing.problems.iter().filter(|it| !matches!(it, ConfigError::Hidden { .. }));
    Ok((lists, problems.map(|problem| chain(problem)).collect()))
}

impl Conflist {
    pub(super) fn of(list: &NetworkConfigList, file: Option<PathBuf>) -> Result<Self> {
        let plugins = list.plugins();
        let device = plugins.iter().find_map(|plugin| {
            ["bridge", "master"].iter().find_map(|key| plugin.get(key).and_then(Value::as_str))
        });
        let folder = translate::lease_folder(list);
        Ok(Self {
            conflist: list.name().to_owned(),
            file,
            plugins: plugins.iter().map(|it| it.plugin_type().to_owned()).collect(),
            ipam: plugins.iter().find_map(PluginConfig::ipam_type).map(str::to_owned),
            device: device.map(str::to_owned),
            pools: translate::pools(list),
            leases: folder.map(|folder| leases(&folder)).transpose()?,
        })
    }
}

/// The leases in a folder of `host-local`: a file for each, named after the address.
fn leases(folder: &Path) -> Result<Vec<Lease>> {
    let mut leases = Vec::new();
    for path in host_folders::entries(folder)? {
        // The folder also has a lock, and the last address that was given out.
        let Some(Ok(address)) = path.file_name().map(|name| name.to_string_lossy().parse()) else {
            continue;
        };
        let Some(text) = host_folders::unless_gone(&path, whole::read_text(&path, whole::SMALL))?
        else {
            continue;
        };
        let owner = translate::lease_owner(&text);
        leases.push(Lease {
            address,
            container_id: owner.map(|it| it.container_id.to_owned()).unwrap_or_default(),
            if_name: owner.and_then(|it| it.if_name).map(str::to_owned),
        });
    }
    leases.sort();
    Ok(leases)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn leases_are_told_in_the_order_of_their_addresses() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("10.22.0.10", "pod\r\neth0"),
            ("10.22.0.9", "old"),
            ("10.22.0.11", ""),
            ("lock", ""),
            ("last_reserved_ip.0", "10.22.0.10"),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let told = leases(folder.path()).unwrap();
        let lease = |address: &str, id: &str, name: Option<&str>| Lease {
            address: address.parse().unwrap(),
            container_id: id.into(),
            if_name: name.map(str::to_owned),
        };
        assert_eq!(
            told,
            [
                lease("10.22.0.9", "old", None),
                lease("10.22.0.10", "pod", Some("eth0")),
                lease("10.22.0.11", "", None),
            ]
        );
        assert_eq!(leases(&folder.path().join("none")).unwrap(), []);
    }
}
