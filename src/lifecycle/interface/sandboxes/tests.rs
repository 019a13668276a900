//! What the endpoints of one sandbox tell Docker, one after the other.

use serde_json::json;

use super::*;
use crate::cni::NetworkConfigList;
use crate::lifecycle::record::tests::attachment;
use crate::lifecycle::record::{Joining, PhaseName};
use crate::netlink::Rule;

const SANDBOX: &str = "/run/docker/netns/a";
const OTHER: &str = "/run/docker/netns/b";

/// A container's end in a network.
struct End {
    attachment: Attachment,
    made: Made,
    joining: Joining,
}

impl End {
    /// An endpoint on a network of its own, with a gateway outside of its subnet.
    fn new(endpoint: &str, sandbox: &str, told: &str) -> Self {
        let mut attachment = attachment(PhaseName::Settled);
        attachment.endpoint = endpoint.parse().unwrap();
        attachment.network = format!("n{endpoint}").parse().unwrap();
        let mut made = attachment.made().unwrap().clone();
        made.docker_addresses = vec![net(told)];
        let ips = json!([{"address": told, "gateway": "169.254.1.1"}]);
        let routes = json!([{"dst": "0.0.0.0/0", "gw": "169.254.1.1"}]);
        let result = json!({"cniVersion": "1.0.0", "ips": ips, "routes": routes});
        made.result = serde_json::from_value(result).unwrap();
        made.snapshot.routes = vec![Route::new(net("169.254.1.1/32"), None, 2)];
        Self { attachment, made, joining: Joining::at(sandbox.into()) }
    }

    /// With a routing table of its own, and a rule that leads there.
    fn with_table(mut self, table: u32) -> Self {
        let default = Route::new(net("0.0.0.0/0"), Some("10.22.0.1".parse().unwrap()), 2);
        self.made.snapshot.routes.push(Route { table, ..default });
        let from = Some(self.made.docker_addresses[0]);
        let rule = Rule { priority: 1000, action: 1, table, from, ..Rule::default() };
        self.made.snapshot.rules.push(rule);
        self
    }

    fn joined(&self) -> Joined<'_> {
        let Self { attachment, made, joining } = self;
        Joined { attachment, made, joining }
    }

    /// Joins as Docker has it join, beside those that have.
    fn enter(&mut self, sandboxes: &Sandboxes, live: &[Route]) {
        let widened = sandboxes.widening(self.joined(), live);
        let tables = sandboxes.renumbering(self.joined(), live);
        self.joining = Joining { widened, tables, ..self.joining.clone() };
        sandboxes.enter(self.joined());
    }

    /// The route to the gateway that Docker gets.
    fn way(&self) -> String {
        let [way] = on_link(self.joined()).try_into().unwrap();
        way.to_string()
    }
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

#[test]
fn each_further_endpoint_has_a_wider_way_to_the_same_gateway() {
    let sandboxes = Sandboxes::default();
    let mut ends = ["1", "2", "3"].map(|id| End::new(id, SANDBOX, &format!("10.2{id}.3.7/32")));
    for (end, way) in ends.iter_mut().zip(["169.254.1.1/32", "169.254.1.0/31", "169.254.1.0/30"]) {
        end.enter(&sandboxes, &[]);
        assert_eq!(end.way(), way);
    }
    // In another container, none is there before it.
    let mut elsewhere = End::new("4", OTHER, "10.24.3.7/32");
    elsewhere.enter(&sandboxes, &[]);
    assert_eq!(elsewhere.way(), "169.254.1.1/32");
    // A Join that is repeated has its own way again; what has left is in nobody's.
    let [first, second, third] = &mut ends;
    first.enter(&sandboxes, &[]);
    assert_eq!(first.way(), "169.254.1.0/29", "wider than those that came after it");
    sandboxes.leave(&third.attachment.endpoint);
    sandboxes.leave(&first.attachment.endpoint);
    second.joining.widened = 0;
    second.enter(&sandboxes, &[]);
    assert_eq!(second.way(), "169.254.1.1/32");
}

#[test]
fn the_way_to_a_gateway_is_wider_than_what_docker_has_made_already() {
    let sandboxes = Sandboxes::default();
    let on_link = |destination: &str| Route::new(net(destination), None, 9);
    for (live, way) in [
        (on_link("169.254.1.0/31"), "169.254.1.0/30"),
        (on_link("10.0.0.0/8"), "169.254.1.1/32"),
        // A subnet, and no way that was widened.
        (on_link("169.254.0.0/16"), "169.254.1.1/32"),
        (Route::new(net("169.254.1.1/32"), "10.9.0.1".parse().ok(), 9), "169.254.1.1/32"),
    ] {
        let mut end = End::new("1", SANDBOX, "10.21.3.7/32");
        end.enter(&sandboxes, std::slice::from_ref(&live));
        assert_eq!(end.way(), way, "{live:?}");
    }
}

#[test]
fn a_routing_table_of_another_endpoint_gets_the_next_free_number() {
    let sandboxes = Sandboxes::default();
    let mut ends = ["1", "2", "3"]
        .map(|id| End::new(id, SANDBOX, &format!("10.2{id}.3.7/16")).with_table(100));
    let [first, second, third] = &mut ends;
    first.enter(&sandboxes, &[]);
    assert_eq!(first.joining.tables, BTreeMap::new());
    // 101 is somebody else's.
    let live = Route { table: 101, ..Route::new(net("10.0.0.0/8"), None, 9) };
    second.enter(&sandboxes, std::slice::from_ref(&live));
    assert_eq!(second.joining.tables, BTreeMap::from([(100, 102)]));
    third.enter(&sandboxes, &[]);
    assert_eq!(third.joining.tables, BTreeMap::from([(100, 101)]));
    let renumbered = second.joined().snapshot(&Settings::default());
    assert!(renumbered.routes.iter().any(|route| route.table == 102 && route.is_default()));
    assert!(renumbered.routes.iter().any(|route| route.table == MAIN_TABLE));
    assert_eq!(renumbered.rules[0].table, 102);
    assert_eq!(second.made.snapshot.rules[0].table, 100, "DEL sees ADD's own");

    // In another container, and of tables that are everybody's.
    let mut elsewhere = End::new("4", OTHER, "10.24.3.7/16").with_table(100);
    elsewhere.enter(&sandboxes, &[]);
    assert_eq!(elsewhere.joining.tables, BTreeMap::new());
    let [mut one, mut other] =
        ["5", "6"].map(|id| End::new(id, OTHER, &format!("10.2{id}.3.7/16")).with_table(252));
    one.enter(&sandboxes, &[]);
    other.enter(&sandboxes, &[]);
    assert_eq!(other.joining.tables, BTreeMap::from([(252, 256)]));
}

#[test]
fn a_subnet_that_another_network_of_the_container_has_is_refused_with_both_names() {
    let sandboxes = Sandboxes::default();
    let one = End::new("1", SANDBOX, "10.22.3.7/16");
    sandboxes.enter(one.joined());
    for overlapping in ["10.22.9.9/24", "10.0.0.9/8", "10.22.3.7/32"] {
        let other = End::new("2", SANDBOX, overlapping);
        let error = sandboxes.check_overlap(other.joined()).unwrap_err().to_string();
        assert!(error.contains("network n2 overlaps subnet 10.22.0.0/16 of network n1"), "{error}");
    }
    for (id, sandbox, told) in [
        ("2", SANDBOX, "10.23.3.7/16"),
        ("2", SANDBOX, "fd00::7/64"),
        ("2", OTHER, "10.22.3.8/16"),
        // A Join that is repeated.
        ("1", SANDBOX, "10.22.3.7/16"),
    ] {
        sandboxes.check_overlap(End::new(id, sandbox, told).joined()).unwrap();
    }
}

#[test]
fn the_other_ends_of_a_container_are_those_in_its_sandbox() {
    let sandboxes = Sandboxes::default();
    let list = |capability: &str| {
        let plugins = json!([{"type": "bridge"},
                             {"type": "portmap", "capabilities": {capability: true}}]);
        let list = json!({"cniVersion": "1.0.0", "name": "web", "plugins": plugins});
        NetworkConfigList::parse(list.to_string().as_bytes()).unwrap().into()
    };
    let mut ends = [("1", SANDBOX), ("2", SANDBOX), ("3", OTHER), ("4", SANDBOX)]
        .map(|(id, sandbox)| End::new(id, sandbox, &format!("10.2{id}.3.7/16")));
    for end in &mut ends {
        end.attachment.list = list("portMappings");
        let settings = Arc::make_mut(&mut end.joining.settings);
        settings.namespace.insert("core/somaxconn".into(), "512".into());
    }
    let [first, second, third, fourth] = &mut ends;
    second.attachment.list = list("bandwidth");
    fourth.attachment.internal = true;

    sandboxes.enter(first.joined());
    assert!(!sandboxes.is_shared(first.joined()), "alone yet");
    assert!(!sandboxes.is_anothers(first.joined(), "core/somaxconn", "512"), "its own");
    for end in [&*second, &*third, &*fourth] {
        sandboxes.enter(end.joined());
    }
    assert!(sandboxes.is_shared(first.joined()) && !sandboxes.is_shared(third.joined()));
    assert!(sandboxes.is_anothers(first.joined(), "core/somaxconn", "512"));
    assert!(!sandboxes.is_anothers(first.joined(), "core/somaxconn", "513"));
    assert!(!sandboxes.is_anothers(third.joined(), "core/somaxconn", "512"));
    // Only the first can publish: the second has no plugin for it, and the fourth's network is internal.
    let beside = sandboxes.publishers_beside(second.joined());
    assert_eq!(beside.iter().map(EndpointId::as_str).collect::<Vec<_>>(), ["1"]);
    assert_eq!(sandboxes.publishers_beside(first.joined()), []);
    sandboxes.leave(&first.attachment.endpoint);
    assert_eq!(sandboxes.publishers_beside(second.joined()), []);
}

#[test]
fn after_a_start_those_that_a_container_has_are_known() {
    let attachments = PhaseName::ALL.map(attachment);
    for attachment in &attachments {
        let sandboxes = Sandboxes::of(std::iter::once(attachment));
        let other = End::new("2", "/run/sandbox", "10.22.9.9/16");
        let has_joined = attachment.joined().is_some();
        assert_eq!(sandboxes.is_shared(other.joined()), has_joined, "{}", attachment.phase.name());
        assert_eq!(sandboxes.check_overlap(other.joined()).is_err(), has_joined);
    }
}
