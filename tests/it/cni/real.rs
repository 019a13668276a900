//! The reference plugins themselves: ADD, CHECK, DEL, and DEL once more.
//!
//! Each test's host is a network namespace of its own, so bridges, rules and addresses of
//! the machine are not touched. ipvlan, vlan, dummy and vrf need kernel modules that not
//! every machine has, and dhcp a server; they are not here.

use std::path::{Path, PathBuf};
use std::process::Command;

use cnm_cni::cni::{Attachment, Error, Limits, NetworkConfigList, Runtime};
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

/// Runs `test` with each release on a thread that has a network namespace of its own; its
/// child processes are in it too.
fn on_a_host_of_its_own(test: impl AsyncFn(&Host) + Sync) {
    for release in releases() {
        std::thread::scope(|scope| {
            let test = &test;
            let host = scope.spawn(move || {
                unshare(CloneFlags::CLONE_NEWNET).unwrap();
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

    /// ADD, CHECK, what `seen` looks at, DEL, and DEL again.
    async fn attach(
        &self,
        plugins: Value,
        capability_args: Value,
        seen: impl Fn(&Netns, &Attached),
    ) {
        let version = &self.release.version;
        let list = json!({"cniVersion": version, "name": "net", "plugins": plugins});
        let list = NetworkConfigList::parse(list.to_string().as_bytes()).unwrap();
        let netns = Netns::new();
        let capability_args: Map<String, Value> = serde_json::from_value(capability_args).unwrap();
        let to = Attachment { netns: Some(netns.path()), capability_args, ..attachment() };
        let runtime = Runtime::new(vec![self.release.folder.clone()], Limits::default());

        for plugin in list.plugins() {
            let versions = runtime.version(plugin.plugin_type()).await.unwrap();
            assert!(versions.contains(version), "{}: {versions:?}", plugin.plugin_type());
        }
        let result = runtime.add(&list, &to).await.unwrap();
        let leases = self.leases().len();
        let checked = runtime.check(&list, &to, &result).await;
        seen(
            &netns,
            &Attached { result: result.to_version(list.cni_version()).unwrap(), leases, checked },
        );
        runtime.del(&list, &to, Some(&result)).await.unwrap();
        // Two of them break the rule that DEL can be repeated: their interface is gone.
        if let Err(error) = runtime.del(&list, &to, Some(&result)).await {
            let plugin = error.plugin().unwrap();
            assert!(["host-device", "sbr"].contains(&plugin.plugin.as_str()), "{error}");
            assert!(error.to_string().contains("Link not found"), "{error}");
        }
        runtime.status(&list).await.unwrap();
        runtime.gc(&list, &[]).await.unwrap();
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

#[test]
fn a_bridge_with_everything_that_chains_to_it() {
    on_a_host_of_its_own(async |host| {
        let plugins = json!([
            {"type": "bridge", "bridge": "br0", "isGateway": true, "ipMasq": true,
             "hairpinMode": true, "ipam": host.host_local()},
            {"type": "tuning", "capabilities": {"mac": true},
             "sysctl": {"net.core.somaxconn": "500"}, "mtu": 1400},
            {"type": "firewall", "backend": "iptables"},
            {"type": "bandwidth", "capabilities": {"bandwidth": true}},
            {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true},
        ]);
        let capability_args = json!({
            "portMappings": [{"hostPort": 8088, "containerPort": 80, "protocol": "tcp"}],
            "bandwidth": {"ingressRate": 1_000_000, "ingressBurst": 1_000_000,
                          "egressRate": 1_000_000, "egressBurst": 1_000_000},
            "mac": "02:00:00:00:88:01",
        });
        host.attach(plugins, capability_args, |netns, attached| {
            // portmap looks for rules of IPv6 where the container has no such address.
            if let Err(error) = &attached.checked {
                assert_eq!(error.plugin().unwrap().plugin, "portmap");
                assert!(error.to_string().contains("could not check ipv6 dnat"), "{error}");
            }
            assert_eq!(attached.leases, 1);
            let link = netns.ip(&["addr", "show", "dev", "eth0"]);
            assert!(link.contains("10.88.0.2/24"), "{link}");
            assert!(link.contains("02:00:00:00:88:01") && link.contains("mtu 1400"), "{link}");
            let iptables = run("iptables-save", &[]);
            assert!(iptables.contains("--to-destination 10.88.0.2:80"), "{iptables}");
            assert!(iptables.contains("-s 10.88.0.2/32"), "{iptables}");
            assert!(run("tc", &["qdisc"]).contains("tbf"));
        })
        .await;
        assert!(!run("tc", &["qdisc"]).contains("tbf"));
    });
}

#[test]
fn a_point_to_point_link() {
    on_a_host_of_its_own(async |host| {
        let plugins = json!([{"type": "ptp", "ipMasq": true, "ipam": host.dual_stack()}]);
        host.attach(plugins, json!({}), |netns, attached| {
            attached.checked.as_ref().unwrap();
            assert_eq!(attached.leases, 2);
            assert_eq!(attached.result["ips"].as_array().unwrap().len(), 2);
            let link = netns.ip(&["addr", "show", "dev", "eth0"]);
            assert!(link.contains("10.88.0.2/24") && link.contains("fd00:88::2/64"), "{link}");
            assert!(netns.ip(&["route"]).contains("default via 10.88.0.1"));
        })
        .await;
    });
}

#[test]
fn a_macvlan_with_an_address_that_the_runtime_chose() {
    on_a_host_of_its_own(async |host| {
        run("ip", &["link", "add", "up0", "type", "veth", "peer", "name", "up1"]);
        run("ip", &["link", "set", "up0", "up"]);
        let plugins = json!([{
            "type": "macvlan", "master": "up0", "mode": "bridge",
            "capabilities": {"ips": true}, "ipam": {"type": "static"},
        }]);
        host.attach(plugins, json!({"ips": ["10.88.0.77/24"]}), |netns, attached| {
            attached.checked.as_ref().unwrap();
            assert!(netns.ip(&["-d", "addr", "show", "dev", "eth0"]).contains("10.88.0.77/24"));
        })
        .await;
    });
}

#[test]
fn a_device_of_the_host_comes_back() {
    on_a_host_of_its_own(async |host| {
        run("ip", &["link", "add", "hd0", "type", "veth", "peer", "name", "hd1"]);
        let ipam = json!({"type": "static", "addresses": [{"address": "10.88.0.7/24"}]});
        let plugins = json!([{"type": "host-device", "device": "hd0", "ipam": ipam}]);
        host.attach(plugins, json!({}), |netns, attached| {
            attached.checked.as_ref().unwrap();
            assert!(netns.ip(&["addr", "show", "dev", "eth0"]).contains("10.88.0.7/24"));
        })
        .await;
        assert!(run("ip", &["link"]).contains("hd0"));
    });
}

#[test]
fn a_loopback_interface() {
    on_a_host_of_its_own(async |host| {
        host.attach(json!([{"type": "loopback"}]), json!({}), |netns, attached| {
            attached.checked.as_ref().unwrap();
            assert!(netns.ip(&["link", "show", "dev", "lo"]).contains("UP"));
        })
        .await;
    });
}

#[test]
fn a_tap_device() {
    on_a_host_of_its_own(async |host| {
        if !host.has("tap") {
            // It came with 1.4.0.
            return;
        }
        let ipam = json!({"type": "static", "addresses": [{"address": "10.88.0.7/24"}]});
        let plugins = json!([{"type": "tap", "ipam": ipam}]);
        host.attach(plugins, json!({}), |netns, attached| {
            attached.checked.as_ref().unwrap();
            assert!(netns.ip(&["-d", "link", "show", "dev", "eth0"]).contains("tap"));
        })
        .await;
    });
}

#[test]
fn l62_a_bridge_with_source_based_routing_does_not_pass_its_check() {
    on_a_host_of_its_own(async |host| {
        let plugins = json!([
            {"type": "bridge", "bridge": "br0", "isGateway": true, "ipam": host.host_local()},
            {"type": "sbr"},
        ]);
        host.attach(plugins, json!({}), |netns, attached| {
            let error = attached.checked.as_ref().unwrap_err();
            assert_eq!(error.plugin().unwrap().plugin, "bridge");
            assert!(netns.ip(&["rule"]).contains("from 10.88.0.2 lookup 100"));
        })
        .await;
    });
}

#[test]
fn r35_what_a_failed_add_leaves_behind_is_removed_by_del() {
    on_a_host_of_its_own(async |host| {
        let plugins = json!([
            {"type": "bridge", "bridge": "br0", "ipMasq": true, "isGateway": true,
             "ipam": host.host_local()},
            {"type": "tuning", "sysctl": {"net.ipv4.no.such.thing": "1"}},
        ]);
        let version = &host.release.version;
        let list = json!({"cniVersion": version, "name": "net", "plugins": plugins});
        let list = NetworkConfigList::parse(list.to_string().as_bytes()).unwrap();
        let netns = Netns::new();
        let to = Attachment { netns: Some(netns.path()), ..attachment() };
        let runtime = Runtime::new(vec![host.release.folder.clone()], Limits::default());
        let error = runtime.add(&list, &to).await.unwrap_err();
        assert_eq!(error.plugin().unwrap().plugin, "tuning");
        assert!(error.needs_del() && host.leases().len() == 1);
        runtime.del(&list, &to, None).await.unwrap();
    });
}
