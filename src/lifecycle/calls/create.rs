//! CreateEndpoint: a chain's ADD, run in a staging namespace.
//!
//! Docker wants the addresses before it names the container's namespace. So the chain runs
//! in a namespace of ours; Join hands the interface over.

use std::net::IpAddr;
use std::time::{Instant, SystemTime};

use crate::cni::{AttachResult, NetworkConfigList};
use crate::cnm::{
    CreateEndpointRequest, CreateEndpointResponse, EndpointId, EndpointInterface, EndpointOptions,
    Forward, PortBinding,
};
use crate::lifecycle::driver::Driver;
use crate::lifecycle::error::{Error, Result};
use crate::lifecycle::garbage::dockerds;
use crate::lifecycle::history::Asked;
use crate::lifecycle::host::forward;
use crate::lifecycle::interface::Fresh;
use crate::lifecycle::lease;
use crate::lifecycle::port_error::PortError;
use crate::lifecycle::record::{Attachment, AttachmentId, Made, Network, Phase, Settings, Turn};
use crate::lifecycle::removal::{Claims, waits};
use crate::metrics::Step;
use crate::netlink::{Mac, Netlink};
use crate::sysctl::Sysctls;
use crate::translate::PORT_MAPPINGS;
use crate::{cni, netns, translate};

/// What Docker has decided about an interface, in addition to what the chain is given.
struct Wanted<'w> {
    interface: &'w EndpointInterface,
    /// The interface's MAC, parsed; none leaves the choice to the chain.
    mac: Option<Mac>,
    /// The interface's MTU in bytes; none leaves the choice to the chain.
    mtu: Option<u32>,
    /// The addresses of the `ip` option.
    ips: &'w [IpAddr],
    /// The interface's settings that the user has decided.
    sysctls: &'w Sysctls,
}

/// An attachment that could not be made.
struct Failed {
    cause: Error,
    /// The result of ADD, if it has succeeded: DEL gets it.
    result: Option<AttachResult>,
}

impl Wanted<'_> {
    /// The chain's error, with a remedy if Docker's choice is the cause.
    fn explained(&self, error: Error) -> Error {
        /// The message of host-local, in every version.
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
    /// `NetworkDriver.CreateEndpoint`: makes the attachment, and answers with its addresses and its MAC. A
    /// repeated call gets the first answer; there is never a second lease.
    ///
    /// # Errors
    /// The chain could not succeed. Nothing of the attachment is left then, unless the undo failed too; the
    /// error then says so.
    pub async fn create_endpoint(
        &self,
        request: CreateEndpointRequest,
    ) -> Result<CreateEndpointResponse> {
        let mut asked =
            Asked::now("CreateEndpoint", &request.network_id, Some(&request.endpoint_id));
        let created = self.create(&mut asked, request).await;
        self.history.ended(&asked, created)
    }
}

impl Driver {
    async fn create(
        &self,
        asked: &mut Asked,
        request: CreateEndpointRequest,
    ) -> Result<CreateEndpointResponse> {
        self.inherited.seen_by_dockerd(&request.endpoint_id);
        let network = self.networks.get(&request.network_id)?;
        asked.conflist = Some(network.conflist.clone());
        let options = EndpointOptions::read(&request.options)?;
        let mut slot = self.endpoints.lock(&request.endpoint_id).await;
        match slot.as_ref().map(Attachment::made) {
            Some(Ok(made)) => return Ok(CreateEndpointResponse { interface: made.answer.clone() }),
            // The rest of an earlier attachment of this endpoint, which could not be removed then.
            Some(Err(_)) => self.removals.detach(&mut slot).await?,
            None => {}
        }
        let claims = Claims::of_request(&request, &network.conflist, &options);
        dockerds::evict_inherited(self, &claims).await;
        self.removals.wait_for(&claims, waits::limit()).await?;
        let going = self.removals.going(&network.conflist);
        let made = self.make(&mut slot, &network, &options, &request, asked).await;
        let interface = match made {
            // One of these orphans may still have what this endpoint needs.
            Err(cause) if !going.is_empty() && cause.may_be_a_conflict() => {
                let limit = waits::limit();
                let remaining = waits::gone(going, limit).await;
                // Nothing of the first attempt may be left either.
                if self.removals.wait_for(&claims, limit).await.is_err() {
                    return Err(cause.beside(remaining));
                }
                let made = self.make(&mut slot, &network, &options, &request, asked).await;
                made.map_err(|cause| cause.beside(remaining))?
            }
            made => made?,
        };
        if let Some(attachment) = slot.as_ref() {
            self.history.attached(asked, attachment);
        }
        Ok(CreateEndpointResponse { interface })
    }
}

impl Driver {
    /// Makes the endpoint's attachment, or nothing.
    async fn make(
        &self,
        slot: &mut Option<Attachment>,
        network: &Network,
        options: &EndpointOptions,
        request: &CreateEndpointRequest,
        asked: &mut Asked,
    ) -> Result<EndpointInterface> {
        let begun = Instant::now();
        let made = self.try_to_make(slot, network, options, request, asked).await;
        let (took, ok) = (begun.elapsed(), made.is_ok());
        self.metrics.happened.step_ended(Step::Attach, &network.conflist, took, ok);
        self.count_port_conflict(&made);
        made
    }

    async fn try_to_make(
        &self,
        slot: &mut Option<Attachment>,
        network: &Network,
        options: &EndpointOptions,
        request: &CreateEndpointRequest,
        asked: &mut Asked,
    ) -> Result<EndpointInterface> {
        let _ahead = self.gate.ahead(&request.endpoint_id);
        let interface = &request.interface;
        let mac = interface.mac_address.as_deref().map(str::parse).transpose()?;
        let mtu = options.mtu.or(network.options.mtu);
        let (ips, sysctls) = (&options.ips, &options.sysctls);
        let wanted = Wanted { interface, mac, mtu, ips, sysctls };
        let list = self.chains.ready(network).await?;
        let list = match mtu {
            Some(mtu) => translate::with_mtu(list, mtu)?,
            None => list,
        };
        let endpoint = request.endpoint_id.clone();
        let attachment = self.intend(network, list, endpoint, options, interface)?;
        asked.attachments.push(attachment.id.to_string());
        let attachment = slot.insert(attachment);
        let (cause, result, plugins_run) = match self.prepare(attachment).await {
            Err(cause) => (cause, None, Some(0)),
            Ok(()) => match self.attach(attachment, &wanted).await {
                Ok(interface) => return Ok(interface),
                Err(Failed { cause, result }) => {
                    let plugins_run = cause.plugins_run();
                    (
                        lease::explained(&attachment.list, wanted.explained(cause)).await,
                        result,
                        plugins_run,
                    )
                }
            },
        };
        attachment.begin_removal_with(|removal, left| {
            removal.plugins_run = plugins_run;
            removal.refused = true;
            left.result = result;
        });
        Err(cause.undone(self.removals.detach(slot).await))
    }

    /// Decides what the chain gets; changes nothing.
    fn intend(
        &self,
        network: &Network,
        list: NetworkConfigList,
        endpoint: EndpointId,
        options: &EndpointOptions,
        interface: &EndpointInterface,
    ) -> Result<Attachment> {
        let most = self.most.attachments;
        if self.endpoints.count() + self.removals.count() > most {
            return Err(Error::TooMany { what: "attachments", most, flag: "--max-attachments" });
        }
        let mut arguments = translate::arguments(
            &list,
            &network.options.chain,
            options,
            interface,
            &network.pools,
        )?;
        let list = arguments.applied_to(list);
        // The last step that can fail: the caller of a made attachment has to release its ports.
        let ports = self.hold_ports(network, &list, &endpoint, &options.ports, &mut arguments)?;
        let id = AttachmentId::new();
        let staging = self.interfaces.staging(id);
        for (key, value) in translate::kubernetes_args(&endpoint, &id.to_string()) {
            // The user's own settings take precedence.
            if !arguments.args.iter().any(|(present, _)| *present == key) {
                arguments.args.push((key, value));
            }
        }
        Ok(Attachment {
            id,
            made: Some(SystemTime::now()),
            network: network.id.clone(),
            endpoint,
            boot_id: self.boot_id.to_string(),
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
            list: self.chains.share(list),
            ports,
            staging,
            is_gateway: false,
            phase: Phase::adding(),
            turn: Turn::default(),
        })
    }

    /// Takes the host ports, and has the chain publish them. Another endpoint with the same ports may be of
    /// the same container. It keeps them until Docker names the container.
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
        if !list.declares(PORT_MAPPINGS) {
            // Perhaps another network of the container publishes them. This is known only when the endpoint
            // gets the gateway.
            return Ok(asked.to_vec());
        }
        let may_be_had = self.ports.may_be_had(&network.id, asked);
        // Ports that cannot be published later are published now, if they are free.
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

    /// Records what is about to be done, and makes the staging namespace.
    async fn prepare(&self, attachment: &Attachment) -> Result<()> {
        // Steps that do not need each other run in parallel, here and below. Both of a pair end before an
        // error is returned: an undo must not run beside a step.
        let (kept, made) =
            tokio::join!(self.records.keep(attachment), netns::create(&attachment.staging));
        kept?;
        Ok(made?)
    }

    /// Makes the attachment. After an error the caller undoes what was done.
    async fn attach(
        &self,
        attachment: &mut Attachment,
        wanted: &Wanted<'_>,
    ) -> std::result::Result<EndpointInterface, Failed> {
        // The first attachment reads a fresh namespace in parallel to its ADD, for the comparison.
        let (result, fresh) = tokio::join!(
            self.chains.add(&attachment.list, &attachment.parameters),
            self.interfaces.fresh()
        );
        let result = result.map_err(|cause| Failed { cause, result: None })?;
        let staged = async {
            let made = self.observe(attachment, wanted, result.clone(), fresh?).await?;
            let answer = made.answer.clone();
            attachment.stage(made)?;
            self.records.keep(attachment).await?;
            Ok(answer)
        };
        staged.await.map_err(|cause| Failed { cause, result: Some(result) })
    }

    /// Reads what ADD made, and translates it to the answer for Docker.
    async fn observe(
        &self,
        attachment: &Attachment,
        wanted: &Wanted<'_>,
        result: AttachResult,
        fresh: &Fresh,
    ) -> Result<Made> {
        let staging = Netlink::in_netns(&attachment.staging).await?;
        let link = self.made_as_wanted(attachment, &staging, wanted).await?;
        let (snapshot, further) =
            self.interfaces.snapshot(attachment, &staging, link, fresh).await?;
        let answer = translate::endpoint_interface(
            &attachment.list,
            wanted.interface,
            wanted.ips,
            &result,
            &attachment.parameters.if_name,
            snapshot.link.mac.map(|mac| mac.to_string()),
        )?;
        let told = wanted.interface.addresses().chain(answer.addresses()).collect();
        let users = Settings { link: wanted.sysctls.clone(), ..Settings::default() };
        Ok(Made { result, answer, told, snapshot, further, users })
    }

    /// Finds the interface that ADD made, and makes sure that it is as Docker decided. Setting MAC or MTU
    /// afterwards would be wrong, because plugins derive other things from them. Returns the interface's
    /// index in staging.
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
        let other = |wanted: String, made: String, remedy: &'static str| {
            let conflist = attachment.list.name().to_owned();
            Err(Error::OtherInterface { conflist, wanted, made, remedy })
        };
        if let Some(mac) = wanted.mac.filter(|mac| link.mac != Some(*mac)) {
            let made = link.mac.map_or("none".to_owned(), |mac| mac.to_string());
            return other(
                format!("MAC {mac}"),
                made,
                "let plugin \"tuning\" set it, or choose none",
            );
        }
        if let Some(mtu) = wanted.mtu.filter(|mtu| *mtu != link.mtu) {
            let made = link.mtu.to_string();
            return other(format!("MTU {mtu}"), made, "set it in the conflist");
        }
        Ok(link.index)
    }
}
