use super::*;
use serde_json::json;

fn network(driver: Value) -> Result<NetworkOptions, InvalidOption> {
    let options = json!({"com.docker.network.enable_ipv6": false, GENERIC: driver});
    NetworkOptions::read(options.as_object().unwrap())
}

fn endpoint(options: Value) -> Result<EndpointOptions, InvalidOption> {
    EndpointOptions::read(options.as_object().unwrap())
}

#[test]
fn a_network_without_options_takes_the_defaults() {
    assert_eq!(network(json!({})).unwrap(), NetworkOptions::default());
    assert_eq!(network(Value::Null).unwrap(), NetworkOptions::default());
    assert_eq!(NetworkOptions::read(&Map::new()).unwrap(), NetworkOptions::default());
}

#[test]
fn every_network_option_is_read() {
    let read = network(json!({
        "conflist": "k8snet",
        "forward": "never",
        "com.docker.network.driver.mtu": "1400",
        "cni.args.K8S_POD_NAME": "x",
        "cni.capability.bandwidth": "{\"ingressRate\":1000}",
    }))
    .unwrap();
    assert_eq!(read.conflist.as_deref(), Some("k8snet"));
    assert_eq!(read.forward, Forward::Never);
    assert_eq!(read.mtu, Some(1400));
    assert_eq!(read.chain.args, [("K8S_POD_NAME".to_owned(), "x".to_owned())]);
    assert_eq!(read.chain.capabilities["bandwidth"], json!({"ingressRate": 1000}));
}

#[test]
fn a_key_that_is_not_ours_is_refused_and_what_docker_tells_of_an_endpoint_passed_over() {
    for options in [json!({"confilst": "x"}), json!({"Conflist": "x"}), json!({"foo": "bar"})] {
        let error = network(options).unwrap_err().to_string();
        assert!(error.contains("is unknown") && error.contains("cni.args.KEY=VALUE"), "{error}");
    }
    for options in [json!({"a.b": "c"}), json!({"parent": "eth0"}), json!({"cni.arg": "x"})] {
        endpoint(options).unwrap_err();
    }
    let read = endpoint(json!({
        "com.docker.network.endpoint.dnsservers": ["9.9.9.9"],
        "com.docker.network.endpoint.exposedports": [{"Proto": 6, "Port": 80}],
        "com.docker.network.portmap": [{"Proto": 6, "Port": 80}],
    }))
    .unwrap();
    assert_eq!((read.ports.len(), read.chain), (1, ChainOptions::default()));
}

#[test]
fn an_option_in_the_wrong_place_is_refused() {
    let error = network(json!({"ip": "10.22.0.5"})).unwrap_err().to_string();
    assert_eq!(error, "option \"ip\" is a container's, not a network's");
    assert!(endpoint(json!({"conflist": "web"})).is_err());
    assert!(endpoint(json!({"forward": "never"})).is_err());
    let read = endpoint(json!({"com.docker.network.driver.mtu": "1300"})).unwrap();
    assert_eq!(read.mtu, Some(1300));
}

#[test]
fn one_address_or_several_are_asked_for() {
    let ips = |text: &str| endpoint(json!({"ip": text})).map(|read| read.ips);
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    assert_eq!(ips("10.22.0.50").unwrap(), [address("10.22.0.50")]);
    let both = [address("10.22.0.50"), address("fd00::50")];
    assert_eq!(ips("10.22.0.50+fd00::50").unwrap(), both);
    for text in ["", "10.22.0.50+", "10.22.0.50/16", "10.22.0.50;fd00::50"] {
        let error = ips(text).unwrap_err().to_string();
        assert!(error.contains("10.22.0.50+fd00::50"), "{error}");
    }
}

#[test]
fn settings_of_the_interface_are_read_as_docker_writes_them() {
    let read = |text: &str| endpoint(json!({SYSCTLS: text})).map(|read| read.sysctls);
    let both = "net.ipv4.conf.IFNAME.arp_filter=0,net.ipv6.neigh.IFNAME.app_solicit=2";
    let wanted = [("ipv4/conf/arp_filter", "0"), ("ipv6/neigh/app_solicit", "2")];
    let wanted = wanted.map(|(setting, value)| (setting.to_owned(), value.to_owned()));
    assert_eq!(read(both).unwrap(), wanted.clone().into());
    assert_eq!(read(&both.to_lowercase()).unwrap(), wanted.into());
    for text in [
        "",
        "net.ipv4.conf.IFNAME.arp_filter",
        "net.ipv4.conf.eth0.arp_filter=0",
        "net.ipv4.conf.IFNAME.a/b=0",
        "net.ipv4.conf.IFNAME..=0",
        "kernel.a.b.IFNAME.c=0",
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains("net.ipv4.conf.IFNAME.arp_filter=0"), "{error}");
    }
}

#[test]
fn values_that_do_not_fit_are_refused() {
    for options in [
        json!({"conflist": ""}),
        json!({"conflist": 5}),
        json!({"forward": "maybe"}),
        json!({"com.docker.network.driver.mtu": "large"}),
        json!({"com.docker.network.driver.mtu": "12"}),
        json!({"cni.args.A": "b;IP=10.0.0.1"}),
        json!({"cni.args.": "b"}),
        json!({"cni.capability.x": "{"}),
    ] {
        assert!(network(options.clone()).is_err(), "{options} was accepted");
    }
}

#[test]
fn an_endpoints_options_win_over_the_networks() {
    let options = |value: &str| ChainOptions {
        args: vec![("A".into(), value.into())],
        capabilities: json!({"mac": value}).as_object().unwrap().clone(),
    };
    assert_eq!(options("network").overlaid_with(&options("endpoint")), options("endpoint"));
}
