//! A real Prometheus reads the metrics of a driver under load: all that the alerts and the dashboard name is there.

use std::fs;
use std::io::{self, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::host::{Host, Suite, within};
use crate::contrib;

/// A pool of three addresses, and a plugin that fails for some containers.
const CONFLIST: &str = r#"{"cniVersion": "1.0.0", "name": "pods", "plugins": [
    {"type": "bridge", "bridge": "pods0", "isGateway": true, "ipMasq": true, "ipam": {"type": "host-local",
     "ranges": [[{"subnet": "10.61.0.0/24", "rangeStart": "10.61.0.10", "rangeEnd": "10.61.0.12"}]]}},
    {"type": "portmap", "capabilities": {"portMappings": true}},
    {"type": "moody"}]}"#;

/// Its DEL fails while the file is there.
const MOODY: &str = r#"#!/bin/sh
[ "$CNI_COMMAND" = DEL ] && [ -e /run/moody ] && { echo '{"code": 100, "msg": "in a bad mood"}'; exit 1; }
[ "$CNI_COMMAND" = VERSION ] && { echo '{"cniVersion": "1.0.0", "supportedVersions": ["1.0.0"]}'; exit 0; }
[ "$CNI_COMMAND" = ADD ] && sed 's/.*"prevResult"://; s/}$//'
exit 0
"#;

const PORT: u16 = 9737;

/// Ends with the test.
struct Prometheus(Child, tempfile::TempDir, u16);

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Prometheus {
    fn scraping(host: &Host) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{}/contrib/prometheus/alerts.yml]\n\
             scrape_configs:\n- {{job_name: cnm-cni, static_configs: [{{targets: ['{}:{PORT}']}}]}}\n",
            env!("CARGO_MANIFEST_DIR"),
            host.address()
        );
        let file = folder.path().join("prometheus.yml");
        fs::write(&file, config).unwrap();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let child = Command::new(contrib::prometheus().join("prometheus"))
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let prometheus = Self(child, folder, port);
        let scrapes = || prometheus.value("up{job=\"cnm-cni\"}") == Some(1.0);
        let log = || fs::read_to_string(prometheus.1.path().join("log")).unwrap_or_default();
        assert!(within(Duration::from_secs(60), scrapes), "no scrape: {}", log());
        prometheus
    }

    /// What an expression gives now.
    fn query(&self, expression: &str) -> Vec<Value> {
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let path = format!("/api/v1/query?query={encoded}");
        // It may be starting.
        let answer = get(self.2, &path).unwrap_or_default();
        let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
        match answer["status"].as_str() {
            Some("error") => panic!("{expression}: {answer}"),
            _ => answer["data"]["result"].as_array().cloned().unwrap_or_default(),
        }
    }

    fn value(&self, expression: &str) -> Option<f64> {
        self.query(expression).first()?["value"][1].as_str()?.parse().ok()
    }

    #[track_caller]
    fn comes_to(&self, expression: &str, wanted: f64) {
        let comes = || self.value(expression) == Some(wanted);
        assert!(
            within(Duration::from_secs(30), comes),
            "{expression} is {:?}, not {wanted}",
            self.value(expression)
        );
    }
}

/// The page at a path of a port of this machine.
fn get(port: u16, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
    let answer = io::read_to_string(stream)?;
    Ok(answer.split_once("\r\n\r\n").unwrap_or_default().1.to_owned())
}

#[test]
fn docker_28_5_prometheus_reads_what_the_alerts_and_the_dashboard_name() {
    let host = Host::up(Suite::Forky);
    host.write("/etc/cni/net.d/10-pods.conflist", CONFLIST);
    host.write_program("/opt/cni/bin/moody", MOODY);
    let address = format!("0.0.0.0:{PORT}");
    host.start("cnm-cni", &["cnm-cni", "serve", "--metrics", &address, "--metrics-public"]);
    let answers = || host.try_exec(&["cnm-cni", "status"]).is_ok();
    assert!(
        within(Duration::from_secs(10), answers),
        "{:?}",
        host.try_exec(&["cnm-cni", "status"])
    );
    host.create_network("pods", Some("pods"));
    host.create_network("own", Some("cnm-cni-default"));
    let prometheus = Prometheus::scraping(&host);

    for name in ["box-a", "box-b"] {
        host.run(name, "pods", &[]);
    }
    host.run("box-c", "pods", &["-p", "8080:80"]);
    host.run_refuses("box-d", "pods", &[]);
    host.run_refuses("box-e", "own", &["-p", "8080:80"]);
    host.run("box-f", "own", &[]);
    // Whatever it finds.
    drop(host.try_exec(&["cnm-cni", "check"]));
    prometheus.comes_to(r#"cnm_cni_pool_addresses_free{conflist="pods",pool="10.61.0.0/24"}"#, 0.0);
    prometheus.comes_to(r#"cnm_cni_attachments{conflist="pods",phase="settled"}"#, 3.0);
    prometheus.comes_to(r#"cnm_cni_attachments{conflist="built-in",phase="settled"}"#, 1.0);
    prometheus.comes_to(r#"cnm_cni_pool_exhausted_total{conflist="pods"} > bool 0"#, 1.0);
    prometheus.comes_to(r#"cnm_cni_port_conflicts_total{reason="held"}"#, 1.0);
    prometheus.comes_to("cnm_cni_ports_held > bool 0", 1.0);

    host.write("/run/moody", "");
    host.docker(&["rm", "-f", "box-a"]);
    prometheus.comes_to(r#"cnm_cni_orphans{state="retrying"}"#, 1.0);
    prometheus.comes_to(r#"count(cnm_cni_orphan_oldest_seconds > 1)"#, 1.0);
    let failed = r#"cnm_cni_plugin_run_duration_seconds_count{plugin="moody",verb="DEL",outcome="failed"} > bool 0"#;
    prometheus.comes_to(failed, 1.0);
    drop(host.try_exec(&["cnm-cni", "gc", "--apply"]));
    // A spare that nobody needs.
    let create = ["network", "create", "-d", "cni", "--ipam-driver", "null", "-o", "spares=1"];
    host.docker(&[&create[..], &["-o", "conflist=cnm-cni-default", "extra"]].concat());
    let ready =
        || !host.exec(&["cnm-cni", "ls", "--spares", "--network", "extra", "-q"]).is_empty();
    assert!(within(Duration::from_secs(30), ready), "no spare");
    host.docker(&["network", "rm", "extra"]);

    for name in contrib::named() {
        let any = format!(r#"count({{__name__=~"{name}|{name}_count"}})"#);
        let has = || !prometheus.query(&any).is_empty();
        assert!(within(Duration::from_secs(30), has), "Prometheus has no {name}");
    }
    for expression in contrib::dashboard() {
        let drawn = || !prometheus.query(&expression).is_empty();
        assert!(within(Duration::from_secs(30), drawn), "nothing to draw: {expression}");
    }
    let firing = r#"count(ALERTS{alertname="CnmCniPoolAlmostFull"})"#;
    prometheus.comes_to(firing, 1.0);
    let text = host.exec(&["cnm-cni", "metrics"]);
    assert_eq!(contrib::promtool(&["check", "metrics"], &text), "");
    assert!(!text.contains("10.61.0.1") && !text.contains("box-"), "{text}");

    fs::remove_file(host.path("/run/moody")).unwrap();
    host.exec(&["cnm-cni", "orphans", "retry"]);
    prometheus.comes_to("sum(cnm_cni_orphans)", 0.0);
    host.remove(&["box-b", "box-c", "box-f"], &["pods", "own"]);
    prometheus.comes_to("sum(cnm_cni_attachments) or vector(0)", 0.0);
}
