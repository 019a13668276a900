//! Whether a network can be used on this host: one judgement, for CreateNetwork and for
//! `cnm-cni validate`.
//!
//! It reads the configuration, and asks the plugins and the host. A network is refused if every ADD would fail, or
//! be useless under Docker. A problem that may pass, such as a plugin that is not ready yet, is only reported.

use ipnet::IpNet;
use nix::net::if_::if_nametoindex;

use super::error::{Error, Result};
use crate::cni::{ConfDir, ConfigError, NetworkConfigList, Outlook, Runtime, Validation};
use crate::cnm::{ChainOptions, IpamData, NetworkId, NetworkOptions, Pool, SpareCount};
use crate::netlink::Netlink;
use crate::translate::{self, Prospects, Refusal};

/// The conflist of version 0.1.0 for a machine that has none: bridge, host-local and portmap.
const EMBEDDED: &[u8] = include_bytes!("../../conflists/cnm-cni-default.conflist");
/// The name in it: the name of the built-in network.
pub const EMBEDDED_NAME: &str = "cnm-cni-default";

/// What Docker asks of a network.
#[derive(Debug, Clone, Copy)]
pub struct Wishes<'w> {
    /// Docker's id for it.
    pub id: &'w NetworkId,
    /// The options, the user's and Docker's.
    pub options: &'w NetworkOptions,
    /// The pools of Docker's IPAM.
    pub pools: &'w [IpamData],
}

/// The chain of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The chain.
    pub list: NetworkConfigList,
    /// The chain is for this network alone: the built-in one.
    pub is_own: bool,
}

/// What was found out about a network before it is used.
#[derive(Debug)]
pub struct Judgement {
    /// Its plugins, and their answers.
    pub validation: Validation,
    /// What a Docker network on it can do.
    pub prospects: Prospects,
    /// Why no network can be made on it, apart from its plugins.
    pub refusals: Vec<Refusal>,
}

impl Judgement {
    /// What CreateNetwork answers.
    ///
    /// # Errors
    /// The first reason why the network cannot be used.
    pub fn verdict(self, list: &NetworkConfigList) -> Result<()> {
        let plugins = self.validation.plugins.into_iter();
        for problem in plugins.filter_map(|plugin| plugin.problem) {
            let conflist = list.name().to_owned();
            if problem.outlook() == Outlook::Fails {
                return Err(Error::Plugin { conflist, source: Box::new(problem) });
            }
            tracing::warn!(conflist, %problem, "a plugin may not work");
        }
        self.refusals.into_iter().next().map_or(Ok(()), |refusal| Err(refusal.into()))
    }

    /// What its plugins have that means this for ADD, each once: a chain may have a plugin twice.
    #[must_use]
    pub fn of_plugins(&self, outlook: Outlook) -> Vec<String> {
        let problems = self.validation.plugins.iter().filter_map(|it| it.problem.as_ref());
        let problems = problems.filter(|it| it.outlook() == outlook).map(ToString::to_string);
        let of_status = match &self.validation.status {
            Some(Err(error)) if outlook == Outlook::FailsNow => Some(error.to_string()),
            _ => None,
        };
        let mut told = Vec::new();
        for problem in problems.chain(of_status) {
            if !told.contains(&problem) {
                told.push(problem);
            }
        }
        told
    }

    /// Why CreateNetwork refuses it, each reason once. What may pass is no such reason.
    #[must_use]
    pub fn refused(&self) -> Vec<String> {
        let mut reasons = self.of_plugins(Outlook::Fails);
        reasons.extend(self.refusals.iter().map(ToString::to_string));
        reasons
    }
}

/// Judges a network, also by what Docker asks of it if that is known.
pub async fn judge(
    runtime: &Runtime,
    list: &NetworkConfigList,
    wishes: Option<Wishes<'_>>,
) -> Judgement {
    let prospects = translate::prospects(list);
    let fits = match wishes {
        Some(Wishes { pools, options, .. }) => [
            translate::serves(list, pools, &options.chain),
            translate::declares(list, &options.chain),
        ],
        // The user will decide how its addresses are chosen.
        None if prospects.needs_docker_ipam => [Ok(()), Ok(())],
        None => [translate::serves(list, &[], &ChainOptions::default()), Ok(())],
    };
    let of_list = [translate::attaches(list), translate::carries_over(list), masters(list)];
    let all = of_list.into_iter().chain(fits).chain(wishes.map(|it| spares(list, it)));
    let refusals = all.filter_map(std::result::Result::err).collect();
    Judgement { validation: runtime.validate(list).await, prospects, refusals }
}

/// Judges a network as CreateNetwork does, before Docker has asked for anything.
pub async fn judge_conflist(runtime: &Runtime, list: &NetworkConfigList) -> Judgement {
    judge(runtime, list, None).await
}

/// Whether containers could have the spares that are asked for.
fn spares(list: &NetworkConfigList, wishes: Wishes<'_>) -> std::result::Result<(), Refusal> {
    let of_docker = wishes.pools.iter().any(|data| matches!(data.pool, Pool::Subnet(_)));
    match wishes.options.spares {
        Some(count @ SpareCount::Number(1..)) if of_docker => Err(Refusal::Spares { count }),
        Some(count @ SpareCount::Number(1..)) if translate::dhcp_socket(list).is_some() => {
            Err(Refusal::SparesLease { count, conflist: list.name().to_owned() })
        }
        _ => Ok(()),
    }
}

/// Whether the host has the parent interfaces and bridges of the chain.
fn masters(list: &NetworkConfigList) -> std::result::Result<(), Refusal> {
    let missing = translate::masters(list).find(|(_, master)| if_nametoindex(*master).is_err());
    missing.map_or(Ok(()), |(plugin, master)| {
        Err(Refusal::NoMaster {
            conflist: list.name().to_owned(),
            plugin: plugin.to_owned(),
            master: master.to_owned(),
        })
    })
}

/// The chain that CreateNetwork gives a network: a conflist of the folder, or, if there is none for it, the
/// built-in one, with the network's own bridge and subnets. No subnet that is chosen here overlaps one of
/// `taken`.
///
/// # Errors
/// The conflist cannot be read, or cannot do what Docker asks for.
pub fn plan(conf_dir: &ConfDir, wishes: Wishes<'_>, taken: &[IpNet]) -> Result<Plan> {
    let Wishes { id, options, pools } = wishes;
    if let Some(list) = listed(conf_dir, options.conflist.as_deref())? {
        translate::attaches(&list)?;
        translate::has_options(&list, options)?;
        // Docker sets up the loopback interface of a container; the one in staging is up already.
        return Ok(Plan { list: list.without("loopback"), is_own: false });
    }
    let json = translate::built_in(id, options, pools, taken)?;
    Ok(Plan { list: NetworkConfigList::parse(json.to_string().as_bytes())?, is_own: true })
}

/// The subnets by which `-o isolate=true` isolates a network on a user's conflist: Docker's pools, or those
/// of the configuration.
///
/// # Errors
/// They are not known.
pub fn isolated_subnets(
    list: &NetworkConfigList,
    wishes: Wishes<'_>,
) -> std::result::Result<Vec<IpNet>, Refusal> {
    let of_docker = wishes.pools.iter().filter_map(|data| match data.pool {
        Pool::Subnet(subnet) => Some(subnet.trunc()),
        Pool::Unmanaged => None,
    });
    let mut subnets: Vec<IpNet> = of_docker.chain(translate::prospects(list).subnets).collect();
    subnets.sort_unstable();
    subnets.dedup();
    match subnets.is_empty() {
        true => Err(Refusal::UnknownSubnets { conflist: list.name().to_owned() }),
        false => Ok(subnets),
    }
}

/// What the subnet of a new network must not overlap: all destinations of this host's routes.
///
/// # Errors
/// The kernel does not list its routes.
pub async fn routed(own: &Netlink) -> Result<Vec<IpNet>> {
    Ok(own.all_routes().await?.into_iter().map(|route| route.destination.trunc()).collect())
}

/// The network of that name; without a name the first one in file-name order that makes an interface, as a
/// kubelet chooses. The built-in one comes last in both cases: here in the form of version 0.1.0, whose
/// networks share a bridge.
///
/// # Errors
/// There is none, or it cannot be read.
pub fn choose(
    conf_dir: &ConfDir,
    name: Option<&str>,
) -> std::result::Result<NetworkConfigList, ConfigError> {
    listed(conf_dir, name)?.map_or_else(embedded, Ok)
}

/// The network of that name, or the default one, in the folder; none if it is the built-in one.
///
/// # Errors
/// There is none of that name, or it cannot be read.
pub fn listed(
    conf_dir: &ConfDir,
    name: Option<&str>,
) -> std::result::Result<Option<NetworkConfigList>, ConfigError> {
    match name {
        Some(EMBEDDED_NAME) => match conf_dir.load(EMBEDDED_NAME) {
            Err(ConfigError::NotFound { .. }) => Ok(None),
            found => found.map(Some),
        },
        Some(name) => conf_dir.load(name).map(Some),
        None => conf_dir.first(),
    }
}

/// The built-in configuration of version 0.1.0, which its networks keep.
///
/// # Errors
/// Never: the text is part of this program, and a test reads it.
pub fn embedded() -> std::result::Result<NetworkConfigList, ConfigError> {
    NetworkConfigList::parse(EMBEDDED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_conflist_is_sound_and_publishes_ports() {
        let list = embedded().unwrap();
        assert_eq!(list.name(), EMBEDDED_NAME);
        assert!(list.declares("portMappings") && list.makes_interface());
    }
}
