//! Settings under `/proc/sys/net`, of a namespace or of one link in it.
//!
//! Netlink can read few of them and set fewer, so they are read and written as files. `/proc/sys/net`
//! shows the namespace of the thread that opens it, so everything here runs on a thread inside the
//! namespace. What the settings mean, and which value is right, is decided by the callers.
//!
//! They are not looked up in `/proc` itself: `root.rs` says why.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::libc::EIO;
use nix::sys::stat::Mode;
use serde::{Deserialize, Serialize};

use crate::netns;
use root::Root;

mod root;

/// The folder of all settings.
const ROOT: &str = "net";

/// Where links have a folder each, below that; kernels without IPv6 or MPLS lack some.
const OF_LINKS: [&str; 5] = ["ipv4/conf", "ipv4/neigh", "ipv6/conf", "ipv6/neigh", "mpls/conf"];

/// The folders there that are no link's: what applies to all, and what new links begin with.
const OF_NO_LINK: [&str; 2] = ["all", "default"];

/// Nearly all values are shorter, in bytes. The kernel clears as much memory for each as it is asked for.
const SHORT: usize = 512;

/// No value is longer, in bytes: every second port of `ip_local_reserved_ports`.
const LONG: usize = 256 << 10;

/// Settings and their values, in an order in which they can be set: a setting that exists
/// twice comes in the finer unit last (`base_reachable_time`, `base_reachable_time_ms`).
///
/// A setting is its path below `/proc/sys/net`, less the link's name where it is a link's:
/// `ipv4/ip_forward`, `ipv4/conf/all/rp_filter`, and `ipv4/conf/rp_filter` of a link.
pub type Sysctls = BTreeMap<String, String>;

/// Whose settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// Those of the namespace, `all` and `default` included.
    Namespace,
    /// Those of the link of this name.
    Link(String),
}

/// Why settings could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The namespace could not be entered.
    #[error(transparent)]
    Namespace(#[from] netns::Error),
    /// A setting, or the folder of a link's settings, could not be opened, read or written.
    #[error("cannot {operation} sysctl {setting:?} in {}: {source}", namespace.display())]
    Setting {
        /// `read` or `set`.
        operation: &'static str,
        /// The setting, or the link whose settings they are.
        setting: String,
        /// Path of the namespace.
        namespace: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl Error {
    /// Whether the namespace, the link or the setting is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::Namespace(error) => error.is_not_found(),
            Self::Setting { source, .. } => source.kind() == io::ErrorKind::NotFound,
        }
    }
}

/// Reads what can be set, and is set, in the namespace at `path`. Fails with [`Error::Namespace`];
/// with [`Error::Setting`], also if the link is not there: [`Error::is_not_found`].
pub async fn read(path: &Path, scope: &Scope) -> Result<Sysctls, Error> {
    let scope = scope.clone();
    let read = netns::run_in(path, move || {
        let (root, mut reader) = (Root::open(), Reader::default());
        let whose = match scope {
            Scope::Namespace => {
                reader.namespace(&root.join(ROOT), "")?;
                "all".into()
            }
            Scope::Link(name) => {
                for table in OF_LINKS {
                    reader.link(&root.join(ROOT).join(table).join(&name), table)?;
                }
                name
            }
        };
        if reader.found.is_empty() {
            return Err((whose, Errno::ENOENT.into()));
        }
        Ok((reader.found, root))
    });
    let (found, root) = read.await?.map_err(at(path, "read"))?;
    root.end_soon();
    Ok(found)
}

/// Reads those settings in the namespace at `path` that `of` has; without the ones that are
/// not there any more. Fails as [`read`].
pub async fn read_again(path: &Path, scope: &Scope, of: &Sysctls) -> Result<Sysctls, Error> {
    if of.is_empty() {
        return Ok(Sysctls::new());
    }
    let (scope, settings) = (scope.clone(), of.keys().cloned().collect::<Vec<_>>());
    let read = netns::run_in(path, move || {
        let (root, mut reader) = (Root::open(), Reader::default());
        for setting in settings {
            match File::open(root.join(name(&scope, &setting))).and_then(|file| reader.text(file)) {
                Ok(value) => drop(reader.found.insert(setting, value)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) if error.raw_os_error() == Some(EIO) => {}
                Err(error) => return Err((setting, error)),
            }
        }
        Ok((reader.found, root))
    });
    let (found, root) = read.await?.map_err(at(path, "read"))?;
    root.end_soon();
    Ok(found)
}

/// Sets `values` in the namespace at `path`, one after the other, up to the first that the
/// kernel refuses. Fails with [`Error::Namespace`] or [`Error::Setting`].
pub async fn write(path: &Path, scope: &Scope, values: &Sysctls) -> Result<(), Error> {
    let (scope, values) = (scope.clone(), values.clone());
    let written = netns::run_in(path, move || {
        let root = Root::open();
        for (setting, value) in values {
            let set = OpenOptions::new().write(true).open(root.join(name(&scope, &setting)));
            set.and_then(|mut file| file.write_all(value.as_bytes()))
                .map_err(|error| (setting, error))?;
        }
        Ok(root)
    });
    written.await?.map_err(at(path, "set"))?.end_soon();
    Ok(())
}

/// A setting's whole name, as sysctl(8) takes it: `net/ipv4/conf/eth0/rp_filter`.
#[must_use]
pub fn name(scope: &Scope, setting: &str) -> String {
    match (scope, setting.rsplit_once('/')) {
        (Scope::Link(link), Some((table, leaf))) => format!("net/{table}/{link}/{leaf}"),
        _ => format!("net/{setting}"),
    }
}

/// The file, or the folder, of a setting of the host by its whole name: for a thread in the namespace of this process.
pub fn of_host(name: &str) -> PathBuf {
    static HOST: LazyLock<Root> = LazyLock::new(Root::open);
    HOST.join(name)
}

/// What went wrong, with the setting or the link that it concerns.
type Trouble = (String, io::Error);

fn at(path: &Path, operation: &'static str) -> impl FnOnce(Trouble) -> Error {
    let namespace = path.to_owned();
    move |(setting, source)| Error::Setting { operation, setting, namespace, source }
}

struct Reader {
    found: Sysctls,
    short: [u8; SHORT],
}

impl Default for Reader {
    fn default() -> Self {
        Self { found: Sysctls::new(), short: [0; SHORT] }
    }
}

impl Reader {
    /// Reads a folder and those below, without those of links.
    fn namespace(&mut self, path: &Path, below: &str) -> Result<(), Trouble> {
        let of_links = OF_LINKS.contains(&below);
        let Some(folder) = Folder::open(path, below)? else { return Ok(()) };
        for (name, is_folder) in &folder.entries {
            let setting = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
            if !is_folder {
                self.value(&folder, name, setting)?;
            } else if !of_links || OF_NO_LINK.contains(&name.as_str()) {
                self.namespace(&path.join(name), &setting)?;
            }
        }
        Ok(())
    }

    /// Reads a link's folder, if it has one in this table.
    fn link(&mut self, path: &Path, table: &str) -> Result<(), Trouble> {
        let Some(folder) = Folder::open(path, table)? else { return Ok(()) };
        for (name, _) in &folder.entries {
            self.value(&folder, name, format!("{table}/{name}"))?;
        }
        Ok(())
    }

    fn value(&mut self, folder: &Folder, name: &str, setting: String) -> Result<(), Trouble> {
        // Opened for writing too: what cannot be set is refused, and not of interest. From
        // its folder, since finding the way there is most of the work.
        let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC;
        let file = match openat(&folder.file, name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::ENOENT | Errno::EACCES | Errno::EPERM) => return Ok(()),
            Err(error) => return Err((setting, error.into())),
        };
        match self.text(file) {
            Ok(value) => {
                self.found.insert(setting, value);
                Ok(())
            }
            // How the kernel says that a setting without a default was never set.
            Err(error) if error.raw_os_error() == Some(EIO) => Ok(()),
            Err(error) => Err((setting, error)),
        }
    }

    fn text(&mut self, mut file: File) -> io::Result<String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches('\n').to_owned();
        let length = file.read(&mut self.short)?;
        if length < SHORT {
            return Ok(text(&self.short[..length]));
        }
        // From its beginning: of a list of ports, the kernel has nothing more to say behind the first read.
        file.rewind()?;
        let mut long = vec![0; LONG];
        let length = file.read(&mut long)?;
        Ok(text(&long[..length]))
    }
}

/// A folder of settings, and for each entry whether it is a folder itself.
struct Folder {
    file: File,
    entries: Vec<(String, bool)>,
}

impl Folder {
    /// `None` if it is not there.
    fn open(path: &Path, below: &str) -> Result<Option<Self>, Trouble> {
        let opened = File::open(path).and_then(|file| {
            let mut entries = Vec::new();
            for entry in fs::read_dir(path)? {
                let entry = entry?;
                if let Ok(name) = entry.file_name().into_string() {
                    entries.push((name, entry.file_type()?.is_dir()));
                }
            }
            Ok(Self { file, entries })
        });
        match opened {
            Ok(folder) => Ok(Some(folder)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err((below.to_owned(), error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::netlink::tests::with_veth;

    /// What procps or busybox would say; here a shell inside the namespace.
    fn cat(namespace: &Path, setting: &str) -> String {
        let output = Command::new("nsenter")
            .arg(format!("--net={}", namespace.display()))
            .args(["cat", &format!("/proc/sys/net/{setting}")])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    fn one(setting: &str, value: &str) -> Sysctls {
        Sysctls::from([(setting.to_owned(), value.to_owned())])
    }

    /// The settings that differ, with the value that they have now.
    fn changed(before: &Sysctls, after: &Sysctls) -> Sysctls {
        assert!(before.keys().eq(after.keys()));
        after
            .iter()
            .filter(|(setting, value)| before.get(*setting) != Some(value))
            .map(|(setting, value)| (setting.clone(), value.clone()))
            .collect()
    }

    #[tokio::test]
    async fn a_namespaces_settings_are_its_own_and_leave_links_out() {
        let (pinned, _netlink, _) = with_veth().await;
        let before = read(&pinned.path, &Scope::Namespace).await.unwrap();
        assert!(before.contains_key("ipv4/conf/default/rp_filter"));
        assert!(before.contains_key("ipv6/conf/all/disable_ipv6"));
        assert!(before.contains_key("core/somaxconn"));
        assert!(!before.keys().any(|setting| setting.contains("/one/")));
        assert!(!before.contains_key("ipv4/tcp_available_congestion_control"), "cannot be set");

        let host = fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
        write(&pinned.path, &Scope::Namespace, &one("core/somaxconn", "512")).await.unwrap();
        assert_eq!(cat(&pinned.path, "core/somaxconn"), "512");
        assert_eq!(fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap(), host);
        let after = read(&pinned.path, &Scope::Namespace).await.unwrap();
        assert_eq!(changed(&before, &after), one("core/somaxconn", "512"));
    }

    #[tokio::test]
    async fn a_long_value_is_read_and_set_as_a_whole() {
        let (pinned, _netlink, _) = with_veth().await;
        let ports: Vec<_> = (1..=5000).map(|port| (port * 2).to_string()).collect();
        let ports = one("ipv4/ip_local_reserved_ports", &ports.join(","));
        write(&pinned.path, &Scope::Namespace, &ports).await.unwrap();
        assert_eq!(read_again(&pinned.path, &Scope::Namespace, &ports).await.unwrap(), ports);
    }

    #[tokio::test]
    async fn a_links_settings_are_restored_under_another_name() {
        let (pinned, netlink, index) = with_veth().await;
        let link = Scope::Link("one".into());
        let fresh = read(&pinned.path, &link).await.unwrap();
        let wanted = Sysctls::from(
            [
                ("ipv4/conf/arp_notify", "1"),
                ("ipv6/conf/accept_dad", "0"),
                ("ipv4/neigh/gc_stale_time", "99"),
            ]
            .map(|(setting, value)| (setting.to_owned(), value.to_owned())),
        );
        write(&pinned.path, &link, &wanted).await.unwrap();
        assert_eq!(cat(&pinned.path, "ipv4/conf/one/arp_notify"), "1");
        let set = read(&pinned.path, &link).await.unwrap();
        assert_eq!(changed(&fresh, &set), wanted);

        write(&pinned.path, &link, &fresh).await.unwrap();
        assert_eq!(read(&pinned.path, &link).await.unwrap(), fresh);
        netlink.set_down(index).await.unwrap();
        netlink.rename(index, "eth0").await.unwrap();
        write(&pinned.path, &Scope::Link("eth0".into()), &wanted).await.unwrap();
        assert_eq!(cat(&pinned.path, "ipv6/conf/eth0/accept_dad"), "0");
        assert!(read(&pinned.path, &link).await.unwrap_err().is_not_found());
    }

    #[tokio::test]
    async fn a_refused_setting_is_named() {
        let (pinned, _netlink, _) = with_veth().await;
        let link = Scope::Link("one".into());
        let error =
            write(&pinned.path, &link, &one("ipv4/conf/arp_notify", "loud")).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "cannot set sysctl \"ipv4/conf/arp_notify\" in {}: Invalid argument (os error 22)",
                pinned.path.display()
            )
        );
        let error = write(&pinned.path, &link, &one("ipv4/conf/no_such", "1")).await.unwrap_err();
        assert!(error.is_not_found(), "{error}");
    }
}
