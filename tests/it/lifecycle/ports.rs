//! Published ports: held, chosen, and following the gateway.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use cnm_cni::lifecycle::{self, Driver, Error, orphans};
use nix::sys::resource::{Resource, setrlimit};
use serde_json::{Value, json};

use super::{Bench, NETWORK, read, scripted, until};
use crate::alone::{alone, sh};

/// A chain of two plugins that publishes ports: the second one writes down its input.
async fn bench() -> Bench {
    let mut portmap = json!({"type": "fake-plugin", "fake": {"log": "LOG"}});
    portmap["capabilities"] = json!({"portMappings": true});
    let bench = Bench::with(json!([scripted(json!({})), portmap.clone()])).await;
    // A second network, on a subnet of its own.
    let other = scripted(json!({"addresses": ["10.23.3.7/16"], "gateway": "", "routes": []}));
    let other = json!({"cniVersion": "1.0.0", "name": "other", "plugins": [other, portmap]});
    let text = other.to_string().replace("LOG", &bench.log().to_string_lossy());
    fs::write(bench.config.conf_dir.join("20-other.conflist"), text).unwrap();
    let options = json!({"com.docker.network.generic": {"conflist": "other"}});
    let network = json!({"NetworkID": "n2", "Options": options});
    bench.driver.create_network(read(network)).await.unwrap();
    bench
}

/// The same, and a third network whose chain publishes nothing.
async fn bench_with_plain() -> Bench {
    let bench = bench().await;
    let plain = scripted(json!({"addresses": ["10.24.3.7/16"], "gateway": "", "routes": []}));
    let plain = json!({"cniVersion": "1.0.0", "name": "plain", "plugins": [plain]});
    let text = plain.to_string().replace("LOG", &bench.log().to_string_lossy());
    fs::write(bench.config.conf_dir.join("30-plain.conflist"), text).unwrap();
    let options = json!({"com.docker.network.generic": {"conflist": "plain"}});
    bench
        .driver
        .create_network(read(json!({"NetworkID": "n3", "Options": options})))
        .await
        .unwrap();
    bench
}

async fn create(bench: &Bench, network: &str, endpoint: &str, port: &Value) -> Result<(), Error> {
    let request = json!({"NetworkID": network, "EndpointID": endpoint,
                         "Options": {"com.docker.network.portmap": [port]}});
    bench.driver.create_endpoint(read(request)).await.map(drop)
}

async fn join(bench: &Bench, network: &str, endpoint: &str, sandbox: &str) -> Result<(), Error> {
    let request = json!({"NetworkID": network, "EndpointID": endpoint, "SandboxKey": sandbox});
    bench.driver.join(read(request)).await.map(drop)
}

async fn program(bench: &Bench, endpoint: &str) -> Result<(), Error> {
    let request = json!({"NetworkID": NETWORK, "EndpointID": endpoint, "Options": {}});
    bench.driver.program_external_connectivity(read(request)).await
}

async fn revoke(bench: &Bench, endpoint: &str) {
    let request = json!({"NetworkID": NETWORK, "EndpointID": endpoint});
    bench.driver.revoke_external_connectivity(read(request)).await.unwrap();
}

async fn oper_info(bench: &Bench, endpoint: &str) {
    let ids = json!({"NetworkID": NETWORK, "EndpointID": endpoint});
    bench.driver.endpoint_oper_info(read(ids)).await.unwrap();
}

/// The endpoints that publish now, by the records.
fn publishers(bench: &Bench) -> Vec<String> {
    let published = lifecycle::published(&bench.config.state_dir).unwrap();
    published.iter().map(|port| port.endpoint.to_string()).collect()
}

/// Removes the endpoint's interface from where it was made.
async fn lose_interface(bench: &Bench, network: &str, endpoint: &str) {
    let ids = json!({"NetworkID": network, "EndpointID": endpoint});
    let info = bench.driver.endpoint_oper_info(read(ids)).await.unwrap().value;
    let text = |key: &str| info[key].as_str().unwrap().to_owned();
    let staging = bench.config.run_dir.join("netns").join(text("cni.containerID"));
    let inside = format!("nsenter --net={}", staging.display());
    sh(&format!("{inside} ip link delete {}", text("cni.ifname")));
}

/// Every execution that got ports: its verb, and the first host port.
fn told(bench: &Bench) -> Vec<(String, u64)> {
    let calls = bench.calls();
    let told = calls.iter().filter_map(|call| {
        let port = call["stdin"]["runtimeConfig"]["portMappings"][0]["hostPort"].as_u64()?;
        Some((call["command"].as_str().unwrap().to_owned(), port))
    });
    told.collect()
}

fn fixed() -> Value {
    json!({"Proto": 6, "Port": 80, "HostIP": "", "HostPort": 8080, "HostPortEnd": 8080})
}

#[test]
fn a_port_that_is_held_is_refused_before_anything_is_set_up() {
    alone(async {
        let bench = bench().await;
        create(&bench, NETWORK, "e1", &fixed()).await.unwrap();
        let calls = bench.calls().len();
        let refused = async |bench: &Bench| {
            let error = create(bench, NETWORK, "e2", &fixed()).await.unwrap_err().to_string();
            let held =
                format!("port 8080/tcp is held by endpoint e1 of network {}", &NETWORK[..12]);
            assert!(error.contains(&held), "{error}");
        };
        refused(&bench).await;
        // A driver that is started again holds what its predecessor held.
        let Bench { folder, config, driver } = bench;
        driver.drain().await;
        drop(driver);
        let driver = Driver::open(config.clone()).await.unwrap();
        let bench = Bench { folder, config, driver };
        refused(&bench).await;
        assert_eq!(bench.calls().len(), calls, "a plugin was run");
        assert!(TcpListener::bind("0.0.0.0:8080").is_err());
        let refusal = TcpStream::connect("127.0.0.1:8080").unwrap_err();
        assert_eq!(refusal.kind(), std::io::ErrorKind::ConnectionRefused);

        bench.delete_endpoint("e1").await;
        let server = TcpListener::bind("0.0.0.0:8080").unwrap();
        let error = create(&bench, NETWORK, "e2", &fixed()).await.unwrap_err().to_string();
        assert!(error.contains("8080/tcp is in use by another process"), "{error}");
        drop(server);
        create(&bench, NETWORK, "e2", &fixed()).await.unwrap();
        bench.delete_endpoint("e2").await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_chain_that_fails_gives_its_ports_back() {
    alone(async {
        let mut broken = scripted(json!({"ADD": {"exit": 1}}));
        broken["capabilities"] = json!({"portMappings": true});
        let bench = Bench::with(json!([broken])).await;
        create(&bench, NETWORK, "e1", &fixed()).await.unwrap_err();
        TcpListener::bind("0.0.0.0:8080").unwrap();
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_port_of_the_drivers_choice_is_passed_to_the_chain_and_shown() {
    alone(async {
        let bench = bench().await;
        create(&bench, NETWORK, "e1", &any()).await.unwrap();
        let (verb, port) = told(&bench).remove(0);
        assert_eq!(verb, "ADD");
        assert!(port >= 1024, "{port}");
        let ids = json!({"NetworkID": NETWORK, "EndpointID": "e1"});
        let info = bench.driver.endpoint_oper_info(read(ids)).await.unwrap().value;
        assert_eq!(info["cni.portMappings"][0]["hostPort"], port);

        let shown = lifecycle::published(&bench.config.state_dir).unwrap();
        assert_eq!(shown.len(), 1);
        assert_eq!((u64::from(shown[0].host_port), shown[0].container_port), (port, 80));
        assert_eq!(shown[0].container_ips[0].to_string(), "10.22.3.7");
        bench.delete_endpoint("e1").await;
        assert_eq!(lifecycle::published(&bench.config.state_dir).unwrap(), []);
        bench.assert_nothing_is_left();
    });
}

#[test]
fn ports_follow_the_gateway_of_one_container() {
    alone(async {
        let bench = bench().await;
        create(&bench, NETWORK, "e1", &fixed()).await.unwrap();
        join(&bench, NETWORK, "e1", "/netns/alice").await.unwrap();
        program(&bench, "e1").await.unwrap();
        // The same container on a second network: the ports stay where they are.
        create(&bench, "n2", "e2", &fixed()).await.unwrap();
        join(&bench, "n2", "e2", "/netns/alice").await.unwrap();
        let pairs = |told: Vec<(String, u64)>| told.into_iter().map(|(verb, _)| verb);
        assert_eq!(told(&bench), [("ADD".to_owned(), 8080)]);

        revoke(&bench, "e1").await;
        // Free for Docker's own bridge; a program that is just being started has it until it is another program.
        until(|| TcpListener::bind("0.0.0.0:8080").is_ok()).await;
        program(&bench, "e2").await.unwrap();
        program(&bench, "e2").await.unwrap();
        assert_eq!(pairs(told(&bench)).collect::<Vec<_>>(), ["ADD", "DEL", "ADD"]);
        bench.delete_endpoint("e1").await;
        assert!(TcpListener::bind("0.0.0.0:8080").is_err(), "e2 holds it");
        bench.delete_endpoint("e2").await;
        assert_eq!(pairs(told(&bench)).collect::<Vec<_>>(), ["ADD", "DEL", "ADD", "DEL"]);
        bench.assert_nothing_is_left();
    });
}

/// As Docker 28 asks it where one network is the gateway for IPv4 and the other one for IPv6; and as every
/// Docker does if its call that the gateway moved was lost.
#[test]
fn two_gateways_of_one_container_publish_the_same_ports() {
    alone(async {
        let bench = bench().await;
        for (network, endpoint) in [(NETWORK, "e1"), ("n2", "e2")] {
            create(&bench, network, endpoint, &any()).await.unwrap();
            join(&bench, network, endpoint, "/netns/alice").await.unwrap();
        }
        program(&bench, "e1").await.unwrap();
        program_asked(&bench, "e2", &any()).await.unwrap();
        let told_first = told(&bench);
        let port = told_first[0].1;
        let added = |port| ("ADD".to_owned(), port);
        assert_eq!(told_first, [added(port), added(port)], "each by its own chain");
        assert_eq!(publishers(&bench).len(), 2);

        let Bench { folder, config, driver } = bench;
        driver.drain().await;
        drop(driver);
        let driver = Driver::open(config.clone()).await.unwrap();
        let bench = Bench { folder, config, driver };
        revoke(&bench, "e1").await;
        assert_eq!(publishers(&bench), ["e2"]);
        let port = u16::try_from(port).unwrap();
        TcpListener::bind(("0.0.0.0", port)).expect_err("e2 holds it");
        bench.delete_endpoint("e1").await;
        bench.delete_endpoint("e2").await;
        TcpListener::bind(("0.0.0.0", port)).unwrap();
        bench.assert_nothing_is_left();
    });
}

fn any() -> Value {
    json!({"Proto": 6, "Port": 80, "HostIP": "", "HostPort": 0, "HostPortEnd": 0})
}

#[test]
fn a_container_of_two_networks_has_one_port_of_the_drivers_choice() {
    alone(async {
        let bench = bench().await;
        create(&bench, NETWORK, "e1", &any()).await.unwrap();
        join(&bench, NETWORK, "e1", "/netns/alice").await.unwrap();
        create(&bench, "n2", "e2", &any()).await.unwrap();
        join(&bench, "n2", "e2", "/netns/alice").await.unwrap();
        let published = || lifecycle::published(&bench.config.state_dir).unwrap();
        let [port] = &published()[..] else { panic!("{:?}", published()) };
        assert_eq!(port.endpoint.to_string(), "e1");

        revoke(&bench, "e1").await;
        program(&bench, "e2").await.unwrap();
        let [port] = &published()[..] else { panic!("{:?}", published()) };
        assert_eq!(port.endpoint.to_string(), "e2");
        bench.delete_endpoint("e1").await;
        bench.delete_endpoint("e2").await;
        bench.assert_nothing_is_left();
    });
}

/// Docker passes the ports in the call, as it really does.
async fn program_asked(bench: &Bench, endpoint: &str, port: &Value) -> Result<(), Error> {
    let options = json!({"com.docker.network.portmap": [port]});
    let request = json!({"NetworkID": NETWORK, "EndpointID": endpoint, "Options": options});
    bench.driver.program_external_connectivity(read(request)).await
}

#[test]
fn a_chosen_port_that_an_orphan_has_by_now_is_chosen_anew() {
    alone(async {
        let range = json!({"Proto": 6, "Port": 80, "HostIP": "", "HostPort": 8080,
                           "HostPortEnd": 8082});
        for (asked, number) in [(any(), None), (range, Some(8080))] {
            let bench = bench().await;
            let port = || told(&bench).last().unwrap().1;
            create(&bench, NETWORK, "e1", &asked).await.unwrap();
            join(&bench, NETWORK, "e1", "/netns/alice").await.unwrap();
            let chosen = port();
            assert!(number.is_none_or(|number| number == chosen), "{chosen}");
            revoke(&bench, "e1").await;
            program_asked(&bench, "e1", &asked).await.unwrap();
            assert_eq!(port(), chosen, "as long as it is free");

            // While another one of the container's networks has the gateway, a second container gets the
            // port, and cannot be removed.
            revoke(&bench, "e1").await;
            let conflist = bench.config.conf_dir.join("10-k8snet.conflist");
            let text = fs::read_to_string(&conflist).unwrap();
            let broken = scripted(json!({"addresses": ["10.22.3.9/16"], "DEL": {"exit": 1}}));
            bench.write_conflist(json!([broken, {"type": "fake-plugin", "fake": {"log": "LOG"},
                                                 "capabilities": {"portMappings": true}}]));
            let same = json!({"Proto": 6, "Port": 80, "HostIP": "", "HostPort": chosen,
                              "HostPortEnd": chosen});
            create(&bench, NETWORK, "e2", &same).await.unwrap();
            fs::write(&conflist, text).unwrap();
            bench.delete_endpoint("e2").await;
            assert_eq!(orphans(&bench.config.state_dir).unwrap().len(), 1);

            program_asked(&bench, "e1", &asked).await.unwrap();
            assert_ne!(port(), chosen);
            assert!(number.is_none_or(|_| (8081..=8082).contains(&port())), "{}", port());
            assert_eq!(orphans(&bench.config.state_dir).unwrap()[0].attempts, 1, "it was hurried");
            bench.delete_endpoint("e1").await;
            bench.driver.forget_orphan("e2").await.unwrap();
            assert_eq!(bench.records(), [] as [std::path::PathBuf; 0]);
        }
    });
}

#[test]
fn containers_of_two_networks_have_a_port_of_the_drivers_choice_each() {
    alone(async {
        let bench = bench().await;
        create(&bench, NETWORK, "e1", &any()).await.unwrap();
        join(&bench, NETWORK, "e1", "/netns/alice").await.unwrap();
        create(&bench, "n2", "e2", &any()).await.unwrap();
        // Join shows which container this is.
        assert_eq!(told(&bench).len(), 1);
        join(&bench, "n2", "e2", "/netns/bob").await.unwrap();
        oper_info(&bench, "e2").await;
        let verbs: Vec<_> = told(&bench).into_iter().map(|(verb, _)| verb).collect();
        assert_eq!(verbs, ["ADD", "ADD"]);
        let published = lifecycle::published(&bench.config.state_dir).unwrap();
        assert_eq!(published.len(), 2, "{published:?}");
        assert_ne!(published[0].host_port, published[1].host_port);
        bench.delete_endpoint("e2").await;
        bench.delete_endpoint("e1").await;
        let dels = told(&bench).into_iter().filter(|(verb, _)| verb == "DEL");
        assert_eq!(dels.count(), 2);
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_join_that_fails_after_it_published_leaves_the_ports_to_del() {
    alone(async {
        let bench = bench().await;
        create(&bench, NETWORK, "e1", &any()).await.unwrap();
        create(&bench, "n2", "e2", &any()).await.unwrap();
        // What is gone cannot be handed over.
        lose_interface(&bench, "n2", "e2").await;
        join(&bench, "n2", "e2", "/netns/bob").await.unwrap_err();
        bench.delete_endpoint("e2").await;
        let told = told(&bench).into_iter().map(|(verb, _)| verb).collect::<Vec<_>>();
        assert_eq!(told, ["ADD", "ADD", "DEL"]);
        bench.delete_endpoint("e1").await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn two_networks_on_one_subnet_are_refused_to_one_container() {
    alone(async {
        let bench = bench().await;
        bench.driver.create_network(read(json!({"NetworkID": "n3"}))).await.unwrap();
        create(&bench, NETWORK, "e1", &fixed()).await.unwrap();
        join(&bench, NETWORK, "e1", "/netns/alice").await.unwrap();
        create(&bench, "n3", "e3", &fixed()).await.unwrap();
        let error = join(&bench, "n3", "e3", "/netns/alice").await.unwrap_err().to_string();
        let words = "subnet 10.22.0.0/16 of network n3 overlaps subnet 10.22.0.0/16";
        assert!(error.contains(words), "{error}");
        bench.delete_endpoint("e3").await;
        bench.delete_endpoint("e1").await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_second_container_on_another_network_is_refused_at_join() {
    alone(async {
        let bench = bench().await;
        create(&bench, NETWORK, "e1", &fixed()).await.unwrap();
        join(&bench, NETWORK, "e1", "/netns/alice").await.unwrap();
        create(&bench, "n2", "e2", &fixed()).await.unwrap();
        let error = join(&bench, "n2", "e2", "/netns/bob").await.unwrap_err().to_string();
        assert!(error.contains("8080/tcp is held by endpoint e1"), "{error}");
        bench.delete_endpoint("e2").await;
        assert_eq!(told(&bench), [("ADD".to_owned(), 8080)]);
        bench.delete_endpoint("e1").await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn ports_whose_publishing_could_not_be_undone_are_taken_back_by_del() {
    alone(async {
        let bench = Bench::with(json!([scripted(json!({}))])).await;
        let mapper = bench.folder.path().join("bin/mapper");
        let plugin = || symlink(bench.config.cni_path[0].join("fake-plugin"), &mapper).unwrap();
        plugin();
        let mut portmap = json!({"type": "mapper", "fake": {"log": "LOG"}});
        portmap["capabilities"] = json!({"portMappings": true});
        bench.write_conflist(json!([scripted(json!({})), portmap]));
        bench.create_endpoint("e1").await.unwrap();
        join(&bench, NETWORK, "e1", "/netns/alice").await.unwrap();

        // Neither ADD nor the DEL after it can report what it has done.
        fs::remove_file(&mapper).unwrap();
        let options = json!({"com.docker.network.portmap": [fixed()]});
        let request = json!({"NetworkID": NETWORK, "EndpointID": "e1", "Options": options});
        bench.driver.program_external_connectivity(read(request)).await.unwrap_err();
        plugin();
        let error = create(&bench, NETWORK, "e2", &fixed()).await.unwrap_err().to_string();
        assert!(error.contains("8080/tcp is held by endpoint e1"), "{error}");
        bench.delete_endpoint("e1").await;
        assert_eq!(told(&bench), [("DEL".to_owned(), 8080)]);
        bench.assert_nothing_is_left();
        TcpListener::bind("0.0.0.0:8080").unwrap();
    });
}

#[test]
fn ports_leave_the_driver_the_files_that_it_needs_itself() {
    alone(async {
        let mut bench = bench().await;
        setrlimit(Resource::RLIMIT_NOFILE, 400, 400).unwrap();
        let many = |first: u16, count: u16| -> Vec<Value> {
            let port = |number| json!({"Proto": 6, "Port": number, "HostPort": number});
            (first..first + count).map(port).collect()
        };
        let create = async |bench: &Bench, endpoint: &str, ports: Vec<Value>| {
            let request = json!({"NetworkID": NETWORK, "EndpointID": endpoint,
                                 "Options": {"com.docker.network.portmap": ports}});
            bench.driver.create_endpoint(read(request)).await
        };
        let error = create(&bench, "e1", many(20_000, 300)).await.unwrap_err().to_string();
        assert!(error.contains("open files") && error.contains("LimitNOFILE"), "{error}");
        create(&bench, "e1", many(20_000, 90)).await.unwrap();
        let error = create(&bench, "e2", many(21_000, 20)).await.unwrap_err().to_string();
        assert!(error.contains("open files"), "{error}");
        create(&bench, "e2", Vec::new()).await.expect("what needs no port is made");

        // A driver with a lower limit still starts, and withdraws ports that it does not hold.
        bench.driver.drain().await;
        let Bench { folder, config, driver } = bench;
        drop(driver);
        setrlimit(Resource::RLIMIT_NOFILE, 150, 150).unwrap();
        let driver = Driver::open(config.clone()).await.unwrap();
        bench = Bench { folder, config, driver };
        bench.delete_endpoint("e1").await;
        bench.delete_endpoint("e2").await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn ports_that_no_network_of_the_container_publishes_are_refused_once_one_has_the_gateway() {
    alone(async {
        let bench = bench_with_plain().await;
        create(&bench, "n3", "e3", &fixed()).await.unwrap();
        join(&bench, "n3", "e3", "/netns/alice").await.unwrap();
        let error = program(&bench, "e3").await.unwrap_err().to_string();
        assert_eq!(
            error,
            "conflist \"plain\" cannot publish port 8080:80/tcp, and no other network of the container \
                 does: no plugin of the chain declares the \"portMappings\" capability; add {\"type\": \
                 \"portmap\", \"capabilities\": {\"portMappings\": true}} to its plugins, start the \
                 container without -p, or start it on a network that publishes, and then connect it to this one"
        );
        bench.delete_endpoint("e3").await;
        assert_eq!(told(&bench), []);
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_gateway_that_cannot_publish_has_another_end_of_its_container_do_it() {
    alone(async {
        let bench = bench_with_plain().await;
        create(&bench, NETWORK, "e1", &fixed()).await.unwrap();
        join(&bench, NETWORK, "e1", "/netns/alice").await.unwrap();
        program(&bench, "e1").await.unwrap();
        create(&bench, "n3", "e3", &fixed()).await.unwrap();
        join(&bench, "n3", "e3", "/netns/alice").await.unwrap();
        // The gateway moves to where nothing can be published.
        revoke(&bench, "e1").await;
        program(&bench, "e3").await.unwrap();
        assert_eq!(publishers(&bench), ["e1"]);
        assert!(TcpListener::bind("0.0.0.0:8080").is_err(), "e1 holds it");
        // One of two endpoints is enough, and keeps the ports.
        create(&bench, "n2", "e2", &fixed()).await.unwrap();
        join(&bench, "n2", "e2", "/netns/alice").await.unwrap();
        program(&bench, "e3").await.unwrap();
        assert_eq!(publishers(&bench), ["e1"]);
        revoke(&bench, "e3").await;
        program(&bench, "e3").await.unwrap();
        assert_eq!(publishers(&bench).len(), 1);
        bench.delete_endpoint("e2").await;
        program(&bench, "e3").await.unwrap();
        assert_eq!(publishers(&bench), ["e1"]);
        // And on to Docker's own bridge, which needs the port itself.
        revoke(&bench, "e3").await;
        assert_eq!(publishers(&bench), [] as [String; 0]);
        drop(TcpListener::bind("0.0.0.0:8080").unwrap());
        program(&bench, "e3").await.unwrap();
        // Back again.
        revoke(&bench, "e3").await;
        program(&bench, "e1").await.unwrap();
        assert_eq!(publishers(&bench), ["e1"]);
        let verbs: Vec<_> = told(&bench).into_iter().map(|(verb, _)| verb).collect();
        assert_eq!(verbs.last().unwrap(), "ADD", "{verbs:?}");
        bench.delete_endpoint("e1").await;
        // Docker asks for it when the container leaves the network that publishes: this must succeed.
        program(&bench, "e3").await.unwrap();
        bench.delete_endpoint("e3").await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_container_starts_again_whichever_of_its_networks_comes_first() {
    alone(async {
        let mut bench = bench_with_plain().await;
        create(&bench, NETWORK, "e1", &fixed()).await.unwrap();
        join(&bench, NETWORK, "e1", "/netns/one").await.unwrap();
        create(&bench, "n3", "e3", &fixed()).await.unwrap();
        join(&bench, "n3", "e3", "/netns/one").await.unwrap();
        for endpoint in ["e1", "e3"] {
            bench.driver.leave(read(json!({"NetworkID": NETWORK, "EndpointID": endpoint}))).await;
            bench.delete_endpoint(endpoint).await;
        }
        bench.restart().await;

        // Docker starts with the network that cannot publish, and gives it the gateway.
        create(&bench, "n3", "f3", &fixed()).await.unwrap();
        join(&bench, "n3", "f3", "/netns/two").await.unwrap();
        program(&bench, "f3").await.unwrap();
        create(&bench, NETWORK, "f1", &fixed()).await.unwrap();
        join(&bench, NETWORK, "f1", "/netns/two").await.unwrap();
        oper_info(&bench, "f3").await;
        assert_eq!(publishers(&bench), ["f1"]);

        // Other ports belong to another container, and so do these while this container has them.
        let other = json!({"Proto": 6, "Port": 80, "HostPort": 8081, "HostPortEnd": 8081});
        create(&bench, "n3", "g3", &other).await.unwrap();
        join(&bench, "n3", "g3", "/netns/three").await.unwrap();
        program(&bench, "g3").await.unwrap_err();
        create(&bench, "n3", "h3", &fixed()).await.unwrap();
        join(&bench, "n3", "h3", "/netns/four").await.unwrap();
        let error = program(&bench, "h3").await.unwrap_err().to_string();
        assert!(error.contains("8080/tcp is held by endpoint f1"), "{error}");
        for endpoint in ["f1", "f3", "g3", "h3"] {
            bench.delete_endpoint(endpoint).await;
        }
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_container_that_lives_on_a_network_that_cannot_publish_alone_is_refused_the_next_time() {
    alone(async {
        let bench = bench_with_plain().await;
        create(&bench, NETWORK, "e1", &fixed()).await.unwrap();
        join(&bench, NETWORK, "e1", "/netns/one").await.unwrap();
        create(&bench, "n3", "e3", &fixed()).await.unwrap();
        join(&bench, "n3", "e3", "/netns/one").await.unwrap();
        bench.delete_endpoint("e1").await;
        bench.delete_endpoint("e3").await;
        // It may be the same container that starts.
        create(&bench, "n3", "f3", &fixed()).await.unwrap();
        join(&bench, "n3", "f3", "/netns/two").await.unwrap();
        program(&bench, "f3").await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while program(&bench, "f3").await.is_ok() {
            assert!(Instant::now() < deadline, "it is never forgotten");
            bench.leave("f3").await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bench.delete_endpoint("f3").await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_join_that_fails_leaves_the_ports_outside_of_its_sandbox() {
    alone(async {
        let bench = bench().await;
        create(&bench, NETWORK, "e1", &fixed()).await.unwrap();
        lose_interface(&bench, NETWORK, "e1").await;
        join(&bench, NETWORK, "e1", "/netns/alice").await.unwrap_err();
        // The endpoint in that sandbox has no port, and its call fails.
        create(&bench, "n2", "e2", &fixed()).await.unwrap();
        let error = join(&bench, "n2", "e2", "/netns/alice").await.unwrap_err().to_string();
        assert!(error.contains("8080/tcp is held by endpoint e1"), "{error}");
        bench.delete_endpoint("e2").await;
        bench.delete_endpoint("e1").await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn ports_that_were_taken_back_are_free_whether_or_not_a_record_can_be_written() {
    alone(async {
        let bench = bench().await;
        create(&bench, NETWORK, "e1", &fixed()).await.unwrap();
        join(&bench, NETWORK, "e1", "/netns/alice").await.unwrap();
        program(&bench, "e1").await.unwrap();
        let folder = bench.config.state_dir.join("attachments");
        let aside = bench.config.state_dir.join("aside");
        fs::rename(&folder, &aside).unwrap();
        revoke(&bench, "e1").await;
        drop(TcpListener::bind("0.0.0.0:8080").expect("nobody publishes it any more"));
        // Nothing is published without a record.
        program(&bench, "e1").await.unwrap_err();
        drop(TcpListener::bind("0.0.0.0:8080").expect("it was not published"));
        fs::rename(&aside, &folder).unwrap();
        program(&bench, "e1").await.unwrap();
        assert_eq!(publishers(&bench), ["e1"]);
        let verbs: Vec<_> = told(&bench).into_iter().map(|(verb, _)| verb).collect();
        assert_eq!(verbs.last().unwrap(), "ADD", "{verbs:?}");
        bench.delete_endpoint("e1").await;
        bench.assert_nothing_is_left();
    });
}
