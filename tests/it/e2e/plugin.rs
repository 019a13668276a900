//! `docker cni …`: the same program as a plugin of Docker's command line.

use serde_json::Value;

use super::host::{Host, Suite};
use super::readme::Steps;
use super::{BRIDGE, ConfFile, PODS, on_a_host, on_both_dockers};

on_both_dockers! {
    docker_itself_makes_networks_and_says_beforehand_what_becomes_of_them,
}

mod docker_26_1 {
    #[test]
    fn the_networks_of_a_compose_file_are_explained() {
        super::the_networks_of_a_compose_file_are_explained(super::Suite::Trixie);
    }
}

/// Docker's own pools are its ranges.
const DOCKERS: ConfFile<'_> = (
    "30-dockers.conflist",
    r#"{"cniVersion": "1.0.0", "name": "dockers", "plugins": [
        {"type": "bridge", "bridge": "dockers0", "isDefaultGateway": true,
         "capabilities": {"ipRanges": true}, "ipam": {"type": "host-local"}}]}"#,
);

fn install(host: &Host) {
    let told = Steps::read("docs/install.md", "install-cli-plugin").on(host);
    assert!(told.contains(env!("CARGO_PKG_VERSION")), "{told}");
}

fn inspected(host: &Host, network: &str) -> Value {
    let text = host.docker(&["network", "inspect", network]);
    serde_json::from_str::<Value>(&text).unwrap()[0].clone()
}

/// What `docker cni explain` says of one network, and whether it would be made.
fn explained(host: &Host, flags: &[&str]) -> (bool, Value) {
    let explain = ["docker", "cni", "explain", "create", "web", "--format", "json"];
    let (is_made, text) = match host.try_exec(&[&explain, flags].concat()) {
        Ok(text) => (true, text),
        Err(text) => (false, text),
    };
    let json: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"));
    (is_made, json["networks"][0].clone())
}

fn docker_itself_makes_networks_and_says_beforehand_what_becomes_of_them(suite: Suite) {
    on_a_host(suite, &[BRIDGE, PODS, DOCKERS], |host| {
        install(host);
        assert!(host.docker(&["--help"]).contains("Docker networks out of CNI plugins"));
        for help in [&["cni", "--help"][..], &["help", "cni"], &["cni", "help"]] {
            assert!(host.docker(help).contains("Usage: docker cni "), "{help:?}");
        }

        // CNI chooses the addresses, without a flag.
        let (is_made, told) = explained(host, &["--conflist", "pods"]);
        assert!(is_made, "{told}");
        assert_eq!((&told["conflist"], &told["bridge"]), (&"pods".into(), &"pods0".into()));
        assert_eq!(told["addresses"]["by"], "cni");
        let id = host.docker(&["cni", "create", "web", "--conflist", "pods"]);
        let network = inspected(host, "web");
        assert_eq!((&network["Id"], &network["IPAM"]["Driver"]), (&id.into(), &"null".into()));
        host.run("alice", "web", &[]);
        let checked = host.docker(&["cni", "check", "alice"]);
        assert!(checked.contains("as ADD left it"), "{checked}");
        // Docker asks its plugins from version 23 on.
        if suite == Suite::Forky {
            let completed = |word: &str| host.docker(&["__complete", "cni", "show", word]);
            assert_eq!(completed(""), "alice\trunning\n:4");
            assert_eq!(completed("b"), ":4");
            let verbs = host.docker(&["__complete", "cni", "do"]);
            assert!(verbs.starts_with("doctor\t") && verbs.ends_with(":4"), "{verbs}");
        }
        host.remove(&["alice"], &["web"]);
        // The command that it prints does the same.
        host.exec(&["sh", "-ec", told["command"].as_str().unwrap()]);
        assert_eq!(inspected(host, "web")["IPAM"]["Driver"], "null");
        let twice = host.docker_refuses(&["cni", "create", "web"]);
        assert!(twice.contains("already exists"), "{twice}");
        host.docker(&["network", "rm", "web"]);

        // Docker chooses them, because the conflist or the user asks for it.
        let (is_made, told) = explained(host, &["--conflist", "dockers"]);
        assert!(is_made && told["addresses"]["by"] == "docker", "{told}");
        host.docker(&["cni", "create", "web", "--conflist", "dockers"]);
        assert_eq!(inspected(host, "web")["IPAM"]["Driver"], "default");
        host.docker(&["network", "rm", "web"]);
        let subnet = ["--conflist", "pods", "--subnet", "10.99.0.0/24", "--gateway", "10.99.0.1"];
        let (is_made, told) = explained(host, &subnet);
        assert!(is_made && told["addresses"]["by"] == "docker", "{told}");
        host.docker(&[&["cni", "create", "web"], &subnet[..]].concat());
        assert_eq!(inspected(host, "web")["IPAM"]["Driver"], "default");
        host.run("alice", "web", &["--ip", "10.99.0.9"]);
        host.remove(&["alice"], &["web"]);

        // A set of options, made once, for plain docker commands.
        Steps::read("docs/install.md", "config-only").with("k8s-pod-network", "pods").on(host);
        assert_eq!(inspected(host, "web")["IPAM"]["Driver"], "null");
        host.run("alice", "web", &[]);
        host.remove(&["alice"], &["web", "k8s"]);

        if suite == Suite::Bookworm {
            let said = host.docker_refuses(&["cni", "explain", "compose", "compose.yaml"]);
            assert!(said.contains("'docker compose' has to read the file"), "{said}");
        }
        refusals_are_the_drivers_own(host);
        it_asks_the_docker_that_docker_is_told_of(host);
    });
}

/// `explain` says the same as the driver's answer to Docker.
fn refusals_are_the_drivers_own(host: &Host) {
    for flags in [
        &["--ipam-driver", "default", "-o", "conflist=pods"][..],
        &["--subnet", "10.1.0.0/16", "-o", "conflist=pods"],
        &["--ipam-driver", "null", "-o", "conflist=dockers"],
        &["-o", "conflist=pod"],
        &["-o", "conflist=pods", "-o", "confilst=pods"],
    ] {
        let (is_made, told) = explained(host, flags);
        let refusals = told["refusals"].as_array().unwrap();
        assert!(!is_made && refusals.len() == 1, "{told}");
        let create = ["network", "create", "-d", "cni", "web"];
        let said = host.docker_refuses(&[&create[..], flags].concat());
        let refusal = refusals[0].as_str().unwrap();
        // Docker may have chosen another pool than the example.
        let (_, after_pool) = refusal.split_once("/16: ").unwrap_or(("", refusal));
        assert!(said.contains(after_pool), "{said}\n{refusal}");
    }
    let said =
        host.docker_refuses(&["network", "create", "-d", "cni", "-o", "conflist=pods", "web"]);
    for pasted in [
        "--ipam-driver null (in a compose file: ipam: {driver: \"null\"})",
        "--subnet 10.99.0.0/24 --gateway 10.99.0.1 (in a compose file: ipam: {config: [{subnet: \
         \"10.99.0.0/24\", gateway: \"10.99.0.1\"}]})",
        "for a network with --config-from, say it where the one with --config-only is made",
    ] {
        assert!(said.contains(pasted), "no {pasted:?} in: {said}");
    }
}

fn it_asks_the_docker_that_docker_is_told_of(host: &Host) {
    let nowhere = "unix:///nowhere.sock";
    host.docker(&["context", "create", "lab", "--docker", &format!("host={nowhere}")]);
    let create = "docker cni create web --conflist pods";
    for command in [
        format!("docker -H {nowhere} cni create web --conflist pods"),
        "docker --context lab cni create web --conflist pods".to_owned(),
        format!("DOCKER_CONTEXT=lab {create}"),
        format!("DOCKER_HOST={nowhere} {create}"),
        format!("docker context use lab >/dev/null; {create}"),
        format!("{create} --docker {nowhere}"),
    ] {
        let said = host.try_exec(&["sh", "-c", &command]).unwrap_err();
        assert!(said.contains("no Docker answers on /nowhere.sock"), "{command}: {said}");
    }
    host.docker(&["context", "use", "default"]);
    host.docker(&["context", "rm", "lab"]);
    host.docker(&["-H", "unix:///var/run/docker.sock", "cni", "create", "web", "--conflist=pods"]);
    host.docker(&["network", "rm", "web"]);
}

const COMPOSE: &str = r#"
services:
  db:
    image: cnm-cni/busybox
    networks:
      back: {ipv4_address: 10.99.0.7}
      front: {}
      plain: {}
networks:
  back: {driver: cni, driver_opts: {conflist: "${CONFLIST:-pods}"}, ipam: {driver: "null"}}
  front: {driver: cni, driver_opts: {conflist: pods}}
  plain: {}
"#;

fn the_networks_of_a_compose_file_are_explained(suite: Suite) {
    on_a_host(suite, &[PODS], |host| {
        install(host);
        host.write("/root/project/compose.yaml", COMPOSE);
        let explain = ["docker", "cni", "explain", "compose", "/root/project/compose.yaml"];
        let told = host.try_exec(&explain).unwrap_err();
        for words in [
            "network       project_back",
            "refused: service db asks for 10.99.0.7, which Docker refuses",
            "network       project_front",
            "(in a compose file: ipam: {driver: \"null\"})",
            "network plain of driver Docker's own: passed over",
        ] {
            assert!(told.contains(words), "no {words:?} in: {told}");
        }
        // With the remedy that it names, and without the address.
        let mended = COMPOSE
            .replace("conflist: pods}}", "conflist: pods}, ipam: {driver: \"null\"}}")
            .replace("{ipv4_address: 10.99.0.7}", "{}");
        host.write("/root/project/compose.yaml", &mended);
        let told = host.exec(&explain);
        assert_eq!(told.matches("would be made").count(), 2, "{told}");
    });
}
