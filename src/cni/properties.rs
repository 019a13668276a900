//! What holds for every input, not only for chosen examples.
//!
//! Each property is tried 1,000 times, with other inputs each time: all of them in less than
//! 3 s in a debug build. `tests/it/cni/fuzz.rs` and `fuzz/` try the readers more often.

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::exec::request::Request;
use super::lenient::is_key;
use super::{
    AttachResult, Attachment, Dns, Failure, Interface, IpConfig, NetworkConfigList, PluginConfig,
    Route, Version,
};

/// How often each property is tried.
const CASES: u32 = 1_000;

/// Some JSON, with numbers of any size; none that is whole, and written otherwise.
fn any_json() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        "[1-9][0-9]{20,40}",
        "-?[0-9]\\.[0-9]{1,12}[1-9]",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number.prop_map(|digits| serde_json::from_str(&digits).unwrap()),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            any_object(inner).prop_map(Value::Object),
        ]
    })
}

/// Keys are often ones that mean something, in some spelling.
fn any_object(values: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
    let known = prop::sample::select(vec![
        "cniVersion",
        "CNIVERSION",
        "name",
        "Name",
        "prevResult",
        "prevresult",
        "runtimeConfig",
        "capabilities",
        "Capabilities",
        "cni.dev/x",
        "cni.dev/valid-attachments",
        "args",
        "dns",
        "interfaces",
        "ips",
        "routes",
        "ip4",
        "ip6",
        "address",
        "gateway",
        "dst",
        "gw",
        "mtu",
        "plugins",
        "type",
        "ipam",
        "code",
        "msg",
        "details",
        "disableCheck",
        "cniVersions",
    ]);
    let key = prop_oneof![known.prop_map(str::to_owned), ".{0,6}"];
    btree_map(key, values, 0..6).prop_map(|object| object.into_iter().collect())
}

fn any_version() -> impl Strategy<Value = Version> {
    prop::sample::select(vec![
        Version::V0_1_0,
        Version::V0_2_0,
        Version::V0_3_0,
        Version::V0_3_1,
        Version::V0_4_0,
        Version::V1_0_0,
        Version::V1_1_0,
    ])
}

prop_compose! {
    fn any_interface()(
        name in "[a-z]{1,15}",
        mac in option::of("[0-9a-f]{2}(:[0-9a-f]{2}){5}"),
        mtu in option::of(1..u32::MAX),
        sandbox in option::of("/[a-z]{1,8}"),
        socket_path in option::of("/[a-z]{1,8}"),
        pci_id in option::of("[0-9a-f]{4}:00:00.0"),
    ) -> Interface {
        Interface { name, mac, mtu, sandbox, socket_path, pci_id, other: Vec::new() }
    }
}

prop_compose! {
    fn any_net()(address in any::<std::net::IpAddr>(), prefix in 0..=128_u8) -> ipnet::IpNet {
        let longest = if address.is_ipv4() { 32 } else { 128 };
        ipnet::IpNet::new(address, prefix.min(longest)).unwrap()
    }
}

prop_compose! {
    fn any_ip()(
        address in any_net(),
        gateway in option::of(any::<std::net::IpAddr>()),
        interface in option::of(0..9_usize),
    ) -> IpConfig {
        IpConfig { address, gateway, interface, other: Vec::new() }
    }
}

prop_compose! {
    fn any_route()(
        dst in any_net(),
        gw in option::of(any::<std::net::IpAddr>()),
        mtu in option::of(1..u32::MAX),
        priority in option::of(1..u32::MAX),
        table in option::of(any::<u32>()),
        scope in option::of(any::<u8>()),
    ) -> Route {
        Route { gw, mtu, priority, table, scope, ..Route::new(dst) }
    }
}

prop_compose! {
    fn any_result()(
        interfaces in vec(any_interface(), 0..4),
        ips in vec(any_ip(), 0..4),
        routes in vec(any_route(), 0..4),
        nameservers in vec("[0-9.]{7}", 0..3),
        domain in option::of("[a-z.]{1,9}"),
    ) -> AttachResult {
        let dns = Dns { nameservers, domain, ..Dns::default() };
        AttachResult { interfaces, ips, routes, dns, other: Vec::new() }
    }
}

/// What is left of a result after a stay in the form of `version`.
fn through(result: &AttachResult, version: Version) -> AttachResult {
    let written = result.to_version(version).unwrap();
    assert_eq!(written["cniVersion"], json!(version));
    AttachResult::from_json(written, Version::LATEST).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn r52_l55_lists_survive_every_version_that_has_them(result in any_result()) {
        prop_assert_eq!(&through(&result, Version::V1_1_0), &result);
        prop_assert_eq!(&through(&result, Version::V1_0_0), &result);
        let mut older = result.clone();
        for interface in &mut older.interfaces {
            interface.mtu = None;
            interface.socket_path = None;
            interface.pci_id = None;
        }
        for version in [Version::V0_3_0, Version::V0_3_1, Version::V0_4_0] {
            prop_assert_eq!(&through(&result, version), &older);
        }
    }

    #[test]
    fn l57_what_the_first_versions_can_say_they_say_again(result in any_result()) {
        let written = result.to_version(Version::V0_2_0);
        prop_assert_eq!(written.is_err(), result.ips.is_empty());
        if let Ok(written) = written {
            let read = AttachResult::from_json(written.clone(), Version::LATEST).unwrap();
            prop_assert_eq!(read.to_version(Version::V0_2_0).unwrap(), written);
        }
    }

    #[test]
    fn no_bytes_upset_a_reader(bytes in vec(any::<u8>(), 0..200), version in any_version()) {
        let _ = AttachResult::parse(&bytes, version);
        let _ = NetworkConfigList::parse(&bytes);
        let _ = NetworkConfigList::up_convert(&bytes);
        let _ = Failure::read(std::process::ExitStatus::default(), &bytes, "");
        let _ = String::from_utf8_lossy(&bytes).parse::<Version>();
    }

    #[test]
    fn no_json_upsets_a_reader(json in any_object(any_json()), version in any_version()) {
        let bytes = Value::Object(json).to_string().into_bytes();
        if let Ok(result) = AttachResult::parse(&bytes, version) {
            for target in [Version::V0_2_0, Version::V0_4_0, Version::V1_1_0] {
                let _ = result.to_version(target);
            }
            let stored = serde_json::to_vec(&result).unwrap();
            prop_assert_eq!(serde_json::from_slice::<AttachResult>(&stored).unwrap(), result);
        }
        let _ = NetworkConfigList::parse(&bytes);
        let _ = NetworkConfigList::up_convert(&bytes);
        let _ = Failure::read(std::process::ExitStatus::default(), &bytes, "");
    }

    #[test]
    fn r10_r50_only_the_protocols_keys_are_changed(
        written in any_object(any_json()),
        capability in any_json(),
        result in any_json(),
    ) {
        let mut written = written;
        written.retain(|key, _| !["type", "ipam", "capabilities"].iter().any(|it| is_key(key, it)));
        written.insert("type".into(), "a".into());
        written.insert("capabilities".into(), json!({"c": true}));
        let plugin = PluginConfig::from_json(Value::Object(written.clone())).unwrap();
        let list = json!({"name": "net", "plugins": [{"type": "x"}]}).to_string();
        let list = NetworkConfigList::parse(list.as_bytes()).unwrap().with_plugin(plugin.clone());
        let stored = serde_json::to_vec(&list).unwrap();
        prop_assert_eq!(&serde_json::from_slice::<NetworkConfigList>(&stored).unwrap(), &list);

        let attachment = Attachment {
            capability_args: [("c".to_owned(), capability.clone())].into_iter().collect(),
            ..Attachment::default()
        };
        let request = Request {
            list: &list,
            plugin: &plugin,
            prev_result: Some(&result),
            attachment: Some(&attachment),
            valid_attachments: None,
        };
        let sent = serde_json::to_string(&request).unwrap();
        let sent: Map<String, Value> = serde_json::from_str(&sent).unwrap();
        prop_assert_eq!(&sent["name"], "net");
        prop_assert_eq!(&sent["cniVersion"], "0.1.0");
        prop_assert_eq!(&sent["prevResult"], &result);
        prop_assert_eq!(&sent["runtimeConfig"], &json!({"c": capability}));

        let others = |object: &Map<String, Value>| -> Vec<(String, Value)> {
            const PROTOCOL: [&str; 5] =
                ["cniVersion", "name", "prevResult", "runtimeConfig", "capabilities"];
            let is_protocol = |key: &str| {
                key.starts_with("cni.dev/") || PROTOCOL.iter().any(|it| is_key(key, it))
            };
            let others = object.iter().filter(|(key, _)| !is_protocol(key));
            others.map(|(key, value)| (key.clone(), value.clone())).collect()
        };
        // With the order of the keys.
        prop_assert_eq!(others(&sent), others(&written));
        prop_assert_eq!(sent.len(), others(&sent).len() + 4);
    }
}
