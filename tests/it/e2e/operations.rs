//! The operator's questions, each answered by one command: docs/operations.md.

use std::time::Duration;

use serde_json::Value;

use super::ConfFile;
use super::check::run;
use super::host::{Host, IMAGE, Suite, within};
use super::readme::Steps;

/// A network of bridges, one for each name; 10.4`number`.0.0/24 or a part of it.
fn conflist(name: &str, number: u8, range: &str) -> String {
    format!(
        r#"{{"cniVersion": "1.0.0", "name": "{name}", "plugins": [
            {{"type": "bridge", "bridge": "{name}0", "isDefaultGateway": true, "ipMasq": true,
             "ipam": {{"type": "host-local", "ranges": [[{{"subnet": "10.4{number}.0.0/24"{range}}}]]}}}},
            {{"type": "portmap", "capabilities": {{"portMappings": true}}}}]}}"#
    )
}

/// Three networks, and eight containers of two compose projects.
const CONTAINERS: [(&str, &str, &str, &[&str]); 8] = [
    ("shop", "web", "front", &["-p", "8080:80"]),
    ("shop", "api", "front", &[]),
    ("shop", "db", "back", &[]),
    ("shop", "queue", "back", &[]),
    ("blog", "web", "front", &["-p", "127.0.0.1:8081:80"]),
    ("blog", "db", "back", &[]),
    ("blog", "cache", "back", &[]),
    ("blog", "proxy", "edge", &[]),
];

fn name(project: &str, service: &str) -> String {
    format!("{project}-{service}-1")
}

/// What a compose project's container is started with.
fn options<'o>(project: &'o str, service: &'o str) -> [String; 4] {
    let label = |key, value| format!("com.docker.compose.{key}={value}");
    let (project, service) = (label("project", project), label("service", service));
    ["--label".to_owned(), project, "--label".to_owned(), service]
}

pub(super) fn site() -> Host {
    let host = Host::up(Suite::Forky);
    let front = conflist("front", 1, "");
    let back = conflist("back", 2, "");
    // One address, which one container has.
    let edge = conflist("edge", 3, r#", "rangeStart": "10.43.0.9", "rangeEnd": "10.43.0.9""#);
    let files: [ConfFile<'_>; 3] =
        [("10-front.conflist", &front), ("20-back.conflist", &back), ("30-edge.conflist", &edge)];
    for (file, text) in files {
        host.write(&format!("/etc/cni/net.d/{file}"), text);
    }
    host.start_driver_without_spares();
    for network in ["front", "back", "edge"] {
        host.create_network(network, Some(network));
    }
    for (project, service, network, more) in CONTAINERS {
        let labels = options(project, service);
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        host.run(&name(project, service), network, &[&labels[..], more].concat());
    }
    // A pod on the same conflist.
    host.write("/var/lib/cni/networks/back/10.42.0.200", "4f3c9a7e11b2\neth0");
    host
}

#[test]
fn docker_28_5_each_question_of_the_operator_is_answered_by_one_command() {
    let host = site();
    let ask = |args: &[&str]| host.exec(&[&["cnm-cni"], args].concat());

    who_has_what(&host, &ask);
    what_a_reload_took_away_is_put_back(&host, &ask);
    a_report_has_no_secret(&host);
    a_shell_completes_what_there_is(&host);
    whether_the_gateway_answers(&host);
    for (damage, words) in [
        ("ip link set back0 down", "interface back0 of the host is down"),
        ("ip addr flush dev back0", "address 10.42.0.1/24 of the host's back0"),
        ("iptables -t nat -F", "is not masqueraded any more"),
        ("iptables -I FORWARD -j REJECT", "drops the container's packets"),
        ("sysctl -w net.ipv4.ip_forward=0", "ip_forward of the host is 0"),
        ("ip link set back0 mtu 1200", "takes packets of 1200 bytes"),
        ("mv $lease /run/lease", "may be given to another container"),
    ] {
        let address = host.endpoint("shop-db-1", "back")["IPAddress"].as_str().unwrap().to_owned();
        run(&host, &format!("lease=/var/lib/cni/networks/back/{address}; {damage}"));
        let told = doctor(&host, "shop-db-1").unwrap_err();
        assert!(told.contains(words), "{damage}:\n{told}");
        let remedies = told.lines().filter_map(|line| line.strip_prefix("  run  "));
        let remedies: Vec<&str> = remedies.collect();
        assert!(!remedies.is_empty(), "{damage}:\n{told}");
        for remedy in remedies {
            run(&host, remedy);
        }
        let well = || doctor(&host, "shop-db-1").is_ok();
        assert!(
            within(Duration::from_secs(10), well),
            "{damage}: {:?}",
            doctor(&host, "shop-db-1")
        );
    }
    // The nat rules of the other containers are still missing; one finding reports all of them.
    let told = host.try_exec(&["cnm-cni", "doctor"]).unwrap_err();
    assert!(told.contains("run  docker restart shop-web-1"), "{told}");
    away(&host);
    what_happened(&host);

    let names = ask(&["ls", "-q"]);
    let names: Vec<&str> = names.lines().collect();
    host.remove(&names, &["front", "back", "edge"]);
    let gone = || ask(&["ls", "--format", "json"]).trim() == "[]";
    assert!(within(Duration::from_secs(20), gone), "{}", ask(&["ls"]));
    assert!(ask(&["orphans"]).starts_with("No orphans"));
}

/// Addresses, ports, networks, leases.
fn who_has_what(host: &Host, ask: &dyn Fn(&[&str]) -> String) {
    let pages = Steps::read("docs/operations.md", "operations").on(host);
    // With --nocapture: what the page shows.
    println!("{pages}");
    let address = host.endpoint("shop-db-1", "back")["IPAddress"].as_str().unwrap().to_owned();
    let shown = ask(&["show", &address]);
    let has = |words: &str| assert!(shown.contains(words), "{words} of\n{shown}");
    has("shop-db-1 on network back");
    has("project shop, service db");
    has("interface   eth0");
    for other in [&shown, &ask(&["show", "shop-db-1"])] {
        assert_eq!(*other.lines().next().unwrap(), *shown.lines().next().unwrap());
    }
    // A container that is called like the address of another one, and does not run.
    host.docker(&["create", "--name", &address, "--network", "back", IMAGE]);
    for verb in ["show", "check", "reload"] {
        let told = host.try_exec(&["cnm-cni", verb, &address]).unwrap_err();
        assert!(told.contains(&format!("container {address} has nothing on")), "{verb}: {told}");
    }
    assert!(ask(&["show", &format!("{address}/32")]).starts_with("shop-db-1 on network back"));
    host.docker(&["rm", &address]);
    let mac = host.endpoint("shop-db-1", "back")["MacAddress"].as_str().unwrap().to_owned();
    assert!(ask(&["show", &mac]).starts_with("shop-db-1 on"));
    let all_ends = ask(&["show", "eth0"]);
    assert_eq!(all_ends.matches(" on network ").count(), 8, "{all_ends}");
    assert!(ask(&["show", ":8080"]).starts_with("shop-web-1 on network front"));
    assert!(ask(&["ports", ":8081"]).contains("blog-web-1"));
    assert!(host.try_exec(&["cnm-cni", "ports", ":9"]).is_err());
    // Of several, each has to be there.
    let told = host.try_exec(&["sh", "-c", "cnm-cni check shop-db-1 nobody 2>&1"]).unwrap_err();
    assert!(told.contains("is called \"nobody\"; ") && told.contains("as ADD left it"), "{told}");

    let listed = ask(&["ls"]);
    assert!(listed.lines().all(|line| line.chars().count() <= 80), "{listed}");
    assert_eq!(ask(&["ls", "--network", "edge", "-q"]), "blog-proxy-1\n");
    let json: serde_json::Value = serde_json::from_str(&ask(&["ls", "--format", "json"])).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 8);
    assert!(json[0]["made"].as_str().unwrap().ends_with('Z'), "{json}");
    assert!(ask(&["net", "back"]).contains("shop-db-1"));

    // Which leases are not Docker's.
    let pools = ask(&["pools", "back"]);
    assert!(pools.contains("10.42.0.200  another runtime"), "{pools}");
    let full = host.try_exec(&["cnm-cni", "status"]).unwrap_err();
    assert!(full.contains("pool 10.43.0.0/24 of conflist edge is full"), "{full}");
    assert!(full.contains("cnm-cni pools edge"), "{full}");
    println!("{full}");
}

/// Each container's rules, of the plugins and of the driver.
fn what_a_reload_took_away_is_put_back(host: &Host, ask: &dyn Fn(&[&str]) -> String) {
    host.exec(&["iptables", "-t", "nat", "-F"]);
    let told = ask(&["reload", "--all"]);
    println!("{told}");
    let put_back = told.lines().filter(|line| line.trim_end().ends_with("  put back")).count();
    assert_eq!(put_back, 8, "{told}");
    assert!(host.get_from_outside(8080).is_ok(), "{told}");
    let again = ask(&["reload", "--all"]);
    assert_eq!(again.matches("nothing was missing").count(), 8, "{again}");
}

/// One file that can be given away.
fn a_report_has_no_secret(host: &Host) {
    const SECRET: &str = "hunter22";
    let args = format!("cni.args.TOKEN={SECRET}");
    host.docker(&[
        "network",
        "create",
        "-d",
        "cni",
        "--ipam-driver",
        "null",
        "-o",
        "conflist=front",
        "-o",
        &args,
        "vpn",
    ]);
    host.run("vpn-1", "vpn", &[]);
    host.write(
        "/var/lib/cnm-cni/journal/99999999.jsonl",
        &format!("{{\"error\": \"no {SECRET}\"}}\n"),
    );
    let told = host.exec(&["cnm-cni", "bundle", "-o", "/root/vpn.tar"]);
    assert!(told.contains("check.json") && told.contains("left out: "), "{told}");
    assert_eq!(host.exec(&["stat", "-c", "%a", "/root/vpn.tar"]), "600\n");
    let all = host.exec(&["tar", "xOf", "/root/vpn.tar"]);
    assert!(!all.contains(SECRET) && all.contains("\"TOKEN\"") && all.contains("no [hidden]"));
    let names = host.exec(&["tar", "tf", "/root/vpn.tar"]);
    for name in [
        "versions/cnm-cni.json",
        "driver/inventory.json",
        "records/attachments/",
        "records/networks/",
        "journal/99999999.jsonl",
        "conflists/20-back.conflist",
        "host/iptables.txt",
        "host/nftables.txt",
        "docker/version.json",
        "docker/info.json",
        "check.json",
        "doctor.txt",
        // The host has no such settings, and that is no reason to stop.
        "driver/settings.txt.error",
    ] {
        assert!(names.contains(&format!("cnm-cni-bundle/{name}")), "{name} of {names}");
    }
    let twice = host.try_exec(&["cnm-cni", "bundle", "-o", "/root/vpn.tar"]).unwrap_err();
    let says = ["cannot make /root/vpn.tar", "File exists"];
    assert!(says.iter().all(|words| twice.contains(words)), "{twice}");
    host.exec(&["rm", "/var/lib/cnm-cni/journal/99999999.jsonl"]);
    host.remove(&["vpn-1"], &["vpn"]);
}

/// With bash's own completion, and real names.
fn a_shell_completes_what_there_is(host: &Host) {
    let completed = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let script = format!(
            "source <(cnm-cni completions bash); COMP_WORDS=({line}); COMP_CWORD={}; COMP_TYPE=9; \
             _clap_complete_cnm_cni cnm-cni {} ''; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            words.len() - 1,
            words.last().unwrap()
        );
        host.exec(&["bash", "-c", &script]).split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(completed("cnm-cni show shop-d"), "shop-db-1");
    assert_eq!(completed("cnm-cni ls --network e"), "edge");
    assert_eq!(completed("cnm-cni pools bac"), "back");
}

/// Asked from inside of the container, on a host that has no `ping`.
fn whether_the_gateway_answers(host: &Host) {
    let ping = || host.try_exec(&["cnm-cni", "doctor", "shop-db-1", "--ping"]);
    let well = ping();
    assert!(well.as_ref().is_ok_and(|told| told.contains("nothing is amiss")), "{well:?}");
    host.exec(&["ip", "link", "set", "back0", "down"]);
    let told = ping().unwrap_err();
    assert!(told.contains("the gateway 10.42.0.1 does not answer a ping from inside: "), "{told}");
    host.exec(&["ip", "link", "set", "back0", "up"]);
    assert!(within(Duration::from_secs(10), || ping().is_ok()), "{:?}", ping());
}

/// A plugin, a pool, the driver, and Docker.
fn away(host: &Host) {
    host.docker(&["create", "--name", "late", "--network", "edge", IMAGE]);
    host.docker_refuses(&["start", "late"]);
    let told = doctor(host, "late").unwrap_err();
    assert!(told.contains("pool 10.43.0.0/24 of conflist edge is full"), "{told}");
    host.exec(&["mv", "/usr/lib/cni/portmap", "/usr/lib/cni/away"]);
    for container in ["shop-db-1", "late"] {
        let told = doctor(host, container).unwrap_err();
        assert!(told.contains("\"portmap\"") && told.contains("cnm-cni validate"), "{told}");
        assert_eq!(told.matches("failed to find plugin").count(), 1, "{told}");
    }
    host.exec(&["mv", "/usr/lib/cni/away", "/usr/lib/cni/portmap"]);
    host.docker(&["rm", "-f", "late"]);

    host.stop_driver("TERM");
    let told = doctor(host, "shop-db-1").unwrap_err();
    assert!(told.contains("the driver does not answer"), "{told}");
    let listed = host.exec(&["cnm-cni", "ls", "-q"]);
    assert_eq!(listed.lines().count(), 8, "by the records: {listed}");
    host.start_driver_without_spares();
    let nameless = host.exec(&["cnm-cni", "ls", "-q", "--docker", "unix:///run/nobody.sock"]);
    assert!(nameless.lines().count() == 8 && !nameless.contains("shop"), "{nameless}");
}

/// What happened between two times, which containers may be gone by now; and which plugin is slow.
fn what_happened(host: &Host) {
    let now = || host.exec(&["date", "-u", "+%FT%T.%3NZ"]).trim().to_owned();
    let events = |args: &[&str]| {
        let told = host.exec(&[&["cnm-cni", "events", "--format", "json"], args].concat());
        let lines = told.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.collect::<Vec<_>>()
    };
    // By Docker's names, also of those that ran before the follower came, and of one that is gone.
    let named = |name: &str, kind: &str| events(&["--container", name, "--kind", kind]);
    let all = [("shop-api-1", "attach"), ("blog-proxy-1", "attach"), ("late", "refuse")];
    for (name, kind) in all {
        let is_known = within(Duration::from_secs(20), || named(name, kind).len() == 1);
        assert!(is_known, "{name} {kind}: {:#?}", events(&[]));
    }
    let project = |name: &str| named(name, "attach")[0]["project"].clone();
    assert_eq!((project("shop-api-1"), project("blog-proxy-1")), ("shop".into(), "blog".into()));

    let since = now();
    host.run("brief", "front", &["-p", "8090:80"]);
    host.docker(&["create", "--name", "shut", "--network", "edge", IMAGE]);
    host.docker_refuses(&["start", "shut"]);
    host.docker(&["rm", "-f", "brief"]);
    let of = |name: &str| {
        let told = events(&["--since", &since, "--container", name]);
        told.iter().map(|event| event["kind"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let life = ["attach", "settle", "detach"];
    let told = || of("brief") == life && of("shut") == ["refuse"];
    assert!(within(Duration::from_secs(20), told), "{:#?}", events(&["--since", &since]));
    host.stop_driver("KILL");
    host.start_driver_without_spares();
    let started = || events(&["--since", &since, "--kind", "start"]).len() == 1;
    assert!(within(Duration::from_secs(10), started), "{:#?}", events(&["--since", &since]));
    let until = now();
    host.docker(&["rm", "-f", "shut"]);
    host.run("after", "front", &[]);
    host.docker(&["rm", "-f", "after"]);

    host.stop_driver("TERM");
    assert_eq!(
        (of("brief"), of("shut")),
        (life.map(str::to_owned).into(), vec!["refuse".to_owned()])
    );
    let between = events(&["--since", &since, "--until", &until]);
    let kinds: Vec<_> = between.iter().map(|event| event["kind"].as_str().unwrap()).collect();
    assert!(!kinds.contains(&"stop") && between.iter().all(|it| it["container"] != "after"));
    let attach = &events(&["--since", &since, "--container", "brief", "--kind", "attach"])[0];
    assert_eq!((&attach["network_name"], &attach["conflist"]), (&"front".into(), &"front".into()));
    assert_eq!(attach["ports"][0]["host_port"], 8090);
    let run = |plugin: &str| {
        attach["plugins"].as_array().unwrap().iter().any(|it| it["plugin"] == plugin)
    };
    assert!(
        run("bridge") && attach["ms"].as_f64() > attach["plugins"][0]["ms"].as_f64(),
        "{attach}"
    );
    let table = host.exec(&["cnm-cni", "events", "--since", &since, "--container", "shut"]);
    assert!(table.contains("refuse") && table.contains("edge"), "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");

    // Which plugin is slow; also while no driver runs.
    let status = host.try_exec(&["cnm-cni", "status"]).unwrap_err();
    assert!(status.contains("Plugins of the last hour:") && status.contains("portmap"), "{status}");
    host.start_driver_without_spares();
}

fn doctor(host: &Host, thing: &str) -> Result<String, String> {
    host.try_exec(&["cnm-cni", "doctor", thing])
}
