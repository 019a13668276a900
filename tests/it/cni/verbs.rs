//! When a verb is called at all, in what order, and what its failure means.

use std::time::{Duration, Instant};

use cnm_cni::cni::{AttachResult, Attachment, Error, Limits};
use serde_json::{Value, json};

use super::{Bench, attachment};

fn failing(code: u64, msg: &str) -> Value {
    json!({"exit": 1, "stdout": {"code": code, "msg": msg, "details": "really"}})
}

#[tokio::test]
async fn r42_l37_the_first_failing_plugin_of_add_ends_the_chain() {
    let bench = Bench::with(&["a", "b", "c"]);
    let list = bench.list(
        "1.0.0",
        json!([{"type": "a"}, {"type": "b", "fake": {"ADD": failing(104, "no")}}, {"type": "c"}]),
    );
    let error = bench.runtime().add(&list, &attachment()).await.unwrap_err();
    assert_eq!(error.to_string(), "plugin type=\"b\" name=\"net\" failed (add): no; really");
    assert_eq!(error.code(), Some(104));
    assert!(error.needs_del());
    assert_eq!(bench.order(), ["ADD a", "ADD b"]);
}

#[tokio::test]
async fn r36_r44_l40_the_first_failing_plugin_of_del_ends_the_chain_and_del_can_be_repeated() {
    let bench = Bench::with(&["a", "b", "c"]);
    let del = json!({"exit": 1, "stderr": "busy\n", "times": 1});
    let list = bench
        .list("1.0.0", json!([{"type": "a"}, {"type": "b", "fake": {"DEL": del}}, {"type": "c"}]));
    let runtime = bench.runtime();
    let error = runtime.del(&list, &attachment(), None).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "plugin type=\"b\" name=\"net\" failed (delete): netplugin failed: \"busy\": exit status 1"
    );
    runtime.del(&list, &attachment(), None).await.unwrap();
    runtime.del(&list, &attachment(), None).await.unwrap();
    assert_eq!(
        bench.order(),
        ["DEL c", "DEL b", "DEL c", "DEL b", "DEL a", "DEL c", "DEL b", "DEL a"]
    );
}

#[tokio::test]
async fn r44_a_missing_plugin_ends_del_where_it_stands() {
    let bench = Bench::with(&["a", "c"]);
    let list = bench.list("1.0.0", json!([{"type": "a"}, {"type": "gone"}, {"type": "c"}]));
    let error = bench.runtime().del(&list, &attachment(), None).await.unwrap_err();
    assert!(error.to_string().contains("failed (delete): failed to find plugin \"gone\""));
    assert_eq!(bench.order(), ["DEL c"]);
}

#[tokio::test]
async fn r22_del_does_without_a_namespace_and_add_and_check_do_not() {
    let bench = Bench::with(&["a"]);
    let list = bench.list("1.0.0", json!([{"type": "a"}]));
    let runtime = bench.runtime();
    for netns in [None, Some("".into())] {
        let of = Attachment { netns, ..attachment() };
        let error = runtime.add(&list, &of).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "network \"net\": the network namespace (CNI_NETNS) is missing"
        );
        assert!(!error.needs_del());
        runtime.check(&list, &of, &AttachResult::default()).await.unwrap_err();
        runtime.del(&list, &of, None).await.unwrap();
    }
    assert_eq!(bench.order(), ["DEL a", "DEL a"]);
    assert_eq!(bench.calls()[0]["env"]["CNI_NETNS"], "");
}

#[tokio::test]
async fn r15_l21_l32_an_attachment_that_is_not_valid_reaches_no_plugin() {
    let bench = Bench::with(&["a"]);
    let list = bench.list("1.0.0", json!([{"type": "a"}]));
    let with_arg = |key: &str, value: &str| Attachment {
        args: vec![(key.into(), value.into())],
        ..attachment()
    };
    let bad = [
        (Attachment { container_id: String::new(), ..attachment() }, "container id \"\""),
        (Attachment { container_id: "../x".into(), ..attachment() }, "container id \"../x\""),
        (Attachment { if_name: String::new(), ..attachment() }, "interface name \"\""),
        (Attachment { if_name: "a/b".into(), ..attachment() }, "interface name \"a/b\""),
        (Attachment { if_name: "0123456789abcdef".into(), ..attachment() }, "interface name"),
        (Attachment { netns: Some("/a\0b".into()), ..attachment() }, "CNI_NETNS contains a NUL"),
        (with_arg("", "x"), "\"\"=\"x\" does not fit into CNI_ARGS"),
        (with_arg("A=B", "x"), "\"A=B\"=\"x\" does not fit into CNI_ARGS"),
        (with_arg("A", "x;IP=1.2.3.4"), "does not fit into CNI_ARGS"),
        (with_arg("A", "x\0"), "CNI_ARGS contains a NUL"),
    ];
    let runtime = bench.runtime();
    for (of, expected) in bad {
        for error in [
            runtime.add(&list, &of).await.unwrap_err(),
            runtime.check(&list, &of, &AttachResult::default()).await.unwrap_err(),
            runtime.del(&list, &of, None).await.unwrap_err(),
        ] {
            assert!(error.to_string().contains(expected), "{error}");
            assert!(!error.needs_del());
        }
    }
    assert!(bench.calls().is_empty());
}

#[tokio::test]
async fn r2_a_network_that_disables_check_is_never_checked() {
    let bench = Bench::with(&["a"]);
    let plugins = json!([{"type": "a"}]);
    for version in ["0.3.1", "1.0.0"] {
        let list = bench.list_of(json!({
            "cniVersion": version, "name": "net", "disableCheck": true, "plugins": plugins,
        }));
        bench.runtime().check(&list, &attachment(), &AttachResult::default()).await.unwrap();
    }
    assert!(bench.calls().is_empty());
}

#[tokio::test]
async fn l42_check_of_a_version_before_0_4_0_is_an_error() {
    let bench = Bench::with(&["a"]);
    let list = bench.list("0.3.1", json!([{"type": "a"}]));
    let checked = bench.runtime().check(&list, &attachment(), &AttachResult::default()).await;
    assert_eq!(
        checked.unwrap_err().to_string(),
        "configuration version \"0.3.1\" does not support the CHECK command"
    );
    assert!(bench.calls().is_empty());
}

#[tokio::test]
async fn r26_the_first_failing_plugin_of_check_ends_it() {
    let bench = Bench::with(&["a", "b"]);
    let fake = json!({"CHECK": failing(101, "gone")});
    let list = bench.list("1.0.0", json!([{"type": "a", "fake": fake}, {"type": "b"}]));
    let checked = bench.runtime().check(&list, &attachment(), &AttachResult::default()).await;
    let error = checked.unwrap_err();
    assert_eq!(error.to_string(), "plugin type=\"a\" name=\"net\" failed (check): gone; really");
    assert_eq!(bench.order(), ["CHECK a"]);
}

#[tokio::test]
async fn r3_l43_l47_gc_is_not_called_where_it_is_disabled_or_unknown() {
    let bench = Bench::with(&["a"]);
    let plugins = json!([{"type": "a"}]);
    let disabled = bench.list_of(json!({
        "cniVersion": "1.1.0", "name": "net", "disableGC": true, "plugins": plugins,
    }));
    let old = bench.list("1.0.0", plugins);
    bench.runtime().gc(&disabled, &[]).await.unwrap();
    bench.runtime().gc(&old, &[]).await.unwrap();
    assert!(bench.calls().is_empty());
}

#[tokio::test]
async fn r46_gc_reaches_every_plugin_and_reports_every_failure() {
    let bench = Bench::with(&["a", "b", "c"]);
    let list = bench.list(
        "1.1.0",
        json!([
            {"type": "a", "fake": {"GC": failing(100, "first")}},
            {"type": "gone"},
            {"type": "b"},
            {"type": "c", "fake": {"GC": failing(101, "last")}},
        ]),
    );
    let error = bench.runtime().gc(&list, &[]).await.unwrap_err();
    assert_eq!(bench.order(), ["GC a", "GC b", "GC c"]);
    let Error::Several(errors) = &error else { panic!("{error}") };
    assert_eq!(errors.iter().map(Error::code).collect::<Vec<_>>(), [Some(100), None, Some(101)]);
    assert_eq!(error.to_string().lines().count(), 3);

    let one = bench.list("1.1.0", json!([{"type": "a", "fake": {"GC": failing(100, "only")}}]));
    assert_eq!(bench.runtime().gc(&one, &[]).await.unwrap_err().code(), Some(100));
}

#[tokio::test]
async fn r27_r28_l45_l47_status_ends_at_the_first_plugin_that_is_not_ready_and_keeps_its_code() {
    let bench = Bench::with(&["a", "b", "c"]);
    let plugins = json!([
        {"type": "a"}, {"type": "b", "fake": {"STATUS": failing(50, "down")}}, {"type": "c"},
    ]);
    let list = bench.list("1.1.0", plugins.clone());
    let error = bench.runtime().status(&list).await.unwrap_err();
    assert_eq!(error.code(), Some(50));
    assert_eq!(bench.order(), ["STATUS a", "STATUS b"]);

    bench.runtime().status(&bench.list("1.0.0", plugins)).await.unwrap();
    assert_eq!(bench.calls().len(), 2, "older plugins are not asked");
    bench.runtime().add(&list, &attachment()).await.unwrap();
    assert_eq!(bench.calls().len(), 5, "an unready plugin is used all the same");
}

#[tokio::test]
async fn r54_code_3_of_the_first_plugin_means_that_no_del_is_needed() {
    let bench = Bench::with(&["a", "b"]);
    let unknown = json!({"ADD": failing(3, "unknown container")});
    let first = bench.list("1.0.0", json!([{"type": "a", "fake": unknown}, {"type": "b"}]));
    assert!(!bench.runtime().add(&first, &attachment()).await.unwrap_err().needs_del());
    // What the plugins before it did has to be undone.
    let second = bench.list("1.0.0", json!([{"type": "a"}, {"type": "b", "fake": unknown}]));
    assert!(bench.runtime().add(&second, &attachment()).await.unwrap_err().needs_del());
}

fn quick(tries: u32) -> Limits {
    Limits { tries, backoff: Duration::from_millis(1), ..Limits::default() }
}

#[tokio::test]
async fn r19_r54_code_11_is_tried_again_with_a_del_between_two_adds() {
    let bench = Bench::with(&["a", "b"]);
    let mut again = failing(11, "later");
    again["times"] = 2.into();
    let list = bench.list("1.0.0", json!([{"type": "a"}, {"type": "b", "fake": {"ADD": again}}]));
    bench.runtime_with(quick(3)).add(&list, &attachment()).await.unwrap();
    assert_eq!(bench.order(), ["ADD a", "ADD b", "DEL b", "ADD b", "DEL b", "ADD b"]);
}

#[tokio::test]
async fn r54_code_11_is_not_tried_for_ever() {
    let bench = Bench::with(&["a"]);
    let fake = json!({"ADD": failing(11, "later"), "DEL": failing(11, "later"),
                      "STATUS": failing(11, "later")});
    let list = bench.list("1.1.0", json!([{"type": "a", "fake": fake}]));
    let runtime = bench.runtime_with(quick(3));
    assert_eq!(runtime.del(&list, &attachment(), None).await.unwrap_err().code(), Some(11));
    assert_eq!(runtime.status(&list).await.unwrap_err().code(), Some(11));
    assert_eq!(bench.order(), ["DEL a", "DEL a", "DEL a", "STATUS a", "STATUS a", "STATUS a"]);
    // Where the DEL in between fails, there is no second ADD.
    let error = runtime.add(&list, &attachment()).await.unwrap_err();
    assert!(error.code() == Some(11) && error.needs_del());
    assert_eq!(bench.order()[6..], ["ADD a", "DEL a"]);
}

#[tokio::test]
async fn the_pauses_between_tries_grow() {
    let bench = Bench::with(&["a"]);
    let list =
        bench.list("1.1.0", json!([{"type": "a", "fake": {"STATUS": failing(11, "later")}}]));
    let limits = Limits { tries: 4, backoff: Duration::from_millis(20), ..Limits::default() };
    let started = Instant::now();
    bench.runtime_with(limits).status(&list).await.unwrap_err();
    assert!(started.elapsed() >= Duration::from_millis(20 + 40 + 80));
}

#[tokio::test]
async fn no_more_plugins_run_at_once_than_allowed() {
    let bench = Bench::with(&["a"]);
    let list = bench.list("1.1.0", json!([{"type": "a", "fake": {"STATUS": {"sleep_ms": 50}}}]));
    let runtime = bench.runtime_with(Limits { parallel: 2, ..Limits::default() });
    let started = Instant::now();
    let calls = (0..6).map(|_| {
        let (runtime, list) = (runtime.clone(), list.clone());
        tokio::spawn(async move { runtime.status(&list).await })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap().unwrap();
    }
    assert!(started.elapsed() >= Duration::from_millis(150), "three rounds of two");
}

#[tokio::test]
async fn r18_r55_l26_l28_l31_every_way_to_fail_has_words_of_its_own() {
    let ways = [
        (json!({"exit": 1}), "netplugin failed with no error message: exit status 1"),
        (json!({"exit": 2, "stderr": "oh\n"}), "netplugin failed: \"oh\": exit status 2"),
        (
            json!({"exit": 1, "stdout": "no json"}),
            "netplugin failed but error parsing its diagnostic message \"no json\": \
             expected ident at line 1 column 2",
        ),
        (
            json!({"exit": 1, "stdout": {"code": -1}}),
            "netplugin failed but error parsing its diagnostic message \"{\\\"code\\\":-1}\": \
             code: expected an error code, found -1",
        ),
        (json!({"exit": 1, "stdout": {"code": 7, "msg": "short"}}), "short"),
        // It failed after its work.
        (json!({"exit": 1, "stdout": "{\"ips\":[]}\n{\"code\":8,\"msg\":\"late\"}"}), "late"),
        (json!({"exit": 1, "stdout": {"Code": 7}}), "error code 7, without a message"),
        (
            json!({"exit": 0, "stdout": ""}),
            "its result cannot be used: it wrote nothing to standard output",
        ),
        (
            json!({"exit": 0, "stdout": "WARN: old\n{\"ips\":[]}"}),
            "its result cannot be used: it wrote \"WARN: old\\n{\\\"ips\\\":[]}\" to standard output, which \
             is no JSON: expected value at line 1 column 1",
        ),
        (
            json!({"exit": 0, "stdout": "{\"ips\":[]}\ndone"}),
            "its result cannot be used: behind its JSON, it wrote \"done\" to standard output",
        ),
        (
            json!({"exit": 0, "stdout": {"cniVersion": "9.9.9"}}),
            "its result cannot be used: unsupported CNI result version \"9.9.9\"",
        ),
        (
            json!({"exit": 0, "stdout": {"ips": 7}}),
            "its result cannot be used: ips: expected a list, found 7",
        ),
    ];
    for (script, expected) in ways {
        let bench = Bench::with(&["a"]);
        let list = bench.list("1.0.0", json!([{"type": "a", "fake": {"ADD": script}}]));
        let error = bench.runtime().add(&list, &attachment()).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("plugin type=\"a\" name=\"net\" failed (add): {expected}"),
        );
        assert!(error.needs_del());
    }
}

#[tokio::test]
async fn l28_what_other_verbs_print_does_not_matter() {
    let bench = Bench::with(&["a"]);
    let script = json!({"stdout": "gibberish"});
    let fake = json!({"DEL": script, "CHECK": script, "GC": script, "STATUS": script});
    let list = bench.list("1.1.0", json!([{"type": "a", "fake": fake}]));
    let runtime = bench.runtime();
    runtime.check(&list, &attachment(), &AttachResult::default()).await.unwrap();
    runtime.gc(&list, &[]).await.unwrap();
    runtime.status(&list).await.unwrap();
    runtime.del(&list, &attachment(), None).await.unwrap();
}

#[tokio::test]
async fn l29_a_chain_of_the_first_version_works() {
    let bench = Bench::with(&["old"]);
    let answer = json!({"ip4": {"ip": "10.0.0.2/8", "routes": [{"dst": "0.0.0.0/0"}]}});
    let fake = json!({"verbatim": true, "result": answer});
    let list = bench.list("", json!([{"type": "old", "fake": fake}]));
    let result = bench.runtime().add(&list, &attachment()).await.unwrap();
    assert_eq!(result.ips[0].address, "10.0.0.2/8".parse().unwrap());
    assert_eq!(bench.calls()[0]["stdin"]["cniVersion"], "0.1.0");
}

#[tokio::test]
async fn an_ipam_plugin_alone_gets_what_the_plugin_that_delegates_to_it_gives_it() {
    let bench = Bench::with(&["first", "macvlan", "lease"]);
    let fake = json!({"result": {"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.2/8"}]}});
    let list = bench.list(
        "1.0.0",
        json!([
            {"type": "first"},
            {"type": "macvlan", "master": "up0", "ipam": {"type": "lease", "own": 7}, "fake": fake},
        ]),
    );
    let runtime = bench.runtime();
    let result = runtime.add_ipam(&list, "lease", &attachment()).await.unwrap().unwrap();
    assert_eq!(result.ips[0].address, "10.0.0.2/8".parse().unwrap());
    runtime.del_ipam(&list, "lease", &attachment()).await.unwrap();
    assert_eq!(bench.order(), ["ADD lease", "DEL lease"]);
    for call in bench.calls() {
        let stdin = &call["stdin"];
        assert_eq!((&stdin["type"], &stdin["name"]), (&json!("macvlan"), &json!("net")));
        assert_eq!((&stdin["ipam"]["own"], &stdin["prevResult"]), (&json!(7), &Value::Null));
        assert_eq!(call["env"]["CNI_CONTAINERID"], "c1");
        assert_eq!(call["env"]["CNI_NETNS"], "/some/netns");
    }
    // A chain that has addresses from elsewhere has nothing to run.
    assert!(runtime.add_ipam(&list, "other", &attachment()).await.unwrap().is_none());
    runtime.del_ipam(&list, "other", &attachment()).await.unwrap();
    assert_eq!(bench.order().len(), 2);
}
