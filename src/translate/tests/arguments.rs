//! What a chain gets for an endpoint.

use serde_json::{Value, json};

use super::*;

#[test]
fn dockers_address_is_pinned_by_the_capability_where_there_is_one() {
    let chain = list(&json!({"type": "host-local"}), &json!({"ips": true}));
    let pinned = sent(
        &chain,
        json!({"Address": "10.22.0.50/16", "AddressIPv6": "fd00::5/64", "MacAddress": ""}),
    )
    .unwrap();
    assert_eq!(pinned.capabilities["ips"], json!(["10.22.0.50/16", "fd00::5/64"]));
    assert_eq!(pinned.args, [ignore_unknown()]);
}

#[test]
fn dockers_address_is_pinned_by_cni_args_elsewhere() {
    let wanted = json!({"Address": "10.22.0.50/16"});
    let bare = sent(&host_local(), wanted.clone()).unwrap();
    assert_eq!(bare.args, [ignore_unknown(), ("IP".to_owned(), "10.22.0.50".to_owned())]);
    let chain = list(&json!({"type": "static"}), &json!({}));
    let with_prefix = sent(&chain, wanted).unwrap();
    assert_eq!(with_prefix.args[1].1, "10.22.0.50/16");
    assert!(bare.capabilities.is_empty());

    let both = json!({"Address": "10.22.0.50/16", "AddressIPv6": "fd00:22::5/64"});
    let both_sent = sent(&host_local(), both.clone()).unwrap();
    assert_eq!(both_sent.ips, ["10.22.0.50", "fd00:22::5"]);
    let chain = serde_json::to_value(both_sent.applied_to(host_local())).unwrap();
    assert_eq!(chain["plugins"][0]["args"]["cni"]["ips"], json!(["10.22.0.50", "fd00:22::5"]));
    let chain = list(&json!({"type": "calico-ipam"}), &json!({}));
    assert!(matches!(sent(&chain, both), Err(Refusal::Addresses { .. })));
}

#[test]
fn dockers_pools_are_the_ranges_of_a_chain_that_declares_to_take_them() {
    let chain = list(&json!({"type": "host-local"}), &json!({"ipRanges": true}));
    let pools = pools(json!([{"Pool": "10.60.0.0/24", "Gateway": "10.60.0.1/24"},
                             {"Pool": "fd00:60::/64"}]));
    serves(&chain, &pools).unwrap();
    let (none, endpoint) = (ChainOptions::default(), EndpointOptions::default());
    let sent = |wanted| arguments(&chain, &none, &endpoint, &interface(wanted), &pools).unwrap();
    let of_ipv4 = [json!({"subnet": "10.60.0.0/24", "gateway": "10.60.0.1"})];
    let both = json!({"Address": "10.60.0.9/24", "AddressIPv6": "fd00:60::9/64"});
    assert_eq!(sent(both).capabilities["ipRanges"], json!([of_ipv4, [{"subnet": "fd00:60::/64"}]]));
    let without_ipv6 = sent(json!({"Address": "10.60.0.9/24"}));
    assert_eq!(without_ipv6.capabilities["ipRanges"], json!([of_ipv4]));
    assert_eq!(without_ipv6.args[1], ("IP".to_owned(), "10.60.0.9".to_owned()));
}

#[test]
fn an_address_option_against_dockers_own_address_is_refused() {
    let options = json!({"ip": "10.22.0.50"});
    let options = EndpointOptions::read(options.as_object().unwrap()).unwrap();
    let (none, dockers) = (ChainOptions::default(), json!({"Address": "10.22.0.2/16"}));
    let refused = arguments(&host_local(), &none, &options, &interface(dockers), &[]);
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("10.22.0.50") && text.contains("10.22.0.2"), "{text}");
}

#[test]
fn an_address_option_is_pinned_where_docker_has_none() {
    let options = json!({"ip": "10.22.0.50"});
    let options = EndpointOptions::read(options.as_object().unwrap()).unwrap();
    let none = ChainOptions::default();
    let arguments_sent =
        arguments(&host_local(), &none, &options, &interface(json!({})), &[]).unwrap();
    assert_eq!(arguments_sent.args[1], ("IP".to_owned(), "10.22.0.50".to_owned()));
}

#[test]
fn an_address_of_each_family_is_asked_for_by_one_option() {
    let options = json!({"ip": "10.22.0.50+fd00:22::50"});
    let options = EndpointOptions::read(options.as_object().unwrap()).unwrap();
    let none = ChainOptions::default();
    let arguments_sent =
        arguments(&host_local(), &none, &options, &interface(json!({})), &[]).unwrap();
    assert_eq!(arguments_sent.ips, ["10.22.0.50", "fd00:22::50"]);
    // Docker has decided one of them already: it is asked for once.
    let dockers = interface(json!({"Address": "10.22.0.50/16"}));
    let arguments_sent = arguments(&host_local(), &none, &options, &dockers, &[]).unwrap();
    assert_eq!(arguments_sent.ips, ["10.22.0.50", "fd00:22::50"]);
}

#[test]
fn an_address_out_of_the_range_is_refused_with_flags_that_keep_to_it() {
    let range =
        |range: Value| list(&json!({"type": "host-local", "ranges": [[range]]}), &json!({}));
    let narrow = range(json!({"subnet": "10.22.0.0/24", "rangeStart": "10.22.0.100",
                              "rangeEnd": "10.22.0.200"}));
    // Docker does not tell its --ip-range: the pool is taken.
    serves(&narrow, &pools(json!([{"Pool": "10.22.0.0/24", "Gateway": "10.22.0.1/24"}]))).unwrap();
    sent(&narrow, json!({"Address": "10.22.0.100/24"})).unwrap();
    let text = sent(&narrow, json!({"Address": "10.22.0.2/24"})).unwrap_err().to_string();
    for part in [
        "10.22.0.2,",
        "10.22.0.100 to 10.22.0.200",
        "--subnet 10.22.0.0/24 --gateway 10.22.0.1 --ip-range 10.22.0.128/26",
    ] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
    let upper = range(json!({"subnet": "fd00:22::/64", "rangeStart": "fd00:22::1:0"}));
    let text = sent(&upper, json!({"AddressIPv6": "fd00:22::2/64"})).unwrap_err().to_string();
    assert!(text.contains("--ip-range fd00:22:0:0:8000::/65"), "{text}");
    let text = sent(&upper, json!({"Address": "192.0.2.1/24"})).unwrap_err().to_string();
    assert!(text.contains("192.0.2.1") && !text.contains("--subnet"), "{text}");
    // Whose ranges come with the call has whatever is in them.
    let open =
        list(&json!({"type": "host-local", "subnet": "10.22.0.0/24"}), &json!({"ipRanges": true}));
    sent(&open, json!({"Address": "192.0.2.1/24"})).unwrap();
}

#[test]
fn published_ports_become_port_mappings() {
    let ports = published(&json!([
        {"Proto": 6, "Port": 80, "HostIP": "", "HostPort": 8080, "HostPortEnd": 8080},
        {"Proto": 17, "Port": 53, "HostIP": "127.0.0.1", "HostPort": 5353},
        {"Proto": 6, "Port": 81, "HostIP": "0.0.0.0", "HostPort": 8081},
    ]));
    publishes(&host_local(), &ports).unwrap();
    assert_eq!(
        port_mappings(&ports),
        json!([
            {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
            {"hostPort": 5353, "containerPort": 53, "protocol": "udp", "hostIP": "127.0.0.1"},
            {"hostPort": 8081, "containerPort": 81, "protocol": "tcp"},
        ])
    );
}
