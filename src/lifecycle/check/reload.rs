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

use super::endpoint::not_apart;
use super::fault::Fault;
use super::host;
use super::host_state::HostState;
use super::path;
use super::report::{ChainCheck, Check};
use super::rules::HostRules;
use super::shared::Shared;
use crate::lifecycle::driver::Driver;
use crate::lifecycle::error::Result;
use crate::lifecycle::error::chain as in_words;
use crate::lifecycle::host::restore_masquerade;
use crate::lifecycle::record::Attachment;

/// The plugin that accepts an attachment's packets in chains of its own.
const FIREWALL: &str = "firewall";

/// The reload of one endpoint, which the caller holds.
pub(super) struct Reload<'r> {
    pub(super) driver: &'r Driver,
    pub(super) shared: &'r Shared,
    pub(super) attachment: &'r mut Attachment,
}

impl Reload<'_> {
    /// Puts back what is lost, and reports what is lost after that.
    pub(super) async fn run(mut self) -> Check {
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
        let apart = not_apart(self.driver, self.attachment, self.shared, now);
        lost.extend(apart.await.map(Fault::without_remedy));
        lost
    }

    /// Whether it can be seen that the plugins' rules are there, all of them.
    fn can_be_told(&self) -> bool {
        let list = &self.attachment.list;
        let has_firewall = list.plugins().iter().skip(1).any(|it| it.plugin_type() == FIREWALL);
        let ports = !self.attachment.publishes() || path::knows_ports(self.attachment);
        ports && !has_firewall && !self.attachment.publishing
    }

    /// Puts back all that can be; returns why something could not.
    async fn put_back(&mut self, rules: &HostRules, is_lost: bool) -> Vec<Fault> {
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

    /// Has the plugins publish the ports again, if their rules are lost, cannot be seen or may be a part.
    async fn publish(&mut self, rules: &HostRules) -> Result<()> {
        let attachment = &mut *self.attachment;
        let is_whole = path::knows_ports(attachment) && path::ports(attachment, rules).is_empty();
        if is_whole && !attachment.publishing {
            return Ok(());
        }
        self.driver.publisher.publish_again(attachment).await
    }

    async fn firewall(&self) -> Result<()> {
        let (list, parameters) = (&self.attachment.list, &self.attachment.parameters);
        let result = &self.attachment.made()?.result;
        self.driver.chains.add_type(list, parameters, FIREWALL, result).await
    }
}
