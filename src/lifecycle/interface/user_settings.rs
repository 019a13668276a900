//! Which settings in a container are the user's. They stay, whatever the chain has set.
//!
//! Docker passes settings of the interface in the option `com.docker.network.endpoint.sysctls`. It does not
//! pass settings of the namespace (`--sysctl`). Docker 28 and later sets them before the driver is called;
//! older versions set them at about the time of settling, so a check looks for them again. A value is the
//! user's if it is not the chain's, not the kernel's for a new namespace or interface, not Docker's for
//! every container, and not another network's. IPv6 that is off is the user's, too, at an interface for which Docker
//! was told an IPv6 address: Docker had turned it on. If the user sets the value that would be there anyway, this
//! cannot be seen: then the chain's value takes precedence.

use crate::lifecycle::error::Result;
use crate::lifecycle::interface::Interfaces;
use crate::lifecycle::record::{DISABLE_IPV6, Joined, Settings};
use crate::netlink::Link;
use crate::sysctl::{self, Scope, Sysctls};

/// What Docker sets in every container, unless the user does.
const DOCKERS: [(&str, &str); 2] =
    [("ipv4/ip_unprivileged_port_start", "0"), ("ipv4/ping_group_range", "0\t2147483647")];

impl Interfaces {
    /// The settings that the user has decided, in a container that runs.
    pub(crate) async fn users_settings_by_now(
        &self,
        joined: Joined<'_>,
        link: &Link,
    ) -> Result<Settings> {
        let noted = &joined.made.users;
        match joined.joining.users_follow {
            true => Ok(self.users_settings(joined, link).await?.overlaid_with(noted)),
            false => Ok(noted.clone()),
        }
    }

    /// The settings that the user has decided. Must be called before any of the chain's is set.
    pub(crate) async fn users_settings(&self, joined: Joined<'_>, link: &Link) -> Result<Settings> {
        let mut users = self.users_values(joined, link).await?;
        let told_ipv6 = joined.made.docker_addresses.iter().any(|net| net.addr().is_ipv6());
        if told_ipv6 && is_ipv6_off(joined, link).await? {
            users.link.insert(DISABLE_IPV6.to_owned(), "1".to_owned());
        }
        Ok(users)
    }

    /// The chain's settings for which the user has set another value in the container, with the user's
    /// values.
    async fn users_values(&self, joined: Joined<'_>, link: &Link) -> Result<Settings> {
        let (sandbox, chains) = (joined.sandbox(), &joined.joining.settings);
        let of_link = Scope::Link(link.name.clone());
        let defaults: Sysctls = (chains.link.iter())
            .filter_map(|(setting, value)| Some((default_of(setting)?, value.clone())))
            .collect();
        let (namespace, link_now, defaults) = tokio::try_join!(
            sysctl::read_again(sandbox, &Scope::Namespace, &chains.namespace),
            sysctl::read_again(sandbox, &of_link, &chains.link),
            sysctl::read_again(sandbox, &Scope::Namespace, &defaults),
        )?;
        let actual = Settings { link: link_now, namespace };
        let users = |fresh: &Settings| {
            let mut users = actual.clone();
            users.namespace.retain(|setting, value| {
                chains.namespace.get(setting) != Some(value)
                    && fresh.namespace.get(setting) != Some(value)
                    && !DOCKERS.contains(&(setting, value))
                    && !self.sandboxes.is_anothers(joined, setting, value)
            });
            users.link.retain(|setting, value| {
                // The values that the kernel gives to an interface that arrives.
                let default = default_of(setting).and_then(|default| defaults.get(&default));
                chains.link.get(setting) != Some(value)
                    && fresh.link.get(setting) != Some(value)
                    && default != Some(value)
                    && !(setting == "ipv6/conf/mtu" && *value == link.mtu.to_string())
            });
            users
        };
        let found = users(&self.fresh().await?.settings);
        match found.is_empty() {
            // A map from which all was taken keeps its memory, and the attachment its settings.
            true => Ok(Settings::default()),
            // The host's defaults for a new namespace may have changed since they were read.
            false => Ok(users(&self.fresh_settings_now().await?)),
        }
    }
}

/// The setting of the namespace from which a new interface takes this one.
fn default_of(setting: &str) -> Option<String> {
    let (table, leaf) = setting.rsplit_once('/')?;
    Some(format!("{table}/default/{leaf}"))
}

/// Whether IPv6 is off at the interface in the container.
pub(crate) async fn is_ipv6_off(joined: Joined<'_>, link: &Link) -> Result<bool> {
    let asked = Sysctls::from([(DISABLE_IPV6.to_owned(), String::new())]);
    let scope = Scope::Link(link.name.clone());
    let now = sysctl::read_again(joined.sandbox(), &scope, &asked).await?;
    Ok(now.get(DISABLE_IPV6).is_some_and(|value| value == "1"))
}
