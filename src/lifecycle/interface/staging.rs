//! The staging namespace: ADD and DEL run on it, and find the interface there.

use std::borrow::Cow;

use ipnet::IpNet;

use crate::lifecycle::error::{Error, Result};
use crate::lifecycle::host::nat::Masqueraded;
use crate::lifecycle::interface::Interfaces;
use crate::lifecycle::interface::change::Live;
use crate::lifecycle::interface::desired::Desired;
use crate::lifecycle::interface::place::{Place, stage};
use crate::lifecycle::interface::{further_links, netfilter};
use crate::lifecycle::record::Attachment;
use crate::netlink::{Address, Link, Netlink};
use crate::{netns, translate};

impl Interfaces {
    /// Makes the staging namespace what it was after ADD: the interface with its addresses. With `ask`,
    /// only with the addresses whose rules the host still has.
    pub(crate) async fn restore(&self, attachment: &Attachment, ask: bool) -> Result<()> {
        let path = &attachment.staging;
        let if_name = &attachment.parameters.if_name;
        let place = self.locate_in_background(attachment).await?;
        let given_back = matches!(place, Place::Own(_) | Place::Sandbox(..));
        stage(path).await?;
        let staging = match place {
            Place::Staging(staging, _) => staging,
            Place::Own(link) => {
                self.own_background.move_to(link.index, &netns::open(path)?).await?;
                Netlink::in_netns(path).await?
            }
            // Docker could not take the interface out.
            Place::Sandbox(sandbox, link) => {
                take_out(&sandbox, &link, attachment).await?;
                Netlink::in_netns(path).await?
            }
            Place::Nowhere => Netlink::in_netns(path).await?,
        };
        further_links::take_back(attachment).await?;
        further_links::restore(attachment, &staging).await?;
        let Some(snapshot) = attachment.snapshot() else {
            // Of an ADD that failed there is nothing to put back, unless a DEL was killed after it had removed the
            // interface, and before the rules.
            if ask && staging.link(if_name).await?.is_none() {
                masqueraded_again(&staging, attachment).await?;
            }
            return Ok(());
        };
        let mut wanted = Cow::Borrowed(&snapshot.addresses);
        if ask || (translate::masquerades(&attachment.list) && !given_back) {
            // After a reboot or an interrupted DEL, rules are missing that the plugins require for each
            // live address. The configuration of a plugin that delegates, such as flannel, does not show
            // this; so for every chain the host's rules are read once DEL has failed.
            Masqueraded::of(attachment.id).await.retain_in(wanted.to_mut());
        }
        let link = match staging.link(if_name).await? {
            Some(link) => link,
            None if wanted.is_empty() => return Ok(()),
            None => stand_in(&staging, if_name).await?,
        };
        let desired = Desired {
            snapshot,
            addresses: &wanted,
            settings: attachment.settings(),
            told: &[],
            gateways: &[],
            dockers: &[],
            others_have_host_routes: false,
            default_routes: true,
        };
        desired.reconcile(&Live { path, netlink: &staging, link: &link }).await?;
        // The namespace still has them, unless it had to be made anew.
        match attachment.netfilter() {
            Some(netfilter) => netfilter::put(netfilter, path).await,
            None => Ok(()),
        }
    }
}

/// A stand-in with the addresses that the host's rules tell, if there are any.
async fn masqueraded_again(staging: &Netlink, attachment: &Attachment) -> Result<()> {
    let masqueraded = Masqueraded::of(attachment.id).await;
    let mut addresses = masqueraded.addresses().peekable();
    if addresses.peek().is_none() {
        return Ok(());
    }
    let link = stand_in(staging, &attachment.parameters.if_name).await?;
    for address in addresses {
        staging.add_address(link.index, &Address::from(IpNet::from(address))).await?;
    }
    Ok(())
}

/// Moves the interface from the container's namespace into staging, under its CNI name.
pub(crate) async fn take_out(
    sandbox: &Netlink,
    link: &Link,
    attachment: &Attachment,
) -> Result<()> {
    stage(&attachment.staging).await?;
    sandbox.set_down(link.index).await?;
    sandbox.rename(link.index, &attachment.parameters.if_name).await?;
    Ok(sandbox.move_to(link.index, &netns::open(&attachment.staging)?).await?)
}

/// Makes a stand-in for an interface that was lost, for DEL to find and to delete.
pub(crate) async fn stand_in(staging: &Netlink, if_name: &str) -> Result<Link> {
    const PEER: &str = "peer";
    staging.add_veth(if_name, PEER).await?;
    let gone = || Error::StandInGone { if_name: if_name.to_owned() };
    staging.link(if_name).await?.ok_or_else(gone)
}
