//! The keys of options: ours, Docker's own, and what is said of any other.
//!
//! All that stands in a network's `-o` is a user's. What comes for an endpoint is partly Docker's:
//! published ports, DNS servers, sysctls, more with each version. Those are ignored by their
//! prefix; what users know from Docker's own drivers is not, since nothing would come of it.

use crate::nearest::{ALIKE, alike, most_alike};

pub(super) const CONFLIST: &str = "conflist";
pub(super) const FORWARD: &str = "forward";
pub(super) const ISOLATE: &str = "isolate";
pub(super) const SPARES: &str = "spares";
pub(super) const IP: &str = "ip";
pub(super) const ARGS: &str = "cni.args.";
pub(super) const CAPABILITY: &str = "cni.capability.";
pub(super) const MTU: &str = "com.docker.network.driver.mtu";
pub(super) const PORTMAP: &str = "com.docker.network.portmap";
/// What users call it.
pub(super) const SHORT_MTU: &str = "mtu";
/// Names the bridge, with Docker's bridge driver and of the built-in network.
pub const BRIDGE_NAME: &str = "com.docker.network.bridge.name";
/// Hides the containers behind the host, or not; as above.
pub const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
/// Whether containers of one network reach each other.
pub(super) const TALK: &str = "com.docker.network.bridge.enable_icc";
/// The host's address for ports that are published without one.
pub(super) const HOST_BINDING: &str = "com.docker.network.bridge.host_binding_ipv4";
pub(super) const GATEWAY_MODE_V4: &str = "com.docker.network.bridge.gateway_mode_ipv4";
pub(super) const GATEWAY_MODE_V6: &str = "com.docker.network.bridge.gateway_mode_ipv6";
pub(super) const SYSCTLS: &str = "com.docker.network.endpoint.sysctls";

const KNOWN: &str = "conflist, forward, isolate, spares, ip, cni.args.KEY=VALUE, \
                     cni.capability.NAME=JSON, com.docker.network.driver.mtu";

/// What begins so is Docker's, unless it is one of its drivers'.
const DOCKERS: &str = "com.docker.network.";
const OF_DRIVERS: &str = "com.docker.network.driver.";
/// Docker's own again: what it sets itself.
const PRIVATE: &str = "com.docker.network.driver.private.";

/// Keys of Docker's own drivers, or of its command line, and the way that works here. One that ends
/// in a dot stands for all that begin so.
const WAYS: [(&str, &str); 22] = [
    (
        "parent",
        "the conflist names the host's interface, as \"master\" of macvlan, ipvlan or vlan; see \
         conflists/macvlan.conflist",
    ),
    ("macvlan_mode", "the conflist says it, as \"mode\" of macvlan"),
    ("ipvlan_mode", "the conflist says it, as \"mode\" of ipvlan"),
    ("ipvlan_flag", "plugin ipvlan has none"),
    ("encrypted", "it is for Docker's overlay networks"),
    ("subnet", "use --subnet"),
    ("gateway", "use --gateway, beside --subnet"),
    ("ip-range", "use --ip-range, beside --subnet"),
    ("com.docker.network.internal", "use --internal"),
    ("com.docker.network.enable_ipv4", "use --ipv4"),
    ("com.docker.network.enable_ipv6", "use --ipv6, beside --subnet"),
    (BRIDGE_NAME, "it is a network's, and the bridge is the same for all its containers"),
    (
        TALK,
        "make a network for each container, or a conflist with \"portIsolation\" of plugin bridge",
    ),
    (MASQUERADE, "it is a network's, or the conflist's, as \"ipMasq\" of bridge or ptp"),
    (HOST_BINDING, "say it with each port, as docker run -p 192.0.2.1:8080:80"),
    (GATEWAY_MODE_V4, ROUTED),
    (GATEWAY_MODE_V6, ROUTED),
    ("com.docker.network.bridge.", "a conflist of your own says what its bridge does"),
    (
        "com.docker.network.container_iface_prefix",
        "Docker names the interface ethN; from Docker 28 on, \
         --driver-opt com.docker.network.endpoint.ifname=NAME is another way",
    ),
    ("com.docker.network.host_ipv4", "the conflist says how addresses are translated"),
    ("com.docker.network.host_ipv6", "the conflist says how addresses are translated"),
    ("com.docker.network.driver.overlay.", "it is for Docker's overlay networks"),
];

const ROUTED: &str = "for a network that is routed, say -o forward=open and \
                      -o com.docker.network.bridge.enable_ip_masquerade=false";

/// Whose options they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Network,
    Endpoint,
}

/// An option that cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOption {
    /// The key is none of ours.
    #[error(
        "option {key:?} is unknown{}; known are {KNOWN}",
        .nearest.map(|nearest| format!("; did you mean {nearest:?}?")).unwrap_or_default()
    )]
    Unknown {
        /// The option's key.
        key: String,
        /// One of ours that is nearly the same.
        nearest: Option<&'static str>,
    },
    /// The key is one of Docker's own drivers'.
    #[error("option {key:?} is not for this driver: {way}")]
    Dockers {
        /// The option's key.
        key: String,
        /// The way that works here.
        way: &'static str,
    },
    /// The key is one of ours, for something else.
    #[error("option {key:?} is {whose}, not {not}")]
    Elsewhere {
        /// The option's key.
        key: String,
        /// Whose option it is.
        whose: &'static str,
        /// Whose it is not.
        not: &'static str,
    },
    /// The value does not fit the key.
    #[error("option {key}={value}: {reason}")]
    Value {
        /// The option's key.
        key: String,
        /// The value as it came.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl InvalidOption {
    /// What is wrong with a key that does not fit there.
    pub(super) fn of(key: &str, place: Place) -> Self {
        let owned = key.to_owned();
        match (key, place) {
            (IP, Place::Network) => {
                Self::Elsewhere { key: owned, whose: "a container's", not: "a network's" }
            }
            (CONFLIST | FORWARD | ISOLATE | SPARES, Place::Endpoint) => {
                Self::Elsewhere { key: owned, whose: "a network's", not: "a container's" }
            }
            _ => match way(key) {
                Some(way) => Self::Dockers { key: owned, way },
                None => Self::Unknown { key: owned, nearest: nearest_key(key, ALIKE) },
            },
        }
    }
}

/// An option whose value does not fit its key.
pub(super) fn invalid(key: &str, value: &str, reason: &str) -> InvalidOption {
    InvalidOption::Value { key: key.to_owned(), value: value.to_owned(), reason: reason.to_owned() }
}

/// Whether Docker itself may have set this for an endpoint.
pub(super) fn is_dockers(key: &str) -> bool {
    let of_drivers = key.starts_with(OF_DRIVERS) && !key.starts_with(PRIVATE);
    // Two letters of ours swapped are no key of Docker's that is yet to come.
    key.starts_with(DOCKERS) && !of_drivers && way(key).is_none() && nearest_key(key, 0.9).is_none()
}

/// The way that works, for a key that works elsewhere.
fn way(key: &str) -> Option<&'static str> {
    let means = |meant: &str| match meant.ends_with('.') {
        true => key.starts_with(meant),
        false => key == meant,
    };
    WAYS.iter().find(|(meant, _)| means(meant)).map(|(_, way)| *way)
}

/// The key of ours that is most like this one, if it is that much alike.
fn nearest_key(key: &str, least: f64) -> Option<&'static str> {
    // The last part of these is the user's own word.
    let ends = key.match_indices('.').nth(1).map_or(key.len(), |(at, _)| at + 1);
    let of_chain = &key[..ends];
    let keys = [
        (CONFLIST, alike(key, CONFLIST)),
        (FORWARD, alike(key, FORWARD)),
        (ISOLATE, alike(key, ISOLATE)),
        (SPARES, alike(key, SPARES)),
        (IP, alike(key, IP)),
        (MTU, alike(key, MTU)),
        ("cni.args.KEY", alike(of_chain, ARGS)),
        ("cni.capability.NAME", alike(of_chain, CAPABILITY)),
    ];
    most_alike(keys.into_iter(), least)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(key: &str, place: Place) -> String {
        InvalidOption::of(key, place).to_string()
    }

    #[test]
    fn a_mistyped_key_is_refused_with_the_nearest_one() {
        for (key, nearest) in [
            ("confilst", "conflist"),
            ("Conflist", "conflist"),
            ("foward", "forward"),
            ("isolated", "isolate"),
            ("com.docker.network.mtu", MTU),
            ("cni.arg.K8S_POD_NAME", "cni.args.KEY"),
            ("cni.args", "cni.args.KEY"),
            ("cni.capabilities.bandwidth", "cni.capability.NAME"),
            ("cni.capabilty.bandwidth", "cni.capability.NAME"),
        ] {
            let said = said(key, Place::Network);
            let start = format!("option {key:?} is unknown; did you mean {nearest:?}?; known are ");
            assert!(said.starts_with(&start), "{said}");
        }
        let said = said("colour", Place::Network);
        assert!(said.starts_with("option \"colour\" is unknown; known are conflist, "), "{said}");
    }

    #[test]
    fn a_key_of_dockers_own_drivers_is_refused_with_the_way_that_works() {
        for (key, way) in [
            ("parent", "\"master\" of macvlan"),
            ("com.docker.network.bridge.enable_ip_masquerade", "\"ipMasq\""),
            ("com.docker.network.bridge.gateway_mode_ipv4", "-o forward=open"),
            ("com.docker.network.bridge.inhibit_ipv4", "a conflist of your own says"),
        ] {
            for place in [Place::Network, Place::Endpoint] {
                let said = said(key, place);
                let start = format!("option {key:?} is not for this driver: ");
                assert!(said.starts_with(&start) && said.contains(way), "{said}");
            }
        }
    }

    #[test]
    fn what_docker_itself_sets_for_an_endpoint_is_ignored_and_nothing_else() {
        for key in [
            "com.docker.network.endpoint.exposedports",
            "com.docker.network.endpoint.ifname",
            "com.docker.network.portmap",
            "com.docker.network.driver.private.no_proxy_6to4",
            "com.docker.network.enable_ipv9",
        ] {
            assert!(is_dockers(key), "{key}");
        }
        for key in [
            "a.b",
            "com.docker.network.drvier.mtu",
            "com.docker.network.driver.mut",
            "com.docker.network.bridge.name",
            "com.docker.compose.project",
        ] {
            assert!(!is_dockers(key), "{key}");
        }
    }
}
