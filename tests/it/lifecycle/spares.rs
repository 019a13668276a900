//! Attachments that are made before Docker asks: who gets one, and who does not; whom they give way to; and
//! that nothing of them is left.

use std::fs;
use std::time::Duration;

use cnm_cni::cnm::SpareCount;
use cnm_cni::lifecycle::{Collection, Driver};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{Bench, NETWORK, SANDBOX, gone, inside, read, scripted, sh, table, until};
use crate::alone::alone;

const ONE: SpareCount = SpareCount::Number(1);

/// A driver whose network has a spare.
async fn bench(plugins: Value) -> Bench {
    let mut bench = Bench::with(plugins).await;
    bench.with_spares(ONE).await;
    bench
}

/// The attachment of an endpoint, by the records.
fn attachment_of(bench: &Bench, endpoint: &str) -> Value {
    let records = bench.records().into_iter().map(|file| fs::read(file).unwrap());
    let mut records = records.map(|text| serde_json::from_slice::<Value>(&text).unwrap());
    let found = records.find(|record| record["record"]["endpoint"] == endpoint);
    found.unwrap_or_else(|| panic!("{endpoint} has no record"))["record"].clone()
}

/// Whether this endpoint gets the spare that is there.
async fn gets_the_spare(bench: &Bench, request: Value) -> bool {
    until(|| bench.spares().len() == 1).await;
    let spare = bench.spares().remove(0);
    let mut whole = json!({"NetworkID": NETWORK, "EndpointID": "e1", "Interface": {}});
    whole.as_object_mut().unwrap().extend(request.as_object().unwrap().clone());
    bench.driver.create_endpoint(read(whole)).await.unwrap();
    let got = attachment_of(bench, "e1")["id"] == *spare;
    bench.delete_endpoint("e1").await;
    got
}

/// Removes the network, which ends its spares.
async fn end(bench: &Bench) {
    bench.driver.delete_network(read(json!({"NetworkID": NETWORK}))).await.unwrap();
    gone(bench).await;
    bench.assert_nothing_is_left();
}

#[test]
fn a_container_gets_a_spare_and_has_all_that_add_gave_it() {
    alone(async {
        let bench = bench(json!([scripted(json!({}))])).await;
        let spare = bench.spares().remove(0);
        let if_name = format!("cni{}", &spare[20..]);
        let parked = sh(&format!("ip -o address show {if_name}; ip -o link show {if_name}"));
        assert!(!parked.contains("inet") && !parked.contains(",UP"), "{parked}");
        let adds = bench.verbs();
        let answer = bench.create_endpoint("e1").await.unwrap();
        assert_eq!(answer.interface.address.unwrap().to_string(), "10.22.3.7/16");
        assert_eq!(bench.verbs(), adds, "no plugin has run for it");
        // Asked again, Docker gets the same answer.
        assert_eq!(bench.create_endpoint("e1").await.unwrap(), answer);
        assert_eq!(attachment_of(&bench, "e1")["id"], *spare);
        assert_eq!(bench.enter("e1").await, if_name);
        bench.program("e1").await.unwrap();
        let addresses = inside("ip -o address show eth0");
        assert!(addresses.contains("10.22.3.7/16") && addresses.contains("fd00:22::7/64"));
        let checks = bench.driver.check(&[], false).await;
        assert_eq!(checks.len(), 1, "a spare is no container's");
        // The next one is made, and nobody takes the first one for it.
        until(|| bench.spares().len() == 1).await;
        bench.leave("e1").await;
        bench.delete_endpoint("e1").await;
        let calls = bench.calls();
        let del = calls.iter().find(|call| call["command"] == "DEL").unwrap();
        assert_eq!(del["env"]["CNI_CONTAINERID"], *spare);
        assert_eq!(del["live"], json!(["10.22.3.7/16", "fd00:22::7/64"]));
        sh("umount /run/sandbox; rm /run/sandbox");
        end(&bench).await;
    });
}

#[test]
fn who_asks_for_something_that_add_has_to_know_does_not_get_one() {
    alone(async {
        let bench = bench(json!([scripted(json!({}))])).await;
        let spare = bench.spares();
        for request in [
            json!({"Interface": {"MacAddress": "02:00:00:00:00:09"}}),
            json!({"Options": {"cni.args.WHO": "me"}}),
            json!({"Options": {"com.docker.network.endpoint.sysctls":
                "net.ipv4.conf.IFNAME.arp_filter=1"}}),
        ] {
            let mut whole = json!({"NetworkID": NETWORK, "EndpointID": "e1", "Interface": {}});
            whole.as_object_mut().unwrap().extend(request.as_object().unwrap().clone());
            let adds = bench.verbs().len();
            // The scripted plugin does not make every one of these. But it is asked.
            let _ = bench.driver.create_endpoint(read(whole)).await;
            assert!(bench.verbs().len() > adds, "{request}");
            assert_eq!(bench.spares(), spare, "{request}");
            bench.delete_endpoint("e1").await;
        }
        end(&bench).await;
    });
}

#[test]
fn published_ports_of_a_spare_are_published_once_an_endpoint_has_it() {
    alone(async {
        let publisher = json!({"type": "fake-plugin", "capabilities": {"portMappings": true},
            "fake": {"log": "LOG"}});
        let bench = bench(json!([scripted(json!({})), publisher])).await;
        let before = bench.calls().len();
        let request = json!({"NetworkID": NETWORK, "EndpointID": "e1", "Interface": {}, "Options": {
            "com.docker.network.portmap": [
                {"Proto": 6, "Port": 80, "HostPort": 8080, "HostPortEnd": 8080}]}});
        bench.driver.create_endpoint(read(request.clone())).await.unwrap();
        // Another endpoint cannot have it meanwhile.
        let mut other = request;
        other["EndpointID"] = json!("e2");
        let refusal = bench.driver.create_endpoint(read(other)).await.unwrap_err();
        assert!(refusal.to_string().contains("8080"), "{refusal}");
        bench.enter("e1").await;
        bench.program("e1").await.unwrap();
        let of_e1 = attachment_of(&bench, "e1");
        let published = bench.calls().into_iter().skip(before).find(|call| {
            call["env"]["CNI_CONTAINERID"] == of_e1["id"]
                && call["stdin"]["runtimeConfig"]["portMappings"][0]["hostPort"] == 8080
        });
        assert_eq!(published.unwrap()["command"], "ADD");
        bench.leave("e1").await;
        bench.delete_endpoint("e1").await;
        sh("umount /run/sandbox; rm /run/sandbox");
        end(&bench).await;
    });
}

#[test]
fn a_spare_that_is_not_as_add_left_it_is_replaced() {
    alone(async {
        let bench = bench(json!([scripted(json!({}))])).await;
        let if_name = format!("cni{}", &bench.spares()[0][20..]);
        sh(&format!("ip link set {if_name} mtu 1400"));
        assert!(!gets_the_spare(&bench, json!({})).await, "somebody has changed it");
        // Another configuration, which the spare is not made by.
        let mut bench = bench;
        bench.with_spares(ONE).await;
        bench.write_conflist(json!([scripted(json!({"gateway": "10.22.0.2"}))]));
        assert!(!gets_the_spare(&bench, json!({})).await, "the conflist is another one");
        bench.with_spares(ONE).await;
        let if_name = format!("cni{}", &bench.spares()[0][20..]);
        sh(&format!("ip link delete {if_name}"));
        bench.create_endpoint("e1").await.unwrap();
        bench.delete_endpoint("e1").await;
        end(&bench).await;
    });
}

#[test]
fn a_spare_survives_a_restart_and_ends_with_the_wish_for_none() {
    alone(async {
        let mut bench = bench(json!([scripted(json!({}))])).await;
        let spare = bench.spares();
        bench.driver.drain().await;
        bench.driver = Driver::open(bench.config.clone()).await.unwrap();
        assert_eq!(bench.spares(), spare);
        // It is no garbage, however old.
        let wanted = Collection { apply: true, grace: 0, exclusive: false };
        assert_eq!(bench.driver.collect(&wanted).await.unwrap(), []);
        let inventory = bench.driver.inventory().await.unwrap();
        assert_eq!(inventory.attachments, []);
        assert_eq!(inventory.spares[0].attachment, spare[0]);
        assert!(inventory.spares[0].spare);
        assert!(gets_the_spare(&bench, json!({})).await);
        until(|| bench.spares().len() == 1).await;
        bench.driver.drain().await;
        bench.config.spares = SpareCount::Number(0);
        bench.restart().await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_spare_of_the_last_driver_is_exempt_in_its_container() {
    alone(async {
        let mut bench = bench(json!([scripted(json!({}))])).await;
        let network = json!({"NetworkID": "n2", "Options": {"com.docker.network.generic":
            {"forward": "always"}}});
        bench.driver.create_network(read(network)).await.unwrap();
        until(|| bench.spares().len() == 2).await;
        bench.driver.drain().await;
        bench.driver = Driver::open(bench.config.clone()).await.unwrap();

        let request = json!({"NetworkID": "n2", "EndpointID": "e1", "Interface": {}});
        bench.driver.create_endpoint(read(request)).await.unwrap();
        let id = attachment_of(&bench, "e1")["id"].as_str().unwrap().to_owned();
        bench.join("e1", SANDBOX).await.unwrap();
        // The next one is written beside it.
        until(|| bench.spares().len() == 2).await;
        assert!(table().contains(&id), "{}", table());
        bench.delete_endpoint("e1").await;
        bench.driver.delete_network(read(json!({"NetworkID": "n2"}))).await.unwrap();
        end(&bench).await;
    });
}

#[test]
fn a_spare_whose_removal_fails_is_shown_as_one_and_is_no_garbage() {
    alone(async {
        let del = json!({"exit": 1, "stdout": {"code": 100, "msg": "busy"}, "times": 1000});
        let bench = bench(json!([scripted(json!({"DEL": del}))])).await;
        let spare = bench.spares().remove(0);
        // It is not what its ADD would make now.
        bench.write_conflist(json!([scripted(json!({"gateway": "10.22.0.2"}))]));
        bench.create_endpoint("e1").await.unwrap();
        let orphans = || cnm_cni::lifecycle::orphans(&bench.config.state_dir).unwrap();
        until(|| orphans().iter().any(|orphan| orphan.attempts > 0)).await;
        let [orphan] = &orphans()[..] else { panic!("{:?}", orphans()) };
        assert_eq!((orphan.spare, &orphan.attachment), (true, &spare));
        let inventory = bench.driver.inventory().await.unwrap();
        let of = |is_spare| inventory.attachments.iter().filter(move |it| it.spare == is_spare);
        assert!(of(true).next().unwrap().removal.is_some());
        assert_eq!(of(false).next().unwrap().endpoint.as_str(), "e1");
        let wanted = Collection { apply: true, grace: 0, exclusive: false };
        let found = bench.driver.collect(&wanted).await.unwrap();
        assert!(found.iter().all(|it| !it.what.contains(&spare)), "{found:?}");
        let forgotten = bench.driver.forget_orphan(&spare).await.unwrap();
        assert!(forgotten.spare);
    });
}

#[test]
fn a_spare_gives_way_to_whoever_needs_what_it_has() {
    alone(async {
        let lease = json!({"lease": "FOLDER/lease"});
        let mut bench = bench(json!([scripted(lease)])).await;
        // By name: its address.
        let spare = bench.spares().remove(0);
        let asked = json!({"NetworkID": NETWORK, "EndpointID": "e1", "Interface": {},
            "Options": {"ip": "10.22.3.7"}});
        bench.driver.create_endpoint(read(asked)).await.unwrap();
        assert_ne!(attachment_of(&bench, "e1")["id"], *spare);
        bench.delete_endpoint("e1").await;
        bench.with_spares(ONE).await;
        // By what ADD finds out: that nothing is left.
        let asked = json!({"NetworkID": NETWORK, "EndpointID": "e1", "Interface": {},
            "Options": {"cni.args.WHO": "me"}});
        bench.driver.create_endpoint(read(asked)).await.unwrap();
        assert_eq!(bench.spares(), [] as [String; 0]);
        bench.delete_endpoint("e1").await;
        end(&bench).await;
    });
}

#[test]
fn a_spare_whose_plugin_hangs_is_waited_for_by_nobody() {
    alone(async {
        let bench = bench(json!([scripted(json!({}))])).await;
        let write_other = |add: Value| {
            let plugins = json!([scripted(json!({"ADD": add}))]);
            let other = json!({"cniVersion": "1.0.0", "name": "other", "plugins": plugins});
            let other = other.to_string().replace("LOG", &bench.log().to_string_lossy());
            fs::write(bench.config.conf_dir.join("20-other.conflist"), other).unwrap();
        };
        let adds_of_other = || {
            let calls = bench
                .calls()
                .into_iter()
                .filter(|call| call["command"] == "ADD" && call["stdin"]["name"] == "other");
            calls.count()
        };
        write_other(json!({"sleep_ms": 80_000}));
        let generic = json!({"com.docker.network.generic": {"conflist": "other"}});
        bench
            .driver
            .create_network(read(json!({"NetworkID": "n2", "Options": generic})))
            .await
            .unwrap();
        until(|| adds_of_other() == 1).await;
        // A network on another conflist goes, with its spare.
        bench.driver.delete_network(read(json!({"NetworkID": NETWORK}))).await.unwrap();
        until(|| bench.spares().is_empty()).await;
        // An endpoint that the spare may be in the way of fails by its own fault.
        write_other(json!({"exit": 1}));
        let asked = json!({"NetworkID": "n2", "EndpointID": "e1", "Interface": {}});
        let created = bench.driver.create_endpoint(read(asked));
        let created =
            timeout(Duration::from_secs(30), created).await.expect("it waits for a spare");
        assert!(created.unwrap_err().to_string().contains("fake-plugin"));
        until(|| bench.records().is_empty()).await;
        // Others get theirs; there, none is made for a while.
        bench.driver.create_network(read(json!({"NetworkID": NETWORK}))).await.unwrap();
        until(|| bench.spares().len() == 1).await;
        assert_eq!(adds_of_other(), 3, "the spare, and the endpoint twice");
        // The network goes while one hangs.
        bench.driver.delete_network(read(json!({"NetworkID": "n2"}))).await.unwrap();
        write_other(json!({"sleep_ms": 80_000}));
        let again = json!({"NetworkID": "n3", "Options": generic});
        bench.driver.create_network(read(again)).await.unwrap();
        until(|| adds_of_other() == 4).await;
        bench.driver.delete_network(read(json!({"NetworkID": "n3"}))).await.unwrap();
        end(&bench).await;
    });
}

#[test]
fn a_network_in_use_has_one_where_the_pool_is_large_enough_and_none_before_its_first_use() {
    alone(async {
        let ipam = |subnet: &str| {
            let mut plugin = scripted(json!({}));
            plugin["ipam"] = json!({"type": "host-local", "ranges": [[{"subnet": subnet}]]});
            json!([plugin])
        };
        let mut bench = Bench::with(ipam("10.22.0.0/16")).await;
        bench.driver.drain().await;
        bench.config.spares = SpareCount::Auto;
        bench.driver = Driver::open(bench.config.clone()).await.unwrap();
        bench.create_endpoint("e1").await.unwrap();
        assert_eq!(bench.verbs(), ["ADD"], "there was none before");
        until(|| bench.spares().len() == 1).await;
        // No other pool has so many addresses that one can be spared.
        bench.write_conflist(ipam("10.22.3.0/29"));
        bench.create_endpoint("e2").await.unwrap();
        until(|| bench.records().len() == 2).await;
        assert_eq!(bench.spares(), [] as [String; 0]);
        bench.delete_endpoint("e1").await;
        bench.delete_endpoint("e2").await;
        end(&bench).await;
    });
}

/// The plugins of a chain with IPAM by `dhcp`, which the driver finds, and which is never run.
fn leased(bench: &Bench) -> Value {
    let plugins = bench.folder.path().join("bin");
    fs::create_dir_all(&plugins).unwrap();
    let fake = bench.config.cni_path[0].join("fake-plugin");
    std::os::unix::fs::symlink(fake, plugins.join("dhcp")).unwrap();
    let mut leased = scripted(json!({}));
    leased["ipam"] = json!({"type": "dhcp"});
    json!([leased])
}

#[test]
fn a_chain_with_leases_of_dhcp_has_none_whatever_the_driver_is_told() {
    alone(async {
        let mut bench = Bench::with(json!([scripted(json!({}))])).await;
        let read_of = |file: &str| fs::read_to_string(bench.config.conf_dir.join(file)).unwrap();
        let other = read_of("10-k8snet.conflist").replace("\"k8snet\"", "\"other\"");
        fs::write(bench.config.conf_dir.join("20-other.conflist"), other).unwrap();
        bench.write_conflist(leased(&bench));
        bench.create_endpoint("e1").await.unwrap();
        bench.driver.drain().await;
        bench.config.spares = ONE;
        bench.driver = Driver::open(bench.config.clone()).await.unwrap();
        // Each of these has the driver look at all networks.
        for network in ["n2", "n3"] {
            let request = json!({"NetworkID": network,
                "Options": {"com.docker.network.generic": {"conflist": "other"}}});
            bench.driver.create_network(read(request)).await.unwrap();
            let of_network = |it: &Value| it["record"]["network"] == network;
            let records = || bench.records().into_iter().filter_map(|file| fs::read(file).ok());
            let read_all = || records().filter_map(|text| serde_json::from_slice(&text).ok());
            until(|| read_all().any(|record| of_network(&record))).await;
        }
        until(|| bench.spares().len() == 2).await;
        let inventory = bench.driver.inventory().await.unwrap();
        assert!(inventory.spares.iter().all(|spare| spare.conflist == "other"), "{inventory:?}");
        bench.delete_endpoint("e1").await;
        for network in ["n2", "n3"] {
            bench.driver.delete_network(read(json!({"NetworkID": network}))).await.unwrap();
        }
        until(|| bench.records().is_empty()).await;
        end(&bench).await;
    });
}

#[test]
fn an_option_of_the_network_says_how_many() {
    alone(async {
        let mut bench = Bench::with(json!([scripted(json!({}))])).await;
        bench.driver.drain().await;
        bench.config.spares = SpareCount::Auto;
        bench.driver = Driver::open(bench.config.clone()).await.unwrap();
        let with = |spares: &str| json!({"NetworkID": "n2", "Options": {"com.docker.network.generic": {"spares": spares}}});
        let refusal = bench.driver.create_network(read(with("65"))).await.unwrap_err();
        assert!(
            refusal.to_string().contains("spares=65: expected a number from 0 to 64"),
            "{refusal}"
        );
        let mut pinned = with("3");
        pinned["IPv4Data"] = json!([{"Pool": "10.22.0.0/16"}]);
        let refusal = bench.driver.create_network(read(pinned)).await.unwrap_err();
        assert!(refusal.to_string().contains("--ipam-driver null"), "{refusal}");
        // A lease of nobody would take an address of the LAN.
        let lan = json!({"cniVersion": "1.0.0", "name": "lan", "plugins": leased(&bench)});
        let lan = lan.to_string();
        let lan = lan.replace("LOG", &bench.log().to_string_lossy());
        fs::write(bench.config.conf_dir.join("20-lan.conflist"), lan).unwrap();
        let mut on_lan = with("1");
        on_lan["Options"]["com.docker.network.generic"]["conflist"] = json!("lan");
        let refusal = bench.driver.create_network(read(on_lan)).await.unwrap_err();
        assert!(refusal.to_string().contains("leases addresses of a DHCP server"), "{refusal}");
        bench.driver.create_network(read(with("3"))).await.unwrap();
        until(|| bench.spares().len() == 3).await;
        bench.driver.delete_network(read(json!({"NetworkID": "n2"}))).await.unwrap();
        until(|| bench.records().is_empty()).await;
        end(&bench).await;
    });
}
