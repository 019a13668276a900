//! An event: what happened to a network or an attachment.

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::named::Named;
use crate::cnm::{EndpointId, NetworkId, PortBinding};
use crate::plain;

/// What happened. A line of the journal, and of `cnm-cni events --format json`: later versions may add
/// fields.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Event {
    /// When, to the millisecond.
    pub time: Timestamp,
    /// What kind of event it is.
    pub kind: Kind,
    /// Docker's names, as far as they were known.
    #[serde(flatten)]
    pub names: Named,
    /// The attachment: the `CNI_CONTAINERID` of its plugins.
    pub attachment: Option<String>,
    /// Docker's endpoint.
    pub endpoint: Option<EndpointId>,
    /// Docker's network.
    pub network: Option<NetworkId>,
    /// The conflist whose chain was run.
    pub conflist: Option<String>,
    /// The addresses that the chain gave.
    pub addresses: Vec<IpNet>,
    /// The ports that are published.
    pub ports: Vec<Port>,
    /// How long it took, in milliseconds.
    pub ms: Option<f64>,
    /// The plugins that were run for it, in their order.
    pub plugins: Vec<PluginRun>,
    /// How many times DEL has been run for it.
    pub attempt: Option<u32>,
    /// More, in a sentence.
    pub detail: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
}

/// A kind of event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The driver is ready.
    Start,
    /// The driver has ended as it should.
    Stop,
    /// Docker made a network.
    NetworkCreate,
    /// Docker removed a network.
    NetworkRemove,
    /// ADD has succeeded.
    Attach,
    /// A spare is ready, or was removed before a container had it; or none can be made.
    Spare,
    /// A call of Docker's failed.
    Refuse,
    /// What Docker does not carry over is in the container.
    Settle,
    /// DEL has succeeded.
    Detach,
    /// DEL has failed for the first time.
    Orphan,
    /// DEL has failed once more.
    Retry,
    /// The operator had an orphan forgotten.
    Forget,
    /// What differed from what ADD left was put back.
    Repair,
    /// Garbage was found, and removed if possible.
    Garbage,
    /// A plugin has run for too long, and still runs.
    Slow,
    /// Events were lost, because the journal's file was slow or full.
    Lost,
    /// Tells nothing but whose endpoint it is; it is never shown.
    Name,
    /// A kind of a later version.
    #[default]
    #[serde(other)]
    Other,
}

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// The host's address; none for all.
    pub host_ip: Option<IpAddr>,
    /// The host's port.
    pub host_port: u16,
    /// The container's port.
    pub container_port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
}

/// One run of one plugin.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PluginRun {
    /// The plugin's type.
    pub plugin: String,
    /// The verb: `ADD`, `DEL`.
    pub verb: String,
    /// How long it ran, in milliseconds.
    pub ms: f64,
    /// Why it failed.
    pub error: Option<String>,
}

impl Kind {
    /// Those that are shown.
    pub const SHOWN: [Self; 16] = [
        Self::Start,
        Self::Stop,
        Self::NetworkCreate,
        Self::NetworkRemove,
        Self::Attach,
        Self::Spare,
        Self::Refuse,
        Self::Settle,
        Self::Detach,
        Self::Orphan,
        Self::Retry,
        Self::Forget,
        Self::Repair,
        Self::Garbage,
        Self::Slow,
        Self::Lost,
    ];

    /// Its name, as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::NetworkCreate => "network_create",
            Self::NetworkRemove => "network_remove",
            Self::Attach => "attach",
            Self::Spare => "spare",
            Self::Refuse => "refuse",
            Self::Settle => "settle",
            Self::Detach => "detach",
            Self::Orphan => "orphan",
            Self::Retry => "retry",
            Self::Forget => "forget",
            Self::Repair => "repair",
            Self::Garbage => "garbage",
            Self::Slow => "slow",
            Self::Lost => "lost",
            Self::Name => "name",
            Self::Other => "other",
        }
    }
}

impl Event {
    /// An event of this kind that happens now.
    #[must_use]
    pub fn now(kind: Kind) -> Self {
        Self { time: milliseconds_of(Timestamp::now()), kind, ..Self::default() }
    }

    /// The same without more of others' words than is shown anywhere.
    pub(super) fn cut(mut self) -> Self {
        let texts = [&mut self.detail, &mut self.error].into_iter();
        let texts = texts.chain(self.plugins.iter_mut().map(|run| &mut run.error));
        for text in texts.flatten() {
            *text = plain::cut(text).into_owned();
        }
        self
    }

    /// Writes its line in the log: one for each outcome.
    pub(super) fn log(&self) {
        let network = self.network.as_ref().map(|id| self.names.network(id));
        let container = self.names.container.as_deref();
        let endpoint = self.endpoint.as_ref().map(EndpointId::short);
        let attachment = self.attachment.as_deref();
        let conflist = self.conflist.as_deref();
        let addresses = listed(self.addresses.iter().map(ToString::to_string));
        let ports = listed(self.ports.iter().map(ToString::to_string));
        let plugins = listed(self.plugins.iter().map(PluginRun::in_words));
        let (ms, attempt) = (self.ms, self.attempt);
        let (detail, error) = (self.detail.as_deref(), self.error.as_deref());
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    container,
                    endpoint,
                    network,
                    conflist,
                    addresses,
                    ports,
                    ms,
                    plugins,
                    attempt,
                    detail,
                    error,
                    attachment,
                    "{}",
                    self.kind.in_words()
                )
            };
        }
        match (self.kind, error) {
            (Kind::Name | Kind::Other | Kind::Slow, _) => {}
            (Kind::Orphan | Kind::Retry, _) => line!(error),
            (Kind::Forget | Kind::Lost, _) | (_, Some(_)) => line!(warn),
            _ => line!(info),
        }
    }
}

impl Kind {
    fn in_words(self) -> &'static str {
        match self {
            Self::Start => "started",
            Self::Stop => "stopped",
            Self::NetworkCreate => "network created",
            Self::NetworkRemove => "network removed",
            Self::Attach => "attached",
            Self::Spare => "spare",
            Self::Refuse => "refused",
            Self::Settle => "settled",
            Self::Detach => "detached",
            Self::Orphan | Self::Retry => "the attachment cannot be removed",
            Self::Forget => "orphan forgotten; what its plugins keep on the host stays",
            Self::Repair => "repaired",
            Self::Garbage => "garbage collected",
            Self::Lost => "the journal was too slow, and events are missing in it",
            Self::Slow | Self::Name | Self::Other => "",
        }
    }
}

impl PluginRun {
    fn in_words(&self) -> String {
        let failed = if self.error.is_some() { " (failed)" } else { "" };
        format!("{} {} {:.1}{failed}", self.plugin, self.verb, self.ms)
    }
}

impl std::fmt::Display for Port {
    /// As `docker ps` shows it: `*:8080->80/tcp`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host_ip {
            Some(IpAddr::V6(ip)) => write!(f, "[{ip}]")?,
            Some(ip) => write!(f, "{ip}")?,
            None => write!(f, "*")?,
        }
        write!(f, ":{}->{}/{}", self.host_port, self.container_port, self.protocol)
    }
}

impl From<&PortBinding> for Port {
    fn from(binding: &PortBinding) -> Self {
        Self {
            host_ip: binding.host_ip,
            host_port: binding.host_port,
            container_port: binding.port,
            protocol: binding.proto.name().to_owned(),
        }
    }
}

/// Several, or none.
fn listed(texts: impl Iterator<Item = String>) -> Option<String> {
    Some(texts.collect::<Vec<_>>().join(", ")).filter(|text| !text.is_empty())
}

/// A time to the millisecond: no finer one is comparable between processes.
fn milliseconds_of(time: Timestamp) -> Timestamp {
    // In range, because it comes from a time.
    Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_later_version_adds_is_passed_over() {
        let line = r#"{"time": "2026-08-01T03:00:00.5Z", "kind": "teleport", "warp": 9, "ms": 1}"#;
        let event: Event = serde_json::from_str(line).unwrap();
        assert_eq!((event.kind, event.ms), (Kind::Other, Some(1.0)));
    }

    #[test]
    fn each_kind_has_the_name_that_it_is_written_with() {
        for kind in Kind::SHOWN {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
    }

    #[test]
    fn what_a_plugin_said_at_length_is_cut() {
        let long = Some("x".repeat(1 << 20));
        let run = PluginRun { error: long.clone(), ..PluginRun::default() };
        let event = Event { error: long, plugins: vec![run], ..Event::now(Kind::Refuse) }.cut();
        assert!(serde_json::to_string(&event).unwrap().len() < 4 * plain::SHOWN);
    }
}
