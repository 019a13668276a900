//! Checks one endpoint: compares its interface in the container with what settling would make.

use std::mem::take;
use std::time::Instant;

use super::container::Found;
use super::fault::Fault;
use super::host_state::HostState;
use super::report::{ChainCheck, Check};
use super::shared::{Shared, Task};
use super::{chain, host, path};
use crate::lifecycle::driver::Driver;
use crate::lifecycle::error::Result;
use crate::lifecycle::error::chain as in_words;
use crate::lifecycle::interface::place::Place;
use crate::lifecycle::interface::{announce, further_links, lend, netfilter};
use crate::lifecycle::lease;
use crate::lifecycle::record::{Attachment, Joined, Settings};
use crate::netns;

/// The check of one endpoint, which the caller holds.
pub(super) struct Look<'l> {
    pub(super) driver: &'l Driver,
    pub(super) shared: &'l Shared,
    pub(super) attachment: &'l Attachment,
    /// It had joined before the round began.
    pub(super) joined: bool,
}

impl<'l> Look<'l> {
    /// Checks the endpoint, and repairs it if the caller asks for that. None if a call of Docker's wants
    /// the endpoint before the plugins have answered; then `wanted` ends. What has been repaired until then is in
    /// `repaired`, for the next try to report.
    pub(super) async fn check<W: Future<Output = ()>>(
        &self,
        wanted: impl Fn() -> W,
        repaired: &mut Vec<String>,
    ) -> Option<Check> {
        let begun = Instant::now();
        let mut check = self.look(&wanted).await?;
        let mut refused = None;
        if self.shared.task == Task::Repair && !check.is_well() {
            refused = self.repair().await.err().map(|error| in_words(&error));
            repaired.append(&mut check.differences);
            check = self.look(&wanted).await?;
        }
        check.repaired = take(repaired);
        check.repaired.retain(|difference| !check.differences.contains(difference));
        if refused.is_some() || !check.repaired.is_empty() {
            let (repaired, error) = (&check.repaired, refused.clone());
            self.driver.history.repaired(self.attachment, repaired, error, begun.elapsed());
        }
        if let Some(error) = refused {
            check.differences.push(format!("cannot be repaired: {error}"));
        }
        Some(check)
    }

    /// Checks everything, and changes nothing permanently.
    async fn look<W: Future<Output = ()>>(&self, wanted: impl Fn() -> W) -> Option<Check> {
        let mut check = Check::of(self.attachment);
        match self.shared.task {
            Task::LookAtHost => {
                check.chain = ChainCheck::NotAsked("only the host's side is looked at".into());
                let joined = self.in_a_container().unwrap_or_else(|error| Err(in_words(&error)));
                check.differences.extend(joined.err());
            }
            _ => self.look_inside(&mut check, wanted).await?,
        }
        if self.attachment.joined().is_some() {
            check.faults.extend(self.on_the_host().await);
            check.differences.extend(check.faults.iter().map(ToString::to_string));
            check.faults.extend(path::faults(self.driver, self.attachment, self.shared).await);
            let now = self.shared.task == Task::Repair;
            let apart = not_apart(self.driver, self.attachment, self.shared, now);
            check.differences.extend(apart.await);
        }
        Some(check)
    }

    /// Checks what is in the container, and asks the plugins. None if a call of Docker's wants the endpoint.
    async fn look_inside<W: Future<Output = ()>>(
        &self,
        check: &mut Check,
        wanted: impl Fn() -> W,
    ) -> Option<()> {
        let found = match self.find().await.unwrap_or_else(|error| Err(in_words(&error))) {
            Ok(found) => found,
            Err(why) => {
                check.differences.push(why);
                return Some(());
            }
        };
        // Before the plugins are asked: it is to be seen as it was.
        check.faults.extend(self.lease(found.joined).await);
        check.interface = Some(found.link.name.clone());
        let rules = &self.shared.host(self.driver).await.rules;
        let asked = chain::ask(self.driver, self.attachment, &found, rules, wanted());
        chain::Asked { chain: check.chain, notes: check.notes } = asked.await?;
        match found.differences().await {
            Ok(differences) => check.differences.extend(differences),
            Err(error) => check.differences.push(in_words(&error)),
        }
        Some(())
    }

    /// What differs on the host. For an endpoint that joined or was repaired after the host was looked at,
    /// it is looked at again.
    async fn on_the_host(&self) -> Vec<Fault> {
        let shared = self.shared.host(self.driver).await;
        let differences = host::differences(self.attachment, shared).await;
        match differences.is_empty() || (self.joined && self.shared.task != Task::Repair) {
            true => differences,
            false => host::differences(self.attachment, &HostState::read(self.driver).await).await,
        }
    }

    /// Reports a lease that nobody renews.
    async fn lease(&self, joined: Joined<'_>) -> Option<Fault> {
        if !lease::is_leased(&joined) {
            return None;
        }
        let fault = async { lease::fault(joined, &*self.shared.leases().await?).await };
        match fault.await {
            Ok(fault) => fault.map(|what| Fault::new(what, "cnm-cni check --repair")),
            Err(error) => Some(Fault::without_remedy(in_words(&error))),
        }
    }

    /// The attachment as a container has it, or why none can have it.
    fn in_a_container(&self) -> Result<std::result::Result<Joined<'l>, String>> {
        if self.attachment.removal().is_some() {
            return Ok(Err("its DEL has failed, and will be tried again".to_owned()));
        }
        let Some(joined) = self.attachment.joined() else {
            return Ok(Err("no container has joined yet".to_owned()));
        };
        let is_there = netns::identity(joined.sandbox())?.is_some();
        Ok(is_there.then_some(joined).ok_or_else(|| "the container's namespace is gone".to_owned()))
    }

    /// Finds the interface in the container, or reports why it is not there.
    async fn find(&self) -> Result<std::result::Result<Found<'l>, String>> {
        let (driver, attachment) = (self.driver, self.attachment);
        // A check that could not be ended has left this pin. With it the interface would be found in
        // staging.
        if self.shared.is_stacked(driver, &attachment.staging).await? {
            lend::end(&attachment.staging, &attachment.parameters.if_name).await?;
        }
        let joined = match self.in_a_container()? {
            Ok(joined) => joined,
            Err(why) => return Ok(Err(why)),
        };
        match driver.interfaces.locate_in_background(attachment).await? {
            Place::Sandbox(netlink, link) => {
                let users = driver.interfaces.users_settings_by_now(joined, &link).await?;
                let settings = Settings::clone(&joined.joining.settings).overlaid_with(&users);
                let (snapshot, told) = (joined.snapshot(&users), joined.answer_with(&users));
                let gateways = told.gateways();
                Ok(Ok(Found { joined, netlink, link, snapshot, users, settings, told, gateways }))
            }
            Place::Staging(..) | Place::Own(_) => {
                Ok(Err("the interface has not arrived in the container".to_owned()))
            }
            Place::Nowhere => {
                let other = driver.interfaces.with_another_mac(attachment).await?;
                Ok(Err(match other.map(|link| (link.name, link.mac)) {
                    Some((name, Some(mac))) => format!(
                        "no interface has the MAC {} that ADD gave it; {name} has {mac}, and may be it: change the \
                         MAC back, or connect the container again",
                        joined
                            .made
                            .snapshot
                            .link
                            .mac
                            .map(|mac| mac.to_string())
                            .unwrap_or_default()
                    ),
                    _ => "the interface is gone; connect the container again".to_owned(),
                }))
            }
        }
    }

    /// Puts back everything that settling makes.
    async fn repair(&self) -> Result<()> {
        if let Ok(found) = self.find().await? {
            found.desired(&found.dockers()).reconcile(&found.live()).await?;
            further_links::bring(found.joined, &found.netlink).await?;
            let rules = found.joined.netfilter_there(&found.link);
            netfilter::put(&rules, found.joined.sandbox()).await?;
            self.driver.interfaces.align_default_route(found.joined, false).await?;
            let never = std::future::pending();
            lease::move_in(&self.driver.chains, found.joined, &found.live(), never).await?;
            announce::soon(&self.driver.background, found.joined, &found.link);
        }
        self.driver.isolate().await?;
        self.driver.exemptions.complete(self.attachment).await
    }
}

/// Reports a network that is not isolated from others although it should be. With `now`, as it is now.
pub(super) async fn not_apart(
    driver: &Driver,
    attachment: &Attachment,
    shared: &Shared,
    now: bool,
) -> Option<String> {
    let network = driver.networks.get(&attachment.network).ok()?;
    if !network.is_isolated() {
        return None;
    }
    match shared.isolation(driver, now).await {
        Ok(true) => None,
        Ok(false) => Some(format!(
            "the rules that keep its network from others, chain {} of the host's table mangle, are not \
             as they are to be",
            driver.isolation.chain()
        )),
        Err(why) => Some(why),
    }
}
