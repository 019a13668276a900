//! What dockerd does around its calls: it keeps in mind what it was answered, checks it as
//! strictly as the real one (and more), and moves interfaces between the namespaces.

use std::collections::HashMap;
use std::net::Ipv6Addr;
use std::path::Path;

use ipnet::{Ipv4Net, Ipv6Net};
use nix::net::if_::if_nametoindex;
use serde_json::{Value, json};

use super::client::Answer;
use crate::alone::sh;

/// When a container's namespace comes to be, and so what its interface goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Docker 28 and later: it is there at Join, and the interface is moved right after.
    SandboxFirst,
    /// Before: the container fails to start after all its calls, as far as the driver can
    /// tell. The interface stays where Join has put it.
    SandboxNever,
}

/// What Calico's networks have for a gateway.
pub(crate) const FAR_GATEWAY: &str = "169.254.1.1";

/// A dockerd's memory of one driver.
pub(crate) struct Dockerd {
    order: Order,
    networks: HashMap<String, Network>,
    endpoints: HashMap<String, Endpoint>,
}

struct Network {
    /// The gateway that every Join must answer.
    gateway: String,
    /// Whether the driver has made it.
    made: bool,
}

#[derive(Default)]
struct Endpoint {
    /// IPv4 address with prefix length, as Docker shows it.
    address: String,
    mac: String,
    joined: Option<Joined>,
}

struct Joined {
    interface: String,
    routes: Vec<Value>,
    sandbox: String,
    /// Its name in the sandbox; none while it is in dockerd's namespace.
    inside: Option<String>,
    lost: bool,
}

impl Dockerd {
    pub(crate) fn new(order: Order) -> Self {
        Self { order, networks: HashMap::new(), endpoints: HashMap::new() }
    }

    /// What happens on the machine before the call is sent.
    pub(crate) fn before(&mut self, method: &str, request: &Value) {
        match method {
            "CreateNetwork" => {
                let network = Network { gateway: gateway_of(request), made: false };
                self.networks.insert(text(request, "NetworkID").to_owned(), network);
            }
            "Join" if self.order == Order::SandboxFirst => {
                make_sandbox(text(request, "SandboxKey"))
            }
            "DeleteEndpoint" => self.move_back(text(request, "EndpointID")),
            _ => {}
        }
    }

    /// Checks the answer to a call that has to succeed, and does what follows from it.
    pub(crate) fn after(&mut self, method: &str, request: &Value, answer: &Answer) {
        assert_eq!((answer.status, answer.error()), (200, ""), "{method} {request}");
        let id = || text(request, "EndpointID").to_owned();
        match method {
            "GwAllocCheck" => {
                assert_eq!(answer.body, json!({"SkipIPv4": false, "SkipIPv6": false}));
            }
            "CreateEndpoint" => {
                let endpoint = created(&request["Interface"], &answer.body["Interface"]);
                self.endpoints.insert(id(), endpoint);
            }
            "Join" => self.joined(request, &answer.body),
            "EndpointOperInfo" => assert!(answer.body["Value"].is_object(), "{:?}", answer.body),
            _ => {
                assert_eq!(answer.body, json!({}), "{method}");
                match method {
                    "CreateNetwork" => {
                        self.networks.get_mut(text(request, "NetworkID")).unwrap().made = true;
                    }
                    "DeleteEndpoint" => self.deleted(&id()),
                    _ => {}
                }
            }
        }
    }

    /// What follows from a call that failed, or that was lost with the driver.
    pub(crate) fn lost(&mut self, method: &str, request: &Value) {
        match method {
            // Docker goes on as if it had succeeded.
            "DeleteEndpoint" => self.deleted(text(request, "EndpointID")),
            "Join" if self.order == Order::SandboxFirst => {
                remove_sandbox(text(request, "SandboxKey"));
            }
            _ => {}
        }
    }

    /// Somebody deleted the container's interface, or its namespace.
    pub(crate) fn lost_its_interface(&mut self, id: &str) {
        let joined = self.endpoints.get_mut(id).and_then(|endpoint| endpoint.joined.as_mut());
        joined.expect("an endpoint that was joined").lost = true;
    }

    pub(crate) fn knows(&self, endpoint: &str) -> bool {
        self.endpoints.contains_key(endpoint)
    }

    pub(crate) fn has_made(&self, network: &str) -> bool {
        self.networks.get(network).is_some_and(|network| network.made)
    }

    pub(crate) fn networks(&self) -> impl Iterator<Item = &String> {
        self.networks.keys()
    }

    /// The gateway that the network's plugin is to answer.
    pub(crate) fn gateway(&self, network: &str) -> &str {
        &self.networks[network].gateway
    }

    /// `libnetwork/drivers/remote/driver.go`, Join; and `osl/interface_linux.go`.
    fn joined(&mut self, request: &Value, answer: &Value) {
        let (id, sandbox) = (text(request, "EndpointID"), text(request, "SandboxKey"));
        let gateway = self.gateway(text(request, "NetworkID")).to_owned();
        let interface = text(&answer["InterfaceName"], "SrcName");
        let (prefix, random) = interface.split_at(3);
        assert_eq!((prefix, random.len()), ("cni", 12), "{answer}");
        assert!(
            random.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)),
            "{answer}"
        );
        assert_eq!(answer["InterfaceName"]["DstPrefix"], "eth");
        assert!(is_here(interface), "{interface} is not in dockerd's namespace");
        assert_eq!(text(answer, "Gateway"), gateway);
        if let Some(gateway) = answer.get("GatewayIPv6") {
            gateway.as_str().unwrap().parse::<Ipv6Addr>().unwrap();
        }
        assert!(answer["DisableGatewayService"].is_boolean(), "{answer}");
        let routes = answer["StaticRoutes"].as_array().expect("a list").clone();
        for route in &routes {
            let destination = text(route, "Destination");
            assert!(!destination.ends_with("/0"), "Docker 28 refuses a default route: {answer}");
            match route["RouteType"].as_u64() {
                Some(0) => assert!(!text(route, "NextHop").is_empty(), "{answer}"),
                Some(1) => assert_eq!(route["NextHop"], "", "{answer}"),
                _ => panic!("{answer}"),
            }
        }
        let on_link = json!(
            {"Destination": format!("{gateway}/32"), "RouteType": 1, "NextHop": ""}
        );
        assert_eq!(routes.contains(&on_link), gateway == FAR_GATEWAY, "{answer}");

        let mut joined = Joined {
            interface: interface.to_owned(),
            routes,
            sandbox: sandbox.to_owned(),
            inside: None,
            lost: false,
        };
        if self.order == Order::SandboxFirst {
            let others = self.endpoints.values().filter_map(|other| other.joined.as_ref());
            let number = others.filter(|other| other.sandbox == sandbox).count();
            self.endpoints[id].move_into(&mut joined, &format!("eth{number}"), &gateway);
        }
        self.endpoints.get_mut(id).expect("an endpoint that was created").joined = Some(joined);
    }

    /// Between Leave and DeleteEndpoint, the interface comes back under its first name.
    fn move_back(&mut self, id: &str) {
        let joined = self.endpoints.get_mut(id).and_then(|endpoint| endpoint.joined.as_mut());
        let Some(joined) = joined.filter(|joined| !joined.lost) else { return };
        if let Some(inside) = joined.inside.take() {
            let Joined { interface, sandbox, .. } = joined;
            // By process id: a path below /proc would be looked up inside the sandbox.
            let pid = std::process::id();
            sh(&format!(
                "nsenter --net={sandbox} ip -batch - <<-end\n\
                 link set {inside} down\nlink set {inside} name {interface}\n\
                 link set {interface} netns {pid}\nend\n"
            ));
        }
        assert!(is_here(&joined.interface));
    }

    fn deleted(&mut self, id: &str) {
        // Leave and DeleteEndpoint of an endpoint that was never made succeed too.
        let Some(endpoint) = self.endpoints.remove(id) else { return };
        let Some(joined) = endpoint.joined else { return };
        let used = |other: &Endpoint| {
            other.joined.as_ref().is_some_and(|other| other.sandbox == joined.sandbox)
        };
        if self.order == Order::SandboxFirst && !self.endpoints.values().any(used) {
            remove_sandbox(&joined.sandbox);
        }
    }
}

impl Endpoint {
    fn move_into(&self, joined: &mut Joined, name: &str, gateway: &str) {
        let Joined { interface, sandbox, .. } = &*joined;
        let Self { address, mac, .. } = self;
        let mut inside = format!(
            "link set {interface} down\nlink set {interface} name {name}\n\
             link set {name} address {mac}\naddr add {address} dev {name}\nlink set {name} up\n"
        );
        for route in joined.routes.iter().filter(|route| route["RouteType"] == 1) {
            inside += &format!("route add {} dev {name}\n", text(route, "Destination"));
        }
        // The first interface has the way out.
        if name == "eth0" {
            inside += &format!("route add default via {gateway}\n");
        }
        sh(&format!(
            "ip link set {interface} netns {sandbox}\n\
             nsenter --net={sandbox} ip -batch - <<-end\n{inside}end\n"
        ));
        joined.inside = Some(name.to_owned());
    }
}

/// What Docker knows of an endpoint after CreateEndpoint: what it had decided, and what the
/// driver added. A driver that decides again is rolled back.
fn created(asked: &Value, answered: &Value) -> Endpoint {
    let field = |name: &str| {
        let (asked, answered) = (text(asked, name), answered.get(name).and_then(Value::as_str));
        assert!(asked.is_empty() || answered.is_none(), "driver modified {name}: {answered:?}");
        answered.unwrap_or(asked).to_owned()
    };
    let (address, v6, mac) = (field("Address"), field("AddressIPv6"), field("MacAddress"));
    assert!(address.parse::<Ipv4Net>().is_ok(), "{address:?}");
    assert!(v6.is_empty() || v6.parse::<Ipv6Net>().is_ok(), "{v6:?}");
    let bytes: Vec<_> = mac.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect();
    assert!(bytes.len() == 6 && bytes.iter().all(Result::is_ok), "{mac:?}");
    Endpoint { address, mac, joined: None }
}

/// The gateway that Docker has reserved, and where it has not, one that is no neighbour by
/// its address: it needs a route of its own on the link.
fn gateway_of(request: &Value) -> String {
    let reserved = text(&request["IPv4Data"][0], "Gateway");
    reserved.split_once('/').map_or(FAR_GATEWAY, |(address, _)| address).to_owned()
}

fn make_sandbox(path: &str) {
    if !Path::new(path).exists() {
        sh(&format!(
            "mkdir -p $(dirname {path}) && touch {path} && unshare --net={path} ip link set lo up"
        ));
    }
}

fn remove_sandbox(path: &str) {
    sh(&format!("! mountpoint -q {path} || umount {path}; rm {path}"));
}

/// Whether this network namespace has an interface of that name.
pub(crate) fn is_here(interface: &str) -> bool {
    if_nametoindex(interface).is_ok()
}

/// A field that is a string; missing counts as empty, as in Go.
pub(crate) fn text<'v>(object: &'v Value, field: &str) -> &'v str {
    object.get(field).and_then(Value::as_str).unwrap_or_default()
}
