//! Whether a namespace of the host still has an address. This protects a live container from being removed
//! as garbage. So an error counts as yes: a namespace that cannot be read may have the address.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process;

use crate::lifecycle::blocking::on_blocking_thread;
use crate::lifecycle::error::{Result, chain};
use crate::lifecycle::host_folders::{entries, unless_gone};
use crate::lifecycle::record::AttachmentId;
use crate::netlink::Netlink;
use crate::netns;

/// Where Docker pins the namespaces of its containers.
const DOCKERS: &str = "/run/docker/netns";

/// Which addresses are in use, of those that were looked for.
#[derive(Debug, Default)]
pub(crate) struct InUse {
    addresses: HashSet<IpAddr>,
    /// A namespace that may have any of them, and why it cannot be read.
    untold: Option<String>,
}

impl InUse {
    /// Looks for these addresses in every other namespace of the host, except those pinned in `netns_dir`.
    /// Without addresses there is nothing to look for.
    pub(crate) async fn among(addresses: &BTreeSet<IpAddr>, netns_dir: &Path) -> Self {
        let mut used = Self::default();
        if addresses.is_empty() {
            return used;
        }
        let own_pins = netns_dir.to_owned();
        let namespaces = on_blocking_thread(move || other_namespaces(&own_pins)).await;
        let namespaces = namespaces.unwrap_or_else(|error| {
            used.untold = Some(chain(&error));
            Vec::new()
        });
        // Process 1 of a PID namespace, as in Docker's managed plugin, sees no other process of the host.
        if process::id() == 1 {
            used.untold = Some("from a container no process of the host is seen".to_owned());
        }
        for namespace in namespaces {
            let found = match &namespace {
                Namespace::At(path) => addresses_in(path).await,
                Namespace::Of(process) => addresses_of(process.clone()).await,
            };
            match found {
                Ok(found) => used.addresses.extend(found),
                Err(error) => used.untold = Some(chain(&error)),
            }
        }
        used.addresses.retain(|address| addresses.contains(address));
        used
    }

    /// Why what has these addresses has to be kept; none if nobody uses them.
    pub(crate) fn keeps(&self, addresses: &BTreeSet<IpAddr>) -> Option<String> {
        let used = addresses.iter().find(|address| self.addresses.contains(address));
        match (used, addresses.first(), &self.untold) {
            (Some(used), ..) => Some(format!("a namespace of this host has its address {used}")),
            (None, Some(first), Some(why)) => {
                Some(format!("a namespace of this host may have its address {first}: {why}"))
            }
            _ => None,
        }
    }
}

/// The addresses of all links of a namespace; none of one that has just ended.
async fn addresses_in(path: &Path) -> Result<Vec<IpAddr>> {
    let netlink = match Netlink::in_netns(path).await {
        Err(error) if error.is_not_found() => return Ok(Vec::new()),
        opened => opened?,
    };
    let mut found = Vec::new();
    for link in netlink.links().await? {
        match netlink.addresses(link.index).await {
            Err(error) if error.is_not_found() => {}
            addresses => found.extend(addresses?.into_iter().map(|address| address.net.addr())),
        }
    }
    Ok(found)
}

/// A network namespace of this host.
enum Namespace {
    /// At a path by which it can be entered.
    At(PathBuf),
    /// The namespace of a process, by its folder in /proc. The process has more privileges than this one,
    /// so the kernel refuses to enter its namespace, but shows the tables in there.
    Of(PathBuf),
}

/// Attachments whose namespace is pinned outside of `netns_dir`, with the path: another driver with its own
/// folders has pinned it.
pub(crate) fn pinned_elsewhere(netns_dir: &Path) -> Result<HashMap<AttachmentId, PathBuf>> {
    let pins = pins_outside(netns_dir)?.into_iter();
    let of_attachments =
        pins.filter_map(|pin| Some((AttachmentId::parse(pin.file_name()?.to_str()?)?, pin)));
    Ok(of_attachments.collect())
}

fn pins_outside(netns_dir: &Path) -> Result<Vec<PathBuf>> {
    // The kernel reports real paths.
    let own = fs::canonicalize(netns_dir).unwrap_or_else(|_| netns_dir.to_owned());
    let mut pins = netns::pins()?;
    pins.retain(|pin| pin.parent() != Some(&own));
    Ok(pins)
}

/// Each network namespace of a process, or pinned by Docker or others outside of `netns_dir`, except this
/// process's own.
fn other_namespaces(netns_dir: &Path) -> Result<Vec<Namespace>> {
    // Without a namespace: a process that has ended, or a pin that was removed.
    let mut seen = HashSet::from([None, netns::identity(Path::new("/proc/self/ns/net"))?]);
    let mut namespaces = Vec::new();
    for process in entries(Path::new("/proc"))?.into_iter().filter(|path| is_process(path)) {
        let path = process.join("ns/net");
        match netns::identity(&path) {
            Ok(identity) if seen.insert(identity) => namespaces.push(Namespace::At(path)),
            Ok(_) => {}
            Err(_) => namespaces.push(Namespace::Of(process)),
        }
    }
    for path in entries(Path::new(DOCKERS))?.into_iter().chain(pins_outside(netns_dir)?) {
        if seen.insert(netns::identity(&path)?) {
            namespaces.push(Namespace::At(path));
        }
    }
    Ok(namespaces)
}

fn is_process(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    name.iter().all(u8::is_ascii_digit)
}

/// The addresses in a process's namespace, as its tables show them; none once it has ended.
async fn addresses_of(process: PathBuf) -> Result<Vec<IpAddr>> {
    on_blocking_thread(move || {
        let read = |table: &Path| unless_gone(table, fs::read_to_string(table));
        let [ours, theirs] = [Path::new("/proc/self"), &process].map(|of| of.join("net/fib_trie"));
        let number = |table: &Path| unless_gone(table, fs::metadata(table).map(|it| it.ino()));
        if number(&ours)? == number(&theirs)? {
            return Ok(Vec::new());
        }
        let (ipv4, ipv6) = (read(&theirs)?, read(&process.join("net/if_inet6"))?);
        let mut found = local_in(&ipv4.unwrap_or_default());
        let ipv6 = ipv6.unwrap_or_default();
        let words = ipv6.lines().filter_map(|line| line.split(' ').next());
        found.extend(
            words
                .filter_map(|hex| u128::from_str_radix(hex, 16).ok())
                .map(|bits| IpAddr::from(bits.to_be_bytes())),
        );
        Ok(found)
    })
    .await
}

/// The addresses in /proc/net/fib_trie: each on its own line, with its kind on the line below.
fn local_in(fib_trie: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    let mut last: Option<IpAddr> = None;
    for line in fib_trie.lines() {
        match line.split_once("|-- ") {
            Some((_, address)) => last = address.trim().parse().ok(),
            None if line.contains("/32 host LOCAL") => found.extend(last),
            None => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_table_of_addresses_has_the_same_as_the_kernel_itself() {
        let pinned = netns::tests::Pinned::new().await;
        let netlink = Netlink::in_netns(&pinned.path).await.unwrap();
        netlink.add_veth("one", "two").await.unwrap();
        let index = netlink.link("one").await.unwrap().unwrap().index;
        for net in ["10.22.3.9/16", "10.22.3.10/16", "fd00:22::9/64"] {
            let net: ipnet::IpNet = net.parse().unwrap();
            netlink.add_address(index, &net.into()).await.unwrap();
        }
        netlink.set_up(index).await.unwrap();
        let mut process = std::process::Command::new("nsenter")
            .arg(format!("--net={}", pinned.path.display()))
            .args(["sh", "-c", "echo; exec sleep 60"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        // Its first output shows that it has entered the namespace.
        std::io::Read::read_exact(process.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        let folder = PathBuf::from(format!("/proc/{}", process.id()));
        let mut shown = addresses_of(folder).await.unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
        let mut told = addresses_in(&pinned.path).await.unwrap();
        shown.sort_unstable();
        shown.dedup();
        told.sort_unstable();
        assert_eq!(shown, told);
        assert!(shown.contains(&"10.22.3.10".parse().unwrap()), "{shown:?}");
        let own = addresses_of(PathBuf::from("/proc/self")).await.unwrap();
        assert!(own.is_empty(), "{own:?}");
    }
}
