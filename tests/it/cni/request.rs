//! What plugins read on their standard input.

use cnm_cni::cni::{AttachResult, Attachment, ValidAttachment};
use serde_json::{Value, json};

use super::{Bench, attachment};

/// The standard input of a call, without the fake plugin's script.
fn stdin(call: &Value) -> Value {
    let mut stdin = call["stdin"].clone();
    stdin.as_object_mut().unwrap().remove("fake");
    stdin
}

fn object(json: Value) -> serde_json::Map<String, Value> {
    json.as_object().unwrap().clone()
}

#[tokio::test]
async fn r7_r10_r47_r58_l15_name_and_version_are_the_lists_and_all_else_is_as_written() {
    let bench = Bench::with(&["one"]);
    let plugin = json!({
        "type": "one", "name": "own", "cniVersion": "0.1.0", "args": {"cni": {"labels": [{"key": "app", "value": "web"}]}},
        "ipam": {"type": "host-local", "subnet": "10.0.0.0/8"}, "unknown": {"deep": [1, null]},
        "dns": {},
    });
    let list = bench.list("0.4.0", json!([plugin]));
    bench.runtime().add(&list, &attachment()).await.unwrap();
    let mut expected = plugin;
    expected["name"] = "net".into();
    expected["cniVersion"] = "0.4.0".into();
    assert_eq!(stdin(&bench.calls()[0]), expected);
}

#[tokio::test]
async fn l14_numbers_reach_the_plugin_digit_by_digit() {
    let bench = Bench::with(&["one"]);
    let big: Value =
        serde_json::from_str("[12345678901234567890123, 0.10, 9007199254740993]").unwrap();
    let list = bench.list("1.0.0", json!([{"type": "one", "big": big}]));
    bench.runtime().add(&list, &attachment()).await.unwrap();
    assert_eq!(bench.calls()[0]["stdin"]["big"], big);
}

#[tokio::test]
async fn l14_a_whole_number_is_sent_as_one_however_it_is_written() {
    let bench = Bench::with(&["one"]);
    let written: Value =
        serde_json::from_str("[1500.0, 1e+06, -2.50e1, 1E-1, 1e30, 1.5, {\"rate\": 8E3}]").unwrap();
    let sent: Value =
        serde_json::from_str("[1500, 1000000, -25, 1E-1, 1e30, 1.5, {\"rate\": 8000}]").unwrap();
    let plugin = json!({"type": "one", "written": written, "capabilities": {"bandwidth": true}});
    let list = bench.list("1.0.0", json!([plugin]));
    let capability_args = object(json!({"bandwidth": written}));
    let to = Attachment { capability_args, ..attachment() };
    bench.runtime().add(&list, &to).await.unwrap();
    let call = &bench.calls()[0]["stdin"];
    assert_eq!(call["written"], sent);
    assert_eq!(call["runtimeConfig"]["bandwidth"], sent);
}

#[tokio::test]
async fn r48_r51_l16_a_plugin_gets_the_capabilities_that_it_declares_and_no_others() {
    let bench = Bench::with(&["a", "b", "c", "d"]);
    let list = bench.list(
        "1.0.0",
        json!([
            {"type": "a", "capabilities": {"portMappings": true, "bandwidth": true, "x": true}},
            {"type": "b", "capabilities": {"portMappings": false, "ips": true}},
            {"type": "c"},
            {"type": "d", "capabilities": {"bandwidth": true}, "runtimeConfig": {"old": 1}},
        ]),
    );
    let ports = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]);
    let bandwidth = json!({"ingressRate": 2048});
    let to = Attachment {
        capability_args: object(json!({
            "portMappings": ports, "bandwidth": bandwidth, "mac": "00:00:00:00:00:01",
        })),
        ..attachment()
    };
    bench.runtime().add(&list, &to).await.unwrap();
    let given: Vec<_> =
        bench.calls().iter().map(|call| stdin(call)["runtimeConfig"].clone()).collect();
    assert_eq!(given[0], json!({"portMappings": ports, "bandwidth": bandwidth}));
    assert_eq!(given[1], Value::Null);
    assert_eq!(given[2], Value::Null);
    assert_eq!(given[3], json!({"bandwidth": bandwidth}));
    assert!(bench.calls().iter().all(|call| stdin(call).get("capabilities").is_none()));
}

#[tokio::test]
async fn r57_every_capability_of_the_conventions_and_any_other_passes() {
    let bench = Bench::with(&["one"]);
    let arguments = object(json!({
        "portMappings": [{"hostPort": 1, "containerPort": 2, "protocol": "udp"}],
        "ipRanges": [[{"subnet": "10.1.2.0/24"}]],
        "bandwidth": {"egressRate": 1, "egressBurst": 2},
        "dns": {"servers": ["8.8.8.8"], "searches": ["a.b"], "options": ["ndots:1"]},
        "ips": ["10.10.0.1/24"],
        "mac": "c2:11:22:33:44:55",
        "infinibandGUID": "c2:11:22:33:44:55:66:77",
        "deviceID": "0000:04:00.5",
        "aliases": ["db"],
        "cgroupPath": "/kubelet.slice",
        "example.com/own": {"any": ["thing", 1.50]},
    }));
    let declared: Value = arguments.keys().map(|name| (name.clone(), json!(true))).collect();
    let list = bench.list("1.1.0", json!([{"type": "one", "capabilities": declared}]));
    let to = Attachment { capability_args: arguments.clone(), ..attachment() };
    bench.runtime().add(&list, &to).await.unwrap();
    assert_eq!(bench.calls()[0]["stdin"]["runtimeConfig"], Value::Object(arguments));
}

#[tokio::test]
async fn r9_r50_l17_reserved_keys_in_a_file_do_not_reach_the_plugin() {
    let bench = Bench::with(&["one"]);
    let list = bench.list(
        "1.1.0",
        json!([{
            "type": "one", "prevResult": {"ips": []}, "Capabilities": {"a": true},
            "cni.dev/valid-attachments": [], "cni.dev/x": 1, "NAME": "y", "kept": 1,
        }]),
    );
    let expected = json!({"cniVersion": "1.1.0", "name": "net", "type": "one", "kept": 1});
    let runtime = bench.runtime();
    runtime.add(&list, &attachment()).await.unwrap();
    runtime.del(&list, &attachment(), None).await.unwrap();
    runtime.status(&list).await.unwrap();
    for call in bench.calls() {
        assert_eq!(stdin(&call), expected, "{}", call["command"]);
    }
}

#[tokio::test]
async fn l16_a_runtime_config_in_a_file_passes_where_there_is_none_to_give() {
    let bench = Bench::with(&["one"]);
    let list = bench.list("1.0.0", json!([{"type": "one", "runtimeConfig": {"old": 1}}]));
    bench.runtime().add(&list, &attachment()).await.unwrap();
    assert_eq!(bench.calls()[0]["stdin"]["runtimeConfig"], json!({"old": 1}));
}

#[tokio::test]
async fn r24_r25_r45_check_repeats_what_add_had_with_the_final_result_everywhere() {
    let bench = Bench::with(&["first", "second"]);
    let plugin = |name: &str, address: &str| {
        json!({
            "type": name, "capabilities": {"ips": true},
            "fake": {"result": {"ips": [{"address": address}]}},
        })
    };
    let list =
        bench.list("0.4.0", json!([plugin("first", "10.0.0.1/8"), plugin("second", "10.0.0.2/8")]));
    let to = Attachment {
        args: vec![("A".into(), "B".into())],
        capability_args: object(json!({"ips": ["10.0.0.1"]})),
        ..attachment()
    };
    let runtime = bench.runtime();
    let result = runtime.add(&list, &to).await.unwrap();
    runtime.check(&list, &to, &result).await.unwrap();
    assert_eq!(bench.order(), ["ADD first", "ADD second", "CHECK first", "CHECK second"]);

    let calls = bench.calls();
    let last = json!({
        "cniVersion": "0.4.0", "dns": {},
        "ips": [{"version": "4", "address": "10.0.0.1/8"}, {"version": "4", "address": "10.0.0.2/8"}],
    });
    for (added, checked) in [(0, 2), (1, 3)] {
        assert_eq!(calls[checked]["stdin"]["prevResult"], last);
        let without = |call: &Value| {
            let mut stdin = stdin(call);
            stdin.as_object_mut().unwrap().remove("prevResult");
            stdin
        };
        assert_eq!(without(&calls[added]), without(&calls[checked]));
        for key in ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_PATH"] {
            assert_eq!(calls[added]["env"][key], calls[checked]["env"][key], "{key}");
        }
    }
}

#[tokio::test]
async fn r21_l39_before_0_4_0_del_has_no_result() {
    for (version, expected) in [("0.3.1", false), ("0.2.0", false), ("0.4.0", true)] {
        let bench = Bench::with(&["one"]);
        let list = bench.list(version, json!([{"type": "one"}]));
        let result = AttachResult::parse(
            br#"{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.1/8"}]}"#,
            list.cni_version(),
        );
        bench.runtime().del(&list, &attachment(), Some(&result.unwrap())).await.unwrap();
        let given = bench.calls()[0]["stdin"].get("prevResult").cloned();
        assert_eq!(given.is_some(), expected, "{version}");
        if let Some(given) = given {
            assert_eq!(given["cniVersion"], version, "in the list's version");
        }
    }
}

#[tokio::test]
async fn l18_the_next_plugin_gets_the_result_in_the_lists_version() {
    let bench = Bench::with(&["old", "next"]);
    let result = json!({"cniVersion": "0.2.0", "ip4": {"ip": "10.0.0.1/8", "gateway": "10.0.0.9"}});
    let list = bench.list(
        "1.0.0",
        json!([{"type": "old", "fake": {"verbatim": true, "result": result}}, {"type": "next"}]),
    );
    let result = bench.runtime().add(&list, &attachment()).await.unwrap();
    assert_eq!(
        bench.calls()[1]["stdin"]["prevResult"],
        json!({"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.1/8", "gateway": "10.0.0.9"}]})
    );
    assert_eq!(result.ips[0].gateway, Some("10.0.0.9".parse().unwrap()));
}

#[tokio::test]
async fn l19_unknown_fields_of_a_result_go_from_plugin_to_plugin() {
    let bench = Bench::with(&["first", "second"]);
    let result = json!({
        "vendor": {"a": 1},
        "interfaces": [{"name": "eth0", "vendor": 2}],
        "ips": [{"address": "10.0.0.1/8", "interface": 0, "vendor": 3}],
    });
    let list = bench
        .list("1.0.0", json!([{"type": "first", "fake": {"result": result}}, {"type": "second"}]));
    let result = bench.runtime().add(&list, &attachment()).await.unwrap();
    let given = &bench.calls()[1]["stdin"]["prevResult"];
    assert_eq!(given["vendor"], json!({"a": 1}));
    assert_eq!(given["interfaces"][0]["vendor"], 2);
    assert_eq!(given["ips"][0]["vendor"], 3);
    assert_eq!(result.other, [("vendor".to_owned(), json!({"a": 1}))]);
}

#[tokio::test]
async fn r31_r46_r49_l44_gc_names_what_is_still_valid() {
    let bench = Bench::with(&["first", "second"]);
    let list = bench.list(
        "1.1.0",
        json!([{"type": "first", "capabilities": {"ips": true}}, {"type": "second"}]),
    );
    let valid = [ValidAttachment { container_id: "c9".into(), if_name: "eth3".into() }];
    bench.runtime().gc(&list, &valid).await.unwrap();
    assert_eq!(bench.order(), ["GC first", "GC second"]);
    let expected = json!([{"containerID": "c9", "ifname": "eth3"}]);
    for call in bench.calls() {
        let stdin = stdin(&call);
        assert_eq!(stdin["cni.dev/valid-attachments"], expected);
        assert_eq!(stdin["cni.dev/attachments"], expected);
        assert!(stdin.get("runtimeConfig").is_none() && stdin.get("prevResult").is_none());
        assert_ne!(call["env"]["CNI_PATH"], "");
    }
}
