//! CreateEndpoint: a chain's ADD, run in a staging namespace.
//!
//! Docker wants the addresses before it names the container's namespace. So the chain runs
//! in a namespace of ours; Join hands the interface over.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::timeout;

use crate::cni::{AttachResult, NetworkConfigList};
use crate::cnm::{
    CreateEndpointRequest, CreateEndpointResponse, EndpointId, EndpointInterface, EndpointOptions,
    Forward, PortBinding,
};
use crate::lifecycle::host::forward;
use crate::lifecycle::interface::capture::Fresh;
use crate::lifecycle::ports::PortError;
use crate::lifecycle::record::{Attachment, AttachmentId, Interface, Network, Phase};
use crate::lifecycle::removal::{Claims, orphans};
use crate::lifecycle::{Driver, Error, Inner, Result};
use crate::netlink::{Mac, Netlink};
use crate::translate::PORT_MAPPINGS;
use crate::{cni, netns, translate};

/// What Docker has decided about an interface, beyond what the chain is told.
struct Wanted<'w> {
    interface: &'w EndpointInterface,
    /// The interface's MAC, parsed; none leaves the chain's.
    mac: Option<Mac>,
    /// The interface's MTU in bytes; none leaves the chain's.
    mtu: Option<u32>,
    /// The addresses of the `ip` option.
    ips: &'w [IpAddr],
}

impl Wanted<'_> {
    /// The chain's error, with what to do about it where Docker's choice is the cause.
    fn explained(&self, error: Error) -> Error {
        /// How host-local says it, of every version.
        const TAKEN: &str = "is not available in range set";
        let Error::Cni(refusal) = error else { return error };
        let said = refusal.to_string();
        let mut addresses = self.interface.addresses().map(|net| net.addr());
        match addresses.find(|ip| said.contains(&format!("{ip} {TAKEN}"))) {
            Some(address) => Error::NotAvailable { address, refusal: Box::new(refusal) },
            None => Error::Cni(refusal),
        }
    }
}

impl Driver {
    /// `NetworkDriver.CreateEndpoint`: makes the attachment, and answers with its addresses
    /// and its MAC. Asked again, it gives the first answer; there is never a second lease.
    ///
    /// # Errors
    /// Whatever kept the chain from succeeding. Nothing of the attachment is left then,
    /// unless the undo failed too, which the error says.
    pub async fn create_endpoint(
        &self,
        request: CreateEndpointRequest,
    ) -> Result<CreateEndpointResponse> {
        let inner = &self.inner;
        inner.is_spoken_of(&request.endpoint_id);
        let network = inner.network(&request.network_id)?;
        let options = EndpointOptions::read(&request.options)?;
        let mut slot = inner.endpoints.lock(&request.endpoint_id).await;
        match slot.as_ref() {
            Some(Attachment { phase, interface: Some(interface), .. }) if phase.is_live() => {
                return Ok(CreateEndpointResponse { interface: interface.answer.clone() });
            }
            // A rest of an earlier life of this endpoint, that could not be removed then.
            Some(_) => inner.detach(&mut slot).await?,
            None => {}
        }
        let claims = Claims::of_request(&request, &network.conflist, &options);
        inner.have_given_way(&claims).await;
        inner.wait_for_orphans(&claims).await?;
        let going = inner.orphans.going(&network.conflist);
        let made = inner.make(&mut slot, &network, &options, &request).await;
        let interface = match made {
            // The pool may have no address left but those that are being given back.
            Err(Error::Cni(_) | Error::NotAvailable { .. }) if !going.is_empty() => {
                orphans::ended(going).await;
                inner.make(&mut slot, &network, &options, &request).await?
            }
            made => made?,
        };
        Ok(CreateEndpointResponse { interface })
    }
}

impl Inner {
    /// Makes the endpoint's attachment, or nothing.
    async fn make(
        self: &Arc<Self>,
        slot: &mut Option<Attachment>,
        network: &Network,
        options: &EndpointOptions,
        request: &CreateEndpointRequest,
    ) -> Result<EndpointInterface> {
        let interface = &request.interface;
        let mac = interface.mac_address.as_deref().map(str::parse).transpose()?;
        let mtu = options.mtu.or(network.options.mtu);
        let wanted = Wanted { interface, mac, mtu, ips: &options.ips };
        let attachment = self.intend(network, request.endpoint_id.clone(), options, interface)?;
        match self.attach(slot.insert(attachment), &wanted).await {
            Ok(interface) => Ok(interface),
            Err(cause) => Err(wanted.explained(cause).undone(self.detach(slot).await)),
        }
    }

    /// Settles what the chain will be told; changes nothing.
    fn intend(
        &self,
        network: &Network,
        endpoint: EndpointId,
        options: &EndpointOptions,
        interface: &EndpointInterface,
    ) -> Result<Attachment> {
        let most = self.most.attachments;
        if self.endpoints.count() + self.orphans.count() > most {
            return Err(Error::TooMany { what: "attachments", most, flag: "--max-attachments" });
        }
        self.trusts_its_folders()?;
        let list = self.conflist(Some(&network.conflist))?;
        let mut arguments = translate::arguments(
            &list,
            &network.options.chain,
            options,
            interface,
            &network.pools,
        )?;
        let list = arguments.applied_to(list);
        // The last step that can fail: whoever gets an attachment has its ports to let go of.
        let ports = self.hold_ports(network, &list, &endpoint, &options.ports, &mut arguments)?;
        let id = AttachmentId::new();
        let staging = self.netns_dir.join(id.to_string());
        for (key, value) in translate::kubernetes_args(&endpoint, &id.to_string()) {
            // The user's own win.
            if !arguments.args.iter().any(|(present, _)| *present == key) {
                arguments.args.push((key, value));
            }
        }
        Ok(Attachment {
            id,
            made: Some(SystemTime::now()),
            network: network.id.clone(),
            endpoint,
            phase: Phase::Adding,
            boot_id: self.boot_id.clone(),
            parameters: cni::Attachment {
                container_id: id.to_string(),
                netns: Some(staging.clone()),
                if_name: id.if_name(),
                args: arguments.args,
                capability_args: arguments.capabilities,
            },
            internal: network.options.internal,
            forwarded: forward::applies(network.options.forward, &list),
            open: network.options.forward == Forward::Open,
            list: self.lists.share(list),
            ports,
            staging,
            sandbox: None,
            is_gateway: false,
            widened: 0,
            tables: BTreeMap::new(),
            result: None,
            interface: None,
            removal: None,
            writing: Arc::default(),
        })
    }

    /// Takes the host ports, and has the chain publish them. The ports of what may be another
    /// end of the same container are left to it until Docker says which it is.
    fn hold_ports(
        &self,
        network: &Network,
        list: &NetworkConfigList,
        endpoint: &EndpointId,
        asked: &[PortBinding],
        arguments: &mut translate::Arguments,
    ) -> Result<Vec<PortBinding>> {
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        if network.options.internal {
            tracing::info!(
                endpoint = endpoint.short(),
                "no port is published: the network is internal"
            );
            return Ok(Vec::new());
        }
        translate::publishes(list, asked)?;
        let may_be_had = self.ports.may_be_had(&network.id, asked);
        // What cannot be published later is published now, if it is free.
        let held = match may_be_had && list.adds(PORT_MAPPINGS) {
            true => None,
            false => match self.ports.hold(endpoint, &network.id, asked) {
                Err(PortError::Held { .. }) if may_be_had => None,
                held => Some(held?),
            },
        };
        let Some(ports) = held else {
            arguments.capabilities.remove(PORT_MAPPINGS);
            return Ok(asked.to_vec());
        };
        let mappings = translate::port_mappings(&ports);
        arguments.capabilities.insert(PORT_MAPPINGS.to_owned(), mappings);
        Ok(ports)
    }

    /// Makes the attachment. After an error the caller undoes what was done.
    async fn attach(
        &self,
        attachment: &mut Attachment,
        wanted: &Wanted<'_>,
    ) -> Result<EndpointInterface> {
        // Steps that do not need each other run at once, here and below. Both of a pair end
        // before either's error is told: an undo must not meet a step that is under way.
        let (kept, made) = tokio::join!(self.keep(attachment), netns::create(&attachment.staging));
        kept?;
        made?;
        // The first attachment looks up beside its ADD what it will be compared with.
        let (result, fresh) = tokio::join!(self.add(attachment), self.fresh());
        let (result, fresh) = (result?, fresh?);
        // Kept from here on: an undo runs DEL with it.
        attachment.result = Some(result.clone());
        let interface = self.observe(attachment, wanted, &result, fresh).await?;
        let answer = interface.answer.clone();
        attachment.interface = Some(interface);
        attachment.phase = Phase::Staged;
        self.keep(attachment).await?;
        Ok(answer)
    }

    /// Runs the chain's ADD, within the time that all of it may take.
    async fn add(&self, attachment: &Attachment) -> Result<AttachResult> {
        let Attachment { list, parameters, .. } = attachment;
        let _turn = self.turns.beside_others(list.name()).await;
        // The plugin that runs when the time is over is killed with all its children.
        match timeout(self.add_within, self.runtime.add(list, parameters)).await {
            Ok(ended) => Ok(ended?),
            Err(_) => {
                let conflist = list.name().to_owned();
                Err(Error::TooSlow { conflist, limit: self.add_within })
            }
        }
    }

    /// Reads what ADD made, and finds the words for it that Docker is told.
    async fn observe(
        &self,
        attachment: &Attachment,
        wanted: &Wanted<'_>,
        result: &AttachResult,
        fresh: &Fresh,
    ) -> Result<Interface> {
        let staging = Netlink::in_netns(&attachment.staging).await?;
        let link = self.made_as_wanted(attachment, &staging, wanted).await?;
        let snapshot = self.snapshot(attachment, &staging, link, fresh).await?;
        let answer = translate::endpoint_interface(
            &attachment.list,
            wanted.interface,
            wanted.ips,
            result,
            &attachment.parameters.if_name,
            snapshot.link.mac.map(|mac| mac.to_string()),
        )?;
        let told = wanted.interface.addresses().chain(answer.addresses()).collect();
        Ok(Interface { answer, told, snapshot, settings: None })
    }

    /// Finds the interface that ADD made, and sets what Docker decided and the chain was not
    /// told. Returns the interface's index in staging.
    async fn made_as_wanted(
        &self,
        attachment: &Attachment,
        staging: &Netlink,
        wanted: &Wanted<'_>,
    ) -> Result<u32> {
        let if_name = &attachment.parameters.if_name;
        let Some(link) = staging.link(if_name).await? else {
            return Err(Error::NoInterface {
                conflist: attachment.list.name().to_owned(),
                if_name: if_name.clone(),
            });
        };
        if let Some(mac) = wanted.mac.filter(|mac| link.mac != Some(*mac)) {
            staging.set_mac(link.index, mac).await?;
        }
        if let Some(mtu) = wanted.mtu.filter(|mtu| *mtu != link.mtu) {
            staging.set_mtu(link.index, mtu).await?;
        }
        Ok(link.index)
    }
}
