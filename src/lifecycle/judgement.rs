//! Whether a network can be used on this host: one judgement, for CreateNetwork and for
//! `cnm-cni validate`.
//!
//! It asks the configuration, the plugins and the host. What it finds is of two kinds: what makes
//! every ADD fail, or come to nothing under Docker, is refused; what may pass, as a plugin that is not
//! ready yet, is only told.

use nix::net::if_::if_nametoindex;

use super::error::{Error, Result};
use crate::cni::{ConfDir, ConfigError, NetworkConfigList, Runtime, Validation};
use crate::cnm::{ChainOptions, IpamData};
use crate::translate::{self, Prospects, Refusal};

/// The conflist of a machine that has none: bridge, host-local and portmap.
const EMBEDDED: &[u8] = include_bytes!("../../conflists/cnm-cni-default.conflist");
/// The name inside it.
const EMBEDDED_NAME: &str = "cnm-cni-default";

/// What Docker wants of a network, beyond its conflist.
#[derive(Debug)]
pub(crate) struct Wishes<'w> {
    /// The pools of its IPAM.
    pub(crate) pools: &'w [IpamData],
    /// What the user tells the plugins.
    pub(crate) chain: &'w ChainOptions,
}

/// What was found out about a network before it is used.
#[derive(Debug)]
pub struct Judgement {
    /// What its plugins are, and what they say.
    pub validation: Validation,
    /// What a Docker network on it can do.
    pub prospects: Prospects,
    /// Why no network can be made on it, its plugins aside.
    pub refusals: Vec<Refusal>,
}

impl Judgement {
    /// What CreateNetwork answers.
    ///
    /// # Errors
    /// The first reason why the network cannot be used.
    pub(crate) fn verdict(self, list: &NetworkConfigList) -> Result<()> {
        let plugins = self.validation.plugins.into_iter();
        for problem in plugins.filter_map(|plugin| plugin.problem) {
            let conflist = list.name().to_owned();
            if problem.is_certain() {
                return Err(Error::Plugin { conflist, source: Box::new(problem) });
            }
            tracing::warn!(conflist, %problem, "a plugin may not work");
        }
        self.refusals.into_iter().next().map_or(Ok(()), |refusal| Err(refusal.into()))
    }
}

/// Judges a network, also by what Docker wants of it where that is known.
pub(crate) async fn judge(
    runtime: &Runtime,
    list: &NetworkConfigList,
    wishes: Option<Wishes<'_>>,
) -> Judgement {
    let prospects = translate::prospects(list);
    let fits = match wishes {
        Some(Wishes { pools, chain }) => {
            [translate::serves(list, pools, chain), translate::declares(list, chain)]
        }
        // The user will say how its addresses are chosen.
        None if prospects.needs_docker_ipam => [Ok(()), Ok(())],
        None => [translate::serves(list, &[], &ChainOptions::default()), Ok(())],
    };
    let of_list = [translate::attaches(list), translate::carries_over(list), masters(list)];
    let all = of_list.into_iter().chain(fits);
    let refusals = all.filter_map(std::result::Result::err).collect();
    Judgement { validation: runtime.validate(list).await, prospects, refusals }
}

/// As CreateNetwork judges a network, before anybody has said what Docker wants of it.
pub async fn judge_conflist(runtime: &Runtime, list: &NetworkConfigList) -> Judgement {
    judge(runtime, list, None).await
}

/// Whether the host has the interfaces that containers are put on.
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

/// The network of that name; without a name the first one in file-name order that makes an
/// interface, as a kubelet chooses. The built-in one stands behind both.
///
/// # Errors
/// There is none, or it cannot be read.
pub fn choose(
    conf_dir: &ConfDir,
    name: Option<&str>,
) -> std::result::Result<NetworkConfigList, ConfigError> {
    let found = match name {
        Some(EMBEDDED_NAME) => match conf_dir.load(EMBEDDED_NAME) {
            Err(ConfigError::NotFound { .. }) => None,
            found => Some(found?),
        },
        Some(name) => Some(conf_dir.load(name)?),
        None => conf_dir.first()?,
    };
    found.map_or_else(embedded, Ok)
}

/// The built-in configuration, which serves a machine that has none.
///
/// # Errors
/// None but by a mistake in this program; a test reads it.
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
