//! What ADD of a chain gets: the configuration, and the arguments of its plugins.

use std::path::PathBuf;

use crate::cni::NetworkConfigList;
use crate::cnm::{EndpointInterface, EndpointOptions, PortBinding};
use crate::lifecycle::error::Result;
use crate::lifecycle::record::{Attachment, AttachmentId, Network};
use crate::translate::{Arguments, PORT_MAPPINGS};
use crate::{cni, translate};

/// What the ADD of an attachment gets: the configuration of the chain, and the arguments of its plugins.
#[derive(Debug, Clone)]
pub(crate) struct ChainInput {
    pub(crate) list: NetworkConfigList,
    pub(crate) arguments: Arguments,
}

impl ChainInput {
    /// The input for an endpoint of the network. `list` is the chain as its file has it now.
    ///
    /// # Errors
    /// The chain has no way to get something that was asked for.
    pub(crate) fn of(
        network: &Network,
        list: NetworkConfigList,
        options: &EndpointOptions,
        interface: &EndpointInterface,
    ) -> Result<Self> {
        let list = match options.mtu.or(network.options.mtu) {
            Some(mtu) => translate::with_mtu(list, mtu)?,
            None => list,
        };
        let list = match translate::is_without_ipv6(interface, options, &network.pools) {
            true => translate::without_ipv6(list),
            false => list,
        };
        let chosen = &network.options.chain;
        let arguments = translate::arguments(&list, chosen, options, interface, &network.pools)?;
        let list = arguments.applied_to(list);
        Ok(Self { list, arguments })
    }

    /// The input for a spare: for an endpoint that asks for nothing.
    ///
    /// # Errors
    /// As [`ChainInput::of`].
    pub(crate) fn of_spare(network: &Network, list: NetworkConfigList) -> Result<Self> {
        Self::of(network, list, &EndpointOptions::default(), &EndpointInterface::default())
    }

    /// Has the chain publish these ports.
    pub(crate) fn publish(&mut self, ports: &[PortBinding]) {
        let mappings = translate::port_mappings(ports);
        self.arguments.capabilities.insert(PORT_MAPPINGS.to_owned(), mappings);
    }

    /// Has the chain publish no ports.
    pub(crate) fn publish_nothing(&mut self) {
        self.arguments.capabilities.remove(PORT_MAPPINGS);
    }

    /// The parameters of the ADD of an attachment. They name the attachment and not its endpoint, because a
    /// spare has no endpoint.
    pub(crate) fn parameters(&self, id: AttachmentId, staging: PathBuf) -> cni::Attachment {
        let mut args = self.arguments.args.clone();
        for (key, value) in translate::kubernetes_args(&id.to_string()) {
            // The user's own settings take precedence.
            if !args.iter().any(|(present, _)| *present == key) {
                args.push((key, value));
            }
        }
        cni::Attachment {
            container_id: id.to_string(),
            netns: Some(staging),
            if_name: id.if_name(),
            args,
            capability_args: self.arguments.capabilities.clone(),
        }
    }

    /// Whether the ADD of the attachment got this input.
    pub(crate) fn was_given_to(&self, attachment: &Attachment) -> bool {
        *attachment.list == self.list
            && attachment.parameters == self.parameters(attachment.id, attachment.staging.clone())
    }
}
