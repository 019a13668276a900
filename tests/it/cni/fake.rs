//! The fake plugin's own work, on real interfaces: other tests rely on it.

use cnm_cni::cni::Attachment;
use serde_json::{Value, json};

use super::netns::Netns;
use super::{Bench, attachment};

fn script() -> Value {
    json!({
        "interface": true,
        "addresses": ["10.200.7.5/24", "fd00:200::5/64"],
        "gateway": "10.200.7.1",
        "routes": [{"dst": "10.201.0.0/16", "gw": "10.200.7.1", "priority": 77}],
        "host_addresses": ["10.200.7.1/24"],
        "mtu": 1400,
        "commands": ["ip rule add from 10.200.7.5 table 100", "ip link set lo up"],
    })
}

#[tokio::test]
async fn it_makes_an_interface_in_every_version_of_results_and_removes_it() {
    for version in ["0.1.0", "0.2.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let bench = Bench::with(&["iface", "chained"]);
        let list =
            bench.list(version, json!([{"type": "iface", "fake": script()}, {"type": "chained"}]));
        let netns = Netns::new();
        let to = Attachment { netns: Some(netns.path()), ..attachment() };
        let runtime = bench.runtime();

        let result = runtime.add(&list, &to).await.unwrap();
        let addresses: Vec<_> = result.ips.iter().map(|ip| ip.address.to_string()).collect();
        assert_eq!(addresses, ["10.200.7.5/24", "fd00:200::5/64"], "{version}");
        assert_eq!(result.ips[0].gateway, Some("10.200.7.1".parse().unwrap()));
        let link = netns.ip(&["addr", "show", "dev", "eth0"]);
        assert!(link.contains("10.200.7.5/24") && link.contains("mtu 1400"), "{link}");
        assert!(netns.ip(&["rule"]).contains("from 10.200.7.5 lookup 100"));
        assert!(netns.ip(&["route"]).contains("10.201.0.0/16 via 10.200.7.1"));
        if version >= "0.3" {
            let inner = result.interface_of(&result.ips[0]).unwrap();
            assert_eq!(inner.name, "eth0");
            assert_eq!(inner.sandbox.as_deref(), netns.path().to_str());
            assert!(link.contains(inner.mac.as_deref().unwrap()), "{link}");
        }
        if version >= "0.4" {
            runtime.check(&list, &to, &result).await.unwrap();
            netns.ip(&["addr", "del", "10.200.7.5/24", "dev", "eth0"]);
            let error = runtime.check(&list, &to, &result).await.unwrap_err();
            assert!(error.to_string().contains("has lost the address 10.200.7.5/24"), "{error}");
            netns.ip(&["addr", "add", "10.200.7.5/24", "dev", "eth0"]);
        }
        runtime.del(&list, &to, Some(&result)).await.unwrap();
        assert!(!netns.ip(&["link"]).contains("eth0"));
        let live = bench.calls().last().unwrap()["live"].clone();
        assert_eq!(live.as_array().unwrap().len(), 2, "{live}");

        runtime.del(&list, &to, Some(&result)).await.unwrap();
        assert_eq!(bench.calls().last().unwrap()["live"], Value::Null);
    }
}

#[tokio::test]
async fn it_takes_the_address_and_mac_that_it_gets() {
    let bench = Bench::with(&["iface"]);
    let plugin = json!({
        "type": "iface", "capabilities": {"ips": true, "mac": true}, "fake": script(),
    });
    let list = bench.list("1.0.0", json!([plugin]));
    let runtime = bench.runtime();
    let by_args = [("IP", "10.200.7.9"), ("MAC", "02:00:00:00:00:09")];
    let by_capability = json!({"ips": ["10.200.7.9/24"], "mac": "02:00:00:00:00:09"});
    let tellings = [
        Attachment {
            args: by_args.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec(),
            ..attachment()
        },
        Attachment { capability_args: by_capability.as_object().unwrap().clone(), ..attachment() },
    ];
    for telling in tellings {
        let netns = Netns::new();
        let to = Attachment { netns: Some(netns.path()), ..telling };
        let result = runtime.add(&list, &to).await.unwrap();
        assert_eq!(result.ips[0].address, "10.200.7.9/24".parse().unwrap());
        assert_eq!(result.interfaces[1].mac.as_deref(), Some("02:00:00:00:00:09"));
        let link = netns.ip(&["addr", "show", "dev", "eth0"]);
        assert!(link.contains("10.200.7.9/24") && link.contains("02:00:00:00:00:09"), "{link}");
        runtime.del(&list, &to, Some(&result)).await.unwrap();
    }
}
