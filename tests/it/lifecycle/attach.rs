//! CreateEndpoint and Join.

use std::time::Duration;

use cnm_cni::cnm::CreateEndpointResponse;
use cnm_cni::lifecycle::{Error, Maximum};
use serde_json::{Value, json};

use super::host::replace;
use super::{Bench, NETWORK, SANDBOX, files, read, rules, scripted, table};
use crate::alone::{alone, sh};

#[test]
fn docker_gets_what_the_chain_gave() {
    alone(async {
        let bench = Bench::with(json!([scripted(json!({"mac": "02:00:00:00:00:07"}))])).await;
        let answer = bench.create_endpoint("e1").await.unwrap();
        assert_eq!(
            serde_json::to_value(&answer).unwrap(),
            json!({"Interface": {
                "Address": "10.22.3.7/16",
                "AddressIPv6": "fd00:22::7/64",
                "MacAddress": "02:00:00:00:00:07",
            }})
        );

        let joined = bench.join("e1", SANDBOX).await.unwrap();
        assert_eq!(joined.gateway, Some("10.22.0.1".parse().unwrap()));
        let link = sh(&format!("ip -o link show {}", joined.interface_name.src_name));
        assert!(link.contains("02:00:00:00:00:07"), "{link}");

        bench.delete_endpoint("e1").await;
        assert_eq!(bench.verbs(), ["ADD", "DEL"]);
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_default_route_that_the_result_does_not_have_is_dockers_gateway() {
    alone(async {
        let untold = json!({
            "routes": [],
            "commands": [
                "ip route add 169.254.1.1 dev {ifname}",
                "ip route add default via 169.254.1.1 dev {ifname}",
                "ip route add default via 10.22.0.9 dev {ifname} metric 100",
                "ip -6 route add default via fd00:22::1 dev {ifname}",
            ],
        });
        let mut bench = Bench::with(json!([scripted(untold)])).await;
        bench.create_endpoint("e1").await.unwrap();
        for _ in 0..2 {
            let joined = bench.join("e1", SANDBOX).await.unwrap();
            assert_eq!(joined.gateway, Some("169.254.1.1".parse().unwrap()));
            assert_eq!(joined.gateway_ipv6, Some("fd00:22::1".parse().unwrap()));
            let reached = &joined.static_routes[0].destination;
            assert_eq!(reached.to_string(), "169.254.1.1/32");
            // The next driver has it from the record.
            bench.restart().await;
        }
        bench.delete_endpoint("e1").await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn the_dns_of_a_result_is_kept_and_reported() {
    alone(async {
        let dns = json!({"nameservers": ["10.22.0.1"], "domain": "web.test",
                         "search": ["test"], "options": ["ndots:2"]});
        let mut bench = Bench::with(json!([scripted(json!({"dns": dns}))])).await;
        bench.create_endpoint("e1").await.unwrap();
        bench.join("e1", SANDBOX).await.unwrap();
        for _ in 0..2 {
            let ids = json!({"NetworkID": NETWORK, "EndpointID": "e1"});
            let info = bench.driver.endpoint_oper_info(read(ids)).await.unwrap().value;
            assert_eq!(info["cni.result"]["dns"], dns);
            // The next driver has it from the record.
            bench.restart().await;
        }
        bench.delete_endpoint("e1").await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_repeated_call_gets_the_first_answer_and_no_second_lease() {
    alone(async {
        let plugin = scripted(json!({"ADD": {"sleep_ms": 100}}));
        let bench = Bench::with(json!([plugin])).await;
        let (first, while_it_runs) =
            tokio::join!(bench.create_endpoint("e1"), bench.create_endpoint("e1"));
        let first = first.unwrap();
        assert_eq!(while_it_runs.unwrap(), first);
        assert_eq!(bench.create_endpoint("e1").await.unwrap(), first);

        let joined = bench.join("e1", SANDBOX).await.unwrap();
        assert_eq!(bench.join("e1", SANDBOX).await.unwrap(), joined);
        assert_eq!(bench.create_endpoint("e1").await.unwrap(), first);
        assert_eq!(bench.verbs(), ["ADD"]);

        bench.delete_endpoint("e1").await;
        bench.delete_endpoint("e1").await;
        assert_eq!(bench.verbs(), ["ADD", "DEL"]);
        bench.assert_nothing_is_left();
    });
}

#[test]
fn endpoints_do_not_wait_for_each_other() {
    alone(async {
        // Each ADD ends only once the other has begun.
        let meet = r#"for i in $(seq 100); do [ $(grep -c ADD LOG) = 2 ] && exit 0; sleep 0.1; done; exit 1"#;
        let plugin = scripted(json!({"addresses": [], "gateway": "", "routes": [],
                                     "commands": [meet]}));
        let bench = Bench::with(json!([plugin])).await;
        let (one, other) = tokio::join!(bench.create_endpoint("e1"), bench.create_endpoint("e2"));
        one.unwrap();
        other.unwrap();
        tokio::join!(bench.delete_endpoint("e1"), bench.delete_endpoint("e2"));
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_chain_that_fails_is_taken_back() {
    alone(async {
        let second = json!({"type": "fake-plugin", "fake": {"log": "LOG", "ADD": {
            "exit": 1, "stdout": {"code": 100, "msg": "no room", "details": "on the moon"}}}});
        let bench = Bench::with(json!([scripted(json!({})), second])).await;
        let error = bench.create_endpoint("e1").await.unwrap_err().to_string();
        for part in ["k8snet", "fake-plugin", "no room", "on the moon"] {
            assert!(error.contains(part), "{part} is not in: {error}");
        }
        assert_eq!(bench.verbs(), ["ADD", "ADD", "DEL", "DEL"]);
        bench.assert_nothing_is_left();
        assert!(bench.join("e1", SANDBOX).await.is_err(), "an endpoint that was never made");
    });
}

#[test]
fn an_address_that_docker_names_is_asked_of_the_chain_whatever_its_pool() {
    alone(async {
        // As of Docker's IPAM, and as one without a subnet may have it.
        let pools = [json!([]), json!([{"AddressSpace": "null", "Pool": "0.0.0.0/0"}])];
        for (pool, address) in pools.iter().zip(["10.22.3.7/16", "10.22.3.7/32"]) {
            let bench = Bench::with(json!([scripted(json!({}))])).await;
            bench
                .driver
                .create_network(read(json!({"NetworkID": "n2", "IPv4Data": pool, "IPv6Data": []})))
                .await
                .unwrap();
            let wanted = json!({"NetworkID": "n2", "EndpointID": "e1",
                                "Interface": {"Address": address}});
            let created = bench.driver.create_endpoint(read(wanted)).await.unwrap();
            // Docker accepts no answer to what it has decided.
            assert_eq!(created.interface.address, None);
            assert_eq!(bench.calls()[0]["stdin"]["runtimeConfig"]["ips"], json!([address]));
            let ids = json!({"NetworkID": "n2", "EndpointID": "e1"});
            bench.driver.delete_endpoint(read(ids)).await;
            bench.assert_nothing_is_left();
        }
    });
}

#[test]
fn another_address_than_dockers_is_taken_back() {
    alone(async {
        // The second plugin returns another address than the first one.
        let liar = json!({"type": "fake-plugin", "fake": {"log": "LOG", "verbatim": true,
            "result": {"cniVersion": "1.0.0", "ips": [{"address": "10.22.3.8/16"}]}}});
        let bench = Bench::with(json!([scripted(json!({})), liar])).await;
        let wanted = json!({"NetworkID": NETWORK, "EndpointID": "e1",
                            "Interface": {"Address": "10.22.3.9/16"}});
        let error = bench.driver.create_endpoint(read(wanted)).await.unwrap_err().to_string();
        assert!(error.contains("10.22.3.8/16") && error.contains("10.22.3.9"), "{error}");
        let calls = bench.calls();
        let del = calls.last().unwrap();
        assert_eq!(del["command"], "DEL");
        assert_eq!(del["stdin"]["prevResult"]["ips"][0]["address"], "10.22.3.8/16");
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_chain_that_makes_no_interface_is_taken_back() {
    alone(async {
        let bench = Bench::with(json!([{"type": "fake-plugin", "fake": {"log": "LOG"}}])).await;
        let error = bench.create_endpoint("e1").await.unwrap_err().to_string();
        assert!(error.contains("made no interface") && error.contains("bridge"), "{error}");
        assert_eq!(bench.verbs(), ["ADD", "DEL"]);
        bench.assert_nothing_is_left();
    });
}

/// An endpoint on a network with an MTU, for which Docker has decided on a MAC.
async fn decided(bench: &Bench, mtu: &str) -> Result<CreateEndpointResponse, Error> {
    let options = json!({"com.docker.network.generic": {"com.docker.network.driver.mtu": mtu}});
    let network = json!({"NetworkID": "n2", "Options": options});
    bench.driver.create_network(read(network)).await?;
    let request = json!({"NetworkID": "n2", "EndpointID": "e1",
                         "Interface": {"MacAddress": "02:00:00:00:00:09"}});
    bench.driver.create_endpoint(read(request)).await
}

#[test]
fn plugins_get_the_mac_and_the_mtu_that_docker_decided() {
    alone(async {
        let mut first = scripted(json!({}));
        first["capabilities"] = json!({});
        first["mtu"] = json!(1500);
        let second = json!({"type": "fake-plugin", "args": {"cni": {"other": 1}},
                            "capabilities": {"mac": true}, "fake": {"log": "LOG"}});
        let bench = Bench::with(json!([first, second])).await;
        let answer = decided(&bench, "1400").await.unwrap();
        assert_eq!(answer.interface.mac_address, None, "never a second MAC");

        let joined = bench.join("e1", SANDBOX).await.unwrap();
        let link = sh(&format!("ip -o link show {}", joined.interface_name.src_name));
        assert!(link.contains("mtu 1400") && link.contains("02:00:00:00:00:09"), "{link}");
        let other_end = sh("ip -o link show type veth | grep ' fake'");
        assert!(other_end.contains("mtu 1400"), "{other_end}");
        bench.delete_endpoint("e1").await;
        // DEL as well as ADD.
        let calls = bench.calls();
        assert_eq!(calls.len(), 4);
        for call in calls {
            let args = call["env"]["CNI_ARGS"].as_str().unwrap();
            assert!(args.split(';').any(|pair| pair == "MAC=02:00:00:00:00:09"), "{args}");
            assert_eq!(call["stdin"]["args"]["cni"]["mac"], "02:00:00:00:00:09");
            let is_first = !call["stdin"]["mtu"].is_null();
            match is_first {
                true => assert_eq!(call["stdin"]["mtu"], 1400),
                false => {
                    assert_eq!(call["stdin"]["args"]["cni"]["other"], 1);
                    assert_eq!(call["stdin"]["runtimeConfig"]["mac"], "02:00:00:00:00:09");
                }
            }
        }
        bench.assert_nothing_is_left();
    });
}

#[test]
fn an_interface_that_is_not_what_docker_decided_is_taken_back() {
    alone(async {
        for (command, words) in [
            ("ip link set {ifname} address 02:00:00:00:00:05", ["MAC 02:00:00:00:00:09", "tuning"]),
            ("ip link set {ifname} mtu 1300", ["MTU 1400", "1300"]),
        ] {
            let mut plugin = scripted(json!({"commands": [command]}));
            plugin["mtu"] = json!(1500);
            let bench = Bench::with(json!([plugin])).await;
            let error = decided(&bench, "1400").await.unwrap_err().to_string();
            for word in words {
                assert!(error.contains(word), "no {word}: {error}");
            }
            assert_eq!(bench.verbs(), ["ADD", "DEL"]);
            bench.assert_nothing_is_left();
        }
    });
}

#[test]
fn a_result_that_no_container_can_have_is_an_error_and_del_runs() {
    alone(async {
        for (result, words) in [
            (
                json!({"ips": [{"address": "::ffff:10.1.2.3/120"}]}),
                "gives the address ::ffff:10.1.2.3/120, ",
            ),
            (json!({"ips": [{"address": "127.0.0.5/8"}]}), "gives the address 127.0.0.5/8, "),
            (
                json!({
                    "ips": [{"address": "10.9.0.5/24", "gateway": "10.9.0.5"}],
                    "routes": [{"dst": "0.0.0.0/0"}],
                }),
                "gives the gateway 10.9.0.5 for 0.0.0.0/0, ",
            ),
        ] {
            let bench = Bench::with(json!([scripted(json!({}))])).await;
            let fake = bench.config.cni_path[0].join("fake-plugin");
            std::os::unix::fs::symlink(fake, bench.config.cni_path[1].join("odd")).unwrap();
            let odd = json!({"type": "odd", "fake": {"log": "LOG", "ADD": {"stdout": result}}});
            bench.write_conflist(json!([scripted(json!({})), odd]));
            let error = bench.create_endpoint("e1").await.unwrap_err().to_string();
            let what = format!("plugin \"odd\" of conflist \"k8snet\" {words}");
            assert!(error.contains(&what), "{error}");
            assert_eq!(bench.verbs(), ["ADD", "ADD", "DEL", "DEL"]);
            bench.assert_nothing_is_left();
        }
    });
}

#[test]
fn an_mtu_that_a_chain_cannot_make_is_refused_with_the_network() {
    alone(async {
        let bench = Bench::with(json!([scripted(json!({}))])).await;
        let error = decided(&bench, "9000").await.unwrap_err().to_string();
        assert!(error.contains("fake-plugin") && error.contains("driver.mtu"), "{error}");

        // Or at most the MTU of the parent device.
        sh("ip link add up0 type veth peer name wire");
        let mut plugin = scripted(json!({}));
        plugin["mtu"] = json!(1500);
        plugin["master"] = json!("up0");
        bench.write_conflist(json!([plugin]));
        let error = decided(&bench, "9000").await.unwrap_err().to_string();
        assert!(error.contains("\"up0\" has 1500"), "{error}");
        assert_eq!(bench.verbs(), [] as [&str; 0], "no plugin has run");
        sh("ip link del up0");
        bench.assert_nothing_is_left();
    });
}

#[test]
fn the_users_arguments_reach_the_plugins() {
    alone(async {
        let mut plugin = scripted(json!({}));
        plugin["capabilities"] = json!({"bandwidth": true, "mac": true});
        let bench = Bench::with(json!([plugin])).await;
        let network = json!({"NetworkID": "n2", "Options": {"com.docker.network.generic": {
            "cni.args.WHO": "network", "cni.capability.bandwidth": "{\"ingressRate\":8}"}}});
        bench.driver.create_network(read(network)).await.unwrap();
        let request = json!({"NetworkID": "n2", "EndpointID": "e1",
            "Interface": {"MacAddress": "02:00:00:00:00:09"},
            "Options": {"cni.args.WHO": "endpoint", "ip": "10.22.3.7"}});
        bench.driver.create_endpoint(read(request)).await.unwrap();
        let call: Value = bench.calls().remove(0);
        let id = call["env"]["CNI_CONTAINERID"].as_str().unwrap();
        let kubernetes = format!(
            "K8S_POD_NAMESPACE=docker;K8S_POD_NAME=attachment-{};K8S_POD_INFRA_CONTAINER_ID={id}",
            &id[..12]
        );
        assert_eq!(
            call["env"]["CNI_ARGS"],
            format!("IgnoreUnknown=1;WHO=endpoint;IP=10.22.3.7;MAC=02:00:00:00:00:09;{kubernetes}")
        );
        assert_eq!(
            call["stdin"]["runtimeConfig"],
            json!({"bandwidth": {"ingressRate": 8}, "mac": "02:00:00:00:00:09"})
        );
    });
}

#[test]
fn an_interface_that_was_removed_is_missed_at_join() {
    alone(async {
        let bench = Bench::with(json!([scripted(json!({}))])).await;
        bench.create_endpoint("e1").await.unwrap();
        let staging = &files(&bench.config.run_dir.join("netns"))[0];
        let name = bench.calls()[0]["env"]["CNI_IFNAME"].as_str().unwrap().to_owned();
        sh(&format!("nsenter --net={} ip link del {name}", staging.display()));
        let error = bench.join("e1", SANDBOX).await.unwrap_err().to_string();
        assert!(error.contains("is gone"), "{error}");
        bench.delete_endpoint("e1").await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn the_forward_policy_is_overruled_by_the_last_rules_only() {
    alone(async {
        let bench = Bench::with(json!([scripted(json!({}))])).await;
        sh("iptables -P FORWARD DROP; iptables -A FORWARD -s 192.0.2.1 -j DROP");
        let network = json!({"NetworkID": "n2", "Options": {"com.docker.network.generic":
            {"forward": "always"}}});
        bench.driver.create_network(read(network)).await.unwrap();

        bench.create_endpoint("untouched").await.unwrap();
        assert!(!rules().contains("cnm-cni"), "only bridge and ptp chains by default");
        bench.delete_endpoint("untouched").await;

        let request = json!({"NetworkID": "n2", "EndpointID": "e1", "Interface": {}});
        bench.driver.create_endpoint(read(request)).await.unwrap();
        bench.join("e1", SANDBOX).await.unwrap();
        let once = rules();
        let rules: Vec<_> = once.lines().collect();
        assert_eq!(rules[0], "-P FORWARD DROP");
        assert_eq!(rules[1], "-A FORWARD -s 192.0.2.1/32 -j DROP", "others come first");
        assert!(rules[2].starts_with("-A FORWARD -m mark --mark 0x1000/0x1000 "), "{rules:?}");
        assert_eq!(rules.iter().filter(|rule| rule.contains("cnm-cni")).count(), 2, "{rules:?}");
        assert!(["10.22.3.7", "fd00:22::7"].iter().all(|ip| table().contains(ip)), "{}", table());
        bench.join("e1", SANDBOX).await.unwrap();
        assert_eq!(super::rules(), once, "of a Join that is repeated");
        sh("iptables -D FORWARD 2");
        bench.join("e1", SANDBOX).await.unwrap();
        assert_eq!(super::rules(), once, "a rule that was lost");

        bench.delete_endpoint("e1").await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_join_whose_rules_cannot_be_written_leaves_the_interface_in_staging_and_no_rule() {
    alone(async {
        let bench = Bench::with(json!([scripted(json!({}))])).await;
        let network = json!({"NetworkID": "n2", "Options": {"com.docker.network.generic":
            {"forward": "always"}}});
        bench.driver.create_network(read(network)).await.unwrap();
        let request = json!({"NetworkID": "n2", "EndpointID": "e1", "Interface": {}});
        bench.driver.create_endpoint(read(request)).await.unwrap();
        let program = "ip6tables-restore";
        replace(program, "#!/bin/sh\necho no >&2; exit 4\n");
        let error = bench.join("e1", SANDBOX).await.unwrap_err().to_string();
        assert!(error.contains(program) && !error.contains("undoing"), "{error}");
        let name = bench.calls()[0]["env"]["CNI_IFNAME"].as_str().unwrap().to_owned();
        let staging = &files(&bench.config.run_dir.join("netns"))[0];
        sh(&format!("nsenter --net={} ip link show {name}", staging.display()));
        assert!(!rules().contains("cnm-cni"), "{}", rules());
        assert!(!table().contains(" comment "), "{}", table());

        replace(program, &format!("#!/bin/sh\nexec /run/real/{program} \"$@\"\n"));
        bench.join("e1", SANDBOX).await.unwrap();
        sh(&format!("ip link show {name}"));
        assert!(table().contains("fd00:22::7 comment") && table().contains("10.22.3.7 comment"));
        bench.delete_endpoint("e1").await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn an_open_network_lets_in_new_connections_too_and_an_internal_one_none() {
    alone(async {
        let mut bench = Bench::with(json!([scripted(json!({}))])).await;
        for (network, internal) in [("n2", false), ("n3", true)] {
            let network = json!({"NetworkID": network, "Options": {
                "com.docker.network.generic": {"forward": "open"},
                "com.docker.network.internal": internal,
            }});
            bench.driver.create_network(read(network)).await.unwrap();
        }
        for (network, expected) in [
            ("n2", [("open4", "10.22.3.7 comment"), ("open6", "fd00:22::7 comment")]),
            (
                "n3",
                [("within4", "10.22.3.7 . 10.22.0.0/16"), ("within6", "fd00:22::7 . fd00:22::/64")],
            ),
        ] {
            let request = json!({"NetworkID": network, "EndpointID": "e1", "Interface": {}});
            bench.driver.create_endpoint(read(request)).await.unwrap();
            bench.restart().await;
            bench.join("e1", SANDBOX).await.unwrap();
            let table = table();
            let sets: Vec<_> = table.split("\tset ").filter(|it| it.contains("elements")).collect();
            assert_eq!(sets.len(), 2, "{network}: {table}");
            for (set, element) in expected {
                let there = |it: &&str| it.starts_with(set) && it.contains(element);
                assert!(sets.iter().any(there), "{network}: {set}: {table}");
            }
            bench.delete_endpoint("e1").await;
        }
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_chain_that_takes_too_long_is_stopped_and_taken_back() {
    alone(async {
        let mut bench = Bench::with(json!([scripted(json!({"ADD": {"sleep_ms": 20_000}}))])).await;
        bench.config.add_within = Duration::from_millis(200);
        bench.restart().await;
        let error = bench.create_endpoint("e1").await.unwrap_err().to_string();
        assert!(error.contains("k8snet") && error.contains("--chain-timeout"), "{error}");
        assert_eq!(bench.verbs(), ["ADD", "DEL"]);
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_driver_that_is_full_takes_no_more() {
    alone(async {
        let mut bench = Bench::with(json!([scripted(json!({}))])).await;
        bench.config.maximum = Maximum { networks: 1, attachments: 1 };
        bench.restart().await;
        bench.create_endpoint("e1").await.unwrap();
        let error = bench.create_endpoint("e2").await.unwrap_err().to_string();
        assert!(error.contains("1 attachments") && error.contains("--max-attachments"), "{error}");
        let network = bench.driver.create_network(read(json!({"NetworkID": "another"}))).await;
        let error = network.unwrap_err().to_string();
        assert!(error.contains("1 networks") && error.contains("--max-networks"), "{error}");
        bench.delete_endpoint("e1").await;
        bench.create_endpoint("e2").await.unwrap();
        bench.delete_endpoint("e2").await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn what_others_can_write_is_not_run_and_what_was_made_is_removed() {
    alone(async {
        let mut bench = Bench::with(json!([scripted(json!({}))])).await;
        bench.create_endpoint("e1").await.unwrap();
        bench.config.allow_writable = false;
        // Whoever builds owns the folder of the scripted plugin.
        sh(&format!(
            "cp -r {} {}/plugins",
            bench.config.cni_path[0].display(),
            bench.folder.path().display()
        ));
        bench.config.cni_path = vec![bench.folder.path().join("plugins")];
        sh(&format!("chown -R 0:0 {0} && chmod -R go-w {0}", bench.config.cni_path[0].display()));
        bench.restart().await;
        bench.create_endpoint("e2").await.unwrap();

        sh(&format!("chmod 777 {}", bench.config.conf_dir.display()));
        let error = bench.create_endpoint("e3").await.unwrap_err().to_string();
        assert!(error.contains("0777") && error.contains("--allow-writable"), "{error}");
        bench.delete_endpoint("e1").await;
        bench.delete_endpoint("e2").await;
        bench.assert_nothing_is_left();
    });
}
