//! Makes a new record for the remains of an attachment, so that its chain's DEL can run.

use ipnet::IpNet;
use serde_json::json;

use crate::cni::NetworkConfigList;
use crate::lifecycle::driver::Driver;
use crate::lifecycle::error::Result;
use crate::lifecycle::garbage::remains::Remains;
use crate::lifecycle::interface::{place, staging};
use crate::lifecycle::record::{Attachment, AttachmentId, Left, Phase, WriteLock};
use crate::netlink::{Address, Netlink, Snapshot};
use crate::translate::PORT_MAPPINGS;
use crate::{cni, netns, translate};

impl Driver {
    /// Removes what is left of an attachment: by its chain's DEL, if the chain is known, or else by the DEL
    /// of each possible chain.
    pub(crate) async fn remove_remains(
        &self,
        id: AttachmentId,
        remains: &Remains,
        lists: &[NetworkConfigList],
    ) -> Result<()> {
        let list = lists.iter().find(|list| remains.conflist.as_deref() == Some(list.name()));
        let candidates = match list {
            Some(list) => vec![list],
            None => self.may_have_made(remains, lists),
        };
        for list in &candidates {
            let attachment = self.again_on_record(id, remains, list).await?;
            self.removals.in_turn(self.removals.begin(attachment)).await?;
        }
        if candidates.is_empty() {
            self.exemptions.withdraw_of(&[id]).await?;
            if let Some(link) = self.interfaces.own_background.link(&id.if_name()).await? {
                self.interfaces.own_background.delete_link(link.index).await?;
            }
            netns::remove(&self.interfaces.staging(id)).await?;
        }
        Ok(())
    }

    /// The chains that may have made an attachment whose chain is unknown: chains of Docker's networks
    /// whose leases only their own IPAM can see. The DEL of each gets the id; a chain that does not know
    /// the id ignores it. This is done only if it is known that nobody has the address any more.
    fn may_have_made<'l>(
        &self,
        remains: &Remains,
        lists: &'l [NetworkConfigList],
    ) -> Vec<&'l NetworkConfigList> {
        let conflists = self.networks.conflists();
        let hidden = lists
            .iter()
            .filter(|list| conflists.contains(list.name()) && translate::hides_leases(list));
        if remains.addresses.is_empty() { Vec::new() } else { hidden.collect() }
    }

    /// An interface for DEL to find: the attachment's own, if it is left, or a stand-in, with the known
    /// addresses.
    async fn staged_again(
        &self,
        id: AttachmentId,
        remains: &Remains,
        list: &NetworkConfigList,
    ) -> Result<Snapshot> {
        let staging = self.interfaces.staging(id);
        let if_name = id.if_name();
        place::stage(&staging).await?;
        if let Some(link) = self.interfaces.own_background.link(&if_name).await? {
            self.interfaces.own_background.move_to(link.index, &netns::open(&staging)?).await?;
        }
        let netlink = Netlink::in_netns(&staging).await?;
        let link = match netlink.link(&if_name).await? {
            Some(link) => link,
            None => staging::stand_in(&netlink, &if_name).await?,
        };
        let subnets = translate::prospects(list).subnets;
        for address in &remains.addresses {
            let subnet = subnets.iter().find(|subnet| subnet.contains(address));
            let prefix_len =
                subnet.map_or(if address.is_ipv4() { 32 } else { 128 }, IpNet::prefix_len);
            // Within the limits of its family: it was the prefix of a subnet.
            if let Ok(net) = IpNet::new(*address, prefix_len) {
                netlink.add_address(link.index, &Address::from(net)).await?;
            }
        }
        Ok(netlink.snapshot(link.index).await?)
    }

    /// A record for what is left of an attachment.
    async fn again_on_record(
        &self,
        id: AttachmentId,
        remains: &Remains,
        list: &NetworkConfigList,
    ) -> Result<Attachment> {
        let snapshot = self.staged_again(id, remains, list).await?;
        let staging = self.interfaces.staging(id);
        let mut capability_args = serde_json::Map::new();
        if list.declares(PORT_MAPPINGS) {
            // portmap finds its rules by the attachment's id, and only if its arguments have a port.
            let any = json!([{"hostPort": 1, "containerPort": 1, "protocol": "tcp"}]);
            capability_args.insert(PORT_MAPPINGS.to_owned(), any);
        }
        let attachment = Attachment {
            id,
            made: remains.made,
            // Docker's own ids were lost with the record.
            network: id.without_dashes(),
            endpoint: id.without_dashes(),
            boot_id: self.boot_id.to_string(),
            list: self.chains.share(list.clone()),
            parameters: cni::Attachment {
                container_id: id.to_string(),
                netns: Some(staging.clone()),
                if_name: id.if_name(),
                args: Vec::new(),
                capability_args,
            },
            ports: Vec::new(),
            publishing: false,
            staging,
            internal: false,
            forwarded: true,
            open: false,
            is_gateway: false,
            phase: Phase::found(Left { snapshot: Some(snapshot), ..Left::default() }),
            write_lock: WriteLock::default(),
        };
        self.records.keep(&attachment).await?;
        Ok(attachment)
    }
}
