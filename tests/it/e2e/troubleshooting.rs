//! The page of symptoms and remedies: its commands, on a host that has some of the troubles.

use super::host::{Host, Suite, answers};
use super::readme::Steps;
use super::{PODS, leaves_nothing};

const PAGE: &str = "docs/troubleshooting.md";

mod docker_28_5 {
    #[test]
    fn symptoms_and_remedies_are_as_the_page_has_them() {
        super::symptoms_and_remedies_are_as_the_page_has_them(super::Suite::Forky);
    }
}

fn symptoms_and_remedies_are_as_the_page_has_them(suite: Suite) {
    let page = include_str!("../../../docs/troubleshooting.md");
    let is_on_the_page = |said: &str, symptom: &str| {
        assert!(said.contains(symptom.trim_end_matches(" …")), "no {symptom:?} in: {said}");
        assert!(page.contains(symptom), "the page does not tell {symptom:?}");
    };
    let host = Host::up(suite);
    host.write("/etc/cni/net.d/10-pods.conflist", PODS.1);
    let create = ["network", "create", "-d", "cni"];
    let said = host.docker_refuses(&[&create[..], &["web"]].concat());
    is_on_the_page(&said, "plugin \"cni\" not found");
    host.start_driver();
    leaves_nothing(&host, |host| {
        let told = Steps::read(PAGE, "driver-answers").on(host);
        assert!(told.contains("cni.sock") && told.contains("pods"), "{told}");
        let said = host.docker_refuses(&[&create[..], &["web"]].concat());
        is_on_the_page(&said, "cannot allocate from Docker's pool …");
        let said = host.docker_refuses(&[&create[..], &["-o", "conflist=pod", "web"]].concat());
        is_on_the_page(&said, "no network configuration with name …");

        host.create_network("web", Some("pods"));
        let said = host.run_refuses("bob", "web", &["--ip", "10.99.0.9"]);
        let symptom = "user specified IP address is supported only when connecting to networks with \
                       user configured subnets";
        is_on_the_page(&said, symptom);
        host.run("alice", "web", &["-p", "8080:80"]);
        let said = host.run_refuses("bob", "web", &["-p", "8080:80"]);
        assert!(said.contains("port 8080/tcp is held by endpoint "), "{said}");
        let told = Steps::read(PAGE, "who-has-what").on(host);
        assert!(told.contains("*:8080/tcp"), "{told}");

        // A firewall that was loaded anew.
        host.exec(&["iptables", "-F", "FORWARD"]);
        let said = host.try_exec(&["cnm-cni", "check", "alice"]).unwrap_err();
        assert!(said.contains("FORWARD"), "{said}");
        Steps::read(PAGE, "after-a-reload").with("NAME", "alice").on(host);
        answers("alice", || host.get_from_outside(8080));
        host.remove(&["alice"], &["web"]);
    });
}
