//! The current state in metrics, gathered for each scrape.
//!
//! Attachments, networks and ports are counted in memory, without waiting for calls. Only conflists, leases and
//! names of records are read from files. One scrape runs at a time, within a time limit, so that a file system that
//! does not answer cannot take all threads.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::timeout;

use super::conflists::{self, Conflist};
use super::{Held, Network, Owner, fills};
use crate::cni::NetworkConfigList;
use crate::lifecycle::blocking::on_blocking_thread;
use crate::lifecycle::driver::Driver;
use crate::lifecycle::error::{Error, Result};
use crate::lifecycle::record::{AttachmentId, Summary};
use crate::lifecycle::{PhaseName, record};
use crate::metrics::{OrphanState, Orphans, Pool, State};

/// How long a scrape may take, with its wait for the one before it. Prometheus waits 10 s by default.
const LIMIT: Duration = Duration::from_secs(8);

impl Driver {
    /// All metrics of this driver, in Prometheus' text format.
    ///
    /// # Errors
    /// They could not be gathered in time, or a folder cannot be listed.
    pub async fn metrics(&self) -> Result<String> {
        let (driver, scraping) = (self.clone(), Arc::clone(&self.scraping));
        let gathered = async {
            let turn = scraping.lock_owned().await;
            on_blocking_thread(move || {
                let state = driver.state();
                // Held until here, because the work goes on when its caller stops waiting.
                drop(turn);
                Ok(driver.history.metrics_text(&state?))
            })
            .await
        };
        timeout(LIMIT, gathered).await.unwrap_or(Err(Error::SlowMetrics { limit: LIMIT }))
    }

    fn state(&self) -> Result<State> {
        let summaries = self.records.all();
        let networks = self.networks.all();
        let (conflists, unusable_files) = self.conflists(&networks)?;
        Ok(State {
            attachments: attachments(&networks, &summaries),
            max_attachments: self.maximum.attachments,
            networks: counts(
                networks.iter().filter(|it| !it.removed).map(|it| it.conflist.clone()),
            ),
            max_networks: self.maximum.networks,
            pools: pools(&conflists, &networks, &summaries)?,
            spares: self.spares_ready(&networks),
            orphans: orphans(&summaries),
            ports: self.ports.count(),
            conflists: self.usable(&conflists, &networks),
            unusable_files,
            unreadable_records: self.records.unreadable()? + self.networks.unreadable()?,
        })
    }

    /// How many spares are ready; none is a metric too.
    fn spares_ready(&self, networks: &[Arc<record::Network>]) -> BTreeMap<String, u64> {
        let mut ready = counts(self.spares.conflists().into_iter());
        for network in networks.iter().filter(|network| !network.removed) {
            ready.entry(network.conflist.clone()).or_default();
        }
        ready
    }

    /// The conflists that networks can use, and how many files contain none.
    fn conflists(&self, networks: &[Arc<record::Network>]) -> Result<(SharedConflists, usize)> {
        let own = networks.iter().filter_map(|network| network.own_chain.clone());
        let (lists, problems) = conflists::lists(self.chains.conf_dir(), own)?;
        Ok((lists.into_iter().map(|(list, _)| list).collect(), problems.len()))
    }

    /// Whether the plugins of each conflist can be run. Many networks have the same chain of their own.
    fn usable(
        &self,
        lists: &SharedConflists,
        networks: &[Arc<record::Network>],
    ) -> BTreeMap<String, bool> {
        let mut of_plugins = HashMap::new();
        let mut usable = BTreeMap::new();
        for list in lists {
            let plugins: Vec<_> =
                list.plugins().iter().map(|it| (it.plugin_type(), it.ipam_type())).collect();
            let is_usable = *of_plugins
                .entry(plugins)
                .or_insert_with(|| self.chains.find_plugins(list).is_ok());
            usable.insert(list.name().to_owned(), is_usable);
        }
        for network in networks.iter().filter(|network| !network.removed) {
            // Its file is gone.
            usable.entry(network.conflist.clone()).or_insert(false);
        }
        usable
    }
}

type SharedConflists = Vec<NetworkConfigList>;

/// How many attachments there are, by conflist and phase. A phase without attachments has the metric 0, so that it
/// can be drawn.
fn attachments(
    networks: &[Arc<record::Network>],
    summaries: &[(AttachmentId, Summary)],
) -> BTreeMap<(String, String), u64> {
    // As JSON has it.
    let word = |phase: PhaseName| phase.to_string().to_lowercase();
    let mut counts =
        counts(summaries.iter().map(|(_, it)| (it.list.name().to_owned(), word(it.phase))));
    for network in networks.iter().filter(|network| !network.removed) {
        for phase in PhaseName::ALL {
            counts.entry((network.conflist.clone(), word(phase))).or_default();
        }
    }
    counts
}

fn counts<Key: Ord>(keys: impl Iterator<Item = Key>) -> BTreeMap<Key, u64> {
    let mut counts = BTreeMap::new();
    for key in keys {
        *counts.entry(key).or_default() += 1;
    }
    counts
}

fn pools(
    lists: &SharedConflists,
    networks: &[Arc<record::Network>],
    summaries: &[(AttachmentId, Summary)],
) -> Result<Vec<Pool>> {
    let conflists: Result<Vec<_>> = lists.iter().map(|list| Conflist::of(list, None)).collect();
    let present = networks.iter().filter(|network| !network.removed);
    let networks: Vec<_> = present.map(|network| Network::of(network)).collect();
    let held: Vec<_> = summaries.iter().map(|(id, summary)| held(*id, summary)).collect();
    let fills = fills(&conflists?, &networks, &held).into_iter();
    let pools = fills.map(|fill| {
        let mut used =
            vec![("docker", fill.docker), ("orphan", fill.orphans), ("spare", fill.spares)];
        used.extend(fill.others.map(|others| ("other", others)));
        let (subnet, free) = (fill.pool.subnet.to_string(), fill.free());
        Pool { conflist: fill.conflist, subnet, size: fill.pool.size, free, used }
    });
    Ok(pools.collect())
}

fn held(id: AttachmentId, summary: &Summary) -> Held<'_> {
    Held {
        attachment: id.to_string(),
        if_name: id.if_name(),
        conflist: summary.list.name(),
        network: &summary.network,
        addresses: &summary.addresses,
        owner: match summary.phase {
            PhaseName::Deleting => Owner::Orphan,
            PhaseName::Spare => Owner::Spare,
            _ => Owner::Docker,
        },
    }
}

fn orphans(summaries: &[(AttachmentId, Summary)]) -> Orphans {
    let removals = || summaries.iter().filter_map(|(_, summary)| summary.removal);
    let states = counts(removals().map(|removal| match removal {
        removal if removal.given_up => OrphanState::GivenUp,
        removal if removal.failed => OrphanState::Retrying,
        _ => OrphanState::Removing,
    }));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let oldest = removals().map(|removal| removal.since).min();
    let oldest = oldest.map(|since| now.saturating_sub(Duration::from_secs(since)));
    Orphans { states, oldest: oldest.unwrap_or_default() }
}
