//! dhcp: an IPAM plugin with a daemon, and a server to ask.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use super::super::netns::Netns;
use super::{Host, on_a_host_of_its_own, run};

/// A process that ends with its test.
struct Daemon(Child);

impl Daemon {
    fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The plugin's own daemon, on a socket in `folder`.
fn plugin_daemon(host: &Host, folder: &TempDir) -> (Daemon, PathBuf) {
    let socket = folder.path().join("dhcp.sock");
    let program = host.release.folder.join("dhcp");
    let daemon = Daemon::start(Command::new(program).args(["daemon", "-socketpath"]).arg(&socket));
    let end = Instant::now() + Duration::from_secs(20);
    while !socket.exists() {
        assert!(Instant::now() < end, "the daemon of dhcp does not start");
        std::thread::sleep(Duration::from_millis(5));
    }
    (daemon, socket)
}

/// A server that leases 10.88.0.50 to .60 behind the interface up0.
fn server(folder: &TempDir) -> (Daemon, Netns) {
    let netns = Netns::new();
    run("ip", &["link", "add", "up0", "type", "veth", "peer", "name", "up1"]);
    run("ip", &["link", "set", "up0", "up"]);
    run("ip", &["link", "set", "up1", "netns", netns.path().to_str().unwrap()]);
    netns.ip(&["addr", "add", "10.88.0.1/24", "dev", "up1"]);
    netns.ip(&["link", "set", "up1", "up"]);
    let leases = folder.path().join("leases");
    std::fs::write(&leases, "").unwrap();
    let config = folder.path().join("udhcpd.conf");
    let lines = format!(
        "interface up1\nstart 10.88.0.50\nend 10.88.0.60\nlease_file {}\npidfile {}\n\
         option subnet 255.255.255.0\noption router 10.88.0.1\noption lease 600\n",
        leases.display(),
        folder.path().join("pid").display(),
    );
    std::fs::write(&config, lines).unwrap();
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", netns.path().display()));
    // It asks whether an address is taken before it leases it, for so many milliseconds.
    let daemon = Daemon::start(command.args(["busybox", "udhcpd", "-f", "-a", "50"]).arg(&config));
    (daemon, netns)
}

#[test]
fn an_address_of_a_dhcp_server() {
    on_a_host_of_its_own(async |host| {
        let folder = TempDir::new().unwrap();
        let (_server, _netns) = server(&folder);
        let (_daemon, socket) = plugin_daemon(host, &folder);
        let plugins = json!([{
            "type": "macvlan", "master": "up0", "mode": "bridge",
            "ipam": {"type": "dhcp", "daemonSocketPath": socket},
        }]);
        host.attach(plugins, json!({}), |netns, attached| {
            attached.checked.as_ref().unwrap();
            assert_eq!(attached.result["ips"][0]["gateway"], "10.88.0.1");
            let link = netns.ip(&["addr", "show", "dev", "eth0"]);
            assert!(link.contains("inet 10.88.0."), "{link}");
        })
        .await;
    });
}
