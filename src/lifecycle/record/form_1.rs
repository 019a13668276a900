//! Records of version 1, which version 0.1.0 and the versions after it wrote. They are read, and never
//! written.
//!
//! There, a field that only some phases have is optional, and is beside all other fields.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use ipnet::IpNet;
use serde::Deserialize;

use super::form_2::{AddForm, Form2, JoinForm, RemovalForm};
use super::{AttachmentId, HostSide, Netfilter, PhaseName, Settings};
use crate::cni::{self, AttachResult, NetworkConfigList};
use crate::cnm::{EndpointId, EndpointInterface, NetworkId, PortBinding};
use crate::netlink::Snapshot;

/// A record of version 1. Fields that 0.1.0 did not have yet have a default.
#[derive(Debug, Deserialize)]
pub(super) struct Form1 {
    id: AttachmentId,
    #[serde(default)]
    made: Option<SystemTime>,
    network: NetworkId,
    endpoint: EndpointId,
    phase: PhaseName,
    boot_id: String,
    list: Arc<NetworkConfigList>,
    parameters: cni::Attachment,
    #[serde(default)]
    ports: Vec<PortBinding>,
    #[serde(default)]
    published_elsewhere: bool,
    staging: PathBuf,
    internal: bool,
    forwarded: bool,
    #[serde(default)]
    open: bool,
    sandbox: Option<PathBuf>,
    #[serde(default)]
    is_gateway: bool,
    #[serde(default)]
    widened: u8,
    #[serde(default)]
    tables: BTreeMap<u32, u32>,
    result: Option<AttachResult>,
    interface: Option<Interface1>,
    #[serde(default)]
    host_side: Option<HostSide>,
    #[serde(default)]
    removal: Option<Removal1>,
}

#[derive(Debug, Deserialize)]
struct Interface1 {
    answer: EndpointInterface,
    told: Vec<IpNet>,
    snapshot: Snapshot,
    settings: Option<Settings>,
    #[serde(default)]
    users: Settings,
    #[serde(default)]
    users_follow: bool,
}

#[derive(Debug, Default, Deserialize)]
struct Removal1 {
    since: u64,
    attempts: u32,
    error: Option<String>,
    #[serde(default)]
    plugins_run: Option<usize>,
}

impl Form1 {
    /// The same in the form of version 2.
    ///
    /// # Errors
    /// It has only a part of the fields that ADD sets.
    pub(super) fn into_form_2(self) -> Result<Form2, String> {
        let mut form = Form2 {
            id: self.id,
            made: self.made,
            network: self.network,
            endpoint: Some(self.endpoint),
            phase: self.phase,
            boot_id: self.boot_id,
            list: self.list,
            parameters: self.parameters,
            ports: self.ports,
            publishing: false,
            staging: self.staging,
            internal: self.internal,
            forwarded: self.forwarded,
            open: self.open,
            is_gateway: self.is_gateway,
            add: None,
            ahead: None,
            join: None,
            removal: None,
        };
        if self.phase == PhaseName::Deleting {
            let removal = self.removal.unwrap_or_default();
            let seen = removal.into_form_2(self.result, self.interface);
            form.removal =
                Some(RemovalForm { sandbox: self.sandbox, host_side: self.host_side, ..seen });
            return Ok(form);
        }
        let (settings, users_follow) = match &self.interface {
            Some(interface) => (interface.settings.clone(), interface.users_follow),
            None => (None, false),
        };
        form.add = match (self.result, self.interface) {
            (Some(result), Some(Interface1 { answer, told, snapshot, users, .. })) => {
                Some(AddForm { result, answer, told, snapshot, further: Vec::new(), users })
            }
            (None, None) => None,
            (Some(_), None) => return Err(half("what ADD answered", "the interface")),
            (None, Some(_)) => return Err(half("the interface", "what ADD answered")),
        };
        form.join = self.sandbox.map(|sandbox| JoinForm {
            sandbox,
            settings: settings.unwrap_or_default().shared(),
            netfilter: Netfilter::default(),
            users_follow,
            widened: self.widened,
            tables: self.tables,
            host_side: self.host_side,
            published_elsewhere: self.published_elsewhere,
        });
        Ok(form)
    }
}

impl Removal1 {
    /// The removal of an attachment of which that is known.
    fn into_form_2(
        self,
        result: Option<AttachResult>,
        interface: Option<Interface1>,
    ) -> RemovalForm {
        let Self { since, attempts, error, plugins_run } = self;
        let (snapshot, settings) = interface.map(|it| (it.snapshot, it.settings)).unzip();
        RemovalForm {
            since,
            attempts,
            error,
            plugins_run,
            result,
            snapshot,
            further: Vec::new(),
            settings: settings.flatten().map(Settings::shared),
            netfilter: Netfilter::default(),
            sandbox: None,
            host_side: None,
        }
    }
}

fn half(has: &str, lacks: &str) -> String {
    format!("it contradicts itself: it has {has}, and not {lacks}")
}
