//! The MTU that Docker decides, put into a chain's configuration.
//!
//! A plugin sets it at both ends of what it makes, and derives other settings from it. If it were set afterwards
//! and at the container's end alone, the other end would drop larger packets.

use serde_json::{Value, json};

use super::Refusal;
use crate::cni::{NetworkConfigList, PluginConfig};

/// The reference plugins that make an interface of the `mtu` of their configuration.
const TAKE_MTU: [&str; 6] = ["bridge", "ptp", "macvlan", "ipvlan", "vlan", "tap"];

/// The chain, with the MTU for the interface in its configuration.
///
/// # Errors
/// The plugin that makes the interface takes none.
pub fn with_mtu(list: NetworkConfigList, mtu: u32) -> Result<NetworkConfigList, Refusal> {
    let Some(maker) = list.plugins().first() else { return Ok(list) };
    let by_maker = takes(maker);
    // A device of the host's has no other end, and `tuning` gives it its own MTU back.
    let by_tuning = maker.plugin_type() == "host-device"
        && list.plugins().iter().any(|plugin| plugin.plugin_type() == "tuning");
    if !by_maker && !by_tuning {
        return Err(Refusal::Mtu {
            conflist: list.name().to_owned(),
            plugin: maker.plugin_type().to_owned(),
        });
    }
    let mut first = by_maker;
    Ok(list.map_plugins(|plugin| {
        let sets_mtu = std::mem::take(&mut first)
            // A later one that has an MTU to set would set that again.
            || plugin.get("mtu").is_some()
            || (by_tuning && plugin.plugin_type() == "tuning");
        if sets_mtu { with(plugin, mtu) } else { plugin }
    }))
}

fn takes(plugin: &PluginConfig) -> bool {
    // Other plugins take one if their configuration has one.
    TAKE_MTU.contains(&plugin.plugin_type())
        || plugin.plugin_type() == "flannel"
        || plugin.get("mtu").is_some()
}

fn with(plugin: PluginConfig, mtu: u32) -> PluginConfig {
    if plugin.plugin_type() != "flannel" {
        return plugin.with("mtu", json!(mtu));
    }
    // It hands its `delegate` on to the plugin that makes the interface.
    let mut delegate = match plugin.get("delegate") {
        Some(Value::Object(delegate)) => delegate.clone(),
        _ => serde_json::Map::new(),
    };
    delegate.insert("mtu".to_owned(), json!(mtu));
    plugin.with("delegate", Value::Object(delegate))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The chain of these plugins, with an MTU.
    fn with_mtu_of(plugins: Value) -> Result<Value, Refusal> {
        let list = json!({"cniVersion": "1.0.0", "name": "k8snet", "plugins": plugins});
        let list = NetworkConfigList::parse(list.to_string().as_bytes()).unwrap();
        with_mtu(list, 9000).map(|chain| serde_json::to_value(chain).unwrap()["plugins"].clone())
    }

    #[test]
    fn the_plugin_that_makes_the_interface_gets_the_mtu_and_each_that_would_change_it() {
        for (chain, expected) in [
            (json!([{"type": "bridge"}]), json!([{"type": "bridge", "mtu": 9000}])),
            (json!([{"type": "ptp", "MTU": 1400}]), json!([{"type": "ptp", "MTU": 9000}])),
            (
                json!([{"type": "bridge"}, {"type": "portmap"}, {"type": "tuning", "mtu": 1400}]),
                json!([{"type": "bridge", "mtu": 9000}, {"type": "portmap"},
                       {"type": "tuning", "mtu": 9000}]),
            ),
            (
                json!([{"type": "host-device"}, {"type": "tuning"}]),
                json!([{"type": "host-device"}, {"type": "tuning", "mtu": 9000}]),
            ),
            (
                json!([{"type": "flannel", "delegate": {"hairpinMode": true}}]),
                json!([{"type": "flannel", "delegate": {"hairpinMode": true, "mtu": 9000}}]),
            ),
            (json!([{"type": "theirs", "mtu": 0}]), json!([{"type": "theirs", "mtu": 9000}])),
        ] {
            assert_eq!(with_mtu_of(chain).unwrap(), expected);
        }
    }

    #[test]
    fn an_mtu_that_no_plugin_would_make_is_refused() {
        for chain in [
            json!([{"type": "host-device"}]),
            json!([{"type": "theirs"}, {"type": "tuning"}]),
            json!([{"type": "dummy"}]),
        ] {
            let refused = with_mtu_of(chain.clone()).unwrap_err().to_string();
            assert!(refused.contains("com.docker.network.driver.mtu"), "{chain}: {refused}");
        }
    }
}
