//! Waiting for Docker before version 28, which moves the interface into a container after the
//! last call about it was answered.
//!
//! ```text
//!   Docker 28 and later   Join · the move · ProgramExternalConnectivity, EndpointOperInfo: both settle
//!   before                Join, ProgramExternalConnectivity, EndpointOperInfo · the move: a watch settles
//! ```
//!
//! A call that finds an endpoint that cannot be settled yet starts a watch ([`start`]), and so does Join if no such
//! call follows ([`start_unless_called`]). The watch waits
//!
//! 1. until the interface has left the driver's namespace ([`Watch::wait_until_taken`]);
//! 2. in the container's namespace, until Docker has set everything from the driver's answers
//!    ([`Watch::wait_until_set_up`]). If the driver set it earlier, Docker would find its own work done, and fail;
//! 3. and settles; a lease of `dhcp` moves last ([`Watch::move_lease`]).
//!
//! A watch ends when the endpoint is settled, or when no container has it any more. After an error it logs
//! and starts again. A driver that is started again starts the watches of the previous driver.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use tokio::time::sleep;

use crate::cnm::{EndpointId, StaticRoute};
use crate::lifecycle::calls::host_rules;
use crate::lifecycle::driver::Driver;
use crate::lifecycle::error::{Error, Result, chain};
use crate::lifecycle::interface::announce;
use crate::lifecycle::interface::change::Live;
use crate::lifecycle::interface::is_ipv6_off;
use crate::lifecycle::interface::place::Place;
use crate::lifecycle::lease;
use crate::lifecycle::record::{Attachment, AttachmentId, Joined, Settings};
use crate::netlink::{Events, Link, MAIN_TABLE, Netlink};
use crate::sysctl::Sysctls;

/// How long Docker may take to set up the interface once it is there.
const UNTIL_SET_UP: Duration = Duration::from_secs(10);

/// How long Docker may take from Join to the next call for the endpoint.
const UNTIL_CALLED: Duration = Duration::from_secs(1);

/// The pause before a failed watch starts again; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// No pause is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Settles an attachment if Docker has put its interface in place. If that is still to come, or if
/// it fails, starts a watch.
pub(crate) async fn settle(driver: &Driver, attachment: &mut Attachment) -> Result<()> {
    let Some(joined) = attachment.unsettled() else { return Ok(()) };
    // Before Docker 28 the process may start as soon as the interface is in place.
    driver.spares.put_back(joined.attachment).await?;
    let settled = match driver.interfaces.locate(attachment).await {
        Ok(Place::Sandbox(netlink, link)) => {
            let begun = Instant::now();
            let there = Live { path: joined.sandbox(), netlink: &netlink, link: &link };
            let settled = async {
                let users = settle_there(driver, joined, &there, &Sysctls::new()).await?;
                // Docker waits for this call, and makes no other for the endpoint meanwhile.
                lease::move_in(&driver.chains, joined, &there, std::future::pending()).await?;
                Ok(users)
            };
            match settled.await {
                Ok(users) => note_settled(driver, attachment, users, begun).await,
                Err(error) => Err(error),
            }
        }
        Ok(Place::Staging(..) | Place::Own(_)) => Ok(()),
        Ok(Place::Nowhere) => Err(attachment.gone()),
        Err(error) => Err(error),
    };
    if attachment.unsettled().is_some() {
        start(driver, attachment);
    }
    settled
}

/// Settles an interface that Docker has put in place. Returns the settings that the user has decided there.
async fn settle_there(
    driver: &Driver,
    joined: Joined<'_>,
    live: &Live<'_>,
    set_before: &Sysctls,
) -> Result<Settings> {
    let begun = Instant::now();
    let users = driver.interfaces.settle_there(joined, live, set_before).await;
    driver.history.interface_settled(&joined, begun.elapsed(), users.is_ok());
    let users = users?;
    announce::soon(&driver.background, joined, live.link);
    Ok(users)
}

async fn note_settled(
    driver: &Driver,
    attachment: &mut Attachment,
    users: Settings,
    begun: Instant,
) -> Result<()> {
    attachment.settle(users)?;
    driver.history.settled(attachment, begun.elapsed());
    // A container waits for this; settling once more after a crash does no harm.
    driver.records.keep_soon(attachment).await;
    Ok(())
}

/// Settles an attachment as soon as Docker has set up its interface. The caller holds the endpoint's
/// lock.
pub(crate) fn start(driver: &Driver, attachment: &Attachment) {
    if !driver.watched.begin(attachment.id) {
        return;
    }
    let watch = Watch {
        driver: driver.clone(),
        endpoint: attachment.endpoint.clone(),
        attachment: attachment.id,
        if_name: attachment.parameters.if_name.clone(),
    };
    let background = driver.background.clone();
    driver.background.spawn(async move {
        // The next driver starts it again.
        background.until_stopped(watch.run()).await;
    });
}

/// Starts a watch if Docker makes no call for the endpoint that settles it. Docker before version 28 makes none if a
/// container joins the network while it runs, and has published ports on Docker's own bridge: once it
/// knows of one port, it asks no other network.
pub(crate) fn start_unless_called(driver: &Driver, attachment: &Attachment) {
    let (endpoint, id) = (attachment.endpoint.clone(), attachment.id);
    let (this, background) = (driver.clone(), driver.background.clone());
    driver.background.spawn(async move {
        // The next driver starts it at once.
        background.until_stopped(sleep(UNTIL_CALLED)).await?;
        let slot = this.endpoints.lock(&endpoint).await;
        let attachment = slot.as_ref().filter(|it| it.id == id && it.unsettled().is_some())?;
        start(&this, attachment);
        Some(())
    });
}

/// Starts the watches of the last driver again: Docker before version 28 may put an interface in place
/// while no driver runs, and makes no call about it afterwards. Also reads the rules that the last driver
/// had no time to read.
pub(crate) fn begin_again(driver: &Driver) {
    for endpoint in driver.endpoints.ids() {
        // No call holds an endpoint yet.
        let slot = driver.endpoints.try_lock(&endpoint);
        let Some(attachment) = slot.as_ref().and_then(|slot| slot.as_ref()) else { continue };
        if attachment.unsettled().is_some() {
            start(driver, attachment);
        }
        host_rules::read_soon(driver, attachment);
    }
}

/// What a watch has done.
enum Done {
    All,
    /// The lease of the interface has yet to move. Also the settings that the user has decided.
    AllButLease(Settings),
}

struct Watch {
    driver: Driver,
    endpoint: EndpointId,
    attachment: AttachmentId,
    if_name: String,
}

impl Watch {
    async fn run(&self) {
        let mut pause = FIRST_PAUSE;
        while let Err(error) = self.attempt().await {
            // A container that has just ended is no error: its endpoint is deleted next.
            sleep(pause).await;
            if self.joined().await.is_none() {
                return;
            }
            tracing::error!(
                endpoint = self.endpoint.short(), attachment = %self.attachment,
                error = chain(&error),
                "what Docker does not carry over could not be restored; it is tried again"
            );
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }

    /// Waits for Docker, and settles the attachment; does nothing if no container has it.
    async fn attempt(&self) -> Result<()> {
        self.wait_until_taken().await?;
        let Some(sandbox) = self.joined().await else { return Ok(()) };
        let waited = tokio::time::timeout(UNTIL_SET_UP, self.wait_until_set_up(&sandbox));
        let done = match waited.await {
            Ok(done) => done?,
            // Docker has not set everything from the answers. Settle nevertheless.
            Err(_) => {
                let done = self.settle_if(|_| true, &Sysctls::new()).await?;
                done.ok_or_else(|| Error::InterfaceGone {
                    endpoint: self.endpoint.clone(),
                    if_name: self.if_name.clone(),
                })?
            }
        };
        match done {
            Done::All => Ok(()),
            Done::AllButLease(users) => self.move_lease(users).await,
        }
    }

    /// Waits until Docker has moved the interface out of the driver's namespace.
    async fn wait_until_taken(&self) -> Result<()> {
        let mut events = Events::own()?;
        while self.driver.interfaces.own.link(&self.if_name).await?.is_some() {
            events.next().await?;
        }
        Ok(())
    }

    /// Waits until Docker has set everything from the answers, and settles the rest.
    async fn wait_until_set_up(&self, sandbox: &Path) -> Result<Done> {
        let mut events = Events::in_netns(sandbox).await?;
        let set_before = self.set_namespace().await?;
        let mut last_event = Instant::now();
        let done = loop {
            let settled = match self.settle_if(Progress::is_complete, &set_before).await {
                // The user's settings may have come meanwhile, and IPv6 be off.
                Err(_) => self.settle_if(Progress::is_complete, &set_before).await?,
                Ok(settled) => settled,
            };
            if let Some(done) = settled {
                break done;
            }
            events.next().await?;
            last_event = Instant::now();
        };
        tracing::info!(
            endpoint = self.endpoint.short(), attachment = %self.attachment,
            ms = last_event.elapsed().as_secs_f64() * 1000.0,
            "settled after Docker's last change"
        );
        Ok(done)
    }

    /// Sets the chain's settings of the namespace, while Docker is still moving the interface. Docker sets
    /// the user's (`--sysctl`) when it is done, so they come later and take precedence.
    async fn set_namespace(&self) -> Result<Sysctls> {
        let slot = self.driver.endpoints.lock(&self.endpoint).await;
        match self.unsettled(slot.as_ref()) {
            Some(joined) => self.driver.interfaces.set_namespace(joined).await,
            None => Ok(Sysctls::new()),
        }
    }

    /// The sandbox that the attachment is to be settled in; none if there is nothing to do any
    /// more, and then this watch has ended.
    async fn joined(&self) -> Option<PathBuf> {
        let slot = self.driver.endpoints.lock(&self.endpoint).await;
        let sandbox = self.unsettled(slot.as_ref()).map(|joined| joined.sandbox().to_owned());
        if sandbox.is_none() {
            self.end();
        }
        sandbox
    }

    /// Settles the attachment if Docker's work is as `ready` wants it; none if Docker has more to do. If all is
    /// done, this watch has ended.
    async fn settle_if(
        &self,
        ready: impl Fn(&Progress) -> bool,
        set_before: &Sysctls,
    ) -> Result<Option<Done>> {
        let mut slot = self.driver.endpoints.lock(&self.endpoint).await;
        let Some(joined) = self.unsettled(slot.as_ref()) else {
            self.end();
            return Ok(Some(Done::All));
        };
        let Place::Sandbox(netlink, link) = self.driver.interfaces.locate(&joined).await? else {
            return Ok(None);
        };
        if !ready(&Progress::of(joined, &netlink, &link).await?) {
            return Ok(None);
        }
        let begun = Instant::now();
        let there = Live { path: joined.sandbox(), netlink: &netlink, link: &link };
        let users = settle_there(&self.driver, joined, &there, set_before).await?;
        if let Some(attachment) = slot.as_mut() {
            attachment.note(|joining| joining.users_follow = true);
            if lease::is_leased(attachment) {
                return Ok(Some(Done::AllButLease(users)));
            }
            note_settled(&self.driver, attachment, users, begun).await?;
        }
        self.end();
        Ok(Some(Done::All))
    }

    /// Moves the lease of the interface into the container; then the attachment is settled. A server may take
    /// long to answer, so a call of Docker's for the endpoint ends this.
    async fn move_lease(&self, users: Settings) -> Result<()> {
        let mut slot = self.driver.endpoints.lock(&self.endpoint).await;
        let call_waits = slot.call_waits();
        let begun = Instant::now();
        if let Some(joined) = self.unsettled(slot.as_ref()) {
            let Place::Sandbox(netlink, link) = self.driver.interfaces.locate(&joined).await?
            else {
                return Err(joined.gone());
            };
            let there = Live { path: joined.sandbox(), netlink: &netlink, link: &link };
            lease::move_in(&self.driver.chains, joined, &there, call_waits).await?;
            if let Some(attachment) = slot.as_mut() {
                note_settled(&self.driver, attachment, users, begun).await?;
            }
        }
        self.end();
        Ok(())
    }

    /// The attachment that this watch is for, if it has yet to be settled.
    fn unsettled<'a>(&self, attachment: Option<&'a Attachment>) -> Option<Joined<'a>> {
        attachment.filter(|it| it.id == self.attachment)?.unsettled()
    }

    /// From here on another watch can start. The caller holds the endpoint's lock, so that no start
    /// in between is missed.
    fn end(&self) {
        self.driver.watched.end(self.attachment);
    }
}

/// How much of the driver's answers Docker has set.
struct Progress {
    up: bool,
    addresses: bool,
    routes: bool,
    /// The default routes that Docker sets for the endpoint that it made the gateway.
    default_routes: bool,
}

impl Progress {
    async fn of(joined: Joined<'_>, netlink: &Netlink, link: &Link) -> Result<Self> {
        let addresses = netlink.addresses(link.index).await?;
        let mut routes = netlink.all_routes().await?;
        routes.retain(|route| route.table == MAIN_TABLE);
        let answer = joined.answer();
        let told = &joined.made.docker_addresses;
        let has = |net: &&IpNet| addresses.iter().any(|address| address.net == **net);
        // Docker gives the addresses before it sets the interface up. One of IPv6 that is missing then is none that
        // is to come: the user has turned IPv6 off.
        let lacks_ipv6 = told.iter().filter(|net| net.addr().is_ipv6()).any(|net| !has(&net));
        let is_off = link.up && lacks_ipv6 && is_ipv6_off(joined, link).await?;
        let counts = |address: IpAddr| address.is_ipv4() || !is_off;
        let gateways = if joined.is_gateway { answer.gateways() } else { Vec::new() };
        let is_there = |told: &StaticRoute| {
            routes.iter().any(|route| {
                route.link == Some(link.index) && route.destination == told.destination
            })
        };
        let mut default_routes = gateways.into_iter().filter(|gateway| counts(*gateway));
        let default_routes = default_routes.all(|gateway| {
            let mut defaults = routes.iter().filter(|route| route.is_default());
            defaults.any(|route| route.destination.addr().is_ipv4() == gateway.is_ipv4())
        });
        let mut static_routes = answer.static_routes.iter();
        Ok(Self {
            up: link.up,
            addresses: told.iter().filter(|net| counts(net.addr())).all(|net| has(&net)),
            routes: static_routes.all(|it| is_there(it) || !counts(it.destination.addr())),
            default_routes,
        })
    }

    fn is_complete(&self) -> bool {
        self.up && self.addresses && self.routes && self.default_routes
    }
}
