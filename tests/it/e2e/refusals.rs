//! What cannot work is refused. The error names the thing, the reason and the remedy, and nothing is left.

use std::fs;

use super::host::{Host, Suite};
use super::{PODS, on_a_host, on_both_dockers};

on_both_dockers! {
    a_bad_conflist_is_refused_when_the_network_is_created,
    a_bad_conflist_does_not_hide_a_good_one,
    a_conflist_that_goes_bad_later_fails_the_start_of_a_container,
    a_chain_that_fails_half_way_is_undone,
    a_second_driver_refuses_to_start,
}

/// A configuration file, the `-o conflist=` that asks for it, and what the error says.
struct Bad {
    what: &'static str,
    text: &'static str,
    conflist: &'static str,
    says: &'static [&'static str],
}

const BAD: [Bad; 9] = [
    Bad {
        what: "does not parse",
        text: r#"{"cniVersion": "1.0.0", "name": "bad", "plugins": [}"#,
        conflist: "bad",
        says: &["/etc/cni/net.d/10-bad.conflist", "JSON", "line 1"],
    },
    Bad {
        what: "names a plugin that is not installed",
        text: r#"{"cniVersion": "1.0.0", "name": "bad", "plugins": [{"type": "teleport"}]}"#,
        conflist: "bad",
        says: &["\"bad\"", "teleport", "/opt/cni/bin", "/usr/lib/cni", "--cni-path"],
    },
    Bad {
        what: "names an IPAM plugin that is not installed",
        text: r#"{"cniVersion": "1.0.0", "name": "bad", "plugins":
                 [{"type": "bridge", "ipam": {"type": "oracle"}}]}"#,
        conflist: "bad",
        says: &["\"bad\"", "oracle", "/usr/lib/cni", "--cni-path"],
    },
    Bad {
        what: "has a list where an object belongs",
        text: r#"{"cniVersion": "1.0.0", "name": "bad", "plugins": [["bridge"]]}"#,
        conflist: "bad",
        says: &["/etc/cni/net.d/10-bad.conflist", "plugins[0]", "object"],
    },
    Bad {
        what: "has a number where a name belongs",
        text: r#"{"cniVersion": "1.0.0", "name": 7, "plugins": [{"type": "bridge"}]}"#,
        conflist: "bad",
        says: &["/etc/cni/net.d/10-bad.conflist", "name", "string"],
    },
    Bad {
        what: "has no plugins",
        text: r#"{"cniVersion": "1.0.0", "name": "bad", "plugins": []}"#,
        conflist: "bad",
        says: &["/etc/cni/net.d/10-bad.conflist", "no plugins", "at least one"],
    },
    Bad {
        what: "has a name that is a path",
        text: r#"{"cniVersion": "1.0.0", "name": "../bad", "plugins": [{"type": "bridge"}]}"#,
        conflist: "../bad",
        says: &["../bad"],
    },
    Bad {
        what: "has a plugin that is a path",
        text: r#"{"cniVersion": "1.0.0", "name": "bad", "plugins": [{"type": "../../bin/sh"}]}"#,
        conflist: "bad",
        says: &["/etc/cni/net.d/10-bad.conflist", "../../bin/sh"],
    },
    Bad {
        what: "is not the one that is asked for",
        text: r#"{"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "bridge"}]}"#,
        conflist: "pod",
        says: &["\"pod\"", "/etc/cni/net.d", "pods"],
    },
];

fn a_bad_conflist_is_refused_when_the_network_is_created(suite: Suite) {
    on_a_host(suite, &[], |host| {
        let mut wrong = Vec::new();
        for Bad { what, text, conflist, says } in BAD {
            host.write("/etc/cni/net.d/10-bad.conflist", text);
            let error = refused(host, &["-o", &format!("conflist={conflist}")]);
            let missing = says.iter().filter(|words| !error.contains(**words));
            wrong.extend(
                missing.map(|words| format!("a file that {what}: no {words:?} in {error}")),
            );
            assert_eq!(host.docker(&["network", "ls", "-q", "--filter", "name=web"]), "");
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}

fn a_bad_conflist_does_not_hide_a_good_one(suite: Suite) {
    let good = ("20-pods.conflist", PODS.1);
    on_a_host(suite, &[("10-bad.conflist", "{"), good], |host| {
        host.create_network("web", Some("pods"));
        host.run("alice", "web", &[]);
        host.remove(&["alice"], &["web"]);
    });
}

fn a_conflist_that_goes_bad_later_fails_the_start_of_a_container(suite: Suite) {
    on_a_host(suite, &[PODS], |host| {
        host.create_network("web", Some("pods"));
        host.run("alice", "web", &[]);
        host.write("/etc/cni/net.d/10-pods.conflist", "{");
        let error = host.run_refuses("bob", "web", &[]);
        assert!(error.contains("10-pods.conflist"), "{error}");
        // alice was attached by the old content of the file, and is detached by it.
        host.docker(&["rm", "-f", "alice"]);
        host.write("/etc/cni/net.d/10-pods.conflist", PODS.1);
        host.docker(&["network", "rm", "web"]);
    });
}

fn a_chain_that_fails_half_way_is_undone(suite: Suite) {
    // tuning fails after bridge and host-local have made an interface and a lease.
    let portmap = r#"{"type": "portmap", "#;
    let tuning = r#"{"type": "tuning", "sysctl": {"net.no.such.key": "1"}}"#;
    let text = PODS.1.replace(portmap, &format!("{tuning}, {portmap}"));
    on_a_host(suite, &[("10-pods.conflist", &text)], |host| {
        host.create_network("web", Some("pods"));
        let error = host.run_refuses("alice", "web", &["-p", "8080:80"]);
        assert!(error.contains("tuning") && error.contains("net/no/such/key"), "{error}");
        let leases = fs::read_dir(host.path("/var/lib/cni/networks/pods")).unwrap();
        let names = leases.map(|lease| lease.unwrap().file_name().into_string().unwrap());
        let leases: Vec<_> = names.filter(|name| name.starts_with("10.")).collect();
        assert!(leases.is_empty(), "{leases:?}");
        host.docker(&["network", "rm", "web"]);
    });
}

fn a_second_driver_refuses_to_start(suite: Suite) {
    on_a_host(suite, &[], |host| {
        let first = host.exec(&["cat", "/run/testbed/cnm-cni.pid"]);
        let error = host.try_exec(&["cnm-cni", "serve"]).unwrap_err();
        let holder = format!("process {}", first.trim());
        for words in ["/run/docker/plugins/cni.sock", &holder, "--socket"] {
            assert!(error.contains(words), "no {words:?} in: {error}");
        }
        // The first one still answers.
        host.create_network("web", None);
        host.docker(&["network", "rm", "web"]);
    });
}

/// Tries to make a network "web"; what Docker says about it.
#[track_caller]
fn refused(host: &Host, options: &[&str]) -> String {
    let create = ["network", "create", "-d", "cni", "--ipam-driver", "null"];
    host.docker_refuses(&[&create[..], options, &["web"]].concat())
}
