//! The managed plugin: built, pushed, installed, upgraded and removed by the steps of its page, and
//! what a swarm does with it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};

use super::host::{Host, Suite, answers, within};
use super::readme::{FOLDER, Steps};
use super::{leaves_nothing, on_both_dockers};

on_both_dockers! {
    #[ignore = "make test-install"]
    it_is_installed_from_a_registry_used_upgraded_and_removed,
    #[ignore = "make test-install"]
    its_settings_and_a_restart_of_dockerd_keep_its_networks,
    #[ignore = "make test-install"]
    a_swarm_service_is_scaled_and_its_replicas_reach_each_other,
}

const PAGE: &str = "docs/managed-plugin.md";
const PLUGIN: &str = "localhost:5000/cnm-cni:0.1.0";
const NEXT: &str = "localhost:5000/cnm-cni:0.2.0";

/// Like Debian's own, but open to everybody on the host, and to nobody else.
const REGISTRY: &str = r#"
version: 0.1
storage: {filesystem: {rootdirectory: /var/lib/docker-registry}}
http: {addr: "127.0.0.1:5000"}
"#;

/// With a plugin that writes below `/proc/sys`, which is read-only in Docker's containers.
const SHOP: &str = r#"
{
  "cniVersion": "1.0.0",
  "name": "shop",
  "plugins": [
    {"type": "bridge", "bridge": "shop0", "isGateway": true, "ipMasq": true,
     "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}]],
              "routes": [{"dst": "0.0.0.0/0"}]}},
    {"type": "tuning", "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}},
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
"#;

fn it_is_installed_from_a_registry_used_upgraded_and_removed(suite: Suite) {
    let host = with_a_registry(suite);
    push_next_version(&host);
    assert_asks_what_the_page_says(&host);
    steps("managed-install", &host);

    leaves_nothing(&host, |host| {
        steps("managed-use", host);
        answers_with_its_own_page(host, "alice");
        host.remove(&["alice", "bob"], &["web"]);
    });

    // With the network in use. The new version knows and removes what the old one made.
    steps("managed-use", &host);
    assert!(host.docker_refuses(&["plugin", "disable", PLUGIN]).contains("is in use"));
    host.ping("bob", "alice").unwrap();
    steps("managed-upgrade", &host);
    let reference = host.docker(&["plugin", "inspect", "-f", "{{.PluginReference}}", PLUGIN]);
    assert_eq!(reference, NEXT);
    host.ping("bob", "alice").unwrap();
    answers_with_its_own_page(&host, "alice");
    // The host's own program finds the plugin's records, and is answered on its socket.
    let ports = host.exec(&["cnm-cni", "ports"]);
    assert!(ports.contains("8080"), "{ports}");
    let id = host.docker(&["plugin", "inspect", "-f", "{{.Id}}", PLUGIN]);
    let socket = format!("/run/docker/plugins/{id}/cni.sock");
    host.exec(&["cnm-cni", "orphans", "retry", "--socket", &socket]);
    host.run("carol", "web", &[]);
    host.ping("carol", "alice").unwrap();
    host.remove(&["alice", "bob", "carol"], &["web"]);
    assert_no_records(&host);

    steps("managed-remove", &host);
    assert_eq!(host.docker(&["plugin", "ls", "--quiet"]), "");
    assert_eq!(files(&host.path("/run/docker/plugins")), BTreeSet::new());
}

fn its_settings_and_a_restart_of_dockerd_keep_its_networks(suite: Suite) {
    let host = with_a_registry(suite);
    host.write("/srv/networks/10-shop.conflist", SHOP);
    steps("managed-settings", &host);
    let run = ["run", "-d", "--init", "--pull", "never", "--restart", "always", "--name", "alice"];
    host.docker(&[&run[..], &["--network", "shop", "-p", "8080:80", "nginx"]].concat());
    answers_with_its_own_page(&host, "alice");
    let setting = "/proc/sys/net/ipv4/conf/eth0/arp_filter";
    assert_eq!(host.docker(&["exec", "alice", "cat", setting]), "1");

    for signal in ["TERM", "KILL"] {
        host.stop_dockerd(signal);
        host.start_dockerd(&[]);
        answers_with_its_own_page(&host, "alice");
    }
    host.remove(&["alice"], &["shop"]);
    assert_no_records(&host);
}

fn a_swarm_service_is_scaled_and_its_replicas_reach_each_other(suite: Suite) {
    let host = with_a_registry(suite);
    steps("managed-install", &host);
    host.docker(&["swarm", "init", "--advertise-addr", &host.address()]);

    leaves_nothing(&host, |host| {
        steps("managed-swarm-node", host);
        steps("managed-swarm", host);
        let replicas = running(host);
        assert_eq!(replicas.len(), 3);
        for from in &replicas {
            for to in &replicas {
                host.ping(from, to).unwrap();
            }
            // The name is that of each of them in turn.
            let resolved = host.exec(&["docker", "exec", from, "nslookup", "tasks.page"]);
            let addresses = resolved.lines().filter(|line| line.contains(": 10.233.")).count();
            assert_eq!(addresses, 3, "{resolved}");
            host.ping(from, "page").unwrap();
        }
        host.docker(&["service", "scale", "--detach", "page=1"]);
        let scaled = within(Duration::from_secs(20), || running(host).len() == 1);
        assert!(scaled, "still running: {:?}", running(host));
        host.docker(&["service", "rm", "page"]);
        let removed =
            within(Duration::from_secs(20), || host.docker(&["ps", "--all", "--quiet"]).is_empty());
        assert!(removed, "{}", host.docker(&["ps", "--all"]));
        host.docker(&["network", "rm", "web"]);
        // The network made from it is removed a moment after the command.
        let removed = within(Duration::from_secs(20), || {
            host.try_exec(&["docker", "network", "rm", "web-node"]).is_ok()
        });
        assert!(removed, "{}", host.docker_refuses(&["network", "rm", "web-node"]));
    });
}

/// A host with the plugin in a registry of its own, and with the image of the page.
fn with_a_registry(suite: Suite) -> Host {
    let host = Host::up(suite);
    host.write("/etc/docker/registry/config.yml", REGISTRY);
    host.start("registry", &["docker-registry", "serve", "/etc/docker/registry/config.yml"]);
    let listens = || host.get("http://localhost:5000/v2/").is_ok();
    assert!(within(Duration::from_secs(10), listens), "the registry does not answer");
    // What Docker would fetch.
    host.docker(&["tag", "cnm-cni/busybox", "nginx"]);
    build_on(&host);
    steps("managed-push", &host);
    host
}

/// Builds the plugin, and puts it where the steps expect it.
fn build_on(host: &Host) {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
    let lock = File::create(target.join("plugin.lock")).unwrap();
    let lock = Flock::lock(lock, FlockArg::LockExclusive).unwrap();
    Steps::read(PAGE, "managed-build").here(&[]);
    for file in ["config.json", "rootfs/cnm-cni"] {
        let copy = host.path(&format!("{FOLDER}/target/plugin/{file}"));
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(target.join("plugin").join(file), copy).unwrap();
    }
    drop(lock);
}

/// A version that tells itself from the first by its description.
fn push_next_version(host: &Host) {
    let config = format!("{FOLDER}/target/plugin/config.json");
    let text = fs::read_to_string(host.path(&config)).unwrap();
    host.write(&config, &text.replace("of this host", "of this host, once more"));
    host.docker(&["plugin", "create", NEXT, &format!("{FOLDER}/target/plugin")]);
    host.docker(&["plugin", "push", NEXT]);
    host.docker(&["plugin", "rm", NEXT]);
}

fn assert_asks_what_the_page_says(host: &Host) {
    let install = format!("echo no | docker plugin install {PLUGIN}");
    let asked = host.try_exec(&["sh", "-c", &install]).unwrap_err();
    let (question, _refusal) = asked.split_once("[y/N]").unwrap();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let page = fs::read_to_string(page).unwrap();
    for line in question.lines() {
        assert!(page.lines().any(|text| text.trim_end().contains(line.trim_end())), "{line}");
    }
}

#[track_caller]
fn steps(name: &str, host: &Host) {
    Steps::read(PAGE, name).on(host);
}

/// Fails unless the container's page comes from its published port. It names its container by
/// the id, since the steps give it no host name.
#[track_caller]
fn answers_with_its_own_page(host: &Host, container: &str) {
    let id = host.docker(&["inspect", "-f", "{{.Config.Hostname}}", container]);
    answers(&id, || host.get_from_outside(8080));
    answers(&id, || host.get(&format!("http://{}:8080", host.address())));
}

/// The names of the containers that run.
fn running(host: &Host) -> Vec<String> {
    let names = host.docker(&["ps", "--format", "{{.Names}}"]);
    names.lines().map(str::to_owned).collect()
}

/// Fails unless the driver comes to have no record of any network or attachment: DEL runs on
/// in the background.
#[track_caller]
fn assert_no_records(host: &Host) {
    let folders = ["networks", "attachments"];
    let folders = folders.map(|folder| host.path(&format!("/var/lib/cnm-cni/{folder}")));
    let records = || folders.iter().flat_map(|folder| files(folder)).collect::<BTreeSet<_>>();
    assert!(within(Duration::from_secs(10), || records().is_empty()), "left: {:?}", records());
}

fn files(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}
