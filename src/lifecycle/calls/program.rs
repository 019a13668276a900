//! Program and RevokeExternalConnectivity, EndpointOperInfo and Leave: what Docker says about an
//! endpoint between Join and DeleteEndpoint.

use serde_json::{Map, json};

use crate::cnm::{
    EndpointOperInfoResponse, EndpointOptions, EndpointRequest, ProgramExternalConnectivityRequest,
};
use crate::lifecycle::error::chain;
use crate::lifecycle::ports::publish;
use crate::lifecycle::record::Attachment;
use crate::lifecycle::{Driver, Error, Result};
use crate::translate::PORT_MAPPINGS;

impl Driver {
    /// `NetworkDriver.ProgramExternalConnectivity`: the endpoint became its sandbox's
    /// gateway. Its ports are published, where the chain has not done so already, and the
    /// endpoint is settled, so that a container whose network is not whole does not start.
    ///
    /// # Errors
    /// The endpoint is unknown, its ports cannot be published, or what Docker does not carry
    /// over could not be put back.
    pub async fn program_external_connectivity(
        &self,
        request: ProgramExternalConnectivityRequest,
    ) -> Result<()> {
        let _ahead = self.inner.gate.ahead();
        self.inner.is_spoken_of(&request.endpoint_id);
        let asked = EndpointOptions::read(&request.options)?.ports;
        match self.inner.endpoints.lock(&request.endpoint_id).await.as_mut() {
            Some(attachment) => {
                self.inner.publish(attachment, asked).await?;
                if !attachment.is_gateway {
                    attachment.is_gateway = true;
                    self.inner.keep_soon(attachment).await;
                }
                self.inner.settle(attachment).await?;
                self.inner.straighten(attachment, true).await
            }
            None => Err(Error::UnknownEndpoint(request.endpoint_id)),
        }
    }

    /// `NetworkDriver.RevokeExternalConnectivity`: the endpoint is its sandbox's gateway no
    /// longer, and its ports are free for the one that is. An unknown endpoint has none.
    ///
    /// # Errors
    /// The chain cannot take the ports back; they stay the endpoint's.
    pub async fn revoke_external_connectivity(&self, request: EndpointRequest) -> Result<()> {
        let inner = &self.inner;
        let _ahead = inner.gate.ahead();
        let mut slot = inner.endpoints.lock(&request.endpoint_id).await;
        let Some(attachment) = slot.as_mut() else { return Ok(()) };
        if attachment.is_gateway {
            attachment.is_gateway = false;
            inner.keep_soon(attachment).await;
        }
        let Attachment { list, parameters, .. } = &*attachment;
        let can = attachment.publishes() && list.adds(PORT_MAPPINGS);
        let (true, Some(result)) = (can, &attachment.result) else { return Ok(()) };
        let turn = inner.turns.beside_others(list.name()).await;
        inner.runtime.del_capability(list, parameters, PORT_MAPPINGS, result).await?;
        drop(turn);
        publish::forget_flows(attachment).await;
        let mut revoked = attachment.clone();
        revoked.parameters.capability_args.remove(PORT_MAPPINGS);
        inner.keep(&revoked).await?;
        *attachment = revoked;
        inner.ports.release(&request.endpoint_id);
        Ok(())
    }

    /// `NetworkDriver.EndpointOperInfo`: what is known about an endpoint. Nothing about an
    /// unknown one, which is no error: Docker asks about every endpoint of a container
    /// when another network is connected to it.
    ///
    /// It is also the last call before a container's process starts, and the only one for
    /// an endpoint that is not the gateway: it is answered once the endpoint is settled.
    ///
    /// # Errors
    /// What Docker does not carry over could not be put back.
    pub async fn endpoint_oper_info(
        &self,
        request: EndpointRequest,
    ) -> Result<EndpointOperInfoResponse> {
        let _ahead = self.inner.gate.ahead();
        self.inner.is_spoken_of(&request.endpoint_id);
        let mut slot = self.inner.endpoints.lock(&request.endpoint_id).await;
        let mut value = Map::new();
        if let Some(attachment) = slot.as_mut() {
            self.inner.settle(attachment).await?;
            value.insert("cni.network".into(), json!(attachment.list.name()));
            value.insert("cni.containerID".into(), json!(attachment.parameters.container_id));
            value.insert("cni.ifname".into(), json!(attachment.parameters.if_name));
            if let Some(mappings) = attachment.parameters.capability_args.get("portMappings") {
                value.insert("cni.portMappings".into(), mappings.clone());
            }
            if let Some(result) = &attachment.result {
                value.insert("cni.result".into(), json!(result));
            }
        }
        Ok(EndpointOperInfoResponse { value })
    }

    /// `NetworkDriver.Leave`: the container goes, or leaves the network. The interface is
    /// still inside; Docker takes it out after this. What would stay behind goes now. A
    /// namespace that is dying may refuse, which is no reason to keep Docker from leaving.
    pub async fn leave(&self, request: EndpointRequest) {
        let slot = self.inner.endpoints.lock(&request.endpoint_id).await;
        if let Some(attachment) = slot.as_ref()
            && let Err(error) = self.inner.unsettle(attachment).await
        {
            tracing::warn!(error = chain(&error), "rules may be left in the container");
        }
    }
}
