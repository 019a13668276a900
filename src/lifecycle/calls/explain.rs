//! What CreateNetwork would answer, without a call to the driver.

use ipnet::IpNet;

use crate::cni::{ConfDir, NetworkConfigList, Outlook, Runtime};
use crate::cnm::{CreateNetworkRequest, NetworkOptions};
use crate::lifecycle::error::Result;
use crate::lifecycle::judgement::{Judgement, Plan, Wishes, isolated_subnets, judge, plan, routed};
use crate::netlink::Netlink;
use crate::translate;

/// The outcome of a CreateNetwork.
#[derive(Debug)]
pub struct Explanation {
    /// The chain that would attach its containers.
    pub list: NetworkConfigList,
    /// The chain is this network's alone: the built-in one.
    pub is_own: bool,
    /// What the user wants of it.
    pub options: NetworkOptions,
    /// What was found out about the chain.
    pub judgement: Judgement,
    /// Why the network would be refused; empty if it would be made.
    pub refusals: Vec<String>,
    /// What may keep its containers from starting.
    pub warnings: Vec<String>,
}

/// Judges a network as CreateNetwork does, but reports all problems, not only the first.
///
/// # Errors
/// An option is not understood, or there is no such conflist: CreateNetwork would say so too.
pub async fn explain(
    conf_dir: &ConfDir,
    runtime: &Runtime,
    request: &CreateNetworkRequest,
) -> Result<Explanation> {
    let options = NetworkOptions::read(&request.options)?;
    let pools = [&request.ipv4[..], &request.ipv6].concat();
    let wishes = Wishes { id: &request.network_id, options: &options, pools: &pools };
    let own = Netlink::own()?;
    let Plan { list, is_own } = plan(conf_dir, wishes, &taken(conf_dir, &own).await?)?;
    let judgement = judge(runtime, &list, Some(wishes)).await;
    let of_plugins = |outlook| {
        let problems = judgement.of_plugins(outlook).into_iter();
        problems.map(|problem| format!("conflist {:?}: {problem}", list.name()))
    };
    let mut refusals: Vec<String> = of_plugins(Outlook::Fails).collect();
    let warnings = of_plugins(Outlook::FailsNow).chain(of_plugins(Outlook::Unknown)).collect();
    refusals.extend(judgement.refusals.iter().map(ToString::to_string));
    if let Some(mtu) = options.mtu {
        refusals.extend(translate::with_mtu(list.clone(), mtu).err().map(|it| it.to_string()));
        let room = super::network::check_parent_mtu(&own, &list, mtu).await;
        refusals.extend(room.err().map(|it| it.to_string()));
    }
    if options.isolate == Some(true) && !is_own {
        refusals.extend(isolated_subnets(&list, wishes).err().map(|it| it.to_string()));
    }
    Ok(Explanation { list, is_own, options, judgement, refusals, warnings })
}

/// What the network's own subnet must not overlap. Only the driver knows its other networks.
async fn taken(conf_dir: &ConfDir, own: &Netlink) -> Result<Vec<IpNet>> {
    let mut taken = routed(own).await?;
    let listed = conf_dir.list().networks.into_iter();
    taken.extend(listed.flat_map(|network| translate::prospects(&network.list).subnets));
    Ok(taken)
}
