//! Each wish and each answer, on conflists and results of every form.

use serde_json::{Value, json};

use super::*;
use crate::cni::AttachResult;
use crate::cnm::{
    ChainOptions, EndpointInterface, EndpointOptions, IpamData, JoinResponse, PortBinding,
};

fn list(ipam: &Value, capabilities: &Value) -> NetworkConfigList {
    let conflist = json!({
        "cniVersion": "1.0.0", "name": "k8snet",
        "plugins": [{"type": "bridge", "ipam": ipam, "capabilities": capabilities}],
    });
    NetworkConfigList::parse(conflist.to_string().as_bytes()).unwrap()
}

fn host_local() -> NetworkConfigList {
    let ranges = json!([[{"subnet": "10.22.0.0/16"}], [{"subnet": "fd00:22::/64"}]]);
    list(&json!({"type": "host-local", "ranges": ranges}), &json!({"portMappings": true}))
}

fn pools(json: Value) -> Vec<IpamData> {
    serde_json::from_value(json).unwrap()
}

fn interface(json: Value) -> EndpointInterface {
    serde_json::from_value(json).unwrap()
}

fn published(ports: &Value) -> Vec<PortBinding> {
    serde_json::from_value(ports.clone()).unwrap()
}

/// The result of a chain that made `cni0` in a container and `veth0` on the host.
fn result(ips: &Value, routes: &Value) -> AttachResult {
    serde_json::from_value(json!({
        "cniVersion": "1.0.0",
        "interfaces": [{"name": "veth0"}, {"name": "cni0", "sandbox": "/run/netns/x"}],
        "ips": ips,
        "routes": routes,
    }))
    .unwrap()
}

fn told(list: &NetworkConfigList, wanted: Value) -> Result<Arguments, Refusal> {
    let none = ChainOptions::default();
    arguments(list, &none, &EndpointOptions::default(), &interface(wanted), &[])
}

/// Where the user tells the plugins nothing.
fn serves(list: &NetworkConfigList, pools: &[IpamData]) -> Result<(), Refusal> {
    super::serves(list, pools, &ChainOptions::default())
}

fn capabilities(json: Value) -> ChainOptions {
    serde_json::from_value(json!({ "capabilities": json })).unwrap()
}

fn chain(plugins: Value) -> NetworkConfigList {
    let list = json!({"cniVersion": "1.0.0", "name": "n", "plugins": plugins});
    NetworkConfigList::parse(list.to_string().as_bytes()).unwrap()
}

fn ignore_unknown() -> (String, String) {
    ("IgnoreUnknown".to_owned(), "1".to_owned())
}

#[test]
fn the_null_ipam_driver_suits_every_conflist() {
    let null = pools(json!([{"AddressSpace": "null", "Pool": "0.0.0.0/0"}]));
    serves(&host_local(), &null).unwrap();
    serves(&list(&json!({"type": "dhcp"}), &json!({})), &null).unwrap();
}

#[test]
fn what_cannot_be_carried_over_is_refused_with_what_to_do_instead() {
    carries_over(&host_local()).unwrap();
    let conflist = |plugin: Value| {
        let list = json!({"cniVersion": "1.0.0", "name": "n", "plugins": [plugin]});
        NetworkConfigList::parse(list.to_string().as_bytes()).unwrap()
    };
    for (plugin, told) in [
        (json!({"type": "macvlan", "ipam": {"type": "dhcp"}}), "host-local"),
        (json!({"type": "vlan", "linkInContainer": true}), "a master on the host"),
        (json!({"type": "vrf", "vrfname": "red"}), "sbr"),
    ] {
        let text = carries_over(&conflist(plugin)).unwrap_err().to_string();
        assert!(text.contains(told) && text.contains("\"n\""), "{text}");
    }
    carries_over(&conflist(json!({"type": "macvlan", "linkInContainer": false}))).unwrap();
}

#[test]
fn a_chain_that_takes_dockers_pools_is_refused_a_network_without_one() {
    let null = pools(json!([{"AddressSpace": "null", "Pool": "0.0.0.0/0"}]));
    let pool = pools(json!([{"Pool": "10.22.0.0/16"}]));
    let open = list(&json!({"type": "host-local"}), &json!({"ipRanges": true}));
    serves(&open, &pool).unwrap();
    assert!(prospects(&open).needs_docker_ipam && !prospects(&host_local()).needs_docker_ipam);
    let text = serves(&open, &null).unwrap_err().to_string();
    assert!(text.contains("\"k8snet\""), "{text}");
    assert!(
        text.ends_with(
            "without --ipam-driver null (in a compose file: without ipam: {driver: \"null\"})"
        ),
        "{text}"
    );
    // Unless the user says which.
    let ranges = capabilities(json!({"ipRanges": [[{"subnet": "10.22.0.0/16"}]]}));
    super::serves(&open, &null, &ranges).unwrap();

    // Nobody could ever tell this one.
    let empty = list(&json!({"type": "host-local"}), &json!({"ips": true}));
    for pools in [&null, &pool] {
        let text = serves(&empty, pools).unwrap_err().to_string();
        assert!(text.contains("add \"ranges\""), "{text}");
    }
}

#[test]
fn a_chain_that_does_not_begin_with_an_interface_is_refused() {
    for plugins in [
        json!([{"type": "loopback"}]),
        json!([{"type": "portmap"}]),
        json!([{"type": "loopback"}, {"type": "tuning"}, {"type": "bridge"}]),
    ] {
        let text = attaches(&chain(plugins)).unwrap_err().to_string();
        assert!(text.starts_with("conflist \"n\" makes no interface for a container"), "{text}");
    }
    attaches(&chain(json!([{"type": "loopback"}, {"type": "bridge"}, {"type": "tuning"}])))
        .unwrap();
    attaches(&chain(json!([{"type": "nobody-knows"}]))).unwrap();
}

#[test]
fn a_version_that_is_not_published_is_refused() {
    for version in ["9.9.0", "1.0.5", "0.5.0"] {
        let list = json!({"cniVersion": version, "name": "n", "plugins": [{"type": "bridge"}]});
        let list = NetworkConfigList::parse(list.to_string().as_bytes()).unwrap();
        let text = attaches(&list).unwrap_err().to_string();
        assert!(text.contains(version) && text.contains("1.1.0"), "{text}");
    }
}

#[test]
fn containers_are_put_on_the_masters_of_macvlan_and_its_kin() {
    let plugins = json!([
        {"type": "macvlan", "master": "a"},
        {"type": "ipvlan", "master": ""},
        {"type": "vlan", "master": "b", "linkInContainer": true},
        {"type": "vlan", "master": "c"},
        {"type": "bridge", "master": "d"},
    ]);
    let chain = chain(plugins);
    assert_eq!(masters(&chain).collect::<Vec<_>>(), [("macvlan", "a"), ("vlan", "c")]);
}

#[test]
fn a_capability_that_no_plugin_declares_is_refused_with_the_nearest() {
    let chain = list(&json!({"type": "host-local"}), &json!({"ipRanges": true, "bandwidth": true}));
    declares(&chain, &capabilities(json!({"bandwidth": {}}))).unwrap();
    let text = |json| declares(&chain, &capabilities(json)).unwrap_err().to_string();
    assert_eq!(
        text(json!({"bandwith": {}})),
        "option cni.capability.bandwith: no plugin of conflist \"k8snet\" declares that capability, did \
         you mean \"bandwidth\"?; declared are bandwidth, ipRanges"
    );
    // As docker run --network name=…,driver-opt=… writes it.
    assert!(text(json!({"ipranges": []})).contains("did you mean \"ipRanges\"?"));
    assert!(text(json!({"nosuch": {}})).ends_with("capability; declared are bandwidth, ipRanges"));
    // At the endpoint too, where it may be the endpoint's own.
    let endpoint = EndpointOptions { chain: capabilities(json!({"x": 1})), ..Default::default() };
    let (none, interface) = (ChainOptions::default(), EndpointInterface::default());
    arguments(&chain, &none, &endpoint, &interface, &[]).unwrap_err();
}

#[test]
fn a_pool_that_host_local_has_is_served() {
    serves(&host_local(), &pools(json!([{"Pool": "10.22.0.0/16", "Gateway": "10.22.0.1/16"}])))
        .unwrap();
    serves(&host_local(), &pools(json!([{"Pool": "fd00:22::/64"}]))).unwrap();
    let old = list(&json!({"type": "host-local", "subnet": "10.22.0.0/16"}), &json!({}));
    serves(&old, &pools(json!([{"Pool": "10.22.0.0/16"}]))).unwrap();
}

#[test]
fn a_pool_that_docker_made_up_is_refused_with_what_would_work() {
    let error = serves(&host_local(), &pools(json!([{"Pool": "172.18.0.0/16"}]))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "conflist \"k8snet\" cannot allocate from Docker's pool 172.18.0.0/16: it allocates from \
         10.22.0.0/16 and fd00:22::/64; let CNI choose the addresses, with --ipam-driver null (in a \
         compose file: ipam: {driver: \"null\"}), or Docker among the conflist's own, with --subnet \
         10.22.0.0/16 --gateway 10.22.0.1 (in a compose file: ipam: {config: [{subnet: \
         \"10.22.0.0/16\", gateway: \"10.22.0.1\"}]}); for a network with --config-from, say it where \
         the one with --config-only is made"
    );
}

#[test]
fn another_gateway_than_the_conflists_is_refused() {
    let ipam = json!({"type": "host-local", "subnet": "10.22.0.0/16", "gateway": "10.22.9.9"});
    let pool = pools(json!([{"Pool": "10.22.0.0/16", "Gateway": "10.22.0.1/16"}]));
    let text = serves(&list(&ipam, &json!({})), &pool).unwrap_err().to_string();
    assert!(text.contains("--subnet 10.22.0.0/16 --gateway 10.22.9.9"), "{text}");
}

#[test]
fn an_ipam_that_cannot_be_told_addresses_is_refused_dockers_pool() {
    let pool = pools(json!([{"Pool": "10.22.0.0/16"}]));
    assert!(serves(&list(&json!({"type": "calico-ipam"}), &json!({})), &pool).is_err());
    serves(&list(&json!({"type": "other"}), &json!({"ips": true})), &pool).unwrap();
}

#[test]
fn dockers_address_is_pinned_by_the_capability_where_there_is_one() {
    let chain = list(&json!({"type": "host-local"}), &json!({"ips": true}));
    let told = told(
        &chain,
        json!({"Address": "10.22.0.50/16", "AddressIPv6": "fd00::5/64", "MacAddress": ""}),
    )
    .unwrap();
    assert_eq!(told.capabilities["ips"], json!(["10.22.0.50/16", "fd00::5/64"]));
    assert_eq!(told.args, [ignore_unknown()]);
}

#[test]
fn dockers_address_is_pinned_by_cni_args_elsewhere() {
    let wanted = json!({"Address": "10.22.0.50/16"});
    let bare = told(&host_local(), wanted.clone()).unwrap();
    assert_eq!(bare.args, [ignore_unknown(), ("IP".to_owned(), "10.22.0.50".to_owned())]);
    let chain = list(&json!({"type": "static"}), &json!({}));
    let with_prefix = told(&chain, wanted).unwrap();
    assert_eq!(with_prefix.args[1].1, "10.22.0.50/16");
    assert!(bare.capabilities.is_empty());

    let both = json!({"Address": "10.22.0.50/16", "AddressIPv6": "fd00:22::5/64"});
    let told_both = told(&host_local(), both.clone()).unwrap();
    assert_eq!(told_both.ips, ["10.22.0.50", "fd00:22::5"]);
    let list = serde_json::to_value(told_both.applied_to(host_local())).unwrap();
    assert_eq!(list["plugins"][0]["args"]["cni"]["ips"], json!(["10.22.0.50", "fd00:22::5"]));
    let chain = self::list(&json!({"type": "calico-ipam"}), &json!({}));
    assert!(matches!(told(&chain, both), Err(Refusal::Addresses { .. })));
}

#[test]
fn dockers_pools_are_the_ranges_of_a_chain_that_declares_to_take_them() {
    let chain = list(&json!({"type": "host-local"}), &json!({"ipRanges": true}));
    let pools = pools(json!([{"Pool": "10.60.0.0/24", "Gateway": "10.60.0.1/24"},
                             {"Pool": "fd00:60::/64"}]));
    serves(&chain, &pools).unwrap();
    let (none, endpoint) = (ChainOptions::default(), EndpointOptions::default());
    let wanted = interface(json!({"Address": "10.60.0.9/24"}));
    let told = arguments(&chain, &none, &endpoint, &wanted, &pools).unwrap();
    assert_eq!(
        told.capabilities["ipRanges"],
        json!([[{"subnet": "10.60.0.0/24", "gateway": "10.60.0.1"}],
               [{"subnet": "fd00:60::/64"}]])
    );
    assert_eq!(told.args[1], ("IP".to_owned(), "10.60.0.9".to_owned()));
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
fn an_address_that_was_asked_for_must_come_and_is_told_first() {
    let ips = json!([{"address": "10.22.0.7/16", "interface": 1},
                     {"address": "10.22.0.8/16", "interface": 1}]);
    let (result, nothing) = (result(&ips, &json!([])), EndpointInterface::default());
    let answer = |asked: &str| {
        let asked: Vec<_> = asked.split('+').map(|asked| asked.parse().unwrap()).collect();
        endpoint_interface(&host_local(), &nothing, &asked, &result, "cni0", None)
    };
    assert_eq!(
        answer("10.22.0.8+10.22.0.7").unwrap().address,
        Some("10.22.0.8/16".parse().unwrap())
    );
    assert_eq!(answer("10.22.0.8").unwrap().address, Some("10.22.0.8/16".parse().unwrap()));
    let text = answer("10.22.0.9").unwrap_err().to_string();
    assert!(text.contains("10.22.0.9") && text.contains("10.22.0.7/16"), "{text}");
    assert!(text.contains("leave the option out") && !text.contains("--ipam-driver"), "{text}");
}

#[test]
fn an_address_option_is_pinned_where_docker_has_none() {
    let options = json!({"ip": "10.22.0.50"});
    let options = EndpointOptions::read(options.as_object().unwrap()).unwrap();
    let none = ChainOptions::default();
    let told = arguments(&host_local(), &none, &options, &interface(json!({})), &[]).unwrap();
    assert_eq!(told.args[1], ("IP".to_owned(), "10.22.0.50".to_owned()));
}

#[test]
fn an_address_of_each_family_is_asked_for_by_one_option() {
    let options = json!({"ip": "10.22.0.50+fd00:22::50"});
    let options = EndpointOptions::read(options.as_object().unwrap()).unwrap();
    let none = ChainOptions::default();
    let told = arguments(&host_local(), &none, &options, &interface(json!({})), &[]).unwrap();
    assert_eq!(told.ips, ["10.22.0.50", "fd00:22::50"]);
    // Docker has decided one of them already: it is asked for once.
    let dockers = interface(json!({"Address": "10.22.0.50/16"}));
    let told = arguments(&host_local(), &none, &options, &dockers, &[]).unwrap();
    assert_eq!(told.ips, ["10.22.0.50", "fd00:22::50"]);
}

#[test]
fn an_address_out_of_the_range_is_refused_with_flags_that_keep_to_it() {
    let range =
        |range: Value| list(&json!({"type": "host-local", "ranges": [[range]]}), &json!({}));
    let narrow = range(json!({"subnet": "10.22.0.0/24", "rangeStart": "10.22.0.100",
                              "rangeEnd": "10.22.0.200"}));
    // Docker does not tell its --ip-range: the pool is taken.
    serves(&narrow, &pools(json!([{"Pool": "10.22.0.0/24", "Gateway": "10.22.0.1/24"}]))).unwrap();
    told(&narrow, json!({"Address": "10.22.0.100/24"})).unwrap();
    let text = told(&narrow, json!({"Address": "10.22.0.2/24"})).unwrap_err().to_string();
    for part in [
        "10.22.0.2,",
        "10.22.0.100 to 10.22.0.200",
        "--subnet 10.22.0.0/24 --gateway 10.22.0.1 --ip-range 10.22.0.128/26",
    ] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
    let upper = range(json!({"subnet": "fd00:22::/64", "rangeStart": "fd00:22::1:0"}));
    let text = told(&upper, json!({"AddressIPv6": "fd00:22::2/64"})).unwrap_err().to_string();
    assert!(text.contains("--ip-range fd00:22:0:0:8000::/65"), "{text}");
    let text = told(&upper, json!({"Address": "192.0.2.1/24"})).unwrap_err().to_string();
    assert!(text.contains("192.0.2.1") && !text.contains("--subnet"), "{text}");
    // Whose ranges come with the call has whatever is in them.
    let open =
        list(&json!({"type": "host-local", "subnet": "10.22.0.0/24"}), &json!({"ipRanges": true}));
    told(&open, json!({"Address": "192.0.2.1/24"})).unwrap();
}

#[test]
fn the_conflists_gateway_is_reserved_one_way_or_another() {
    let pool = |gateway: &str, reserved: Value| {
        pools(json!([{"Pool": "10.22.0.0/16", "Gateway": gateway, "AuxAddresses": reserved}]))
    };
    let text = serves(&host_local(), &pool("10.22.128.0/16", json!({}))).unwrap_err().to_string();
    assert!(text.contains("--subnet 10.22.0.0/16 --gateway 10.22.0.1"), "{text}");
    serves(&host_local(), &pool("10.22.128.0/16", json!({"gw": "10.22.0.1/16"}))).unwrap();
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

#[test]
fn a_port_that_nobody_would_publish_is_refused_with_the_remedy() {
    let fixed = published(&json!([{"Proto": 6, "Port": 80, "HostPort": 8080}]));
    let chain = list(&json!({"type": "host-local"}), &json!({}));
    publishes(&chain, &[]).unwrap();
    let text = publishes(&chain, &fixed).unwrap_err().to_string();
    assert!(text.contains("8080:80/tcp") && text.contains("\"portmap\""), "{text}");
}

#[test]
fn docker_is_told_the_first_address_of_each_family_and_the_mac() {
    let ips = json!([
        {"address": "192.0.2.9/24"},
        {"address": "10.22.0.5/16", "interface": 1},
        {"address": "10.22.0.1/16", "interface": 0},
        {"address": "fd00:22::5/64", "interface": 1},
    ]);
    let result = result(&ips, &json!([]));
    let mac = Some("02:00:00:00:00:01".to_owned());
    let nothing = EndpointInterface::default();
    let told = endpoint_interface(&host_local(), &nothing, &[], &result, "cni0", mac.clone());
    let all = json!({"Address": "192.0.2.9/24", "AddressIPv6": "fd00:22::5/64",
                     "MacAddress": "02:00:00:00:00:01"});
    assert_eq!(told.unwrap(), interface(all));

    let decided = interface(json!({"Address": "10.22.0.5/16", "MacAddress": "02:00:00:00:00:01"}));
    let told = endpoint_interface(&host_local(), &decided, &[], &result, "cni0", mac);
    assert_eq!(told.unwrap(), interface(json!({"AddressIPv6": "fd00:22::5/64"})));
}

#[test]
fn an_address_that_differs_from_dockers_is_an_error_that_names_both() {
    let result = result(&json!([{"address": "10.22.0.7/16", "interface": 1}]), &json!([]));
    let wanted = interface(json!({"Address": "10.22.0.5/16"}));
    let error = endpoint_interface(&host_local(), &wanted, &[], &result, "cni0", None).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("10.22.0.7/16") && text.contains("10.22.0.5"), "{text}");
    assert!(text.contains("--ipam-driver null") && !text.contains("option ip"), "{text}");
}

/// The answer to Join, of Docker having set what CreateEndpoint was answered.
fn joined(result: &AttachResult, internal: bool) -> JoinResponse {
    let nothing = EndpointInterface::default();
    let told = endpoint_interface(&host_local(), &nothing, &[], result, "cni0", None).unwrap();
    join_answer(result, "cni0", &told.addresses().collect::<Vec<_>>(), &[], internal)
}

fn answer(ips: Value, routes: Value) -> Value {
    serde_json::to_value(joined(&result(&ips, &routes), false)).unwrap()
}

#[test]
fn a_default_route_becomes_the_gateway() {
    let ips = json!([
        {"address": "10.22.0.5/16", "gateway": "10.22.0.1", "interface": 1},
        {"address": "fd00:22::5/64", "gateway": "fd00:22::1", "interface": 1},
    ]);
    let routes = json!([{"dst": "0.0.0.0/0"}, {"dst": "::/0", "gw": "fd00:22::9"}]);
    let answer = answer(ips, routes);
    assert_eq!(answer["InterfaceName"], json!({"SrcName": "cni0", "DstPrefix": "eth"}));
    assert_eq!(answer["Gateway"], "10.22.0.1");
    assert_eq!(answer["GatewayIPv6"], "fd00:22::9");
    assert_eq!(answer["StaticRoutes"], json!([]));
    assert_eq!(answer["DisableGatewayService"], true);
}

#[test]
fn a_chain_without_a_default_route_gives_no_gateway() {
    let ips = json!([{"address": "10.22.0.5/16", "gateway": "10.22.0.1", "interface": 1}]);
    let answer = answer(ips, json!([]));
    assert_eq!(answer.get("Gateway"), None);
    assert_eq!(answer["DisableGatewayService"], true);
}

#[test]
fn a_default_route_that_only_add_left_becomes_the_gateway() {
    let ips = json!([
        {"address": "10.32.0.5/12", "gateway": "10.32.0.1"},
        {"address": "fd00:22::5/64"},
    ]);
    let told = ["10.32.0.5/12", "fd00:22::5/64"].map(|net| net.parse().unwrap());
    let left = ["169.254.1.1", "10.32.0.9", "fd00:22::1"].map(|address| address.parse().unwrap());
    let of = |routes: Value, internal: bool| {
        let answer = join_answer(&result(&ips, &routes), "cni0", &told, &left, internal);
        serde_json::to_value(answer).unwrap()
    };
    let answer = of(json!([]), false);
    assert_eq!(answer["Gateway"], "169.254.1.1", "the first of its family");
    assert_eq!(answer["GatewayIPv6"], "fd00:22::1");
    let reached = json!([{"Destination": "169.254.1.1/32", "RouteType": 1, "NextHop": ""}]);
    assert_eq!(answer["StaticRoutes"], reached);

    let answer = of(json!([{"dst": "0.0.0.0/0"}]), false);
    assert_eq!(answer["Gateway"], "10.32.0.1", "what the result tells goes first");
    assert_eq!(answer["GatewayIPv6"], "fd00:22::1");

    let answer = of(json!([]), true);
    assert_eq!((answer.get("Gateway"), answer.get("GatewayIPv6")), (None, None));
    assert_eq!(answer["StaticRoutes"], json!([]));
}

#[test]
fn a_gateway_outside_the_subnet_is_made_reachable_on_the_link() {
    let ips = json!([{"address": "10.22.0.5/32", "interface": 1}]);
    let routes = json!([
        {"dst": "0.0.0.0/0", "gw": "169.254.1.1"},
        {"dst": "10.99.0.0/16", "gw": "169.254.1.1"},
    ]);
    let answer = answer(ips, routes);
    assert_eq!(answer["Gateway"], "169.254.1.1");
    assert_eq!(
        answer["StaticRoutes"],
        json!([
            {"Destination": "169.254.1.1/32", "RouteType": 1, "NextHop": ""},
            {"Destination": "10.99.0.0/16", "RouteType": 0, "NextHop": "169.254.1.1"},
        ])
    );
}

#[test]
fn a_gateway_beside_an_address_that_docker_does_not_set_is_made_reachable_on_the_link() {
    let ips = json!([
        {"address": "10.22.0.5/16", "gateway": "10.22.0.1", "interface": 1},
        {"address": "10.33.0.5/16", "gateway": "10.33.0.1", "interface": 1},
    ]);
    let result = result(&ips, &json!([{"dst": "0.0.0.0/0"}]));
    let routes = |told: &str| {
        let answer = join_answer(&result, "cni0", &[told.parse().unwrap()], &[], false);
        assert_eq!(answer.gateway, Some("10.22.0.1".parse().unwrap()));
        serde_json::to_value(answer.static_routes).unwrap()
    };
    assert_eq!(routes("10.22.0.5/16"), json!([]));
    assert_eq!(
        routes("10.33.0.5/16"),
        json!([{"Destination": "10.22.0.1/32", "RouteType": 1, "NextHop": ""}])
    );
}

#[test]
fn an_address_is_the_containers_unless_it_is_said_to_be_on_another_interface() {
    let is_told = |interfaces: Value| {
        let result: AttachResult = serde_json::from_value(json!({
            "cniVersion": "1.0.0",
            "interfaces": interfaces,
            "ips": [{"address": "10.22.0.5/16", "interface": 0}],
        }))
        .unwrap();
        let nothing = EndpointInterface::default();
        let told = endpoint_interface(&host_local(), &nothing, &[], &result, "cni0", None);
        told.unwrap().address.is_some()
    };
    assert!(is_told(json!([{"name": "cni0", "sandbox": "/run/netns/x"}])));
    // As plugins have it that do not fill in the whole of their result.
    assert!(is_told(json!([{"name": "cni0"}])));
    assert!(is_told(json!([])));
    assert!(!is_told(json!([{"name": "veth0"}])));
    assert!(!is_told(json!([{"name": "other", "sandbox": "/run/netns/x"}])));
}

#[test]
fn docker_is_told_one_route_to_each_destination_and_none_that_it_would_make_otherwise() {
    let ips = json!([{"address": "10.22.0.5/16", "gateway": "10.22.0.1", "interface": 1}]);
    let routes = json!([
        {"dst": "10.96.0.0/12", "gw": "10.22.0.8"},
        {"dst": "10.96.0.0/12", "gw": "10.22.0.9"},
        {"dst": "10.22.0.0/16"},
        {"dst": "10.112.0.0/12", "priority": 100},
    ]);
    assert_eq!(
        answer(ips, routes)["StaticRoutes"],
        json!([{"Destination": "10.96.0.0/12", "RouteType": 0, "NextHop": "10.22.0.8"}])
    );
}

#[test]
fn a_second_network_with_the_same_far_gateway_gets_a_wider_route_to_it() {
    let ips = json!([{"address": "10.22.0.5/32", "interface": 1}]);
    let routes = json!([{"dst": "0.0.0.0/0", "gw": "169.254.1.1"}, {"dst": "10.9.0.0/16"}]);
    let answer = joined(&result(&ips, &routes), false);
    let told = |bits| {
        let routes = widened(answer.clone(), bits).static_routes.into_iter();
        routes.map(|route| route.destination.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(told(0), ["169.254.1.1/32", "10.9.0.0/16"]);
    assert_eq!(told(1), ["169.254.1.0/31", "10.9.0.0/16"]);
    assert_eq!(told(2), ["169.254.1.0/30", "10.9.0.0/16"]);
}

#[test]
fn the_chains_own_link_route_to_its_gateway_is_not_doubled() {
    let ips = json!([{"address": "10.22.0.5/32", "interface": 1}]);
    let routes = json!([{"dst": "169.254.1.1/32"}, {"dst": "0.0.0.0/0", "gw": "169.254.1.1"}]);
    let routes = &answer(ips, routes)["StaticRoutes"];
    assert_eq!(*routes, json!([{"Destination": "169.254.1.1/32", "RouteType": 1, "NextHop": ""}]));
}

#[test]
fn routes_of_other_tables_are_not_dockers() {
    let ips = json!([{"address": "10.22.0.5/16", "gateway": "10.22.0.1", "interface": 1}]);
    let routes = json!([
        {"dst": "10.96.0.0/12", "table": 100},
        {"dst": "10.112.0.0/12", "table": 254},
    ]);
    let answer = answer(ips, routes);
    assert_eq!(
        answer["StaticRoutes"],
        json!([{"Destination": "10.112.0.0/12", "RouteType": 0, "NextHop": "10.22.0.1"}])
    );
}

#[test]
fn an_internal_network_has_no_way_out() {
    let ips = json!([{"address": "10.22.0.5/16", "gateway": "10.22.0.1", "interface": 1}]);
    let routes = json!([
        {"dst": "0.0.0.0/0"},
        {"dst": "10.96.0.0/12", "gw": "10.22.0.9"},
    ]);
    let answer = joined(&result(&ips, &routes), true);
    assert_eq!((answer.gateway, answer.static_routes), (None, Vec::new()));
    assert!(answer.disable_gateway_service);
}
