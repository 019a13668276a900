//! Leases of `host-local`: a file for each address that it has given out.

use std::path::{Path, PathBuf};

use super::ipam;
use crate::cni::NetworkConfigList;

/// The folder of the leases; none if the chain's addresses come from another plugin.
#[must_use]
pub fn lease_folder(list: &NetworkConfigList) -> Option<PathBuf> {
    const DEFAULT: &str = "/var/lib/cni/networks";
    let ipam = ipam(list).filter(|ipam| ipam["type"] == "host-local")?;
    let folder = ipam["dataDir"].as_str().filter(|folder| !folder.is_empty()).unwrap_or(DEFAULT);
    Some(Path::new(folder).join(list.name()))
}

/// Who has a lease, by the text of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseOwner<'a> {
    /// The `CNI_CONTAINERID`.
    pub container_id: &'a str,
    /// The `CNI_IFNAME`; none where a version of the plugin before 0.8.0 wrote it.
    pub if_name: Option<&'a str>,
}

/// Who has a lease; none if the text names nobody.
///
/// The plugin makes the file, and then writes all of it at once. If it is killed in between, or the disk is full, the
/// file stays empty; after a loss of power, a file system may show zeros in it. No version writes such a file whole.
#[must_use]
pub fn lease_owner(text: &str) -> Option<LeaseOwner<'_>> {
    if text.chars().all(|it| it.is_whitespace() || it == '\0') {
        return None;
    }
    let mut lines = text.lines().map(str::trim);
    Some(LeaseOwner { container_id: lines.next().unwrap_or_default(), if_name: lines.next() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_names_its_owner_as_each_version_of_the_plugin_writes_it() {
        let owner = |container_id, if_name| Some(LeaseOwner { container_id, if_name });
        for (text, wanted) in [
            ("pod\r\neth0", owner("pod", Some("eth0"))),
            ("pod\neth0\n", owner("pod", Some("eth0"))),
            ("pod", owner("pod", None)),
            ("pod\r\n", owner("pod", None)),
            ("\r\neth0", owner("", Some("eth0"))),
            ("\0\0pod", owner("\0\0pod", None)),
            ("", None),
            (" \r\n\n", None),
            ("\0\0\0\0", None),
        ] {
            assert_eq!(lease_owner(text), wanted, "{text:?}");
        }
    }
}
