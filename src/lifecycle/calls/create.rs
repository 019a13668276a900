//! CreateEndpoint: claims a spare, or runs the chain's ADD in a staging namespace.

use std::future::pending;

use crate::cnm::{
    CreateEndpointRequest, CreateEndpointResponse, EndpointId, EndpointInterface, EndpointOptions,
    PortBinding,
};
use crate::crash;
use crate::lifecycle::attach::{ChainInput, RequestedInterface};
use crate::lifecycle::driver::Driver;
use crate::lifecycle::error::PortError;
use crate::lifecycle::error::{Error, Result};
use crate::lifecycle::garbage::dockerds;
use crate::lifecycle::history::Asked;
use crate::lifecycle::record::{Attachment, Made, Network, Spare};
use crate::lifecycle::removal::{Claims, waits};
use crate::lifecycle::spares;
use crate::translate::PORT_MAPPINGS;

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
            // An earlier attachment of this endpoint could not be removed.
            Some(Err(_)) => self.removals.detach(&mut slot).await?,
            None => {}
        }
        let claims = Claims::of_request(&request, &network.conflist, &options);
        dockerds::evict_inherited(self, &claims).await;
        self.spares.give_way(&claims).await;
        self.removals.wait_for(&claims, waits::limit()).await?;
        let mut retrying = self.removals.retrying(&network.conflist);
        let made = self.make(&mut slot, &network, &options, &request, asked).await;
        // One of these orphans, or a spare, may have what this endpoint needs.
        if made.as_ref().is_err_and(Error::is_of_the_chain) {
            retrying.extend(self.spares.give_up(&network.conflist).await);
        }
        let interface = match made {
            Err(cause) if !retrying.is_empty() && cause.may_be_a_conflict() => {
                self.history.attempt_failed(asked);
                let limit = waits::limit();
                let remaining = waits::until_gone(retrying, limit).await;
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
        self.publisher.publish_soon(&slot);
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
        asked.begin_attempt();
        let _call = self.gate.docker_call(&request.endpoint_id);
        let (endpoint, interface) = (&request.endpoint_id, &request.interface);
        let requested = RequestedInterface::of(network, options, interface)?;
        let list = self.chains.ready(network).await?;
        let input = ChainInput::of(network, list, options, interface)?;
        let may_have_spare = spares::may_serve(&input, options, interface);
        if may_have_spare && let Some(spare) = self.spares.take(network, &input).await {
            asked.attachments.push(spare.id.to_string());
            return self.claim(slot, spare, endpoint, options).await;
        }
        let attachment = self.intend(network, input, endpoint, options)?;
        asked.attachments.push(attachment.id.to_string());
        let attachment = slot.insert(attachment);
        let staged = match self.maker.add(attachment, &requested, pending()).await {
            Ok(made) => self.stage(attachment, made).await,
            Err(failed) => Err(failed.noted_in(attachment)),
        };
        match staged {
            Ok(()) => {
                if may_have_spare {
                    self.spares.missed(network);
                }
                Ok(attachment.made()?.answer.clone())
            }
            Err(cause) => Err(cause.undone(self.removals.detach(slot).await)),
        }
    }

    /// Records what ADD made.
    async fn stage(&self, attachment: &mut Attachment, made: Made) -> Result<()> {
        attachment.stage(made)?;
        self.records.keep(attachment).await
    }

    /// Gives the endpoint a spare. Its ports are published while Docker goes on.
    async fn claim(
        &self,
        slot: &mut Option<Attachment>,
        spare: Spare,
        endpoint: &EndpointId,
        options: &EndpointOptions,
    ) -> Result<EndpointInterface> {
        let attachment = slot.insert(spare.claim(endpoint.clone())?);
        self.spares.compare_soon(attachment);
        let claimed = async {
            self.begin_ports(attachment, &options.ports)?;
            crash::point(format_args!("spare: claim"));
            self.records.keep(attachment).await?;
            crash::point(format_args!("spare: claimed"));
            attachment.made().map(|made| made.answer.clone())
        };
        let claimed = claimed.await;
        if claimed.is_err() {
            attachment.begin_removal_with(|removal, _| removal.refused = true);
        }
        match claimed {
            Ok(answer) => Ok(answer),
            Err(cause) => Err(cause.undone(self.removals.detach(slot).await)),
        }
    }

    /// Decides what the chain gets. The only change is that the endpoint holds its ports.
    fn intend(
        &self,
        network: &Network,
        mut input: ChainInput,
        endpoint: &EndpointId,
        options: &EndpointOptions,
    ) -> Result<Attachment> {
        let most = self.maximum.attachments;
        if self.endpoints.count() + self.removals.count() > most {
            return Err(Error::TooMany { what: "attachments", most, flag: "--max-attachments" });
        }
        // The last step that can fail: the caller of a made attachment has to release its ports.
        let ports = self.hold_ports(network, &mut input, endpoint, &options.ports)?;
        Ok(self.maker.intend(network, input, Some(endpoint.clone()), ports))
    }

    /// Takes the host ports, and has the chain publish them. Another endpoint with the same ports may be of
    /// the same container. It keeps them until Docker names the container.
    fn hold_ports(
        &self,
        network: &Network,
        input: &mut ChainInput,
        endpoint: &EndpointId,
        asked: &[PortBinding],
    ) -> Result<Vec<PortBinding>> {
        if asked.is_empty() || publishes_nothing(endpoint, network.options.internal) {
            return Ok(Vec::new());
        }
        if !input.list.declares(PORT_MAPPINGS) {
            // Perhaps another network of the container publishes them. This is known only when the endpoint
            // gets the gateway.
            return Ok(asked.to_vec());
        }
        let may_be_of_same_container = self.ports.may_be_of_same_container(&network.id, asked);
        // Ports that cannot be published later are published now, if they are free.
        let held = match may_be_of_same_container && input.list.adds(PORT_MAPPINGS) {
            true => None,
            false => match self.ports.hold(endpoint, &network.id, asked) {
                Err(PortError::Held { .. }) if may_be_of_same_container => None,
                held => Some(held?),
            },
        };
        let Some(ports) = held else {
            input.publish_nothing();
            return Ok(asked.to_vec());
        };
        input.publish(&ports);
        Ok(ports)
    }

    /// Takes the host ports for a spare's endpoint, and notes that they are about to be published. Another endpoint with
    /// the same ports may be of the same container. It keeps them until Docker names the container.
    fn begin_ports(&self, attachment: &mut Attachment, asked: &[PortBinding]) -> Result<()> {
        let Attachment { endpoint, network, list, internal, .. } = &*attachment;
        if asked.is_empty() || publishes_nothing(endpoint, *internal) {
            return Ok(());
        }
        match list.declares(PORT_MAPPINGS) && !self.ports.may_be_of_same_container(network, asked) {
            true => attachment.begin_to_publish(self.ports.hold(endpoint, network, asked)?),
            false => attachment.ports = asked.to_vec(),
        }
        Ok(())
    }
}

/// Whether the network's containers publish no ports.
fn publishes_nothing(endpoint: &EndpointId, internal: bool) -> bool {
    if internal {
        tracing::info!(
            endpoint = endpoint.short(),
            "no port is published: the network is internal"
        );
    }
    internal
}
