//! Garbage collection: what crashes, a killed dockerd or a lost state folder left on the host.
//!
//! The chain's own DEL removes what an attachment of this driver made. An attachment without a record gets
//! a new one, made from its remains, and is then an orphan like any other. Three rules protect what is
//! alive. Nothing is touched that is not proven to be this driver's ([`super::remains`]), that is younger
//! than a grace time, or whose address a namespace of the host still has.
//!
//! A lease that names no owner is nobody's, and no DEL removes it. It is removed as a file, under its plugin's lock
//! ([`super::unowned_leases`]).

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::cni::NetworkConfigList;
use crate::lifecycle::blocking::on_blocking_thread;
use crate::lifecycle::driver::Driver;
use crate::lifecycle::error::{Result, chain};
use crate::lifecycle::garbage::dockerds::DOCKERS_PATIENCE;
use crate::lifecycle::garbage::in_use::{InUse, pinned_elsewhere};
use crate::lifecycle::garbage::lost;
use crate::lifecycle::garbage::remains::{Remains, Survey};
use crate::lifecycle::garbage::unowned_leases::{PATIENCE, Unowned};
use crate::netlink::Link;
use crate::translate;

/// What [`Driver::collect`] is to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Collection {
    /// Remove what is found; otherwise only report it.
    pub apply: bool,
    /// How old something must be, in seconds, to count as garbage.
    pub grace: u64,
    /// Also run CNI's GC for every conflist that a Docker network uses: it removes everything that is
    /// neither this driver's nor in libcni's cache.
    pub exclusive: bool,
}

/// What was found, and the outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The attachment, the lease, the interface, the bridge or the conflist.
    pub what: String,
    /// Why it is garbage, or seems to be.
    pub reason: String,
    /// The traces of it on the host.
    pub found: Vec<String>,
    /// The outcome.
    pub outcome: Outcome,
}

/// The outcome for a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is", content = "why")]
pub enum Outcome {
    /// It is gone.
    Removed,
    /// It would be removed, if the caller had asked for it.
    Garbage,
    /// It is not touched, for this reason.
    Kept(String),
    /// It could not be removed, for this reason.
    Failed(String),
}

impl Outcome {
    /// All outcomes, in a word each.
    const WORDS: [&str; 4] = ["removed", "garbage", "kept", "failed"];

    fn word(&self) -> &'static str {
        match self {
            Self::Removed => "removed",
            Self::Garbage => "garbage",
            Self::Kept(_) => "kept",
            Self::Failed(_) => "failed",
        }
    }

    fn of(removal: Result<()>) -> Self {
        match removal {
            Ok(()) => Self::Removed,
            Err(error) => Self::Failed(chain(&error)),
        }
    }
}

/// How old something must be to count as garbage in the periodic collection: longer than dockerd takes from
/// CreateEndpoint to a running container, and longer than plugins may take.
const GRACE: Duration = Duration::from_secs(600);

impl Driver {
    /// Looks for what attachments have left on the host and nothing else will remove. Removes it if the
    /// caller asks for it.
    ///
    /// # Errors
    /// The host cannot be read.
    pub async fn collect(&self, wanted: &Collection) -> Result<Vec<Finding>> {
        // One at a time: two would both make a record for the same remains.
        let _alone = self.collecting.lock().await;
        let grace = Duration::from_secs(wanted.grace);
        let mut findings = self.collect_attachments(grace, wanted.apply).await;
        findings.extend(self.collect_remains(grace, wanted.apply).await?);
        if wanted.apply {
            self.take_down_removed();
        }
        if wanted.exclusive {
            findings.extend(self.collect_exclusively(wanted.apply).await);
        }
        let of = |word| findings.iter().filter(|it| it.outcome.word() == word).count() as u64;
        self.history.collected(&Outcome::WORDS.map(|word| (word, of(word))));
        for Finding { what, reason, outcome, .. } in &findings {
            match outcome {
                Outcome::Removed => self.history.garbage_removed(what, reason, None),
                Outcome::Failed(why) => {
                    self.history.garbage_removed(what, reason, Some(why.clone()));
                }
                Outcome::Garbage | Outcome::Kept(_) => {}
            }
        }
        Ok(findings)
    }

    /// Attachments on record whose container has gone, or was never started.
    async fn collect_attachments(&self, grace: Duration, apply: bool) -> Vec<Finding> {
        let mut findings = Vec::new();
        for endpoint in self.endpoints.ids() {
            // A call that holds an endpoint works on it.
            let Some(mut slot) = self.endpoints.try_lock(&endpoint) else { continue };
            let Some(attachment) = slot.as_ref().filter(|attachment| attachment.age() >= grace)
            else {
                continue;
            };
            let Some(reason) = lost::reason(&self.interfaces, attachment).await else { continue };
            let what = format!("attachment {}", attachment.id);
            let found = vec![format!("endpoint {}", endpoint.short())];
            let orphan = if apply { self.removals.release(&mut slot).await } else { None };
            // The removal waits for a place inside the gate, and work inside must not wait for this
            // endpoint.
            drop(slot);
            let outcome = match orphan {
                Some(orphan) => Outcome::of(self.removals.in_turn(orphan).await),
                None => Outcome::Garbage,
            };
            findings.push(Finding { what, reason: reason.to_owned(), found, outcome });
        }
        findings
    }

    /// The remains of attachments that are not on record.
    async fn collect_remains(&self, grace: Duration, apply: bool) -> Result<Vec<Finding>> {
        let pass = self.gate.enter().await;
        let (mut lists, unread) = self.chains.known().await?;
        let networks = self.networks.all();
        lists.extend(networks.iter().filter_map(|network| network.own_chain.clone()));
        let survey = self.survey(&lists, grace).await?;
        let addresses = survey.attachments.values().flat_map(|remains| &remains.addresses);
        let addresses = addresses.chain(survey.unowned.iter().map(|lease| &lease.address));
        let netns_dir = self.interfaces.netns_dir();
        let used = InUse::among(&addresses.copied().collect(), netns_dir).await;
        let elsewhere = pinned_elsewhere(netns_dir)?;
        // Removals take their own places.
        drop(pass);
        let mut findings = Vec::new();
        for (id, remains) in survey.attachments {
            let another = elsewhere.get(&id).map(|pin| {
                format!("another driver has it, with its namespace at {}", pin.display())
            });
            let kept = another
                .or_else(|| used.keeps(&remains.addresses))
                .or_else(|| doubt(&remains, &lists, unread.as_deref(), grace));
            let outcome = match kept {
                Some(reason) => Outcome::Kept(reason),
                None if apply => Outcome::of(self.remove_remains(id, &remains, &lists).await),
                None => Outcome::Garbage,
            };
            findings.push(Finding {
                what: format!("attachment {id}"),
                reason: "it is not on record".to_owned(),
                found: remains.found,
                outcome,
            });
        }
        findings.extend(self.collect_unowned(survey.unowned, &used, apply).await?);
        findings.extend(survey.stray_links.into_iter().map(|name| Finding {
            what: format!("interface {name}"),
            reason: "it is named like this driver's, and belongs to no attachment".to_owned(),
            found: Vec::new(),
            outcome: Outcome::Kept("nothing proves that it is this driver's".to_owned()),
        }));
        for bridge in survey.stray_bridges {
            findings.push(self.collect_bridge(bridge, grace, apply).await?);
        }
        Ok(findings)
    }

    /// What looks like garbage, without what is on record or younger than `grace`.
    async fn survey(&self, lists: &[NetworkConfigList], grace: Duration) -> Result<Survey> {
        // Also records that cannot be read: their containers may run. Before the survey and after
        // it, since attachments come and go meanwhile.
        let mut on_record = self.records.ids().await?;
        let own = &self.interfaces.own_background;
        let mut survey =
            Survey::take(lists, self.interfaces.netns_dir(), &self.exemptions, own).await?;
        on_record.extend(self.records.ids().await?);
        survey.stray_links.retain(|name| !on_record.iter().any(|id| id.if_name() == *name));
        let networks = self.networks.all();
        let bridges: Vec<_> = networks.iter().filter_map(|network| network.own_bridge()).collect();
        survey.stray_bridges.retain(|bridge| !bridges.contains(&bridge.name.as_str()));
        survey.attachments.retain(|id, remains| {
            !on_record.contains(id) && remains.age().is_none_or(|age| age >= grace)
        });
        survey.unowned.retain(|lease| lease.age() >= grace);
        Ok(survey)
    }

    /// Leases that name no owner.
    async fn collect_unowned(
        &self,
        leases: BTreeSet<Unowned>,
        used: &InUse,
        apply: bool,
    ) -> Result<Vec<Finding>> {
        // Where an interface is staged, no namespace of others shows its address.
        let on_record = self.records.all();
        let keeps = |lease: &Unowned| {
            let owner = on_record.iter().find(|(_, kept)| {
                let mut addresses = kept.addresses.iter().map(|net| net.addr());
                kept.list.name() == lease.conflist && addresses.any(|it| it == lease.address)
            });
            let owner = owner.map(|(id, _)| format!("attachment {id} has its address"));
            owner.or_else(|| used.keeps(&BTreeSet::from([lease.address])))
        };
        let judged: Vec<_> = leases.into_iter().map(|lease| (keeps(&lease), lease)).collect();
        on_blocking_thread(move || {
            let until = Instant::now() + PATIENCE;
            let findings = judged.into_iter().map(|(kept, lease)| {
                let outcome = match kept {
                    Some(reason) => Outcome::Kept(reason),
                    None if !apply => Outcome::Garbage,
                    None => match lease.remove(until) {
                        Ok(Some(reason)) => Outcome::Kept(reason),
                        removal => Outcome::of(removal.map(drop)),
                    },
                };
                Finding {
                    what: format!("lease {} of {}", lease.address, lease.conflist),
                    reason: "it names no owner, so that no DEL gives the address back".to_owned(),
                    found: vec![format!("file {}", lease.path.display())],
                    outcome,
                }
            });
            Ok(findings.collect())
        })
        .await
    }

    /// A bridge with a name like a network's own bridge, but without a record of the network.
    async fn collect_bridge(&self, bridge: Link, grace: Duration, apply: bool) -> Result<Finding> {
        let own = &self.interfaces.own;
        let used = own.links().await?.iter().any(|link| link.controller == Some(bridge.index));
        let outcome = match (used, grace.is_zero()) {
            (true, _) => Outcome::Kept("interfaces are on it".to_owned()),
            (false, false) => {
                Outcome::Kept("nothing tells how old it is; --grace 0 removes it".to_owned())
            }
            (false, true) if apply => {
                Outcome::of(own.delete_link(bridge.index).await.map_err(Into::into))
            }
            (false, true) => Outcome::Garbage,
        };
        let reason = "it is named like a network's own bridge, and no such network is on record";
        let what = format!("bridge {}", bridge.name);
        Ok(Finding { what, reason: reason.to_owned(), found: Vec::new(), outcome })
    }
}

/// Why remains that nobody uses may be no garbage after all.
fn doubt(
    remains: &Remains,
    lists: &[NetworkConfigList],
    unread: Option<&str>,
    grace: Duration,
) -> Option<String> {
    let is_known = lists.iter().any(|list| remains.conflist.as_deref() == Some(list.name()));
    match unread {
        // The leases of its chain were not read, and its DEL cannot be run.
        Some(problem) if !is_known => {
            Some(format!("it may be of a configuration that cannot be read: {problem}"))
        }
        // Its IPAM would give the address to another container, although one may still have it.
        _ if remains.addresses.is_empty() && gives_away(remains, lists) => {
            Some("nothing tells its address, so that a container may have it".to_owned())
        }
        _ if !remains.proven => Some("it may be another runtime's".to_owned()),
        _ if remains.made.is_none() && !grace.is_zero() => {
            Some("nothing tells how old it is; --grace 0 removes it".to_owned())
        }
        _ => None,
    }
}

/// Whether DEL would release an address that only the chain's own IPAM knows.
fn gives_away(remains: &Remains, lists: &[NetworkConfigList]) -> bool {
    let list = lists.iter().find(|list| remains.conflist.as_deref() == Some(list.name()));
    list.is_some_and(translate::hides_leases)
}

/// Collects at intervals, until the driver stops. The first collection comes earlier, with a short grace
/// time: it removes endpoints that Docker gave up on because the last driver died during a call. Docker
/// does not delete an endpoint whose CreateEndpoint was not answered, and does not repeat a DeleteEndpoint
/// that was not answered. By then the removals that the last driver left have been tried.
pub(crate) async fn at_intervals(driver: Driver, interval: Duration) {
    let (mut pause, mut grace) = (DOCKERS_PATIENCE, DOCKERS_PATIENCE);
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = driver.background.stopped() => return,
        }
        collect_now(&driver, grace).await;
        (pause, grace) = (interval, GRACE);
    }
}

async fn collect_now(driver: &Driver, grace: Duration) {
    let wanted = Collection { apply: true, grace: grace.as_secs(), exclusive: false };
    if let Err(error) = driver.collect(&wanted).await {
        tracing::warn!(error = chain(&error), "cannot look for garbage");
    }
}
