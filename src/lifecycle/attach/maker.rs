//! Runs ADD, and reads what it made.

use std::sync::Arc;
use std::time::SystemTime;

use super::{ChainInput, RequestedInterface};
use crate::cni::AttachResult;
use crate::cnm::{EndpointId, Forward, PortBinding};
use crate::lifecycle::error::{Error, Result};
use crate::lifecycle::host::{Chains, forward};
use crate::lifecycle::interface::{Fresh, Interfaces};
use crate::lifecycle::lease;
use crate::lifecycle::parts::Parts;
use crate::lifecycle::record::{
    Attachment, AttachmentId, Made, Network, Phase, Records, Settings, WriteLock,
};
use crate::netlink::Netlink;
use crate::translate::Fitness;
use crate::{netns, translate};

/// Makes attachments.
#[derive(Debug)]
pub(crate) struct Maker {
    /// The kernel's id of the current boot.
    boot_id: Arc<str>,
    chains: Arc<Chains>,
    interfaces: Arc<Interfaces>,
    records: Arc<Records>,
}

/// An attachment that could not be made.
pub(crate) struct Failed {
    pub(crate) cause: Error,
    /// The result of ADD, if it has succeeded: DEL gets it.
    pub(crate) result: Option<AttachResult>,
    /// How many plugins of the chain have run, if that is known.
    pub(crate) plugins_run: Option<usize>,
}

impl Failed {
    fn of(cause: Error, requested: &RequestedInterface<'_>, result: Option<AttachResult>) -> Self {
        let plugins_run = cause.plugins_run();
        Self { cause: requested.explained(cause), result, plugins_run }
    }

    /// Notes with the attachment that it is to be removed, and what is left of it. Returns the cause.
    pub(crate) fn noted_in(self, attachment: &mut Attachment) -> Error {
        attachment.begin_removal_with(|removal, left| {
            removal.plugins_run = self.plugins_run;
            removal.refused = true;
            left.result = self.result;
        });
        self.cause
    }
}

impl Maker {
    pub(crate) fn new(parts: &Parts, boot_id: &Arc<str>) -> Self {
        let Parts { chains, interfaces, records, .. } = parts.clone();
        Self { boot_id: Arc::clone(boot_id), chains, interfaces, records }
    }

    /// An attachment of which nothing exists yet: of that endpoint, or of none.
    pub(crate) fn intend(
        &self,
        network: &Network,
        input: ChainInput,
        endpoint: Option<EndpointId>,
        ports: Vec<PortBinding>,
    ) -> Attachment {
        let id = AttachmentId::new();
        let staging = self.interfaces.staging(id);
        Attachment {
            id,
            made: Some(SystemTime::now()),
            network: network.id.clone(),
            endpoint: endpoint.unwrap_or_else(|| id.without_dashes()),
            boot_id: self.boot_id.to_string(),
            parameters: input.parameters(id, staging.clone()),
            internal: network.options.internal,
            forwarded: forward::applies(network.options.forward, &input.list),
            open: network.options.forward == Forward::Open,
            list: self.chains.share(input.list),
            ports,
            publishing: false,
            staging,
            is_gateway: false,
            phase: Phase::adding(),
            write_lock: WriteLock::default(),
        }
    }

    /// Runs the attachment's ADD in a new staging namespace, and reads what it made. After an error the
    /// caller undoes what was done. ADD is cut short once it is `unwanted`.
    pub(crate) async fn add(
        &self,
        attachment: &Attachment,
        requested: &RequestedInterface<'_>,
        unwanted: impl Future<Output = ()>,
    ) -> std::result::Result<Made, Failed> {
        if let Err(cause) = self.prepare(attachment).await {
            return Err(Failed { cause, result: None, plugins_run: Some(0) });
        }
        let Attachment { list, parameters, internal, .. } = attachment;
        let mut fitness = Fitness::of(list, &parameters.if_name, *internal);
        let added = async {
            tokio::select! {
                result = self.chains.add(list, parameters, |plugin, result| fitness.see(plugin, result)) => result,
                () = unwanted => Err(Error::Unwanted),
            }
        };
        // The first attachment reads a fresh namespace in parallel to its ADD, for the comparison.
        let (result, fresh) = tokio::join!(added, self.interfaces.fresh());
        let result = match result {
            Ok(result) => result,
            Err(cause) => {
                let failed = Failed::of(cause, requested, None);
                let cause = lease::explained(&attachment.list, failed.cause).await;
                return Err(Failed { cause, ..failed });
            }
        };
        let made = match (fresh, fitness.judge()) {
            (Ok(fresh), Ok(())) => self.observe(attachment, requested, result.clone(), fresh).await,
            (Err(cause), _) => Err(cause),
            (Ok(_), Err(unfit)) => Err(unfit.into()),
        };
        made.map_err(|cause| Failed::of(cause, requested, Some(result)))
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

    /// Reads what ADD made, and translates it to the answer for Docker.
    async fn observe(
        &self,
        attachment: &Attachment,
        requested: &RequestedInterface<'_>,
        result: AttachResult,
        fresh: &Fresh,
    ) -> Result<Made> {
        let if_name = &attachment.parameters.if_name;
        let staging = Netlink::in_netns(&attachment.staging).await?;
        let link = self.made_as_requested(attachment, &staging, requested).await?;
        let (snapshot, further) =
            self.interfaces.snapshot(attachment, &staging, link, fresh).await?;
        let answer = translate::endpoint_interface(
            &attachment.list,
            requested.interface,
            requested.ips,
            &result,
            if_name,
            snapshot.link.mac.map(|mac| mac.to_string()),
        )?;
        let users = Settings { link: requested.sysctls.clone(), ..Settings::default() };
        let mut made =
            Made { result, answer, docker_addresses: Vec::new(), snapshot, further, users };
        if made.users.turn_ipv6_off() {
            made.answer.address_ipv6 = None;
        }
        let given = made.answer.addresses();
        made.docker_addresses = requested.interface.addresses().chain(given).collect();
        Ok(made)
    }

    /// Finds the interface that ADD made, and makes sure that it is as Docker decided. Setting MAC or MTU
    /// afterwards would be wrong, because plugins derive other things from them. Returns the interface's
    /// index in staging.
    async fn made_as_requested(
        &self,
        attachment: &Attachment,
        staging: &Netlink,
        requested: &RequestedInterface<'_>,
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
        if let Some(mac) = requested.mac.filter(|mac| link.mac != Some(*mac)) {
            let made = link.mac.map_or("none".to_owned(), |mac| mac.to_string());
            return other(
                format!("MAC {mac}"),
                made,
                "let plugin \"tuning\" set it, or choose none",
            );
        }
        if let Some(mtu) = requested.mtu.filter(|mtu| *mtu != link.mtu) {
            let made = link.mtu.to_string();
            return other(format!("MTU {mtu}"), made, "set it in the conflist");
        }
        Ok(link.index)
    }
}
