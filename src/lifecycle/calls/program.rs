//! ProgramExternalConnectivity, RevokeExternalConnectivity, EndpointOperInfo and Leave: Docker's calls for
//! an endpoint between Join and DeleteEndpoint.

use serde_json::{Map, json};

use crate::cnm::{
    EndpointOperInfoResponse, EndpointRequest, PortBinding, ProgramExternalConnectivityRequest,
};
use crate::lifecycle::calls::watch;
use crate::lifecycle::driver::Driver;
use crate::lifecycle::error::chain;
use crate::lifecycle::error::{Error, Result};
use crate::lifecycle::history::Asked;
use crate::lifecycle::lease;
use crate::lifecycle::ports::publish::required_ports;
use crate::lifecycle::record::Attachment;
use crate::lifecycle::removal::{Claims, waits};
use crate::translate::PORT_MAPPINGS;

impl Driver {
    /// `NetworkDriver.ProgramExternalConnectivity`: the endpoint became its sandbox's gateway. Its ports
    /// are published, unless the chain has done so already. The endpoint is settled, so that a container
    /// with an incomplete network does not start.
    ///
    /// # Errors
    /// The endpoint is unknown, its ports cannot be published, or what Docker does not carry
    /// over could not be put back.
    pub async fn program_external_connectivity(
        &self,
        request: ProgramExternalConnectivityRequest,
    ) -> Result<()> {
        let (network, endpoint) = (&request.network_id, &request.endpoint_id);
        let asked = Asked::now("ProgramExternalConnectivity", network, Some(endpoint));
        let programmed = self.program(request).await;
        self.history.ended(&asked, programmed)
    }

    async fn program(&self, request: ProgramExternalConnectivityRequest) -> Result<()> {
        let _call = self.gate.docker_call(&request.endpoint_id);
        self.inherited.seen_by_dockerd(&request.endpoint_id);
        let asked = PortBinding::read(&request.options)?;
        let mut slot = self.endpoints.lock_beside_publication(&request.endpoint_id).await;
        let Some(attachment) = slot.as_mut() else {
            return Err(Error::UnknownEndpoint(request.endpoint_id));
        };
        // If the gateway moves because the container left another network, Docker ignores an error, and the
        // endpoint has the gateway nevertheless.
        if !attachment.is_gateway {
            attachment.is_gateway = true;
            self.records.keep_soon(attachment).await;
        }
        let settled = watch::settle(self, attachment).await;
        drop(slot);
        let mut slot = self.endpoints.lock(&request.endpoint_id).await;
        let failure = slot.take_failure();
        let Some(attachment) = slot.as_mut() else {
            return Err(Error::UnknownEndpoint(request.endpoint_id));
        };
        let published = match failure {
            Some(error) => Err(error),
            None => self.publish(attachment, &asked).await,
        };
        published.and(settled)?;
        match attachment.joined() {
            Some(joined) => self.interfaces.align_default_route(joined, true).await,
            None => Ok(()),
        }
    }

    async fn publish(&self, attachment: &mut Attachment, asked: &[PortBinding]) -> Result<()> {
        self.wait_for_ports(attachment, asked).await?;
        self.publisher.publish(attachment, asked).await
    }

    /// `NetworkDriver.RevokeExternalConnectivity`: the endpoint is no longer its sandbox's gateway, and its
    /// ports are free for the new gateway. An unknown endpoint has no ports.
    ///
    /// # Errors
    /// The chain cannot withdraw the ports; the endpoint keeps them.
    pub async fn revoke_external_connectivity(&self, request: EndpointRequest) -> Result<()> {
        let (network, endpoint) = (&request.network_id, &request.endpoint_id);
        let asked = Asked::now("RevokeExternalConnectivity", network, Some(endpoint));
        let revoked = self.revoke(request).await;
        self.history.ended(&asked, revoked)
    }

    async fn revoke(&self, request: EndpointRequest) -> Result<()> {
        let _call = self.gate.docker_call(&request.endpoint_id).last();
        let mut slot = self.endpoints.lock(&request.endpoint_id).await;
        let Some(attachment) = slot.as_mut() else { return Ok(()) };
        if attachment.is_gateway {
            attachment.is_gateway = false;
            self.records.keep_soon(attachment).await;
        }
        match attachment.list.adds(PORT_MAPPINGS) {
            true => self.publisher.unpublish(attachment).await,
            false => self.publisher.unpublish_elsewhere(attachment).await,
        }
    }

    /// `NetworkDriver.EndpointOperInfo`: what is known about an endpoint. An unknown endpoint gets an empty
    /// answer, and no error: Docker asks about every endpoint of a container when another network is
    /// connected to it.
    ///
    /// It is also the last call before a container's process starts, and the only one for an endpoint that
    /// is not the gateway. So it is answered once the endpoint is settled.
    ///
    /// # Errors
    /// What Docker does not carry over could not be put back; or its ports could not be published, and
    /// Docker did not ask for them.
    pub async fn endpoint_oper_info(
        &self,
        request: EndpointRequest,
    ) -> Result<EndpointOperInfoResponse> {
        let (network, endpoint) = (&request.network_id, &request.endpoint_id);
        let asked = Asked::now("EndpointOperInfo", network, Some(endpoint));
        let told = self.oper_info(request).await;
        self.history.ended(&asked, told)
    }

    async fn oper_info(&self, request: EndpointRequest) -> Result<EndpointOperInfoResponse> {
        let mut call = self.gate.docker_call(&request.endpoint_id);
        self.inherited.seen_by_dockerd(&request.endpoint_id);
        let mut slot = self.endpoints.lock(&request.endpoint_id).await;
        if let Some(error) = slot.take_failure() {
            // Docker has not asked for its ports, and begins no container before 28 if this fails.
            return Err(error);
        }
        let mut value = Map::new();
        if let Some(attachment) = slot.as_mut() {
            self.publisher.note_published_elsewhere(attachment).await;
            watch::settle(self, attachment).await?;
            if attachment.settled().is_some() {
                // Docker before 28 moves the interface after this call.
                call = call.last();
            }
            value.insert("cni.network".into(), json!(attachment.list.name()));
            value.insert("cni.containerID".into(), json!(attachment.parameters.container_id));
            value.insert("cni.ifname".into(), json!(attachment.parameters.if_name));
            if let Some(mappings) = attachment.parameters.capability_args.get("portMappings") {
                value.insert("cni.portMappings".into(), mappings.clone());
            }
            value.insert("cni.result".into(), json!(attachment.made()?.result));
        }
        drop(call);
        Ok(EndpointOperInfoResponse { value })
    }

    /// `NetworkDriver.Leave`: the container ends, or leaves the network. The interface is still inside; Docker
    /// takes it out after this. So now the lease is released, which needs the interface, and what would stay in
    /// the namespace is removed. This may fail in a namespace that is being destroyed; Leave succeeds
    /// nevertheless.
    pub async fn leave(&self, request: EndpointRequest) {
        // Nobody waits for this removal, and many containers may leave at once.
        let slot = self.endpoints.lock(&request.endpoint_id).await;
        let Some(attachment) = slot.as_ref() else { return };
        if let Err(error) = lease::release(&self.chains, attachment).await {
            tracing::warn!(attachment = %attachment.id, error = chain(&error),
                "its lease is not released, and runs out");
        }
        if let Some(joined) = attachment.joined()
            && let Err(error) = self.interfaces.unsettle(joined).await
        {
            tracing::warn!(error = chain(&error), "rules or links may be left in the container");
        }
        self.publisher.forget_published_elsewhere(attachment).await;
    }

    /// Waits for removals that have ports which the endpoint is to publish: the ports that it was created
    /// with, or else the `asked` ones.
    ///
    /// # Errors
    /// A removal still has a port.
    pub(super) async fn wait_for_ports(
        &self,
        attachment: &Attachment,
        asked: &[PortBinding],
    ) -> Result<()> {
        let ports = required_ports(attachment.ports_or(asked), asked);
        if attachment.publishes() || !attachment.list.declares(PORT_MAPPINGS) {
            return Ok(());
        }
        let claims = Claims::of_ports(&attachment.endpoint, ports);
        self.removals.wait_for(&claims, waits::limit()).await
    }
}
