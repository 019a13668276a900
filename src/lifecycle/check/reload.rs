//! Reload: what the host's rules have lost of an endpoint is put back, after the host's firewall was loaded
//! anew. The container itself is not looked at.
//!
//! | what | by what it is put back |
//! |---|---|
//! | the exemption in FORWARD, isolation | the driver, whose rules these are |
//! | published ports | the plugins that declare `portMappings`, run alone |
//! | what `firewall` accepts | that plugin, run alone |
//! | masquerading | `bridge`, run where it makes nothing else: [`restore_masquerade`] |
//!
//! Everything else is reported, with the remedy.

use super::endpoint::Look;
use super::fault::Fault;
use super::host;
use super::host_state::HostState;
use super::path;
use super::report::{ChainCheck, Check};
use super::rules::HostRules;
use crate::lifecycle::error::Result;
use crate::lifecycle::error::chain as in_words;
use crate::lifecycle::host::restore_masquerade;
use crate::translate::PORT_MAPPINGS;

/// The plugin that accepts an attachment's packets in chains of its own.
const FIREWALL: &str = "firewall";

impl Look<'_> {
    /// Puts back what is lost, and reports what is lost after that.
    pub(super) async fn reload(&self) -> Check {
        let why = ChainCheck::NotAsked("only the host's rules are looked at".into());
        let mut check = Check { chain: why, ..Check::of(self.attachment) };
        if self.attachment.joined().is_none() {
            check.notes.push("it is in no container, and has no rules yet".into());
            return check;
        }
        let at_first = self.lost(self.shared.host(self.driver).await, false).await;
        if at_first.is_empty() && self.can_be_told() {
            return check;
        }
        // They may have changed since: some of them are for all.
        let host = HostState::read(self.driver).await;
        let before = self.lost(&host, true).await;
        let failed = self.put_back(&host.rules, !before.is_empty()).await;
        let mut after = self.lost(&HostState::read(self.driver).await, true).await;
        check.repaired = before.iter().map(|fault| fault.what.clone()).collect();
        check.repaired.retain(|what| after.iter().all(|fault| fault.what != *what));
        after.extend(failed);
        check.differences = after.iter().map(ToString::to_string).collect();
        check.faults = after;
        check
    }

    /// What is wrong on the host; with `now`, also the isolation as it is now.
    async fn lost(&self, host: &HostState, now: bool) -> Vec<Fault> {
        let mut lost = host::differences(self.attachment, host).await;
        lost.extend(path::ports(self.attachment, &host.rules));
        lost.extend(self.not_apart(now).await.map(Fault::without_remedy));
        lost
    }

    /// Whether it can be seen that the plugins' rules are there.
    fn can_be_told(&self) -> bool {
        let list = &self.attachment.list;
        let has_firewall = list.plugins().iter().skip(1).any(|it| it.plugin_type() == FIREWALL);
        let ports = !self.attachment.publishes() || path::knows_ports(self.attachment);
        ports && !has_firewall
    }

    /// Puts back all that can be; returns why something could not.
    async fn put_back(&self, rules: &HostRules, is_lost: bool) -> Vec<Fault> {
        let mut failed = Vec::new();
        let mut note = |what: &str, done: Result<()>| {
            if let Err(error) = done {
                failed.push(Fault::by_restart(format!(
                    "{what} cannot be put back: {}",
                    in_words(&error)
                )));
            }
        };
        if is_lost {
            note("the rules between networks", self.driver.isolate().await);
            note(
                "its exemption in FORWARD",
                self.driver.exemptions.complete(self.attachment).await,
            );
            note("masquerading", self.masquerade(rules).await);
        }
        note("its published ports", self.publish(rules).await);
        note("what plugin firewall accepts", self.firewall().await);
        failed
    }

    async fn masquerade(&self, rules: &HostRules) -> Result<()> {
        let addresses = host::not_masqueraded(self.attachment, rules);
        if addresses.is_empty() || !restore_masquerade::is_possible(self.attachment) {
            return Ok(());
        }
        let (chains, interfaces) = (&self.driver.chains, &self.driver.interfaces);
        let folder = interfaces.netns_dir();
        restore_masquerade::write(
            chains,
            &interfaces.own_background,
            folder,
            self.attachment,
            &addresses,
        )
        .await
    }

    /// Has the plugins publish the ports again, if their rules are lost or cannot be seen.
    async fn publish(&self, rules: &HostRules) -> Result<()> {
        let attachment = self.attachment;
        let (list, parameters) = (&attachment.list, &attachment.parameters);
        let is_whole = path::knows_ports(attachment) && path::ports(attachment, rules).is_empty();
        if !attachment.publishes() || !list.adds(PORT_MAPPINGS) || is_whole {
            return Ok(());
        }
        let result = &attachment.made()?.result;
        // What is there would be there twice. What is not there is no reason to stop.
        if let Err(error) = self.driver.chains.unpublish(list, parameters, result).await {
            tracing::debug!(error = in_words(&error), "ports are published again all the same");
        }
        self.driver.chains.publish(list, parameters, result).await
    }

    async fn firewall(&self) -> Result<()> {
        let (list, parameters) = (&self.attachment.list, &self.attachment.parameters);
        let result = &self.attachment.made()?.result;
        self.driver.chains.add_type(list, parameters, FIREWALL, result).await
    }
}
