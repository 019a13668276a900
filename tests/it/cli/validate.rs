//! `cnm-cni validate`: which networks can be used, and what they would do under Docker.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use super::{Desk, Said};

/// An answer to VERSION.
fn versions(supported: &[&str]) -> String {
    let answer = json!({"cniVersion": "1.0.0", "supportedVersions": supported});
    format!("cat >/dev/null; echo '{answer}'")
}

impl Desk {
    /// The networks of `validate --format json`, and its exit status.
    fn validate(&self, more: &[&str]) -> (i32, Vec<Value>) {
        let said = self.run(&[&["validate", "--format", "json"], more].concat());
        assert_eq!(said.stderr, "");
        let mut json: Value = serde_json::from_str(&said.stdout).unwrap();
        (said.status, serde_json::from_value(json["networks"].take()).unwrap())
    }
}

fn problems(network: &Value) -> String {
    assert_eq!(network["ok"], false, "{network}");
    let problems = network["problems"].as_array().unwrap();
    problems.iter().map(|it| it.as_str().unwrap()).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_sound_network_is_shown_with_all_that_it_can_do() {
    let desk = Desk::with(&["a", "ipam", "b"]);
    let ipam = json!({
        "type": "ipam", "ranges": [[{"subnet": "10.1.0.0/16"}], [{"subnet": "fd01::/64"}]],
    });
    desk.network(
        "net",
        "1.1.0",
        json!([
            {"type": "a", "ipam": ipam},
            {"type": "b", "capabilities": {"portMappings": true, "ips": true, "mac": false}},
        ]),
    );
    let (status, networks) = desk.validate(&[]);
    assert_eq!((status, networks.len()), (0, 1));
    let network = &networks[0];
    assert_eq!((&network["name"], &network["ok"]), (&json!("net"), &json!(true)));
    assert_eq!(network["file"], json!(desk.path("conf/net.conflist")));
    assert_eq!(network["cni_version"], "1.1.0");
    assert_eq!(network["capabilities"], json!(["ips", "portMappings"]));
    assert_eq!(network["status"], json!({"ready": true}));
    let docker = json!({
        "publishes_ports": true, "fixed_addresses": "several", "subnets": [], "dual_stack": null,
        "forward_exempt": false, "isolated": false,
    });
    assert_eq!(network["docker"], docker);
    let plugins: Vec<_> = network["plugins"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (&it["type"], &it["ipam_of"]))
        .collect();
    let none = Value::Null;
    assert_eq!(
        plugins,
        [(&json!("a"), &none), (&json!("ipam"), &json!("a")), (&json!("b"), &none)]
    );
    assert_eq!(network["plugins"][1]["path"], json!(desk.bench.bin().join("ipam")));
    assert_eq!(network["plugins"][1]["supported_versions"].as_array().unwrap().len(), 7);
    // Nothing but STATUS was run, beside VERSION, which the fake plugin does not log.
    assert_eq!(desk.bench.order(), ["STATUS a", "STATUS b"]);
}

#[test]
fn subnets_and_families_are_those_of_the_reference_ipam_plugins() {
    let desk = Desk::with(&["bridge", "host-local", "static", "dhcp"]);
    let prospects = |ipam: Value| {
        desk.network("net", "1.0.0", json!([{"type": "bridge", "ipam": ipam}]));
        desk.validate(&["net"]).1[0]["docker"].take()
    };
    let both = json!([[{"subnet": "10.1.0.0/16"}], [{"subnet": "fd01::/64"}]]);
    let docker = |fixed: &str, subnets: &[&str], dual: Value| {
        json!({
            "publishes_ports": false, "fixed_addresses": fixed, "subnets": subnets,
            "dual_stack": dual, "forward_exempt": true, "isolated": false,
        })
    };
    assert_eq!(
        prospects(json!({"type": "host-local", "ranges": both})),
        docker("one", &["10.1.0.0/16", "fd01::/64"], json!(true))
    );
    assert_eq!(
        prospects(json!({"type": "host-local", "subnet": "10.1.0.0/16"})),
        docker("one", &["10.1.0.0/16"], json!(false))
    );
    assert_eq!(
        prospects(json!({"type": "static", "addresses": [{"address": "10.1.2.3/24"}]})),
        docker("one", &["10.1.2.0/24"], json!(false))
    );
    assert_eq!(prospects(json!({"type": "dhcp"})), docker("maybe", &[], Value::Null));
}

#[test]
fn a_malformed_file_is_a_row_and_leaves_the_others_alone() {
    let desk = Desk::with(&["a"]);
    desk.network("net", "1.0.0", json!([{"type": "a"}]));
    desk.network("zzz", "1.0.0", json!([{"type": "a"}]));
    desk.write("conf/nonsense.conflist", "{");
    desk.write("conf/nameless.conf", r#"{"type": "a"}"#);
    let (status, networks) = desk.validate(&[]);
    assert_eq!(status, 1);
    let by_file: Vec<_> = networks
        .iter()
        .map(|it| (it["file"].as_str().unwrap().rsplit('/').next().unwrap(), &it["ok"]))
        .collect();
    let (good, bad) = (&json!(true), &json!(false));
    let expected = [
        ("nameless.conf", bad),
        ("net.conflist", good),
        ("nonsense.conflist", bad),
        ("zzz.conflist", good),
    ];
    assert_eq!(by_file, expected);
    assert!(problems(&networks[0]).contains("it has no \"name\""));
    assert!(problems(&networks[2]).contains("not valid JSON"));
    // Asked for by its name, a network does not suffer from the others.
    assert_eq!(desk.validate(&["zzz"]).0, 0);
}

#[test]
fn l35_a_plugin_has_to_be_there_executable_and_new_enough_and_so_has_its_ipam_plugin() {
    let desk = Desk::with(&["good"]);
    std::fs::write(desk.bench.bin().join("plain"), "#!/bin/sh\n").unwrap();
    desk.script("old", &versions(&["0.3.0", "0.3.1"]));
    desk.script("first", r#"echo '{"code":4,"msg":"unknown CNI_COMMAND: VERSION"}'; exit 1"#);
    let of = |plugin: Value| {
        desk.network("net", "1.0.0", json!([{"type": "good"}, plugin]));
        let (status, networks) = desk.validate(&["net"]);
        assert_eq!(status, 1);
        problems(&networks[0])
    };
    let gone = of(json!({"type": "gone"}));
    assert!(gone.contains("failed to find plugin \"gone\" in path ["), "{gone}");
    let plain = of(json!({"type": "plain"}));
    assert!(plain.contains("bin/plain cannot be executed"), "{plain}");
    let old = "plugin old does not support config version \"1.0.0\", only 0.3.0, 0.3.1";
    assert!(of(json!({"type": "old"})).starts_with(old));
    assert!(of(json!({"type": "good", "ipam": {"type": "old"}})).starts_with(old));
    assert!(of(json!({"type": "first"})).contains("only 0.1.0"));

    desk.network("net", "0.1.0", json!([{"type": "first"}]));
    assert_eq!(desk.validate(&["net"]).0, 0);
}

#[test]
fn a_plugin_that_does_not_tell_its_versions_is_used_with_a_word_as_by_create_network() {
    let desk = Desk::with(&[]);
    desk.script("mute", "cat >/dev/null; echo oops >&2; exit 1");
    desk.script("talks", "cat >/dev/null; echo hello");
    desk.script("silent", "cat >/dev/null");
    desk.script("dies", "cat >/dev/null; kill -SEGV $$");
    for (plugin, words) in [
        ("mute", "failed (version): netplugin failed: \"oops\""),
        ("talks", "decoding version info: it wrote \"hello\" to standard output"),
        ("silent", "decoding version info: it wrote nothing to standard output"),
        ("dies", "killed by signal 11"),
    ] {
        desk.network("net", "1.1.0", json!([{ "type": plugin }]));
        let (status, networks) = desk.validate(&["net"]);
        assert_eq!((status, &networks[0]["ok"]), (0, &json!(true)), "{networks:?}");
        assert_eq!(networks[0]["problems"], json!([]));
        let warnings = networks[0]["warnings"].as_array().unwrap();
        assert!(
            warnings.len() == 1 && warnings[0].as_str().unwrap().contains(words),
            "{warnings:?}"
        );
        let table = desk.run(&["validate"]).output();
        assert!(table.lines().nth(1).unwrap().ends_with("ok"), "{table}");
        assert!(table.contains("is not known, and it is used"), "{table}");
        let explained =
            desk.run(&["explain", "create", "web", "--allow-writable", "--conflist", "net"]);
        let explained = explained.output();
        assert!(
            explained.contains("would be made") && explained.contains("beware: "),
            "{explained}"
        );
    }
}

#[test]
fn l45_r27_plugins_that_are_not_ready_make_it_fail_with_their_code() {
    let desk = Desk::with(&["a"]);
    let no = json!({"exit": 1, "stdout": {"code": 50, "msg": "not yet"}});
    let plugins = json!([{"type": "a", "fake": {"STATUS": no}}]);
    desk.network("net", "1.1.0", plugins.clone());
    let (status, networks) = desk.validate(&["net"]);
    assert_eq!(status, 1);
    assert_eq!(networks[0]["status"]["code"], 50);
    assert!(problems(&networks[0]).contains("not yet"));
    let table = desk.run(&["validate"]).stdout;
    assert!(table.lines().nth(1).unwrap().ends_with("not ready (50)  not ready"), "{table}");

    // Before 1.1.0 nobody is asked.
    desk.network("net", "1.0.0", plugins);
    let (status, networks) = desk.validate(&["net"]);
    assert_eq!((status, &networks[0]["status"]), (0, &Value::Null));
}

#[test]
fn the_table_has_a_line_for_each_and_the_reasons_below() {
    let desk = Desk::with(&["bridge", "host-local", "portmap"]);
    let ipam = json!({"type": "host-local", "subnet": "10.1.0.0/16"});
    let ports = json!({"type": "portmap", "capabilities": {"portMappings": true}});
    desk.network("web", "1.0.0", json!([{"type": "bridge", "ipam": ipam}, ports]));
    let table = desk.run(&["validate", "--format", "wide"]).output();
    let lines: Vec<Vec<_>> = table
        .lines()
        .map(|line| line.split("  ").map(str::trim).filter(|it| !it.is_empty()).collect())
        .collect();
    let head = [
        "NETWORK",
        "PLUGINS",
        "PORTS",
        "FIXED IP",
        "FAMILIES",
        "FORWARD",
        "STATUS",
        "RESULT",
        "VERSION",
        "CAPABILITIES",
    ];
    let row = [
        "web",
        "bridge/host-local portmap",
        "yes",
        "one",
        "IPv4",
        "exempt",
        "-",
        "ok",
        "1.0.0",
        "portMappings",
    ];
    assert_eq!(lines, [head, row]);

    desk.write("conf/broken.conflist", "{");
    let said = desk.run(&["validate"]);
    assert_eq!(said.status, 1);
    let last = said.stdout.lines().last().unwrap();
    let file = desk.path("conf/broken.conflist");
    assert!(last.starts_with(&format!("{}: not valid JSON", file.display())), "{last}");
}

#[test]
fn a_file_from_anywhere_and_a_single_plugin_can_be_validated() {
    let desk = Desk::with(&["a"]);
    desk.write("draft.conflist", r#"{"cniVersion":"1.0.0","name":"d","plugins":[{"type":"a"}]}"#);
    desk.write("old.conf", r#"{"cniVersion":"0.3.1","name":"o","type":"a"}"#);
    for (file, name) in [("draft.conflist", "d"), ("old.conf", "o")] {
        let (status, networks) = desk.validate(&[desk.path(file).to_str().unwrap()]);
        assert_eq!((status, &networks[0]["name"]), (0, &json!(name)));
    }
    let mut here = desk.command(&["validate", "draft.conflist"]);
    Said::by(here.current_dir(desk.dir.path())).output();
    let (status, networks) = desk.validate(&["./gone.conflist"]);
    assert_eq!(status, 1);
    assert!(problems(&networks[0]).contains("cannot read ./gone.conflist"));
}

#[test]
fn an_unknown_name_is_reported_with_the_nearest_known_one() {
    let desk = Desk::with(&["a"]);
    desk.network("net", "1.0.0", json!([{"type": "a"}]));
    let (status, networks) = desk.validate(&["nat"]);
    assert_eq!(status, 1);
    let problems = problems(&networks[0]);
    assert!(problems.contains("no network configuration with name \"nat\""), "{problems}");
    assert!(problems.contains("did you mean \"net\"?"), "{problems}");
}

#[test]
fn without_any_network_the_built_in_one_is_looked_at() {
    let desk = Desk::with(&["bridge", "host-local", "portmap"]);
    for more in [[].as_slice(), &["cnm-cni-default"]] {
        let (status, networks) = desk.validate(more);
        assert_eq!((status, networks.len()), (0, 1));
        assert_eq!(networks[0]["name"], "cnm-cni-default");
        assert_eq!(networks[0]["file"], Value::Null);
        assert_eq!(networks[0]["docker"]["isolated"], true);
    }
}

#[test]
fn a_folder_without_networks_is_mentioned_below_the_table() {
    let desk = Desk::with(&["bridge", "host-local", "portmap"]);
    let table = desk.run(&["validate"]).output();
    let conf = desk.path("conf");
    let told = format!(
        "\n\n{} has no network; this one is built in: each Docker network has a bridge and subnets of its \
         own, and is isolated\n",
        conf.display()
    );
    assert!(table.ends_with(&told), "{table}");
    // Asked for by its name, it is no surprise.
    assert!(!desk.run(&["validate", "cnm-cni-default"]).output().contains("built in"));
}

#[test]
fn a_folder_in_the_place_of_a_file_is_reported_with_the_flag_that_takes_it() {
    let desk = Desk::with(&["a"]);
    let folder = desk.path("conf");
    let folder = folder.to_str().unwrap();
    let error = desk.run(&["validate", folder]).error();
    assert!(error.contains(&format!("for the networks in it, use --conf-dir {folder}")), "{error}");
}

#[test]
fn a_file_that_is_not_there_is_reported_with_its_path() {
    let desk = Desk::with(&["a"]);
    let said = desk.run(&["validate", "/nope/10-web.conflist"]);
    let told = "cannot read /nope/10-web.conflist: No such file or directory";
    assert!(said.status == 1 && said.stdout.contains(told), "{said:?}");
    let remedy =
        format!("; 'cnm-cni validate' lists the networks of {}\n", desk.path("conf").display());
    assert!(said.stdout.ends_with(&remedy), "{said:?}");
}

#[test]
fn what_is_no_configuration_is_reported_by_its_kind() {
    let desk = Desk::with(&["a"]);
    let kinds = [
        ("empty.conflist", "", "it is empty"),
        ("cut.conflist", "{", "not valid JSON: EOF while parsing an object at line 1 column 1"),
        ("list.conf", r#"{"name":"net","plugins":[{"type":"a"}]}"#, "ends in .conflist"),
        ("array.conf", "[]", "expected an object, found []"),
        ("number.conflist", r#"{"name":"net","cniVersion":1.0}"#, "cniVersion: expected a string"),
        (
            "path.conflist",
            r#"{"name":"net","plugins":[{"type":"../a"}]}"#,
            "plugins[0]: plugin type",
        ),
    ];
    for (file, content, words) in kinds {
        desk.write(&format!("conf/{file}"), content);
        let path = desk.path(&format!("conf/{file}"));
        let (status, networks) = desk.validate(&[path.to_str().unwrap()]);
        assert_eq!(status, 1);
        let problems = problems(&networks[0]);
        assert!(problems.contains(words) && problems.contains(file), "{problems}");
    }
}

#[test]
fn a_plugin_that_delegates_is_shown_with_what_it_runs_and_the_subnets_of_its_agent() {
    let desk = Desk::with(&["flannel", "bridge", "host-local", "macvlan"]);
    let agents = desk.path("subnet.env");
    let flannel = json!({"type": "flannel", "subnetFile": agents, "delegate": {"mtu": 1400}});
    desk.network("net", "0.3.1", json!([flannel]));
    let (status, networks) = desk.validate(&["net"]);
    assert_eq!(status, 1);
    let told = problems(&networks[0]);
    assert!(told.contains("subnet.env") && told.contains("flanneld"), "{told}");

    for (content, words) in [("", "no subnet"), ("FLANNEL_SUBNET=10.244.21.1\n", "invalid")] {
        desk.write("subnet.env", content);
        let told = problems(&desk.validate(&["net"]).1[0]);
        assert!(told.contains(words), "{told}");
    }
    desk.write(
        "subnet.env",
        "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.21.1/24\n\
         FLANNEL_IPV6_SUBNET=fd00:244:21::1/64\nFLANNEL_MTU=1450\n",
    );
    let (status, networks) = desk.validate(&["net"]);
    assert_eq!(status, 0, "{networks:?}");
    assert_eq!(networks[0]["docker"]["subnets"], json!(["10.244.21.0/24", "fd00:244:21::/64"]));
    assert_eq!(networks[0]["docker"]["dual_stack"], true);
    let run = |networks: &[Value]| -> Vec<Value> {
        let plugins = networks[0]["plugins"].as_array().unwrap().iter();
        plugins.map(|plugin| json!([plugin["type"], plugin["ipam_of"]])).collect()
    };
    let usual = [json!(["flannel", null]), json!(["bridge", "flannel"])];
    assert_eq!(run(&networks), [&usual[..], &[json!(["host-local", "bridge"])]].concat());

    let delegate = json!({"type": "macvlan"});
    let named = json!({"type": "flannel", "subnetFile": agents, "delegate": delegate,
                       "ipam": {"type": "elsewhere"}});
    desk.network("net", "0.3.1", json!([named]));
    let (_, networks) = desk.validate(&["net"]);
    assert!(problems(&networks[0]).contains("\"elsewhere\""), "{networks:?}");
    assert_eq!(run(&networks)[1], json!(["macvlan", "flannel"]));
}

#[test]
fn an_executable_that_is_no_plugin_is_recognised_by_what_it_does() {
    let desk = Desk::with(&[]);
    std::fs::create_dir(desk.bench.bin().join("folder")).unwrap();
    std::fs::write(desk.bench.bin().join("empty"), "").unwrap();
    for (name, content) in [("strange", "\x7fELF?"), ("homeless", "#!/no/such/shell\n")] {
        let file = desk.bench.bin().join(name);
        std::fs::write(&file, content).unwrap();
        std::fs::set_permissions(file, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let answers = [
        ("folder", "bin/folder cannot be executed"),
        ("empty", "bin/empty cannot be executed"),
        ("strange", "it is no program for this machine"),
        ("homeless", "the interpreter or loader that it names is missing"),
    ];
    for (plugin, words) in answers {
        desk.network("net", "1.0.0", json!([{ "type": plugin }]));
        let (status, networks) = desk.validate(&["net"]);
        assert_eq!(status, 1);
        assert!(problems(&networks[0]).contains(words), "{networks:?}");
    }
}
