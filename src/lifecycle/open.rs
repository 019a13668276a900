//! Opens a driver: reads its records, and continues or removes what was interrupted.

use std::path::Path;
use std::sync::Arc;

use super::attach::Maker;
use super::background::{Background, Gate};
use super::blocking::on_blocking_thread;
use super::calls::watch;
use super::config::Config;
use super::driver::Driver;
use super::driver_info::DriverInfo;
use super::error::{Result, chain};
use super::garbage::{collect, dockerds, start};
use super::history::History;
use super::host::{Chains, Exemptions, Isolation, SharedConflists, restore_masquerade};
use super::interface::{Interfaces, lend};
use super::parts::Parts;
use super::ports::{Ports, Publisher};
use super::record::{Attachment, Endpoints, Network, Networks, Records, Spare};
use super::removal::Removals;
use super::spares::{self, Spares};
use crate::cnm::SpareCount;
use crate::journal::Journal;
use crate::state::Folder;

impl Driver {
    /// Opens the records, and begins in the background to remove every attachment that a crash or a reboot
    /// interrupted.
    ///
    /// # Errors
    /// The state folder cannot be opened, or the kernel gives no netlink socket.
    pub async fn open(config: Config) -> Result<Self> {
        // There may be many records: on another thread, so that this one can receive a signal meanwhile.
        let for_reading = config.clone();
        let opening = on_blocking_thread(move || Self::read(&for_reading));
        let (driver, interrupted) = opening.await?;
        driver.interfaces.clear_fresh().await?;
        if let Err(error) = lend::end_interrupted(driver.interfaces.netns_dir()).await {
            tracing::error!(
                error = chain(&error),
                "an interface that was lent to plugins cannot be taken back"
            );
        }
        let Interfaces { own, .. } = &*driver.interfaces;
        if let Err(error) =
            restore_masquerade::end_interrupted(own, driver.interfaces.netns_dir()).await
        {
            tracing::error!(error = chain(&error), "an interrupted reload cannot be ended");
        }
        // A reboot, or a reload of the firewall, removes the rules.
        if let Err(error) = driver.isolate().await {
            tracing::error!(error = chain(&error), "networks may not be kept apart");
        }
        driver.tell_start(interrupted.len());
        let exempting = driver.clone();
        driver.background.spawn(async move {
            let _pass = exempting.gate.enter().await;
            if let Err(error) = exempting.exemptions.ensure().await {
                tracing::error!(
                    error = chain(&error),
                    "containers may not be exempt from the FORWARD policy"
                );
            }
        });
        start::remove(&driver, interrupted);
        driver.take_down_removed();
        watch::begin_again(&driver);
        driver.publisher.begin_again();
        if config.spares != SpareCount::Number(0) {
            driver.background.spawn(spares::keep(Arc::clone(&driver.spares)));
            driver.spares.look_soon();
        }
        if let Some(interval) = config.collect_every {
            driver.background.spawn(collect::at_intervals(driver.clone(), interval));
        }
        Ok(driver)
    }

    /// Also returns the attachments that have to be removed.
    fn read(config: &Config) -> Result<(Self, Vec<Attachment>)> {
        let (netns_dir, lists) = (config.run_dir.join("netns"), SharedConflists::default());
        let (network_folder, networks) = read_networks(config)?;
        let (attachment_folder, attachments) = read_attachments(config, &netns_dir, &lists)?;
        let history = History::new(Journal::open(&config.state_dir), &config.metrics);
        history.journal().names().begin_with(
            (attachments.iter())
                .filter(|it| it.has_endpoint())
                .map(|it| (it.endpoint.clone(), it.network.clone())),
            networks.iter().map(|network| network.id.clone()),
        );
        let ports = Arc::new(Ports::of(attachments.iter()));
        let networks = Arc::new(Networks::new(network_folder, networks));
        let keeps_spares = config.spares != SpareCount::Number(0);
        let boot_id = start::boot_id()?;
        let found = start::partition(attachments, &boot_id, |spare| {
            keeps_spares && networks.get(&spare.network).is_ok()
        });
        let spares = found.spares.iter().map(|spare| &**spare);
        let kept = found.live.iter().chain(spares);
        let on_record = kept.clone().chain(&found.interrupted);
        let background = Background::default();
        let parts = Parts {
            networks,
            records: Arc::new(Records::new(attachment_folder, on_record, background.clone())),
            chains: Arc::new(Chains::new(config, lists, Arc::new(history.clone()))),
            exemptions: Arc::new(Exemptions::of(config, kept)),
            isolation: Arc::new(Isolation::of(&config.state_dir)),
            interfaces: Arc::new(Interfaces::new(netns_dir, found.live.iter())?),
            endpoints: Arc::new(Endpoints::holding(found.live)),
            history,
            gate: Gate::new(config.limits.parallel),
            background,
        };
        let driver = Self::of(config, parts, ports, boot_id.into(), found.spares);
        driver.chains.warn_of_untrusted();
        Ok((driver, found.interrupted))
    }

    /// Puts the driver together. `spares` are those that the last driver left.
    fn of(
        config: &Config,
        parts: Parts,
        ports: Arc<Ports>,
        boot_id: Arc<str>,
        spares: Vec<Spare>,
    ) -> Self {
        let maker = Arc::new(Maker::new(&parts, &boot_id));
        let publisher = Arc::new(Publisher::new(&parts, &ports));
        let removals = Arc::new(Removals::new(&parts, &ports));
        let spares = Arc::new(Spares::new(config, &parts, &maker, &removals, spares));
        let Parts { networks, endpoints, records, chains, exemptions, isolation, .. } = parts;
        let Parts { interfaces, history, gate, background, .. } = parts;
        Self {
            info: Arc::new(DriverInfo::of(config)),
            boot_id,
            history,
            maker,
            maximum: config.maximum,
            sync_delete: config.sync_delete,
            networks,
            endpoints,
            inherited: Arc::default(),
            watched: Arc::default(),
            unread_rules: Arc::default(),
            records,
            chains,
            exemptions,
            isolation,
            interfaces,
            ports,
            publisher,
            removals,
            scraping: Arc::default(),
            spares,
            collecting: Arc::default(),
            gate,
            background,
        }
    }

    fn tell_start(&self, interrupted: usize) {
        let (networks, attachments) = (self.networks.all().len(), self.endpoints.count());
        self.history.started(networks, attachments, interrupted);
    }

    /// `Plugin.Activate`, which every dockerd calls before it calls anything else. What the last dockerd
    /// left is removed in the background.
    pub fn activate(&self) {
        dockerds::sweep(self);
    }
}

/// Opens the folder of the networks' records, and reads them.
fn read_networks(config: &Config) -> Result<(Folder<Network>, Vec<Network>)> {
    let (folder, found) = Folder::open(&config.state_dir)?;
    for file in found.set_aside {
        tracing::error!(file = %file.path.display(), reason = file.reason,
            "a network's record cannot be read, and was set aside; the network is unknown: remove it, \
             and create it again");
    }
    Ok((folder, found.records))
}

/// Opens the folder of the attachments' records, and reads them. Equal conflists become one in memory.
fn read_attachments(
    config: &Config,
    netns_dir: &Path,
    lists: &SharedConflists,
) -> Result<(Folder<Attachment>, Vec<Attachment>)> {
    let (folder, found) = Folder::<Attachment>::open_with(&config.state_dir, |attachment| {
        attachment.is_pinned_in(netns_dir)?;
        attachment.list = lists.share(Arc::clone(&attachment.list));
        // A copy has no spare capacity, and lies compactly in memory.
        *attachment = attachment.clone();
        Ok(())
    })?;
    for file in found.set_aside {
        tracing::error!(file = %file.path.display(), reason = file.reason,
            "an attachment's record cannot be read, and was set aside; its container keeps its \
             network, but the plugins will not be run to remove it: once the container is gone, \
             remove the file, and 'cnm-cni gc' collects what is left");
    }
    Ok((folder, found.records))
}
