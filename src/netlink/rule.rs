//! Rules: which routing table is asked for which packet.

use ipnet::IpNet;
use rtnetlink::Handle;
use rtnetlink::packet_core::{DefaultNla, Nla};
use rtnetlink::packet_route::rule::{RuleAttribute, RuleFlags, RuleMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use serde::{Deserialize, Serialize};

use super::session::Session;
use super::{Error, Failure, Netlink, Turn, or_absent};

/// `FRA_SUPPRESS_PREFIXLEN` where nothing is suppressed; the kernel always says so.
const SUPPRESS_NOTHING: u32 = u32::MAX;

/// A rule of the routing policy, with all that is needed to restore it: `ip rule show`.
///
/// A namespace begins with rules of its own: priority 0 for the local table, 32766 for the
/// main one, and for IPv4 32767 for the default one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Whose packets it is for.
    pub family: Family,
    /// Its place: the lowest is asked first.
    pub priority: u32,
    /// Where the packets come from; absent for anywhere.
    pub from: Option<IpNet>,
    /// Where the packets go; absent for anywhere.
    pub to: Option<IpNet>,
    /// What it does (`FR_ACT_*`): 1 asks [`Rule::table`], 2 goes on at another rule, 6 to 8
    /// refuse.
    pub action: u8,
    /// The table that it asks; 0 if its action is another.
    #[serde(default)]
    pub table: u32,
    /// Type of service of the packets; 0 for all.
    #[serde(default)]
    pub tos: u8,
    /// Firewall mark of the packets.
    pub mark: Option<u32>,
    /// The bits of the mark that count.
    pub mark_mask: Option<u32>,
    /// Name of the link that the packets came in by; `lo` for those of this host.
    pub input: Option<String>,
    /// Name of the link that the packets' socket is bound to.
    pub output: Option<String>,
    /// It is for all packets but these.
    #[serde(default)]
    pub inverted: bool,
    /// Who made it (`RTPROT_*`): 0 a program that did not say, 2 the kernel.
    #[serde(default)]
    pub protocol: u8,
    /// Everything else that the kernel says of it: ports, users, the rule to go on at. Kept
    /// as it came, and restored so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rest: Vec<RuleDetail>,
}

/// An attribute of a rule that is only carried along (`FRA_*` of linux/fib_rules.h).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleDetail {
    /// Which attribute.
    pub kind: u16,
    /// Its value, in this machine's byte order.
    pub value: Vec<u8>,
}

/// Which protocol a rule is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    #[default]
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Netlink {
    /// All rules, IPv4 first, each family by priority.
    pub async fn rules(&self) -> Result<Vec<Rule>, Error> {
        self.run("list", "the rules".into(), |mut turn: Turn| async move { list(&mut turn).await })
            .await
    }

    /// Adds a rule.
    ///
    /// Fails if the same rule is there: [`Error::is_exists`].
    pub async fn add_rule(&self, rule: &Rule) -> Result<(), Error> {
        let message = write(rule);
        let request = |netlink: &Handle| {
            let mut add = netlink.rule().add();
            *add.message_mut() = message;
            add.execute()
        };
        self.request("add", described(rule), request).await
    }

    /// Removes exactly this rule. Succeeds if it is gone.
    pub async fn remove_rule(&self, rule: &Rule) -> Result<(), Error> {
        let message = write(rule);
        let request = |netlink: &Handle| netlink.rule().del(message).execute();
        or_absent(self.request("remove", described(rule), request).await)
    }
}

/// All rules.
pub(super) async fn list(session: &mut Session) -> Result<Vec<Rule>, Failure> {
    let mut rules =
        session.dump(RouteNetlinkMessage::GetRule(RuleMessage::default()), read).await?;
    rules.sort_by_key(|rule| rule.family);
    Ok(rules)
}

fn described(rule: &Rule) -> String {
    let from = rule.from.map(|net| format!(" from {net}")).unwrap_or_default();
    let to = rule.to.map(|net| format!(" to {net}")).unwrap_or_default();
    format!("rule {}{from}{to} to table {}", rule.priority, rule.table)
}

fn write(rule: &Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = match rule.family {
        Family::Ipv4 => AddressFamily::Inet,
        Family::Ipv6 => AddressFamily::Inet6,
    };
    message.header.tos = rule.tos;
    message.header.action = rule.action.into();
    message.header.flags.set(RuleFlags::Invert, rule.inverted);
    // The header has room for one byte; the attribute is what counts.
    message.header.table = u8::try_from(rule.table).unwrap_or_default();

    let attributes = &mut message.attributes;
    attributes.push(RuleAttribute::Priority(rule.priority));
    attributes.push(RuleAttribute::Table(rule.table));
    attributes.push(RuleAttribute::Protocol(rule.protocol.into()));
    if let Some(net) = rule.from {
        message.header.src_len = net.prefix_len();
        attributes.push(RuleAttribute::Source(net.network()));
    }
    if let Some(net) = rule.to {
        message.header.dst_len = net.prefix_len();
        attributes.push(RuleAttribute::Destination(net.network()));
    }
    attributes.extend(rule.mark.map(RuleAttribute::FwMark));
    attributes.extend(rule.mark_mask.map(RuleAttribute::FwMask));
    attributes.extend(rule.input.clone().map(RuleAttribute::Iifname));
    attributes.extend(rule.output.clone().map(RuleAttribute::Oifname));
    attributes.extend(
        rule.rest
            .iter()
            .map(|detail| RuleAttribute::Other(DefaultNla::new(detail.kind, detail.value.clone()))),
    );
    message
}

fn read(message: RouteNetlinkMessage) -> Option<Rule> {
    let RouteNetlinkMessage::NewRule(message) = message else { return None };
    let header = message.header;
    // There are rules for multicast, too.
    let family = match header.family {
        AddressFamily::Inet => Family::Ipv4,
        AddressFamily::Inet6 => Family::Ipv6,
        _ => return None,
    };
    let mut rule = Rule {
        family,
        action: header.action.into(),
        table: header.table.into(),
        tos: header.tos,
        inverted: header.flags.contains(RuleFlags::Invert),
        // The kernel leaves out what is zero.
        ..Rule::default()
    };
    for attribute in message.attributes {
        match attribute {
            RuleAttribute::Priority(priority) => rule.priority = priority,
            RuleAttribute::Table(table) => rule.table = table,
            RuleAttribute::Protocol(protocol) => rule.protocol = protocol.into(),
            RuleAttribute::Source(ip) => rule.from = IpNet::new(ip, header.src_len).ok(),
            RuleAttribute::Destination(ip) => rule.to = IpNet::new(ip, header.dst_len).ok(),
            RuleAttribute::FwMark(mark) => rule.mark = Some(mark),
            RuleAttribute::FwMask(mask) => rule.mark_mask = Some(mask),
            RuleAttribute::Iifname(name) => rule.input = Some(name),
            RuleAttribute::Oifname(name) => rule.output = Some(name),
            RuleAttribute::SuppressPrefixLen(SUPPRESS_NOTHING) => {}
            other => {
                let mut value = vec![0; other.value_len()];
                other.emit_value(&mut value);
                rule.rest.push(RuleDetail { kind: other.kind(), value });
            }
        }
    }
    Some(rule)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ip, with_veth};
    use super::*;

    #[tokio::test]
    async fn a_namespace_begins_with_five_rules() {
        let (_pinned, netlink, _) = with_veth().await;
        let rules = netlink.rules().await.unwrap();
        let known: Vec<_> =
            rules.iter().map(|rule| (rule.family, rule.priority, rule.table)).collect();
        assert_eq!(
            known,
            [
                (Family::Ipv4, 0, 255),
                (Family::Ipv4, 32766, 254),
                (Family::Ipv4, 32767, 253),
                (Family::Ipv6, 0, 255),
                (Family::Ipv6, 32766, 254),
            ]
        );
    }

    #[tokio::test]
    async fn rules_are_restored_as_they_were() {
        let (pinned, netlink, _) = with_veth().await;
        let shown = || [ip(&pinned.path, "-d -4 rule show"), ip(&pinned.path, "-d -6 rule show")];
        let before = shown();
        let kernels = netlink.rules().await.unwrap();
        for rule in [
            "from 10.0.0.2/32 table 100",
            "from 10.0.0.0/24 to 10.1.0.0/16 priority 50 table 1000 protocol static",
            "not fwmark 0x10/0xff priority 60 table 100",
            "iif one oif two tos 0x10 priority 61 table 100",
            "priority 70 goto 32766",
            "priority 71 blackhole to 10.9.0.0/16",
            "ipproto tcp sport 1000-2000 dport 80 priority 72 table 100",
            "uidrange 5-10 priority 73 table main suppress_prefixlength 0",
        ] {
            ip(&pinned.path, &format!("rule add {rule}"));
        }
        ip(&pinned.path, "-6 rule add from fd00::2/128 table 100 priority 80");
        let full = shown();
        let rules = netlink.rules().await.unwrap();
        let stored = serde_json::to_string(&rules).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Rule>>(&stored).unwrap(), rules);
        let added: Vec<_> = rules.iter().filter(|rule| !kernels.contains(rule)).collect();
        assert_eq!(added.len(), 9);

        for rule in &added {
            netlink.remove_rule(rule).await.unwrap();
            netlink.remove_rule(rule).await.unwrap();
        }
        assert_eq!(shown(), before);
        for rule in &added {
            netlink.add_rule(rule).await.unwrap();
            assert!(netlink.add_rule(rule).await.unwrap_err().is_exists());
        }
        assert_eq!(shown(), full);
        assert_eq!(netlink.rules().await.unwrap(), rules);
    }
}
