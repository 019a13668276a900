//! `docker compose` with a file that names the driver. Debian has the plugin since trixie.

use super::host::{Suite, answers};
use super::{BRIDGE, and_on_docker_26_1, on_a_host};

const COMPOSE: &str = r#"
services:
  alice:
    image: cnm-cni/busybox
    pull_policy: never
    init: true
    hostname: alice
    ports: ["8080:80"]
    networks:
      web: {aliases: [wonderland]}
  bob:
    image: cnm-cni/busybox
    pull_policy: never
    init: true
    networks: [web]
networks:
  web:
    driver: cni
    driver_opts: {conflist: cni-bridge}
    ipam: {driver: "null"}
"#;

/// Only the driver's name: the built-in network, with Docker's addresses.
const BARE: &str = r#"
services:
  front: &service
    image: cnm-cni/busybox
    pull_policy: never
    init: true
    hostname: front
    ports: ["8080:80"]
    networks: [web]
  shop:
    <<: *service
    hostname: shop
    ports: []
    networks: [web, data]
  store:
    <<: *service
    hostname: store
    ports: []
    networks: [data]
networks:
  web: {driver: cni}
  data: {driver: cni}
"#;

and_on_docker_26_1! {
    a_compose_file_goes_up_and_down,
    a_file_that_names_the_driver_and_nothing_else_goes_up_and_down,
}

mod docker_28_5 {
    #[test]
    fn a_compose_file_goes_up_and_down() {
        super::a_compose_file_goes_up_and_down(super::Suite::Forky);
    }

    #[test]
    fn a_file_that_names_the_driver_and_nothing_else_goes_up_and_down() {
        super::a_file_that_names_the_driver_and_nothing_else_goes_up_and_down(super::Suite::Forky);
    }
}

fn a_compose_file_goes_up_and_down(suite: Suite) {
    on_a_host(suite, &[BRIDGE], |host| {
        host.write("/root/project/compose.yaml", COMPOSE);
        let compose = ["compose", "-f", "/root/project/compose.yaml"];
        host.docker(&[&compose[..], &["up", "-d"]].concat());
        answers("alice", || host.get_from_outside(8080));
        for name in ["alice", "wonderland"] {
            answers("alice", || host.get_in("project-bob-1", &format!("http://{name}/")));
        }
        host.docker(&[&compose[..], &["up", "-d", "--force-recreate"]].concat());
        answers("alice", || host.get_from_outside(8080));
        host.docker(&[&compose[..], &["down"]].concat());
        assert!(host.get("http://127.0.0.1:8080/").is_err());
    });
}

fn a_file_that_names_the_driver_and_nothing_else_goes_up_and_down(suite: Suite) {
    on_a_host(suite, &[], |host| {
        host.write("/root/bare/compose.yaml", BARE);
        let compose = ["compose", "-f", "/root/bare/compose.yaml"];
        host.docker(&[&compose[..], &["up", "-d"]].concat());
        answers("front", || host.get_from_outside(8080));
        let get =
            |from: &str, to: &str| host.get_in(&format!("bare-{from}-1"), &format!("http://{to}/"));
        for (from, to) in
            [("front", "shop"), ("shop", "front"), ("shop", "store"), ("store", "shop")]
        {
            answers(to, || get(from, to));
        }
        let store = host.endpoint("bare-store-1", "bare_data")["IPAddress"].clone();
        assert!(get("front", "store").is_err() && get("front", store.as_str().unwrap()).is_err());
        host.docker(&[&compose[..], &["down"]].concat());
        let bridges = host.exec(&["ip", "-brief", "link", "show", "type", "bridge"]);
        assert!(!bridges.contains("cni"), "{bridges}");
    });
}
