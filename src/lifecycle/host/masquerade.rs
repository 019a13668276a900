//! Which addresses of attachments are masqueraded, by the rules that the reference plugins write with
//! `iptables` or `nft`.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::Instant;

use super::nat::named_in;
use super::tables::{Family, Table};
use crate::cni;
use crate::lifecycle::error::chain;
use crate::lifecycle::error::{Error, Result};
use crate::lifecycle::record::{Attachment, AttachmentId};
use crate::process::host;

/// Reads the rules once for all who ask meanwhile.
#[derive(Debug, Default)]
pub(crate) struct SharedRead {
    /// The last read, as long as somebody uses it, and when it began.
    last: tokio::sync::Mutex<Option<(Instant, Weak<Masquerade>)>>,
}

impl SharedRead {
    /// The rules as they are now, or as they become.
    pub(crate) async fn read(&self) -> Arc<Masquerade> {
        let asked = Instant::now();
        let mut last = self.last.lock().await;
        // Another caller's read began while this one waited.
        let recent = last.as_ref().filter(|(begun, _)| *begun >= asked);
        if let Some(rules) = recent.and_then(|(_, rules)| rules.upgrade()) {
            return rules;
        }
        let begun = Instant::now();
        let rules = Arc::new(Masquerade::read().await);
        *last = Some((begun, Arc::downgrade(&rules)));
        rules
    }
}

/// What the rules of the host's tables nat say.
#[derive(Debug, Default)]
pub(crate) struct Masquerade {
    /// By the attachment's id and the interface's name, which the rules have in their comments.
    addresses: HashMap<String, HashSet<IpAddr>>,
    /// The attachments to which a published port is translated.
    published: HashSet<(Family, AttachmentId)>,
    /// For each family whose rules cannot be read, why.
    unread: HashMap<Family, String>,
}

impl Masquerade {
    /// Reads the rules.
    pub(crate) async fn read() -> Self {
        let mut read = Self::default();
        let (ipv4, ipv6, nft) = tokio::join!(
            Family::V4.list(Table::Nat),
            Family::V6.list(Table::Nat),
            nft_table(["inet", "cni_plugins_masquerade"])
        );
        for (family, rules) in [(Family::V4, ipv4), (Family::V6, ipv6)] {
            match rules {
                Ok(rules) => read.note_iptables(family, &rules.unwrap_or_default()),
                Err(error) => read.cannot_tell(family, &error),
            }
        }
        match nft {
            Ok(table) => read.note_nft(&table),
            Err(error) => Family::BOTH.iter().for_each(|family| read.cannot_tell(*family, &error)),
        }
        read
    }

    fn cannot_tell(&mut self, family: Family, error: &Error) {
        self.unread.insert(family, chain(error));
    }

    /// Rules by which an address jumps to its own chain, which masquerades.
    fn note_iptables(&mut self, family: Family, rules: &[String]) {
        let words = |rule: &str, flag: &str| {
            let value = rule.split_once(flag)?.1.split(' ').next()?;
            Some(value.to_owned())
        };
        let masquerades =
            |rule: &&String| rule.contains("-j MASQUERADE") || rule.contains("-j SNAT");
        let chains: HashSet<String> =
            rules.iter().filter(masquerades).filter_map(|rule| words(rule, "-A ")).collect();
        let jumps: HashSet<(String, String)> = (rules.iter())
            .filter_map(|rule| Some((words(rule, "-A ")?, words(rule, " -j ")?)))
            .collect();
        let leads = |from: &str, to: &str| jumps.contains(&(from.to_owned(), to.to_owned()));
        for rule in rules {
            let (Some((_, id)), Some(chain)) = (named_in(rule), words(rule, "-A ")) else {
                continue;
            };
            let target = words(rule, " -j ").unwrap_or_default();
            let hides =
                chains.contains(&target) || matches!(target.as_str(), "MASQUERADE" | "SNAT");
            if chain == "POSTROUTING" && hides {
                let address = words(rule, " -s ");
                let address = address.and_then(|net| net.split('/').next()?.parse().ok());
                self.addresses.entry(id.to_string()).or_default().extend::<Option<IpAddr>>(address);
            }
            // Packets from outside pass the first chain, packets from this host the second.
            if rule.contains("dnat name: ")
                && leads("PREROUTING", &chain)
                && leads("OUTPUT", &chain)
                && jumps.iter().any(|(from, to)| *from == target && to == "DNAT")
            {
                self.published.insert((family, id));
            }
        }
    }

    /// Rules of `ip saddr ADDRESS … masquerade comment "…, if: NAME, id: …"`, in a chain that
    /// packets come to.
    fn note_nft(&mut self, table: &str) {
        if !table.contains("hook postrouting") || !table.contains("goto masq_checks") {
            return;
        }
        for rule in table.lines().filter(|rule| rule.contains(" masquerade comment ")) {
            let name = rule.split_once(", if: ").and_then(|(_, rest)| rest.split(',').next());
            let address = rule.split_once(" saddr ").and_then(|(_, rest)| rest.split(' ').next());
            if let (Some(name), Some(Ok(address))) = (name, address.map(str::parse)) {
                self.addresses.entry(name.to_owned()).or_default().insert(address);
            }
        }
    }

    /// Whether an address of the attachment is masqueraded.
    ///
    /// # Errors
    /// The rules cannot be read.
    pub(crate) fn masquerades(
        &self,
        attachment: &Attachment,
        address: IpAddr,
    ) -> std::result::Result<bool, &str> {
        let cni::Attachment { container_id, if_name, .. } = &attachment.parameters;
        let keys = [container_id, if_name].into_iter();
        let mut found = keys.filter_map(|key| self.addresses.get(key));
        match self.unread.get(&Family::of(address)) {
            _ if found.any(|addresses| addresses.contains(&address)) => Ok(true),
            Some(why) => Err(why),
            None => Ok(false),
        }
    }

    /// The addresses of the attachment that were masqueraded, and are not any more.
    pub(crate) fn lost<'a>(
        &'a self,
        attachment: &'a Attachment,
    ) -> impl Iterator<Item = IpAddr> + 'a {
        attachment.masqueraded().filter(|it| self.masquerades(attachment, *it) == Ok(false))
    }

    /// Whether `iptables` rules of the reference plugin publish ports of the attachment.
    pub(crate) fn publishes(&self, family: Family, id: AttachmentId) -> bool {
        self.published.contains(&(family, id))
    }
}

/// Whether the host has lost rules that masqueraded an address of the attachment when it joined. Some
/// plugins' DEL fails without them, for each live address. False if the rules cannot be read.
pub(crate) async fn is_lost(attachment: &Attachment) -> bool {
    // Without an address in them, the host's rules need not be read.
    attachment.masqueraded().next().is_some()
        && Masquerade::read().await.lost(attachment).next().is_some()
}

/// A table that the reference plugins write with `nft`, by its family and name; empty where there is no such table
/// or program.
pub(crate) async fn nft_table([family, name]: [&str; 2]) -> Result<String> {
    const COMMAND: &str = "nft";
    match host::run(COMMAND, &["list", "table", family, name], b"").await {
        Ok(table) => Ok(String::from_utf8_lossy(&table.unwrap_or_default()).into_owned()),
        Err(host::Failed::Exit { stderr, .. }) if stderr.contains("No such file or directory") => {
            Ok(String::new())
        }
        Err(failed) => Err(Error::HostRules {
            operation: "list the host's rules",
            command: COMMAND,
            reason: failed.to_string(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(rules: &[&str], id: AttachmentId) -> Masquerade {
        let mut read = Masquerade::default();
        let rules: Vec<String> =
            rules.iter().map(|rule| rule.replace("ID", &id.to_string())).collect();
        read.note_iptables(Family::V4, &rules);
        read
    }

    #[test]
    fn an_address_is_hidden_by_a_rule_that_leads_to_one_that_masquerades() {
        const LEAD: &str = r#"-A POSTROUTING -s 10.22.0.5/32 -m comment --comment "name: \"web\" id: \"ID\"" -j CNI-1"#;
        const HIDE: &str = r#"-A CNI-1 ! -d 224.0.0.0/4 -m comment --comment "name: \"web\" id: \"ID\"" -j MASQUERADE"#;
        let id = AttachmentId::new();
        for (rules, hidden) in
            [(&[LEAD, HIDE][..], 1), (&[LEAD], 0), (&[HIDE], 0), (&[], 0), (&["-N CNI-1", LEAD], 0)]
        {
            let read = read(rules, id);
            let count = read.addresses.get(&id.to_string()).map_or(0, HashSet::len);
            assert_eq!(count, hidden, "{rules:?}");
        }
    }

    #[test]
    fn ports_are_published_by_rules_that_packets_come_to() {
        const RULES: [&str; 4] = [
            "-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT",
            "-A OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT",
            r#"-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"web\" id: \"ID\"" -m multiport --dports 8080 -j CNI-DN-1"#,
            "-A CNI-DN-1 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.22.0.5:80",
        ];
        let id = AttachmentId::new();
        assert!(read(&RULES, id).publishes(Family::V4, id));
        for missing in RULES {
            let rules: Vec<_> = RULES.into_iter().filter(|rule| *rule != missing).collect();
            assert!(!read(&rules, id).publishes(Family::V4, id), "without {missing}");
        }
    }

    #[test]
    fn an_address_is_hidden_by_nft_in_a_chain_that_packets_come_to() {
        const TABLE: &str = r#"table inet cni_plugins_masquerade {
	chain masq_checks {
		ip saddr 10.22.0.5 ip daddr != 10.22.0.0/16 masquerade comment "0b-1c, net: web, if: cni0123456789ab, id: 01"
		ip6 saddr fd00::5 ip6 daddr != fd00::/64 masquerade comment "0b-1c, net: web, if: cni0123456789ab, id: 01"
	}
	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		ip daddr 224.0.0.0/4 return
		goto masq_checks
	}
}"#;
        let mut read = Masquerade::default();
        read.note_nft(TABLE);
        let found = &read.addresses["cni0123456789ab"];
        let expected = ["10.22.0.5", "fd00::5"].map(|address| address.parse().unwrap());
        assert_eq!(*found, HashSet::from(expected));
        let mut read = Masquerade::default();
        read.note_nft(&TABLE.replace("goto masq_checks", ""));
        assert!(read.addresses.is_empty());
    }
}
