//! The driver's metrics for Prometheus.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use cnm_cni::cnm::SpareCount;
use cnm_cni::lifecycle::Collection;
use cnm_cni::metrics::Unused;
use serde_json::{Value, json};

use super::check::attached;
use super::{Bench, NETWORK, gone, read, scripted, until};
use crate::alone::alone;

/// The value of this series; none if there is none.
fn value(text: &str, series: &str) -> Option<f64> {
    let of = |line: &str| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok();
    text.lines().find_map(of)
}

async fn metrics(bench: &Bench) -> String {
    bench.driver.metrics().await.unwrap()
}

/// A plugin with a pool of 20 addresses, whose first two DELs fail.
fn plugin() -> Value {
    let del = json!({"exit": 1, "stdout": {"code": 100, "msg": "busy"}, "times": 2});
    let mut plugin = scripted(json!({"DEL": del}));
    plugin["capabilities"]["portMappings"] = true.into();
    plugin["ipam"] = json!({"type": "host-local", "dataDir": "FOLDER/leases", "ranges": [
        [{"subnet": "10.22.0.0/16", "rangeStart": "10.22.3.1", "rangeEnd": "10.22.3.20"}]]});
    plugin
}

#[test]
fn the_metrics_tell_what_has_happened_and_how_things_stand() {
    alone(async {
        let bench = attached(json!([plugin()])).await;
        let leases = bench.folder.path().join("leases/k8snet");
        fs::create_dir_all(&leases).unwrap();
        let attachment = bench.driver.inventory().await.unwrap().attachments.remove(0);
        let ours = format!("{}\r\n{}", attachment.attachment, attachment.if_name);
        for (address, lease) in [("10.22.3.7", &*ours), ("10.22.3.9", "pod\neth0")] {
            fs::write(leases.join(address), lease).unwrap();
        }
        let publishes = |endpoint: &str| {
            read(json!({"NetworkID": NETWORK, "EndpointID": endpoint, "Interface": {}, "Options": {
                "com.docker.network.portmap": [{"Proto": 6, "Port": 80, "HostPort": 8080}]}}))
        };
        bench.driver.create_endpoint(publishes("e2")).await.unwrap();
        bench.driver.create_endpoint(publishes("e3")).await.unwrap_err();
        bench.driver.check(&[], false).await;
        // What spares have led to has a test of its own.
        bench.config.metrics.happened.spare_wanted("k8snet", true);
        bench.config.metrics.happened.spare_removed("k8snet", Unused::NotNeeded);
        // The server counts calls.
        bench.config.metrics.calls.ended("Join", Duration::from_millis(7), true);
        drop(bench.config.metrics.calls.begins("Join"));

        let text = metrics(&bench).await;
        for (series, wanted) in [
            (r#"attachments{conflist="k8snet",phase="settled"}"#, 1.0),
            (r#"attachments{conflist="k8snet",phase="staged"}"#, 1.0),
            (r#"attachments_limit"#, 10_000.0),
            (r#"networks{conflist="k8snet"}"#, 1.0),
            (r#"attach_duration_seconds_count{conflist="k8snet",outcome="ok"}"#, 2.0),
            (r#"attach_duration_seconds_count{conflist="k8snet",outcome="failed"}"#, 1.0),
            (r#"settle_duration_seconds_count{conflist="k8snet",outcome="ok"}"#, 1.0),
            (
                r#"plugin_run_duration_seconds_count{conflist="k8snet",plugin="fake-plugin",verb="ADD",outcome="ok"}"#,
                2.0,
            ),
            (r#"plugin_runs_in_flight{conflist="k8snet",plugin="fake-plugin",verb="ADD"}"#, 0.0),
            (r#"call_duration_seconds_bucket{method="Join",outcome="ok",le="0.005"}"#, 0.0),
            (r#"call_duration_seconds_bucket{method="Join",outcome="ok",le="0.01"}"#, 1.0),
            (r#"calls_in_flight{method="Join"}"#, 0.0),
            (r#"pool_exhausted_total{conflist="k8snet"}"#, 0.0),
            (r#"ports_held"#, 1.0),
            (r#"port_conflicts_total{reason="held"}"#, 1.0),
            (r#"pool_addresses{conflist="k8snet",pool="10.22.0.0/16"}"#, 20.0),
            (r#"pool_addresses_free{conflist="k8snet",pool="10.22.0.0/16"}"#, 18.0),
            (r#"pool_addresses_used{conflist="k8snet",pool="10.22.0.0/16",owner="docker"}"#, 1.0),
            (r#"pool_addresses_used{conflist="k8snet",pool="10.22.0.0/16",owner="other"}"#, 1.0),
            (r#"pool_addresses_used{conflist="k8snet",pool="10.22.0.0/16",owner="spare"}"#, 0.0),
            (r#"spares_ready{conflist="k8snet"}"#, 0.0),
            (r#"conflist_usable{conflist="k8snet"}"#, 1.0),
            (r#"conflist_files_unusable"#, 0.0),
            (r#"records_unreadable"#, 0.0),
            (r#"orphans{state="retrying"}"#, 0.0),
            (r#"orphan_oldest_seconds"#, 0.0),
        ] {
            let series = format!("cnm_cni_{series}");
            assert_eq!(value(&text, &series), Some(wanted), "{series} in\n{text}");
        }
        for id in ["e1", "e2", "e3", &attachment.attachment, "10.22.3.7", NETWORK] {
            assert!(!text.contains(&format!("\"{id}")), "{id} is in a label:\n{text}");
        }
        let well = value(&text, r#"cnm_cni_last_check_timestamp_seconds"#).unwrap();
        assert!(well > 1e9, "{well}");

        bench.leave("e1").await;
        bench.delete_endpoint("e1").await;
        fs::write(bench.config.conf_dir.join("20-bad.conflist"), "{").unwrap();
        fs::write(bench.config.state_dir.join("attachments/x.json.unreadable"), "{").unwrap();
        let text = metrics(&bench).await;
        let orphans = |state| value(&text, &format!("cnm_cni_orphans{{state=\"{state}\"}}"));
        assert_eq!(orphans("retrying").unwrap() + orphans("removing").unwrap(), 1.0, "{text}");
        let failed = r#"cnm_cni_detach_duration_seconds_count{conflist="k8snet",outcome="failed"}"#;
        assert_eq!(value(&text, failed), Some(1.0));
        assert_eq!(value(&text, "cnm_cni_conflist_files_unusable"), Some(1.0));
        assert_eq!(value(&text, "cnm_cni_records_unreadable"), Some(1.0));
        until(|| bench.records().len() == 2).await;
        bench.delete_endpoint("e2").await;
        until(|| bench.records().len() == 1).await;
        let text = metrics(&bench).await;
        assert_eq!(value(&text, "cnm_cni_orphan_oldest_seconds"), Some(0.0));
        let staged = r#"cnm_cni_attachments{conflist="k8snet",phase="staged"}"#;
        assert_eq!(value(&text, staged), Some(0.0));

        // The leases are left.
        let wanted = Collection { apply: true, grace: 0, exclusive: false };
        let found = bench.driver.collect(&wanted).await.unwrap();
        let text = metrics(&bench).await;
        let told = ["removed", "garbage", "kept", "failed"].map(|outcome| {
            value(&text, &format!("cnm_cni_garbage_found{{outcome=\"{outcome}\"}}")).unwrap()
        });
        assert!(!found.is_empty());
        assert_eq!(told.iter().sum::<f64>(), found.len() as f64, "{found:?}");
        // By now, each metric has been told.
        assert_is_documented(&text);
    });
}

/// Waits until the driver has a spare to give.
async fn is_ready(bench: &Bench) {
    let ready = r#"cnm_cni_spares_ready{conflist="k8snet"}"#;
    let deadline = Instant::now() + Duration::from_secs(20);
    while value(&metrics(bench).await, ready) != Some(1.0) {
        assert!(Instant::now() < deadline, "no spare is ready");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn spares_are_counted_as_they_are_made_claimed_missed_and_removed() {
    alone(async {
        let mut plugin = plugin();
        plugin["fake"]["DEL"] = Value::Null;
        let mut bench = Bench::with(json!([plugin.clone()])).await;
        bench.with_spares(SpareCount::Number(1)).await;
        is_ready(&bench).await;
        let leases = bench.folder.path().join("leases/k8snet");
        fs::create_dir_all(&leases).unwrap();
        let spare = bench.spares().remove(0);
        let lease = format!("{spare}\r\ncni{}", &spare[20..]);
        fs::write(leases.join("10.22.3.7"), lease).unwrap();
        let ready = [
            r#"spares_ready{conflist="k8snet"}"#,
            r#"attachments{conflist="k8snet",phase="spare"}"#,
            r#"pool_addresses_used{conflist="k8snet",pool="10.22.0.0/16",owner="spare"}"#,
        ];
        let assert = async |bench: &Bench, all: &[(&str, f64)]| {
            let text = metrics(bench).await;
            for (series, wanted) in all {
                let series = format!("cnm_cni_{series}");
                assert_eq!(value(&text, &series), Some(*wanted), "{series} in\n{text}");
            }
        };
        assert(&bench, &ready.map(|series| (series, 1.0))).await;
        // The next driver finds it on disk.
        bench.with_spares(SpareCount::Number(1)).await;
        assert_eq!(bench.spares(), [spare]);
        assert(&bench, &ready.map(|series| (series, 1.0))).await;

        let [claimed, missed] = ["claimed", "missed"]
            .map(|it| format!("spare_claims_total{{conflist=\"k8snet\",outcome=\"{it}\"}}"));
        let [outdated, gave_way, not_needed] = ["outdated", "gave_way", "not_needed"]
            .map(|it| format!("spares_removed_total{{conflist=\"k8snet\",reason=\"{it}\"}}"));
        bench.create_endpoint("e1").await.unwrap();
        assert(&bench, &[(&claimed, 1.0), (ready[2], 0.0)]).await;
        is_ready(&bench).await;
        // It is not what its ADD would make now.
        plugin["fake"]["gateway"] = "10.22.0.2".into();
        bench.write_conflist(json!([plugin]));
        bench.create_endpoint("e2").await.unwrap();
        assert(&bench, &[(&claimed, 1.0), (&missed, 1.0), (&outdated, 1.0)]).await;
        // Endpoints that ask for an address could have none.
        is_ready(&bench).await;
        bench.delete_endpoint("e1").await;
        bench.delete_endpoint("e2").await;
        let asked = json!({"NetworkID": NETWORK, "EndpointID": "e3", "Interface": {},
            "Options": {"ip": "10.22.3.7"}});
        bench.driver.create_endpoint(read(asked)).await.unwrap();
        assert(&bench, &[(&claimed, 1.0), (&missed, 1.0), (&gave_way, 1.0)]).await;
        is_ready(&bench).await;
        bench.delete_endpoint("e3").await;
        bench.driver.delete_network(read(json!({"NetworkID": NETWORK}))).await.unwrap();
        assert(&bench, &[(&not_needed, 1.0)]).await;
        gone(&bench).await;
        bench.assert_nothing_is_left();
    });
}

/// Fails unless the table of the documentation has these metrics, and no others.
fn assert_is_documented(text: &str) {
    let told: BTreeSet<(String, String)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect();
    assert!(told.len() > 30, "{text}");
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let page = fs::read_to_string(page).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `cnm_cni_"));
    let documented: BTreeSet<_> = rows
        .map(|row| {
            let (name, rest) = row.split_once("` | ").unwrap();
            let kind = rest.split(" | ").next().unwrap();
            (format!("cnm_cni_{name}"), kind.to_owned())
        })
        .collect();
    let missing: Vec<_> = told.difference(&documented).collect();
    let gone: Vec<_> = documented.difference(&told).collect();
    assert!(missing.is_empty() && gone.is_empty(), "missing {missing:?}, gone {gone:?}");
}

#[test]
fn a_plugin_that_runs_is_told_before_its_end_and_a_missing_one_with_its_conflist() {
    alone(async {
        let slow = scripted(json!({"ADD": {"sleep_ms": 5000, "exit": 1, "stdout":
            {"code": 100, "msg": "no IP addresses available in range set: 10.22.0.1-10.22.0.2"}}}));
        let bench = Bench::with(json!([slow])).await;
        let driver = bench.driver.clone();
        let request = read(json!({"NetworkID": NETWORK, "EndpointID": "e1", "Interface": {}}));
        let call = tokio::spawn(async move { driver.create_endpoint(request).await });
        until(|| !bench.calls().is_empty()).await;
        let text = metrics(&bench).await;
        let of = |name: &str| {
            let labels = r#"{conflist="k8snet",plugin="fake-plugin",verb="ADD"}"#;
            value(&text, &format!("cnm_cni_{name}{labels}")).unwrap()
        };
        assert_eq!(of("plugin_runs_in_flight"), 1.0);
        assert!(of("plugin_run_oldest_seconds") > 0.0);
        let adding = r#"cnm_cni_attachments{conflist="k8snet",phase="adding"}"#;
        assert_eq!(value(&text, adding), Some(1.0));
        call.await.unwrap().unwrap_err();
        let text = metrics(&bench).await;
        let full = r#"cnm_cni_pool_exhausted_total{conflist="k8snet"}"#;
        assert_eq!(value(&text, full), Some(1.0), "{text}");

        bench.write_conflist(json!([{"type": "absent"}]));
        let text = metrics(&bench).await;
        assert_eq!(value(&text, r#"cnm_cni_conflist_usable{conflist="k8snet"}"#), Some(0.0));
        fs::remove_file(bench.config.conf_dir.join("10-k8snet.conflist")).unwrap();
        let text = metrics(&bench).await;
        assert_eq!(value(&text, r#"cnm_cni_conflist_usable{conflist="k8snet"}"#), Some(0.0));
        bench.assert_nothing_is_left();
    });
}
