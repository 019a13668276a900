//! A user of Docker says in options what no plugin can take, or what goes round the driver's books.

use serde_json::{Value, json};

use super::{Site, scripted, scripted_with};
use crate::alone::alone;

#[test]
fn what_no_plugin_can_take_is_refused_at_the_door() {
    alone(async {
        let site = Site::with(json!([scripted()])).await;
        let long = "x".repeat(200_000);
        for (key, value) in [
            ("cni.args.A", "nul\0"),
            ("cni.args.A", "line\nfeed"),
            ("cni.args.A", long.as_str()),
            ("cni.args.IgnoreUnknown", "0"),
            ("cni.capability.bandwidth", r#"{"ingressRate":1e9999}"#),
            ("cni.capability.bandwidth", r#"["\u0000"]"#),
            // The driver's own.
            (
                "cni.capability.portMappings",
                r#"[{"hostPort":80,"containerPort":80,"protocol":"tcp"}]"#,
            ),
            ("cni.capability.ips", r#"["10.22.3.9/16"]"#),
            ("cni.capability.mac", r#""02:99:00:00:00:01""#),
            ("cni.capability.ipRanges", r#"[[{"subnet":"10.1.0.0/16"}]]"#),
        ] {
            for refused in [
                site.create_network_with("b2", json!({"conflist": "net", key: value})).await,
                site.create_endpoint_with("e1", json!({key: value})).await,
            ] {
                let error = refused.expect_err(key).to_string();
                assert!(error.contains(key) && error.len() < 500, "{key}: {error}");
                assert!(!error.contains(value), "{key}: the value may be a secret: {error}");
            }
        }
        let no_port = json!([{"Proto": 6, "IP": "", "Port": 0, "HostIP": "", "HostPort": 80}]);
        let refused =
            site.create_endpoint_with("e1", json!({"com.docker.network.portmap": no_port}));
        let error = refused.await.unwrap_err().to_string();
        assert!(error.contains("no port 0"), "{error}");
        assert_eq!((site.calls().len(), site.orphans().len()), (0, 0));
    });
}

#[test]
fn an_undo_goes_on_past_a_plugin_that_refuses_it() {
    alone(async {
        let lease = json!({"lease": "/run/lease"});
        let refuses = json!({"exit": 1, "stdout": {"code": 7, "msg": "bad option"}});
        let meta = json!({"type": "other", "fake": {"log": "LOG", "ADD": refuses, "DEL": refuses}});
        let site = Site::with(json!([scripted_with(lease), meta])).await;
        let error = site.create_endpoint("e1").await.unwrap_err().to_string();
        assert!(error.contains("bad option"), "{error}");
        assert_eq!(
            site.calls()[..4],
            ["ADD fake-plugin", "ADD other", "DEL other", "DEL fake-plugin"]
        );
        assert!(!std::path::Path::new("/run/lease").exists(), "the lease stays behind");
        let links = crate::alone::sh("ls /sys/class/net");
        assert_eq!(links.trim(), "lo", "the interface stays behind");
    });
}

#[test]
fn an_ipv4_address_in_ipv6s_clothes_is_one() {
    let ports: Value =
        json!([{"Proto": 6, "Port": 80, "HostIP": "::ffff:127.0.0.1", "HostPort": 80}]);
    let options = json!({"com.docker.network.portmap": ports});
    let read = cnm_cni::cnm::EndpointOptions::read(options.as_object().unwrap()).unwrap();
    assert_eq!(read.ports[0].host_ip, Some("127.0.0.1".parse().unwrap()));
}
