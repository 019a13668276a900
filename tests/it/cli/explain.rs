//! `cnm-cni explain` and `create`: what would become of a network.

use serde_json::{Value, json};

use super::{Desk, Said};

/// A desk with the networks "own", which has ranges, and "dockers", which takes Docker's.
fn desk() -> Desk {
    let desk = Desk::with(&["bridge", "host-local", "portmap"]);
    let ranges = json!({"type": "host-local", "ranges": [[{"subnet": "10.22.0.0/16"}]]});
    desk.network(
        "own",
        "1.0.0",
        json!([{"type": "bridge", "bridge": "own0", "ipam": ranges},
               {"type": "portmap", "capabilities": {"portMappings": true}}]),
    );
    let none = json!({"type": "host-local"});
    let takes_ranges = json!({"ipRanges": true});
    desk.network(
        "dockers",
        "1.0.0",
        json!([{"type": "bridge", "ipam": none, "capabilities": takes_ranges}]),
    );
    desk
}

fn explain(desk: &Desk, flags: &str) -> (i32, Value) {
    let flags: Vec<&str> = flags.split_whitespace().collect();
    let explain = ["explain", "create", "web", "--allow-writable", "--format", "json"];
    let Said { status, stdout, stderr } = desk.run(&[&explain, &flags[..]].concat());
    assert_eq!(stderr, "");
    let json: Value = serde_json::from_str(&stdout).unwrap();
    (status, json["networks"][0].clone())
}

#[test]
fn a_network_that_would_be_made_is_told_whole() {
    let desk = desk();
    let (status, told) = explain(&desk, "--conflist own");
    assert_eq!(status, 0, "{told}");
    let types: Vec<_> = told["plugins"].as_array().unwrap().iter().map(|it| &it["type"]).collect();
    assert_eq!(types, ["bridge", "host-local", "portmap"]);
    assert_eq!(
        (&told["bridge"], &told["capabilities"]),
        (&json!("own0"), &json!(["portMappings"]))
    );
    assert_eq!(told["addresses"], json!({"by": "cni", "subnets": ["10.22.0.0/16"]}));
    assert_eq!(
        told["command"],
        "docker network create -d cni --ipam-driver null -o conflist=own web"
    );
    let (status, told) = explain(&desk, "--conflist dockers");
    assert_eq!((status, &told["addresses"]["by"]), (0, &json!("docker")), "{told}");
    let text = desk.run(&["explain", "create", "web", "--allow-writable", "--conflist", "own"]);
    let text = text.output();
    for line in ["conflist      own, ", "bridge        own0\n", "result        would be made\n"] {
        assert!(text.contains(line), "no {line:?} in: {text}");
    }
}

#[test]
fn all_that_would_be_refused_is_told_at_once() {
    let desk = desk();
    for (flags, words) in [
        ("--conflist own --subnet 10.1.0.0/16", "from Docker's pool 10.1.0.0/16"),
        ("--conflist own --ipam-driver default", "ipam: {driver: \"null\"}"),
        ("--conflist own --subnet 10.22.0.0/16 --ipam-driver null", "Docker refuses a subnet"),
        ("--conflist dockers --ipam-driver null", "without --ipam-driver null"),
        ("--conflist onw", "did you mean \"own\"?"),
        ("--conflist own -o foward=never", "did you mean \"forward\"?"),
    ] {
        let (status, told) = explain(&desk, flags);
        assert_eq!((status, told["refusals"].as_array().unwrap().len()), (1, 1), "{told}");
        assert!(told["refusals"][0].as_str().unwrap().contains(words), "{flags}: {told}");
    }
    std::fs::remove_file(desk.bench.bin().join("portmap")).unwrap();
    let (status, told) = explain(&desk, "--conflist own --subnet 10.1.0.0/16");
    let refusals = told["refusals"].as_array().unwrap();
    assert_eq!((status, refusals.len()), (1, 2), "{told}");
    assert!(refusals[0].as_str().unwrap().contains("\"portmap\""), "{told}");
}

#[test]
fn without_a_conflist_a_network_would_have_a_bridge_of_its_own_and_be_isolated() {
    let desk = Desk::with(&["bridge", "host-local", "portmap"]);
    let (status, told) = explain(&desk, "--ipam-driver null");
    assert_eq!((status, &told["built_in"], &told["isolated"]), (0, &json!(true), &json!(true)));
    let subnet = told["addresses"]["subnets"][0].as_str().unwrap();
    assert!(subnet.starts_with("10.233.") && subnet.ends_with(".0/24"), "{told}");
    // Docker chooses, unless the user says otherwise; so --ip works, as on a bridge network of Docker's.
    let (status, told) = explain(&desk, "");
    assert_eq!((status, &told["addresses"]["by"]), (0, &json!("docker")), "{told}");
    assert_eq!(told["command"], "docker network create -d cni web");
    let (_, told) = explain(&desk, "-o isolate=false -o com.docker.network.bridge.name=br7");
    assert_eq!((&told["isolated"], &told["bridge"]), (&json!(false), &json!("br7")));
    let text = desk.run(&["explain", "create", "web", "--allow-writable"]).output();
    for line in [
        "conflist      none: the built-in network\n",
        "bridge        one of its own, named after the network's id\n",
        "isolation     from other isolated networks of this host, and from Docker's own\n",
    ] {
        assert!(text.contains(line), "no {line:?} in: {text}");
    }
}

#[test]
fn a_network_is_not_made_where_no_docker_is() {
    let desk = desk();
    let create = ["create", "web", "--allow-writable", "--conflist", "own", "--docker"];
    let error = desk.run(&[&create[..], &["unix:///nowhere.sock"]].concat()).error();
    assert!(error.contains("no Docker answers on /nowhere.sock: No such file"), "{error}");
    let error = desk.run(&[&create[..], &["tcp://192.0.2.1:2375"]].concat()).error();
    assert!(error.contains("the command line says that Docker is at \"tcp://192.0.2.1"), "{error}");
}
