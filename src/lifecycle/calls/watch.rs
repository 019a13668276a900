//! Waiting for Docker before version 28, which moves the interface into a container only
//! when the last call about it has long been answered.
//!
//! From version 28 on the interface is in place when Docker calls
//! ProgramExternalConnectivity or EndpointOperInfo, and both settle it before they answer.
//! Before that, starting a container goes: Join, Program, OperInfo, and only then the
//! namespace and the move. So Join, when it finds no namespace yet, starts a watch: until
//! the interface has left our namespace, and then, in the container's, until Docker has set
//! all that it was told. Settling earlier would make Docker find its own work done, and
//! fail. A driver that is started again begins the watches of its predecessor anew.

use std::time::{Duration, Instant};

use crate::cnm::EndpointId;
use crate::lifecycle::driver::Driver;
use crate::lifecycle::error::Result;
use crate::lifecycle::error::chain;
use crate::lifecycle::interface::place::Place;
use crate::lifecycle::record::{Attachment, AttachmentId, Phase};
use crate::netlink::{Events, Link, Netlink};

/// How long a container may take from Join to its namespace.
const UNTIL_TAKEN: Duration = Duration::from_secs(300);

/// How long Docker may take to set up the interface once it is there.
const UNTIL_SET_UP: Duration = Duration::from_secs(10);

/// Settles an attachment as soon as Docker has set up its interface.
pub(crate) fn start(driver: &Driver, attachment: &Attachment) {
    let watch = Watch {
        driver: driver.clone(),
        endpoint: attachment.endpoint.clone(),
        attachment: attachment.id,
        if_name: attachment.parameters.if_name.clone(),
    };
    let background = driver.background.clone();
    driver.background.spawn(async move {
        let watched = background.until_stopped(watch.run()).await;
        if let Some(Err(error)) = watched {
            tracing::error!(
                endpoint = watch.endpoint.short(), attachment = %watch.attachment,
                error = chain(&error),
                "what Docker does not carry over could not be put back"
            );
        }
    });
}

/// Watches again what the last driver watched: Docker before version 28 may put an interface in
/// place while no driver runs, and makes no call about it afterwards.
pub(crate) fn begin_again(driver: &Driver) {
    for endpoint in driver.endpoints.ids() {
        // Nothing else holds one yet.
        let slot = driver.endpoints.try_lock(&endpoint);
        if let Some(attachment) = slot.as_ref().and_then(|slot| slot.as_ref())
            && attachment.phase == Phase::Joined
            && attachment.sandbox.is_some()
        {
            start(driver, attachment);
        }
    }
}

struct Watch {
    driver: Driver,
    endpoint: EndpointId,
    attachment: AttachmentId,
    if_name: String,
}

impl Watch {
    async fn run(&self) -> Result<()> {
        // A container that is not started, or not any more, is no error: its endpoint goes.
        if tokio::time::timeout(UNTIL_TAKEN, self.taken()).await.is_err() {
            return Ok(());
        }
        match tokio::time::timeout(UNTIL_SET_UP, self.set_up()).await {
            Ok(settled) => settled,
            // Docker was told more than it has set. Better late than never.
            Err(_) => self.settle_if(|_| true).await.map(drop),
        }
    }

    /// Waits until Docker has taken the interface from our namespace.
    async fn taken(&self) -> Result<()> {
        let mut events = Events::own()?;
        while self.driver.interfaces.own.link(&self.if_name).await?.is_some() {
            events.next().await?;
        }
        Ok(())
    }

    /// Waits until Docker has set all that it was told, and settles the rest.
    async fn set_up(&self) -> Result<()> {
        let Some(sandbox) = self.sandbox().await else { return Ok(()) };
        let mut events = match Events::in_netns(&sandbox).await {
            // The container has ended.
            Err(error) if error.is_not_found() => return Ok(()),
            events => events?,
        };
        let mut heard = Instant::now();
        while !self.settle_if(|actual| actual.is_complete()).await? {
            events.next().await?;
            heard = Instant::now();
        }
        tracing::info!(
            endpoint = self.endpoint.short(), attachment = %self.attachment,
            ms = heard.elapsed().as_secs_f64() * 1000.0,
            "settled after Docker's last change"
        );
        Ok(())
    }

    async fn sandbox(&self) -> Option<std::path::PathBuf> {
        let slot = self.driver.endpoints.lock(&self.endpoint).await;
        slot.as_ref().and_then(|attachment| attachment.sandbox.clone())
    }

    /// Settles the attachment if Docker's work is as `ready` wants it; true if there is
    /// nothing more to wait for.
    async fn settle_if(&self, ready: impl Fn(&Told) -> bool) -> Result<bool> {
        let mut slot = self.driver.endpoints.lock(&self.endpoint).await;
        let Some(attachment) = slot.as_mut().filter(|it| it.id == self.attachment) else {
            return Ok(true);
        };
        if attachment.phase != Phase::Joined {
            return Ok(true);
        }
        let Place::Sandbox(netlink, link) = self.driver.interfaces.locate(attachment).await? else {
            return Ok(false);
        };
        if !ready(&Told::of(attachment, &netlink, &link).await?) {
            return Ok(false);
        }
        if self.driver.interfaces.settle_there(attachment, &netlink, &link).await? {
            self.driver.records.keep_soon(attachment).await;
        }
        Ok(true)
    }
}

/// How much of what Docker was told is there.
struct Told {
    up: bool,
    addresses: bool,
    routes: bool,
}

impl Told {
    async fn of(attachment: &Attachment, netlink: &Netlink, link: &Link) -> Result<Self> {
        let addresses = netlink.addresses(link.index).await?;
        let routes = netlink.routes(link.index).await?;
        let wanted = attachment.interface.iter().flat_map(|interface| &interface.told);
        let told = attachment.join_answer().into_iter().flat_map(|told| told.static_routes);
        Ok(Self {
            up: link.up,
            addresses: wanted
                .into_iter()
                .all(|wanted| addresses.iter().any(|address| address.net == *wanted)),
            routes: told
                .into_iter()
                .all(|told| routes.iter().any(|route| route.destination == told.destination)),
        })
    }

    fn is_complete(&self) -> bool {
        self.up && self.addresses && self.routes
    }
}
