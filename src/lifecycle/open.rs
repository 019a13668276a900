//! Opens a driver: reads its records, and continues or removes what was interrupted.

use std::sync::Arc;

use super::attach::Maker;
use super::background::{Background, Gate};
use super::blocking::on_blocking_thread;
use super::calls::watch;
use super::config::Config;
use super::driver::Driver;
use super::error::{Result, chain};
use super::facts::Facts;
use super::garbage::{collect, dockerds, start};
use super::history::History;
use super::host::{Chains, Exemptions, Isolation, Lists, masked_again};
use super::interface::{Interfaces, lend};
use super::ports::{Ports, Publisher};
use super::record::{Attachment, Endpoints, Network, Networks, Records};
use super::removal::Removals;
use super::spares::{self, Parts, Spares};
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
        if let Err(error) = masked_again::end_interrupted(own, driver.interfaces.netns_dir()).await
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
        let (network_folder, networks) = Folder::<Network>::open(&config.state_dir)?;
        let (lists, netns_dir) = (Lists::default(), config.run_dir.join("netns"));
        let (attachment_folder, attachments) =
            Folder::<Attachment>::open_with(&config.state_dir, |attachment| {
                attachment.is_pinned_in(&netns_dir)?;
                attachment.list = lists.share(Arc::clone(&attachment.list));
                // A copy has no spare capacity, and lies compactly in memory.
                *attachment = attachment.clone();
                Ok(())
            })?;
        for aside in &networks.set_aside {
            tracing::error!(file = %aside.path.display(), reason = aside.reason,
                "a network's record cannot be read, and was set aside; the network is unknown: remove it, \
                 and create it again");
        }
        for aside in &attachments.set_aside {
            tracing::error!(file = %aside.path.display(), reason = aside.reason,
                "an attachment's record cannot be read, and was set aside; its container keeps its \
                 network, but the plugins will not be run to remove it: once the container is gone, \
                 remove the file, and 'cnm-cni gc' collects what is left");
        }
        let boot_id = start::boot_id()?;
        let history = History::new(Journal::open(&config.state_dir), &config.metrics);
        history.journal().names().begin_with(
            (attachments.records.iter())
                .filter(|it| it.has_endpoint())
                .map(|it| (it.endpoint.clone(), it.network.clone())),
            networks.records.iter().map(|network| network.id.clone()),
        );
        let ports = Arc::new(Ports::of(attachments.records.iter()));
        let networks = Arc::new(Networks::new(network_folder, networks.records));
        let keeps_spares = config.spares != SpareCount::Number(0);
        let attachments = start::part(attachments.records, &boot_id, |spare| {
            keeps_spares && networks.get(&spare.network).is_ok()
        });
        let background = Background::default();
        let spares = attachments.spares.iter().map(|spare| &**spare);
        let kept = attachments.live.iter().chain(spares);
        let on_record = kept.clone().chain(&attachments.interrupted);
        let records = Arc::new(Records::new(attachment_folder, on_record, background.clone()));
        let gate = Gate::new(config.limits.parallel);
        let chains = Arc::new(Chains::new(config, lists, Arc::new(history.clone())));
        let exemptions = Arc::new(Exemptions::of(config, kept));
        let interfaces = Arc::new(Interfaces::new(netns_dir, attachments.live.iter())?);
        let endpoints = Arc::new(Endpoints::holding(attachments.live));
        let publisher =
            Publisher::new(&ports, &networks, &endpoints, &interfaces, &records, &chains);
        let removals = Removals::new(
            &chains,
            &exemptions,
            &interfaces,
            &ports,
            &records,
            &history,
            &gate,
            &background,
        );
        let (boot_id, removals) = (Arc::from(boot_id), Arc::new(removals));
        let maker = Arc::new(Maker::new(&boot_id, &chains, &interfaces, &records));
        let isolation = Arc::new(Isolation::of(&config.state_dir));
        let parts = Parts {
            maker: Arc::clone(&maker),
            chains: Arc::clone(&chains),
            exemptions: Arc::clone(&exemptions),
            isolation: Arc::clone(&isolation),
            interfaces: Arc::clone(&interfaces),
            records: Arc::clone(&records),
            networks: Arc::clone(&networks),
            endpoints: Arc::clone(&endpoints),
            removals: Arc::clone(&removals),
            history: history.clone(),
            gate: gate.clone(),
            background: background.clone(),
        };
        let driver = Self {
            facts: Arc::new(Facts::of(config)),
            boot_id,
            history,
            maker,
            most: config.most,
            sync_delete: config.sync_delete,
            networks,
            exemptions,
            isolation,
            endpoints,
            inherited: Arc::default(),
            watched: Arc::default(),
            unseen: Arc::default(),
            records,
            chains,
            interfaces,
            ports,
            publisher: Arc::new(publisher),
            spares: Arc::new(Spares::new(config, parts, attachments.spares)),
            removals,
            scraping: Arc::default(),
            collecting: Arc::default(),
            gate,
            background,
        };
        driver.chains.warn_of_untrusted();
        Ok((driver, attachments.interrupted))
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
