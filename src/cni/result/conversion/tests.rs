//! Results in every form, there and back.

use super::*;

fn read(json: Value) -> AttachResult {
    AttachResult::from_json(json, Version::V1_0_0).unwrap()
}

fn written(json: Value, version: &str) -> Value {
    read(json).to_version(version.parse().unwrap()).unwrap()
}

fn error(json: Value) -> String {
    AttachResult::from_json(json, Version::V1_0_0).unwrap_err().to_string()
}

/// A result that uses all that the latest version has.
fn full() -> Value {
    json!({
        "cniVersion": "1.1.0",
        "interfaces": [
            {"name": "cni0", "mac": "00:11:22:33:44:55"},
            {"name": "eth0", "mac": "00:11:22:33:44:66", "mtu": 1400, "sandbox": "/n",
             "socketPath": "/s", "pciID": "0000:04:00.5"},
        ],
        "ips": [
            {"interface": 0, "address": "1.2.3.30/24", "gateway": "1.2.3.1"},
            {"interface": 1, "address": "abcd:1234:ffff::cdde/64", "gateway": "abcd:1234:ffff::1"},
            {"address": "1.2.4.30/24"},
        ],
        "routes": [
            {"dst": "15.5.6.8/24", "gw": "15.5.6.8", "mtu": 9000, "advmss": 1360,
             "priority": 5, "table": 100, "scope": 253},
            {"dst": "1111:dddd::aaaa/80", "gw": "1111:dddd::aaaa"},
        ],
        "dns": {"nameservers": ["1.2.3.4"], "domain": "acompany.com",
                "search": ["somedomain.com"], "options": ["foo"]},
    })
}

#[test]
fn r52_l56_the_latest_version_and_1_0_0_differ_in_name_only() {
    assert_eq!(written(full(), "1.1.0"), full());
    let mut expected = full();
    expected["cniVersion"] = "1.0.0".into();
    assert_eq!(written(full(), "1.0.0"), expected);
    assert_eq!(written(expected, "1.1.0"), full());
}

#[test]
fn l55_the_middle_versions_have_the_family_and_no_new_interface_fields() {
    for version in ["0.3.0", "0.3.1", "0.4.0"] {
        let mut expected = full();
        expected["cniVersion"] = version.into();
        expected["interfaces"][1] =
            json!({"name": "eth0", "mac": "00:11:22:33:44:66", "sandbox": "/n"});
        for (index, family) in ["4", "6", "4"].iter().enumerate() {
            expected["ips"][index]["version"] = (*family).into();
        }
        let old = written(full(), version);
        assert_eq!(old, expected);

        let mut back = full();
        back["interfaces"][1] = expected["interfaces"][1].clone();
        assert_eq!(written(old, "1.1.0"), back);
    }
}

#[test]
fn l57_the_first_versions_have_one_address_per_family() {
    for version in ["0.1.0", "0.2.0"] {
        let expected = json!({
            "cniVersion": version,
            "ip4": {"ip": "1.2.3.30/24", "gateway": "1.2.3.1",
                    "routes": [{"dst": "15.5.6.8/24", "gw": "15.5.6.8"}]},
            "ip6": {"ip": "abcd:1234:ffff::cdde/64", "gateway": "abcd:1234:ffff::1",
                    "routes": [{"dst": "1111:dddd::aaaa/80", "gw": "1111:dddd::aaaa"}]},
            "dns": full()["dns"],
        });
        assert_eq!(written(full(), version), expected);
    }
}

#[test]
fn l54_addresses_of_the_first_versions_are_on_no_known_interface() {
    let old = written(full(), "0.2.0");
    let new = json!({
        "cniVersion": "1.0.0",
        "ips": [
            {"address": "1.2.3.30/24", "gateway": "1.2.3.1"},
            {"address": "abcd:1234:ffff::cdde/64", "gateway": "abcd:1234:ffff::1"},
        ],
        "routes": [
            {"dst": "15.5.6.8/24", "gw": "15.5.6.8"},
            {"dst": "1111:dddd::aaaa/80", "gw": "1111:dddd::aaaa"},
        ],
        "dns": full()["dns"],
    });
    assert_eq!(written(old.clone(), "1.0.0"), new);
    assert_eq!(written(new, "0.2.0"), old);
}

#[test]
fn l53_the_first_two_versions_differ_in_name_only() {
    let mut expected = written(full(), "0.1.0");
    expected["cniVersion"] = "0.2.0".into();
    assert_eq!(written(written(full(), "0.1.0"), "0.2.0"), expected);
}

#[test]
fn l57_without_an_address_there_is_no_result_of_the_first_versions() {
    for version in ["0.1.0", "0.2.0"] {
        let result = read(json!({"interfaces": [{"name": "lo"}]}));
        let error = result.to_version(version.parse().unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "cannot convert: no valid IP addresses");
    }
}

#[test]
fn l58_index_zero_is_written_and_none_is_not() {
    let ips = json!([{"interface": 0, "address": "10.0.0.2/8"}, {"address": "10.0.0.3/8"}]);
    let result = written(json!({"interfaces": [{"name": "a"}], "ips": ips}), "1.0.0");
    assert_eq!(result["ips"], ips);
}

#[test]
fn l58_an_empty_dns_is_left_out_since_1_0_0_and_not_before() {
    let result = json!({"ips": [{"address": "10.0.0.2/8"}], "dns": {}});
    assert_eq!(written(result.clone(), "1.0.0").get("dns"), None);
    for version in ["0.1.0", "0.2.0", "0.3.1", "0.4.0"] {
        assert_eq!(written(result.clone(), version)["dns"], json!({}), "{version}");
    }
}

#[test]
fn l58_the_bits_of_a_destination_beyond_its_prefix_are_kept() {
    let routes = json!([{"dst": "10.1.2.3/8"}]);
    assert_eq!(written(json!({"routes": routes}), "1.0.0")["routes"], routes);
}

#[test]
fn l29_a_result_without_a_version_has_the_one_that_was_asked_for() {
    let old = br#"{"ip4":{"ip":"10.0.0.2/8"}}"#;
    for asked in [Version::V0_1_0, Version::V0_2_0] {
        assert_eq!(AttachResult::parse(old, asked).unwrap().ips.len(), 1);
    }
    let new = br#"{"cniVersion":"","ips":[{"address":"10.0.0.2/8"}]}"#;
    assert_eq!(AttachResult::parse(new, Version::V0_4_0).unwrap().ips.len(), 1);
    assert_eq!(error(json!({"cniVersion": "1.2.0"})), "unsupported CNI result version \"1.2.0\"");
    assert!(error(json!({"cniVersion": "abc"})).contains("\"abc\""));
}

#[test]
fn l28_null_is_an_empty_result_and_nothing_is_none() {
    assert_eq!(AttachResult::parse(b"null", Version::LATEST).unwrap(), AttachResult::default());
    for bytes in ["", "  \n", "{", "[]", "7", "{} x", "\u{0}"] {
        assert!(AttachResult::parse(bytes.as_bytes(), Version::LATEST).is_err(), "{bytes:?}");
    }
}

#[test]
fn l14_empty_texts_null_lists_and_keys_in_any_case_are_read() {
    let result = read(json!({
        "CniVersion": "0.4.0",
        "interfaces": null,
        "IPs": [null, {"Version": "4", "Address": "10.0.0.2/8", "Gateway": ""}],
        "routes": [{"dst": "0.0.0.0/0", "gw": "", "mtu": 0, "priority": 0}],
        "dns": {"nameservers": null, "domain": ""},
    }));
    assert_eq!(result.ips, [IpConfig::new("10.0.0.2/8".parse().unwrap())]);
    assert_eq!(result.routes, [Route::new("0.0.0.0/0".parse().unwrap())]);
    assert!(result.dns.is_empty() && result.other.is_empty());
}

#[test]
fn r53_an_address_is_on_the_interface_that_its_index_names() {
    let result = read(full());
    let on = |ip: usize| result.interface_of(&result.ips[ip]).map(|it| it.name.as_str());
    assert_eq!((on(0), on(1), on(2)), (Some("cni0"), Some("eth0"), None));
    let lost = read(json!({"ips": [{"address": "10.0.0.2/8", "interface": 3}]}));
    assert_eq!(lost.interface_of(&lost.ips[0]), None);
    let none = read(json!({"ips": [{"address": "10.0.0.2/8", "interface": -1}]}));
    assert_eq!(none.ips, [IpConfig::new("10.0.0.2/8".parse().unwrap())]);
}

#[test]
fn unknown_fields_stay_where_they_are() {
    let mut json = full();
    json["vendor"] = json!({"exact": 1});
    json["interfaces"][0]["a"] = json!(1);
    json["ips"][0]["b"] = json!([2]);
    json["routes"][1]["c"] = json!("3");
    json["dns"]["d"] = json!(null);
    assert_eq!(written(json.clone(), "1.1.0"), json);
}

#[test]
fn a_field_that_only_other_versions_know_does_not_come_back_in_theirs() {
    let old = json!({
        "cniVersion": "0.2.0", "interfaces": "none", "IPs": 7, "vendor": 1,
        "ip4": {"ip": "10.0.0.2/8", "Address": 8, "interface": "x", "vendor": 2},
    });
    assert_eq!(
        written(old, "1.0.0"),
        json!({
            "cniVersion": "1.0.0", "ips": [{"address": "10.0.0.2/8", "vendor": 2}], "vendor": 1,
        })
    );
}

#[test]
fn what_is_wrong_with_a_result_is_named_by_its_place() {
    assert_eq!(
        error(json!({"ips": [{"address": "10.0.0.2"}]})),
        "ips[0].address: expected an address with its prefix length, found \"10.0.0.2\""
    );
    assert_eq!(
        error(json!({"ips": [{"address": "10.0.0.2/8", "interface": 0.5}]})),
        "ips[0].interface: expected an index into \"interfaces\", found 0.5"
    );
    assert_eq!(
        error(json!({"routes": [{"dst": "10.0.0.0/8", "gw": "x"}]})),
        "routes[0].gw: expected an IP address, found \"x\""
    );
    assert_eq!(
        error(json!({"dns": {"search": [1]}})),
        "dns.search: expected a list of strings, found 1"
    );
    assert_eq!(
        error(json!({"cniVersion": "0.2.0", "ip4": {"ip": 4}})),
        "ip4.ip: expected an address with its prefix length, found 4"
    );
    assert!(error(json!({"interfaces": ["eth0"]})).starts_with("interfaces[0]: expected an"));
}

#[test]
fn a_stored_result_reads_back_equal() {
    let result = read(full());
    let stored = serde_json::to_string(&result).unwrap();
    assert_eq!(serde_json::from_str::<AttachResult>(&stored).unwrap(), result);
}
