//! The reference plugins themselves, 1.1.1 and 1.9.1, as Debian has them.
//!
//! Each test's host is network and mount namespaces of its own, so bridges, rules, addresses and
//! files in `/run` of the machine are not touched.

mod attach;
mod dhcp;
mod quirks;

use std::path::{Path, PathBuf};
use std::process::Command;

use cnm_cni::cni::{Attachment, Error, Limits, NetworkConfigList, Runtime};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::attachment;
use super::netns::Netns;

/// A release of the reference plugins, as Debian packages it.
struct Release {
    folder: PathBuf,
    /// The latest version of the specification that it supports.
    version: String,
}

impl Release {
    /// It is the older of the two.
    fn is_1_1_1(&self) -> bool {
        self.version == "1.0.0"
    }
}

/// The releases in the test bed.
fn releases() -> Vec<Release> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache =
        cache.unwrap_or_else(|| Path::new(&std::env::var_os("HOME").unwrap()).join(".cache"));
    let bed = cache.join("cnm-cni/testbed");
    let releases: Vec<_> = ["bookworm", "forky"]
        .iter()
        .map(|suite| bed.join(suite).join("usr/lib/cni"))
        .filter(|folder| folder.join("bridge").exists())
        .map(|folder| {
            let output = Command::new(folder.join("bridge")).env("CNI_COMMAND", "VERSION").output();
            let versions: Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
            let version = versions["cniVersion"].as_str().unwrap().to_owned();
            Release { folder, version }
        })
        .collect();
    assert!(!releases.is_empty(), "no plugins in {}; `make test` puts them there", bed.display());
    releases
}

/// Runs `test` with each release on a thread that has a network namespace and a `/run` of its own; its
/// child processes are in them too. Plugins keep files in `/run`: `tuning` in `/run/cni/tuning`.
fn on_a_host_of_its_own(test: impl AsyncFn(&Host) + Sync) {
    for release in releases() {
        std::thread::scope(|scope| {
            let test = &test;
            let host = scope.spawn(move || {
                unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
                let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
                mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
                mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), None::<&str>)
                    .unwrap();
                run("ip", &["link", "set", "lo", "up"]);
                let leases = TempDir::new().unwrap();
                let host = Host { release, leases };
                tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap()
                    .block_on(test(&host));
                let iptables = run("iptables-save", &[]);
                // `CNI-HOSTPORT-…`, `CNI-FORWARD` and the like stay; no rule of a container does.
                assert!(!iptables.contains("10.88.0."), "{iptables}");
                assert_eq!(host.leases(), Vec::<String>::new());
            });
            if let Err(panic) = host.join() {
                std::panic::resume_unwind(panic);
            }
        });
    }
}

struct Host {
    release: Release,
    leases: TempDir,
}

impl Host {
    fn has(&self, plugin: &str) -> bool {
        self.release.folder.join(plugin).exists()
    }

    fn host_local(&self) -> Value {
        json!({
            "type": "host-local",
            "dataDir": self.leases.path(),
            "ranges": [[{"subnet": "10.88.0.0/24"}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        })
    }

    fn dual_stack(&self) -> Value {
        let mut ipam = self.host_local();
        ipam["ranges"] = json!([[{"subnet": "10.88.0.0/24"}], [{"subnet": "fd00:88::/64"}]]);
        ipam["routes"] = json!([{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]);
        ipam
    }

    /// The addresses that host-local has given away.
    fn leases(&self) -> Vec<String> {
        let Ok(files) = std::fs::read_dir(self.leases.path().join("net")) else { return vec![] };
        let names = files.map(|file| file.unwrap().file_name().to_string_lossy().into_owned());
        names.filter(|name| name != "lock" && !name.starts_with("last_reserved_ip")).collect()
    }

    /// A network of these plugins, of the latest version that they speak.
    fn list(&self, plugins: Value) -> NetworkConfigList {
        let version = &self.release.version;
        let list = json!({"cniVersion": version, "name": "net", "plugins": plugins});
        NetworkConfigList::parse(list.to_string().as_bytes()).unwrap()
    }

    fn runtime(&self) -> Runtime {
        Runtime::new(vec![self.release.folder.clone()], Limits::default())
    }

    /// ADD, CHECK, what `seen` looks at, DEL, and DEL again.
    async fn attach(
        &self,
        plugins: Value,
        capability_args: Value,
        seen: impl Fn(&Netns, &Attached),
    ) {
        self.attach_with(plugins, capability_args, seen).await.unwrap();
    }

    /// As [`Host::attach`]; gives what came of the second DEL.
    async fn attach_with(
        &self,
        plugins: Value,
        capability_args: Value,
        seen: impl Fn(&Netns, &Attached),
    ) -> Result<(), Error> {
        let (list, runtime) = (self.list(plugins), self.runtime());
        let netns = Netns::new();
        let capability_args: Map<String, Value> = serde_json::from_value(capability_args).unwrap();
        let to = Attachment { netns: Some(netns.path()), capability_args, ..attachment() };

        for plugin in list.plugins() {
            let versions = runtime.version(plugin.plugin_type()).await.unwrap();
            assert!(
                versions.contains(&self.release.version),
                "{}: {versions:?}",
                plugin.plugin_type()
            );
        }
        let result = runtime.add(&list, &to).await.unwrap();
        let leases = self.leases().len();
        let checked = runtime.check(&list, &to, &result).await;
        seen(
            &netns,
            &Attached { result: result.to_version(list.cni_version()).unwrap(), leases, checked },
        );
        runtime.del(&list, &to, Some(&result)).await.unwrap();
        let again = runtime.del(&list, &to, Some(&result)).await;
        runtime.status(&list).await.unwrap();
        runtime.gc(&list, &[]).await.unwrap();
        again
    }
}

/// An attachment as it was before DEL.
struct Attached {
    result: Value,
    leases: usize,
    checked: Result<(), Error>,
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}
