//! The background task that keeps as many spares ready as their networks call for.
//!
//! It begins a moment after the last start of a container, and makes each spare only while Docker waits for
//! nothing: spares must not slow down the start of a container.

use std::mem::replace;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::claim::may_have_any;
use super::count::count;
use super::{Spares, make};
use crate::cnm::{Pool, SpareCount};
use crate::lifecycle::attach::ChainInput;
use crate::lifecycle::error::{Result, chain};
use crate::lifecycle::record::{Attachment, Network, Spare};
use crate::metrics::Unused;
use crate::translate;

/// How long no container must have been started before spares are made: by then the last one runs.
const CALM: Duration = Duration::from_millis(500);

/// How often the task looks whether a network has become quiet.
const BETWEEN_LOOKS: Duration = Duration::from_secs(60);

/// Keeps spares until the driver stops.
pub(crate) async fn keep(spares: Arc<Spares>) {
    let background = spares.parts.background.clone();
    if background.until_stopped(spares.remove_unfinished()).await.is_none() {
        return;
    }
    loop {
        tokio::select! {
            () = spares.work.notified() => {}
            () = sleep(BETWEEN_LOOKS) => {}
            () = background.stopped() => return,
        }
        // Each start puts it off.
        loop {
            tokio::select! {
                () = spares.work.notified() => {}
                () = sleep(CALM) => break,
                () = background.stopped() => return,
            }
        }
        if background.until_stopped(spares.tend()).await.is_none() {
            return;
        }
    }
}

impl Spares {
    /// Removes those that the last driver left before their interface was where Docker takes it: nobody could have
    /// them, and others are made instead.
    async fn remove_unfinished(&self) {
        let left: Vec<Attachment> = self.shelves().all().map(|spare| (**spare).clone()).collect();
        let mut unfinished = Vec::new();
        for spare in left {
            match self.parts.interfaces.is_parked(&spare).await {
                Ok(true) => {}
                Ok(false) => unfinished.push(spare.id),
                Err(error) => tracing::warn!(attachment = %spare.id, error = chain(&error),
                    "it is not known whether a spare can be used"),
            }
        }
        let unwanted = self.shelves().take_all(|spare| unfinished.contains(&spare.id));
        self.remove_soon(unwanted, Unused::Outdated).await;
    }

    /// Makes the spares that are missing, and removes those that are too many.
    async fn tend(self: &Arc<Self>) {
        let networks = self.parts.networks.all();
        let present = networks.iter().filter(|network| !network.removed);
        self.shelves().keep_only(&present.clone().map(|network| network.id.clone()).collect());
        self.look_at_rules().await;
        for network in present {
            self.shelves().shelf(&network.id).usage.end_burst();
            if let Err(error) = self.tend_one(network).await {
                self.rest(&network.id, make::FIRST_REST);
                let known = replace(&mut self.shelves().shelf(&network.id).failing, true);
                match known {
                    true => tracing::debug!(
                        network = network.id.short(),
                        error = chain(&error),
                        "still no spare can be made"
                    ),
                    false => self.parts.history.spare_failed(network, &error),
                }
            }
        }
    }

    async fn tend_one(self: &Arc<Self>, network: &Arc<Network>) -> Result<()> {
        let wanted = self.wanted(network);
        let (called_for, waiting) = {
            let mut shelves = self.shelves();
            let shelf = shelves.shelf(&network.id);
            (shelf.usage.calls_for(Instant::now()), shelf.spares.len())
        };
        // Nothing is read for networks that nobody uses.
        let none = match wanted {
            SpareCount::Auto => called_for == 0,
            SpareCount::Number(number) => number == 0,
        };
        if none && waiting == 0 {
            return Ok(());
        }
        let list = self.parts.chains.ready(network).await?;
        let input = ChainInput::of_spare(network, list)?;
        let others = self.shelves().of_others(&network.id, &network.conflist);
        let number = match may_have_any(&input) {
            true => count(wanted, called_for, addresses(&input), others),
            false => 0,
        };
        let is_old = |spare: &Spare| spare.network == network.id && !input.was_given_to(spare);
        let outdated = self.shelves().take_all(is_old);
        self.remove_soon(outdated, Unused::Outdated).await;
        let mut unwanted = Vec::new();
        {
            let mut shelves = self.shelves();
            let spares = &mut shelves.shelf(&network.id).spares;
            while spares.len() > number {
                unwanted.extend(spares.pop_front());
            }
        }
        self.remove_soon(unwanted, Unused::NotNeeded).await;
        while self.is_missing(network, number) {
            let _pass = self.parts.gate.enter_when_quiet().await;
            let (spares, network, input) = (Arc::clone(self), Arc::clone(network), input.clone());
            // What has begun ends as a whole, even if the driver is stopped meanwhile.
            let made =
                self.parts.background.spawn(async move { spares.add(&network, input).await });
            match made.await {
                Ok(made) => made?,
                // It has panicked, and logged that.
                Err(_) => break,
            }
        }
        Ok(())
    }

    /// Makes one more, unless nobody wants one any more.
    async fn add(&self, network: &Network, input: ChainInput) -> Result<()> {
        let making = Arc::clone(&self.shelves().shelf(&network.id).making);
        // From before the look at whether one may be made: who wants none comes after one of the two.
        let unwanted = making.unwanted.notified();
        let _alone = making.alone.lock().await;
        if !self.may_be_made(network) {
            return Ok(());
        }
        let Some(spare) = self.make(network, input, unwanted).await? else { return Ok(()) };
        let mut shelves = self.shelves();
        let shelf = shelves.shelf(&network.id);
        shelf.spares.push_back(spare);
        shelf.failing = false;
        Ok(())
    }

    /// How many spares the network is to have, by its option or the driver's.
    pub(super) fn wanted(&self, network: &Network) -> SpareCount {
        match (self.count, network.options.spares) {
            (SpareCount::Number(0), _) => SpareCount::Number(0),
            // Docker names an address with every request, which no spare would have.
            _ if !has_no_pool(network) => SpareCount::Number(0),
            (_, Some(own)) => own,
            (count, None) => count,
        }
    }

    fn is_missing(&self, network: &Network, number: usize) -> bool {
        let all = self.parts.endpoints.count() + self.removals.count() + self.waiting();
        let waiting = self.shelves().shelf(&network.id).spares.len();
        waiting < number && all < self.most && self.may_be_made(network)
    }

    /// Whether the network is still there, and does not rest.
    fn may_be_made(&self, network: &Network) -> bool {
        let rests_until = self.shelves().shelf(&network.id).not_before;
        rests_until.is_none_or(|time| time <= Instant::now())
            && self.parts.networks.get(&network.id).is_ok()
    }
}

/// Whether the chain gives the addresses, and not Docker's IPAM.
fn has_no_pool(network: &Network) -> bool {
    network.pools.iter().all(|data| matches!(data.pool, Pool::Unmanaged))
}

/// How many containers the chain has addresses for, if that is known: it gives each one of every family.
fn addresses(input: &ChainInput) -> Option<u64> {
    let pools = translate::pools(&input.list);
    let of_family = |is_ipv4: bool| {
        let of_family = pools.iter().filter(|pool| pool.first.is_ipv4() == is_ipv4);
        of_family.map(|pool| pool.size).reduce(u64::saturating_add)
    };
    [true, false].into_iter().filter_map(of_family).min()
}
