//! `cnm-cni cni`, beside what the reference cnitool does.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Stdio;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::{Desk, Said, program};

const NETNS: &str = "/var/run/netns/testing";
/// `cnitool-` and ten bytes of the path's SHA-512.
const ID: &str = "cnitool-77383ca0a0715733ca6f";

fn result() -> Value {
    json!({"ips": [{"address": "10.9.0.2/24"}]})
}

impl Desk {
    /// A network `net` of three plugins, of which the last takes ports.
    fn with_net() -> Self {
        let desk = Self::with(&["a", "b", "c"]);
        desk.network(
            "net",
            "1.0.0",
            json!([
                {"type": "a", "fake": {"result": result()}},
                {"type": "b"},
                {"type": "c", "capabilities": {"portMappings": true}},
            ]),
        );
        desk
    }

    fn cache(&self) -> String {
        self.path("cache").to_str().unwrap().to_owned()
    }

    fn cni(&self, args: &[&str]) -> Said {
        let cache = self.cache();
        self.run(&[&["cni", args[0], "--cache-dir", &cache], &args[1..]].concat())
    }

    fn cached(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.path("cache/results")) else { return Vec::new() };
        let mut names: Vec<_> =
            entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn last_call(&self) -> Value {
        self.bench.calls().pop().unwrap()
    }
}

#[test]
fn add_prints_the_result_and_passes_on_what_cnitool_does() {
    let desk = Desk::with_net();
    let cache = desk.cache();
    let ports = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]);
    let mut command = desk.command(&["cni", "add", "net", NETNS, "--cache-dir", &cache]);
    command.env("CNI_IFNAME", "net1").env("CNI_ARGS", "A=1;B=2");
    command.env("CAP_ARGS", json!({"portMappings": ports, "mac": "x"}).to_string());
    let said = Said::by(&mut command);
    assert_eq!(said.stderr, "");
    let expected = "{\n    \"cniVersion\": \"1.0.0\",\n    \"ips\": [\n        {\n            \
                    \"address\": \"10.9.0.2/24\"\n        }\n    ]\n}\n";
    assert_eq!(said.output(), expected);

    let call = desk.last_call();
    let env = &call["env"];
    assert_eq!(env["CNI_CONTAINERID"], ID);
    assert_eq!((&env["CNI_NETNS"], &env["CNI_IFNAME"]), (&json!(NETNS), &json!("net1")));
    assert_eq!(env["CNI_ARGS"], "A=1;B=2");
    assert_eq!(call["stdin"]["runtimeConfig"], json!({"portMappings": ports}));
    assert_eq!(desk.bench.order(), ["ADD a", "ADD b", "ADD c"]);
}

#[test]
fn flags_say_the_same_as_the_variables_and_go_before_them() {
    let desk = Desk::with_net();
    let cache = desk.cache();
    let args = ["--container-id", "c1", "-i", "net2", "--args", "K=V"];
    let ports = ["--capability-args", r#"{"portMappings":[]}"#, "--cache-dir", &cache];
    let mut command = desk.command(&["cni", "add", "net", NETNS]);
    command.args(args).args(ports).env("CNI_IFNAME", "net1").env("CNI_ARGS", "A=1");
    Said::by(&mut command).output();
    let call = desk.last_call();
    assert_eq!(call["env"]["CNI_CONTAINERID"], "c1");
    assert_eq!(call["env"]["CNI_IFNAME"], "net2");
    assert_eq!(call["env"]["CNI_ARGS"], "K=V");
    assert_eq!(call["stdin"]["runtimeConfig"], json!({"portMappings": []}));
    assert_eq!(desk.cached(), ["net-c1-net2"]);
}

#[test]
fn an_empty_variable_is_as_good_as_none() {
    let desk = Desk::with_net();
    let cache = desk.cache();
    let mut command = desk.command(&["cni", "add", "net", NETNS, "--cache-dir", &cache]);
    command.env("CNI_IFNAME", "").env("CNI_ARGS", "").env("CAP_ARGS", "");
    Said::by(&mut command).output();
    assert_eq!(desk.last_call()["env"]["CNI_IFNAME"], "eth0");
}

#[test]
fn r43_l48_l49_add_is_kept_in_libcni_s_format() {
    let desk = Desk::with_net();
    desk.cni(&["add", "net", NETNS, "--args", "A=1;B=2", "--capability-args", r#"{"x":[1]}"#])
        .output();
    assert_eq!(desk.cached(), [format!("net-{ID}-eth0")]);
    let file = desk.path("cache/results").join(&desk.cached()[0]);
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(file.parent().unwrap()), mode(&file)), (0o700, 0o600));

    let mut kept: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let config = BASE64.decode(kept["config"].take().as_str().unwrap()).unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    assert_eq!((&config["name"], &config["plugins"][2]["type"]), (&json!("net"), &json!("c")));
    let expected = json!({
        "kind": "cniCacheV1", "containerId": ID, "config": null, "ifName": "eth0",
        "networkName": "net", "netns": NETNS, "cniArgs": [["A", "1"], ["B", "2"]],
        "capabilityArgs": {"x": [1]},
        "result": {"cniVersion": "1.0.0", "ips": [{"address": "10.9.0.2/24"}]},
    });
    assert_eq!(kept, expected);
}

#[test]
fn r21_r25_r37_del_and_check_use_what_add_had_whatever_the_file_says_now() {
    let desk = Desk::with_net();
    let ports = r#"{"portMappings":[{"hostPort":1}]}"#;
    desk.cni(&["add", "net", NETNS, "--args", "A=1", "--capability-args", ports]).output();
    desk.network("net", "1.0.0", json!([{"type": "b"}]));

    for verb in ["check", "del"] {
        let said = desk.cni(&[verb, "net", NETNS]);
        assert_eq!((said.status, said.stdout.as_str(), said.stderr.as_str()), (0, "", ""));
        let calls = desk.bench.calls();
        for call in &calls[calls.len() - 3..] {
            assert_eq!(call["command"], verb.to_uppercase());
            assert_eq!(call["env"]["CNI_ARGS"], "A=1");
            assert_eq!(call["stdin"]["prevResult"]["ips"], result()["ips"]);
            let ports = &call["stdin"]["runtimeConfig"]["portMappings"][0]["hostPort"];
            assert_eq!(*ports, if call["type"] == "c" { json!(1) } else { Value::Null });
        }
    }
    assert_eq!(
        desk.bench.order()[3..],
        ["CHECK a", "CHECK b", "CHECK c", "DEL c", "DEL b", "DEL a"]
    );
    assert_eq!(desk.cached(), Vec::<String>::new());
}

#[test]
fn l41_arguments_that_del_is_given_go_before_those_on_record() {
    let desk = Desk::with_net();
    let ports = |port: u16| format!(r#"{{"portMappings":[{{"hostPort":{port}}}]}}"#);
    desk.cni(&["add", "net", NETNS, "--args", "A=1", "--capability-args", &ports(1)]).output();
    let (two, three) = (ports(2), ports(3));
    desk.cni(&["check", "net", NETNS, "--args", "A=2", "--capability-args", &two]).output();
    desk.cni(&["del", "net", NETNS, "--args", "A=3", "--capability-args", &three]).output();
    let given: Vec<_> = (desk.bench.calls().iter())
        .filter(|call| call["type"] == "c")
        .map(|call| {
            let port = &call["stdin"]["runtimeConfig"]["portMappings"][0]["hostPort"];
            (call["env"]["CNI_ARGS"].as_str().unwrap().to_owned(), port.as_u64().unwrap())
        })
        .collect();
    assert_eq!(given, [("A=1".into(), 1), ("A=2".into(), 2), ("A=3".into(), 3)]);
}

#[test]
fn l38_an_add_that_cannot_be_recorded_is_an_error_before_any_plugin_is_run() {
    let desk = Desk::with_net();
    desk.write("file", "");
    let in_a_file = desk.path("file");
    let add = |cache: &str| desk.run(&["cni", "add", "net", NETNS, "--cache-dir", cache]).error();
    let error = add(in_a_file.to_str().unwrap());
    assert!(error.starts_with("cannot read ") && error.contains("/file/results/"), "{error}");
    std::fs::create_dir_all(desk.path(&format!("cache/results/net-{ID}-eth0"))).unwrap();
    let error = add(&desk.cache());
    assert!(error.starts_with("cannot read ") && error.contains("Is a directory"), "{error}");
    assert_eq!(desk.bench.calls().len(), 0);

    let error = add("/proc/nowhere");
    assert!(error.starts_with("cannot create folder /proc/nowhere/results: "), "{error}");
    assert_eq!(desk.bench.calls().len(), 0);
    // DEL needs no record.
    let nowhere = ["cni", "del", "net", NETNS, "--cache-dir", "/proc/nowhere"];
    desk.run(&nowhere).output();
    assert_eq!(desk.bench.order(), ["DEL c", "DEL b", "DEL a"]);
}

#[test]
fn l48_each_interface_of_a_container_has_a_record_of_its_own() {
    let desk = Desk::with_net();
    for name in ["eth0", "net1"] {
        desk.cni(&["add", "net", NETNS, "-i", name]).output();
    }
    assert_eq!(desk.cached(), [format!("net-{ID}-eth0"), format!("net-{ID}-net1")]);
    desk.cni(&["del", "net", NETNS, "-i", "eth0"]).output();
    assert_eq!(desk.cached(), [format!("net-{ID}-net1")]);
    assert_eq!(desk.last_call()["env"]["CNI_IFNAME"], "eth0");
}

#[test]
fn r34_gc_runs_alone() {
    let desk = Desk::with(&["a", "b"]);
    let slow = json!({"ADD": {"sleep_ms": 400}, "GC": {"sleep_ms": 400}});
    desk.network("net", "1.1.0", json!([{"type": "a"}, {"type": "b", "fake": slow}]));
    let cache = desk.cache();
    // Starts the first, waits until its slow plugin is at work, and runs the second beside it.
    let both = |first: &[&str], calls: usize, second: &[&str]| {
        let mut command = desk.command(&["cni"]);
        command.args(first).args(["--cache-dir", &cache]).stdout(Stdio::null());
        let mut started = command.spawn().unwrap();
        let end = Instant::now() + Duration::from_secs(20);
        while desk.bench.calls().len() < calls {
            assert!(Instant::now() < end, "{first:?} does not come to its slow plugin");
            std::thread::sleep(Duration::from_millis(5));
        }
        desk.cni(second).output();
        assert!(started.wait().unwrap().success());
    };
    let add = ["add", "net", NETNS];
    both(&add, 2, &["gc", "net"]);
    // It waited for the record.
    assert_eq!(desk.bench.order(), ["ADD a", "ADD b", "DEL b", "DEL a", "GC a", "GC b"]);
    both(&["gc", "net"], 8, &add);
    assert_eq!(desk.bench.order()[6..], ["GC a", "GC b", "ADD a", "ADD b"]);
    both(&["gc", "net"], 12, &["del", "net", NETNS]);
    let expected = ["DEL b", "DEL a", "GC a", "GC b", "DEL b", "DEL a"];
    assert_eq!(desk.bench.order()[10..], expected);
}

#[test]
fn l52_gc_passes_over_what_is_no_record_of_an_attachment() {
    let desk = Desk::with_net();
    let list = json!({"cniVersion": "1.1.0", "name": "net", "plugins": [{"type": "a"}]});
    desk.write("conf/net.conflist", &list.to_string());
    let record = json!({
        "kind": "cniCacheV1", "containerId": "c1", "ifName": "eth0", "networkName": "net",
        "config": "", "result": result(),
    });
    let without = |key: &str| {
        let mut record = record.clone();
        record.as_object_mut().unwrap().remove(key);
        record.to_string()
    };
    let mut kept = Vec::new();
    let no_records = [
        ("net-1-eth0", without("kind")),
        ("net-2-eth0", without("ifName")),
        ("net-3-eth0", without("networkName")),
        ("net-4-eth0", "{".to_owned()),
        ("net-5-eth0", result().to_string()),
        ("net-6-eth0/file", String::new()),
        ("other-c1-eth0", record.to_string().replace("\"net\"", "\"other\"")),
    ];
    for (name, content) in no_records {
        desk.write(&format!("cache/results/{name}"), &content);
        kept.push(name.split('/').next().unwrap().to_owned());
    }
    desk.write("cache/results/net-c1-eth0", &record.to_string());
    let said = desk.cni(&["gc", "net"]);
    assert_eq!((said.status, said.stderr.as_str()), (0, ""));
    assert_eq!(desk.cached(), kept);
}

#[test]
fn l50_plugins_of_the_network_s_folder_are_detached_though_the_folder_has_gone() {
    let desk = Desk::with_net();
    desk.write("conf/net/10-more.conf", r#"{"type": "b", "name": "more"}"#);
    desk.cni(&["add", "net", NETNS]).output();
    std::fs::remove_dir_all(desk.path("conf")).unwrap();
    desk.cni(&["del", "net", NETNS]).output();
    assert_eq!(desk.bench.order()[3..], ["DEL c", "DEL b", "DEL a"]);
    assert_eq!(desk.cached(), Vec::<String>::new());
}

#[test]
fn l40_del_succeeds_when_there_is_nothing_to_detach() {
    let desk = Desk::with_net();
    desk.cni(&["del", "net", NETNS]).output();
    assert_eq!(desk.bench.order(), ["DEL c", "DEL b", "DEL a"]);
    assert_eq!(desk.last_call()["stdin"]["prevResult"], Value::Null);
}

#[test]
fn l40_a_failed_del_keeps_the_record_for_the_next_one() {
    let desk = Desk::with(&["a"]);
    let busy = json!({"exit": 1, "stdout": {"code": 100, "msg": "busy"}, "times": 1});
    desk.network("net", "1.0.0", json!([{"type": "a", "fake": {"result": result(), "DEL": busy}}]));
    desk.cni(&["add", "net", NETNS]).output();
    let error = desk.cni(&["del", "net", NETNS]).error();
    assert!(error.contains("plugin type=\"a\" name=\"net\" failed (delete): busy"), "{error}");
    assert_eq!(desk.cached().len(), 1);
    desk.cni(&["del", "net", NETNS]).output();
    assert_eq!(desk.cached().len(), 0);
    assert_eq!(desk.last_call()["stdin"]["prevResult"]["ips"], result()["ips"]);
}

/// The attachment is there, and on record for DEL.
#[test]
fn a_result_that_nobody_reads_is_no_failure_and_one_that_cannot_be_written_is() {
    let desk = Desk::with_net();
    let cache = desk.cache();
    let add = || desk.command(&["cni", "add", "--cache-dir", &cache, "net", NETNS]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert!(add().stdout(writer).status().unwrap().success());
    assert_eq!(desk.cached().len(), 1);

    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = add().stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("error: cannot write to standard output"), "{said}");
}

#[test]
fn l37_a_failed_add_prints_only_the_error_and_keeps_nothing() {
    let desk = Desk::with(&["a", "b", "c"]);
    let no = json!({"exit": 1, "stdout": {"code": 100, "msg": "no", "details": "way"}});
    let plugins = json!([{"type": "a"}, {"type": "b", "fake": {"ADD": no}}, {"type": "c"}]);
    desk.network("net", "1.0.0", plugins);
    let error = desk.cni(&["add", "net", NETNS]).error();
    assert_eq!(error, "plugin type=\"b\" name=\"net\" failed (add): no; way\n");
    assert_eq!(desk.cached().len(), 0);
    // The DEL that has to follow reaches them all, in reverse, and has no result.
    desk.cni(&["del", "net", NETNS]).output();
    assert_eq!(desk.bench.order(), ["ADD a", "ADD b", "DEL c", "DEL b", "DEL a"]);
    assert_eq!(desk.last_call()["stdin"]["prevResult"], Value::Null);
}

#[test]
fn l39_l49_what_libcni_has_kept_is_understood_in_both_of_its_forms() {
    let bare = json!({"cniVersion": "0.4.0", "ips": [{"version": "4", "address": "10.9.0.2/24"}]});
    let whole = json!({
        "kind": "cniCacheV1", "containerId": ID, "ifName": "eth0", "networkName": "net",
        // A configuration without the plugins of the network's folder.
        "config": BASE64.encode(r#"{"name":"net","cniVersion":"1.0.0","plugins":[{"type":"x"}]}"#),
        "netns": NETNS, "cniArgs": [["A", "1"]], "result": bare,
    });
    for (kept, args) in [(bare.clone(), ""), (whole, "A=1")] {
        let desk = Desk::with_net();
        desk.write(&format!("cache/results/net-{ID}-eth0"), &kept.to_string());
        desk.cni(&["check", "net", NETNS]).output();
        desk.cni(&["del", "net", NETNS]).output();
        let expected = ["CHECK a", "CHECK b", "CHECK c", "DEL c", "DEL b", "DEL a"];
        assert_eq!(desk.bench.order(), expected);
        let call = desk.last_call();
        assert_eq!(call["env"]["CNI_ARGS"], args);
        let prev = json!({"cniVersion": "1.0.0", "ips": result()["ips"]});
        assert_eq!(call["stdin"]["prevResult"], prev);
        assert_eq!(desk.cached().len(), 0);
    }
}

#[test]
fn l39_l42_a_record_that_means_nothing_stops_check_and_not_del() {
    for nonsense in ["{", "[]", r#"{"kind":"cniCacheV1"}"#, r#"{"cniVersion":"9.9.9"}"#] {
        let desk = Desk::with_net();
        desk.write(&format!("cache/results/net-{ID}-eth0"), nonsense);
        let error = desk.cni(&["check", "net", NETNS]).error();
        assert!(error.contains(&format!("results/net-{ID}-eth0: ")), "{error}");
        let said = desk.cni(&["del", "net", NETNS]);
        assert!(said.stderr.contains("DEL goes without what ADD left"), "{said:?}");
        assert_eq!(said.status, 0);
        assert_eq!(desk.bench.order(), ["DEL c", "DEL b", "DEL a"]);
        assert_eq!(desk.cached().len(), 0);
    }
}

#[test]
fn r23_l42_check_without_an_add_on_record_is_refused() {
    let desk = Desk::with_net();
    let error = desk.cni(&["check", "net", NETNS]).error();
    assert!(error.contains("no ADD of container") && error.contains(ID), "{error}");
    assert_eq!(desk.bench.calls().len(), 0);
}

#[test]
fn l51_another_attachment_s_record_is_not_taken_for_one_s_own() {
    let desk = Desk::with(&["a"]);
    for name in ["x", "x-y"] {
        desk.network(name, "1.0.0", json!([{"type": "a", "fake": {"result": result()}}]));
    }
    desk.cni(&["add", "x-y", NETNS, "--container-id", "z"]).output();
    for verb in ["add", "check", "del"] {
        let error = desk.cni(&[verb, "x", NETNS, "--container-id", "y-z"]).error();
        assert!(error.contains("belongs to another attachment (network \"x-y\""), "{error}");
    }
    assert_eq!(desk.bench.order(), ["ADD a"]);
    assert_eq!(desk.cached(), ["x-y-z-eth0"]);
}

#[test]
fn r30_r31_l43_gc_detaches_what_is_not_kept_and_sends_the_plugins_the_rest() {
    let desk = Desk::with(&["a", "b"]);
    let plugins = json!([{"type": "a", "fake": {"result": result()}}, {"type": "b"}]);
    desk.network("net", "1.1.0", plugins.clone());
    desk.network("other", "1.1.0", plugins);
    for (network, id) in [("net", "stale"), ("net", "live"), ("other", "foreign")] {
        desk.cni(&["add", network, NETNS, "--container-id", id, "--args", "A=1"]).output();
    }
    let before = desk.bench.calls().len();
    desk.cni(&["gc", "net", NETNS, "--keep", "live/eth0"]).output();

    let calls = desk.bench.calls().split_off(before);
    assert_eq!(desk.bench.order()[before..], ["DEL b", "DEL a", "GC a", "GC b"]);
    for call in &calls[..2] {
        assert_eq!(call["env"]["CNI_CONTAINERID"], "stale");
        assert_eq!(call["env"]["CNI_ARGS"], "A=1");
        assert_eq!(call["env"]["CNI_NETNS"], NETNS);
    }
    let valid = json!([{"containerID": "live", "ifname": "eth0"}]);
    assert_eq!(calls[3]["stdin"]["cni.dev/valid-attachments"], valid);
    assert_eq!(desk.cached(), ["net-live-eth0", "other-foreign-eth0"]);

    // As cnitool calls it: nothing is kept.
    desk.cni(&["gc", "net", NETNS]).output();
    assert_eq!(desk.cached(), ["other-foreign-eth0"]);
}

#[test]
fn r3_r46_gc_does_nothing_where_it_is_disabled_and_else_reports_every_failure() {
    let desk = Desk::with(&["a", "b"]);
    let no = json!({"exit": 1, "stdout": {"code": 100, "msg": "no"}});
    let plugins = json!([
        {"type": "a", "fake": {"result": result(), "DEL": no, "GC": no}}, {"type": "b"},
    ]);
    desk.network("net", "1.1.0", plugins);
    desk.cni(&["add", "net", NETNS, "--container-id", "c1"]).output();
    let error = desk.cni(&["gc", "net"]).error();
    assert!(error.contains("failed to delete stale attachment c1 eth0: "), "{error}");
    assert!(error.contains("plugin type=\"a\" name=\"net\" failed (gc): no"), "{error}");
    assert_eq!(desk.bench.order()[2..], ["DEL b", "DEL a", "GC a", "GC b"]);
    assert_eq!(desk.cached().len(), 1);

    let file = desk.path("conf/net.conflist");
    let list = std::fs::read_to_string(&file).unwrap();
    std::fs::write(file, list.replacen('{', "{\"disableGC\":true,", 1)).unwrap();
    desk.cni(&["gc", "net"]).output();
    assert_eq!(desk.bench.calls().len(), 6);
}

#[test]
fn l45_status_reports_the_first_plugin_that_is_not_ready() {
    let desk = Desk::with(&["a", "b", "c"]);
    let no = json!({"exit": 1, "stdout": {"code": 50, "msg": "not yet"}});
    desk.network(
        "net",
        "1.1.0",
        json!([{"type": "a"}, {"type": "b", "fake": {"STATUS": no}}, {"type": "c"}]),
    );
    let error = desk.run(&["cni", "status", "net", NETNS]).error();
    assert!(error.contains("type=\"b\"") && error.contains("not yet"), "{error}");
    assert_eq!(desk.bench.order(), ["STATUS a", "STATUS b"]);
    desk.network("net", "1.0.0", json!([{"type": "a"}]));
    desk.run(&["cni", "status", "net"]).output();
    assert_eq!(desk.bench.order().len(), 2);
}

#[test]
fn what_is_wrong_with_the_input_is_one_line_on_standard_error() {
    let desk = Desk::with_net();
    let bad = [
        (vec!["add", "gone", NETNS], "no network configuration with name \"gone\" in "),
        (vec!["add", "../net", NETNS], "network name \"../net\" is not valid"),
        (vec!["del", "../net", NETNS], "network name \"../net\" is not valid"),
        (vec!["add", "net", NETNS, "--args", "A=1;"], "invalid CNI_ARGS pair \"\""),
        (vec!["add", "net", NETNS, "--capability-args", "[1]"], "CAP_ARGS is not a JSON object"),
        (vec!["add", "net", NETNS, "--container-id", "a/b"], "container id \"a/b\" is not valid"),
        (vec!["add", "net", NETNS, "--ifname", "a/b"], "interface name \"a/b\" is not valid"),
    ];
    for (args, words) in bad {
        let error = desk.cni(&args).error();
        assert!(error.starts_with(words), "{args:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    assert_eq!(desk.bench.calls().len(), 0);
}

#[test]
fn called_cnitool_it_is_cnitool() {
    let desk = Desk::with_net();
    let cnitool = desk.path("cnitool");
    symlink(program(), &cnitool).unwrap();
    let cache = desk.cache();
    let run = |args: &[&str]| Said::by(&mut desk.command_of(&cnitool, args));
    let result = run(&["add", "net", NETNS, "--cache-dir", &cache]).output();
    assert!(result.contains("10.9.0.2/24"), "{result}");
    run(&["del", "net", NETNS, "--cache-dir", &cache]).output();
    assert_eq!(desk.bench.calls().len(), 6);
    // Its status for wrong usage is 1, not 2.
    assert!(run(&["add", "net"]).error().contains("NETNS"));
}

#[test]
fn a_result_that_nobody_takes_is_no_reason_to_panic() {
    let desk = Desk::with_net();
    let cache = desk.cache();
    let add = |to: Stdio| {
        let mut command = desk.command(&["cni", "add", "net", NETNS, "--cache-dir", &cache]);
        command.stdout(to).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap()
    };
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let said = add(full.into());
    let stderr = String::from_utf8(said.stderr).unwrap();
    assert_eq!(said.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("cannot write to standard output"), "{stderr}");
    assert_eq!(desk.cached(), [format!("net-{ID}-eth0")], "it is attached all the same");

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let said = add(writer.into());
    assert_eq!(said.status.code(), Some(0), "whoever read it has seen enough");
}

#[test]
fn a_signal_ends_the_plugin_too() {
    let desk = Desk::with(&["a"]);
    desk.network("net", "1.0.0", json!([{"type": "a", "fake": {"ADD": {"sleep_ms": 60_000}}}]));
    let cache = desk.cache();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let before = desk.bench.calls().len();
        let mut command = desk.command(&["cni", "add", "net", NETNS, "--cache-dir", &cache]);
        let running = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let pid = Pid::from_raw(running.id().try_into().unwrap());
        let deadline = Instant::now() + Duration::from_secs(10);
        while desk.bench.calls().len() == before && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        let plugin = children.trim();
        assert!(!plugin.is_empty(), "the plugin runs");
        kill(pid, signal).unwrap();
        let said = running.wait_with_output().unwrap();
        let stderr = String::from_utf8(said.stderr).unwrap();
        assert_eq!(said.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(&format!("stopped by {signal}; detach with del")), "{stderr}");
        // A zombie has no command line: nobody need have reaped it yet.
        let gone = || {
            std::fs::read(format!("/proc/{plugin}/cmdline")).map_or(true, |line| line.is_empty())
        };
        while !gone() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(gone(), "the plugin goes with what ran it");
    }
}
