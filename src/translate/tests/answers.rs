//! What Docker is answered of a result.

use serde_json::{Value, json};

use super::*;

#[test]
fn an_address_that_was_asked_for_must_come_and_is_answered_first() {
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
fn docker_is_answered_the_first_address_of_each_family_and_the_mac() {
    let ips = json!([
        {"address": "192.0.2.9/24"},
        {"address": "10.22.0.5/16", "interface": 1},
        {"address": "10.22.0.1/16", "interface": 0},
        {"address": "fd00:22::5/64", "interface": 1},
    ]);
    let result = result(&ips, &json!([]));
    let mac = Some("02:00:00:00:00:01".to_owned());
    let nothing = EndpointInterface::default();
    let answered = endpoint_interface(&host_local(), &nothing, &[], &result, "cni0", mac.clone());
    let all = json!({"Address": "192.0.2.9/24", "AddressIPv6": "fd00:22::5/64",
                     "MacAddress": "02:00:00:00:00:01"});
    assert_eq!(answered.unwrap(), interface(all));

    let decided = interface(json!({"Address": "10.22.0.5/16", "MacAddress": "02:00:00:00:00:01"}));
    let answered = endpoint_interface(&host_local(), &decided, &[], &result, "cni0", mac);
    assert_eq!(answered.unwrap(), interface(json!({"AddressIPv6": "fd00:22::5/64"})));
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
    let answered = endpoint_interface(&host_local(), &nothing, &[], result, "cni0", None).unwrap();
    join_answer(result, "cni0", &answered.addresses().collect::<Vec<_>>(), &[], internal)
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
    let answered = ["10.32.0.5/12", "fd00:22::5/64"].map(|net| net.parse().unwrap());
    let left = ["169.254.1.1", "10.32.0.9", "fd00:22::1"].map(|address| address.parse().unwrap());
    let of = |routes: Value, internal: bool| {
        let answer = join_answer(&result(&ips, &routes), "cni0", &answered, &left, internal);
        serde_json::to_value(answer).unwrap()
    };
    let answer = of(json!([]), false);
    assert_eq!(answer["Gateway"], "169.254.1.1", "the first of its family");
    assert_eq!(answer["GatewayIPv6"], "fd00:22::1");
    let reached = json!([{"Destination": "169.254.1.1/32", "RouteType": 1, "NextHop": ""}]);
    assert_eq!(answer["StaticRoutes"], reached);

    let answer = of(json!([{"dst": "0.0.0.0/0"}]), false);
    assert_eq!(answer["Gateway"], "10.32.0.1", "the result goes first");
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
    let routes = |answered: &str| {
        let answer = join_answer(&result, "cni0", &[answered.parse().unwrap()], &[], false);
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
    let is_answered = |interfaces: Value| {
        let result: AttachResult = serde_json::from_value(json!({
            "cniVersion": "1.0.0",
            "interfaces": interfaces,
            "ips": [{"address": "10.22.0.5/16", "interface": 0}],
        }))
        .unwrap();
        let nothing = EndpointInterface::default();
        let answered = endpoint_interface(&host_local(), &nothing, &[], &result, "cni0", None);
        answered.unwrap().address.is_some()
    };
    assert!(is_answered(json!([{"name": "cni0", "sandbox": "/run/netns/x"}])));
    // As plugins have it that do not fill in the whole of their result.
    assert!(is_answered(json!([{"name": "cni0"}])));
    assert!(is_answered(json!([])));
    assert!(!is_answered(json!([{"name": "veth0"}])));
    assert!(!is_answered(json!([{"name": "other", "sandbox": "/run/netns/x"}])));
}

#[test]
fn docker_is_answered_one_route_to_each_destination_and_none_that_it_would_make_otherwise() {
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
    let answered = |bits| {
        let routes = widened(answer.clone(), bits).static_routes.into_iter();
        routes.map(|route| route.destination.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(answered(0), ["169.254.1.1/32", "10.9.0.0/16"]);
    assert_eq!(answered(1), ["169.254.1.0/31", "10.9.0.0/16"]);
    assert_eq!(answered(2), ["169.254.1.0/30", "10.9.0.0/16"]);
}

#[test]
fn the_chains_own_link_route_to_its_gateway_is_not_doubled() {
    let ips = json!([{"address": "10.22.0.5/32", "interface": 1}]);
    let routes = json!([{"dst": "169.254.1.1/32"}, {"dst": "0.0.0.0/0", "gw": "169.254.1.1"}]);
    let routes = &answer(ips, routes)["StaticRoutes"];
    assert_eq!(*routes, json!([{"Destination": "169.254.1.1/32", "RouteType": 1, "NextHop": ""}]));
}

#[test]
fn a_route_over_the_unspecified_address_is_on_the_link_as_for_the_kernel() {
    let ips = json!([{"address": "10.22.0.5/16", "gateway": "0.0.0.0", "interface": 1}]);
    let routes = json!([{"dst": "0.0.0.0/0"}, {"dst": "10.96.0.0/12", "gw": "0.0.0.0"}]);
    let answer = answer(ips, routes);
    assert_eq!(answer.get("Gateway"), None);
    assert_eq!(
        answer["StaticRoutes"],
        json!([{"Destination": "10.96.0.0/12", "RouteType": 1, "NextHop": ""}])
    );
}

#[test]
fn without_an_ipv6_address_there_are_no_routes_of_ipv6_which_docker_turns_off() {
    let ips = json!([{"address": "10.22.0.5/16", "interface": 1}]);
    let routes = json!([{"dst": "fd01::/64"}, {"dst": "::/0", "gw": "fe80::1"}]);
    let result = result(&ips, &routes);
    let left = ["fe80::1".parse().unwrap()];
    let answer = join_answer(&result, "cni0", &["10.22.0.5/16".parse().unwrap()], &left, false);
    assert_eq!((answer.gateway_ipv6, answer.static_routes), (None, Vec::new()));
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
