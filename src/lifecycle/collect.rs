//! Garbage collection: what crashes, a killed dockerd or a lost state folder left on the host.
//!
//! Whatever an attachment of this driver's made is removed by the chain's own DEL. What has no
//! record any more gets one again, from what is found of it, and is then an orphan like any
//! other. Three things keep what is alive from harm: nothing is touched that is not proven to be
//! this driver's ([`super::remains`]), nothing that is younger than a grace time, and nothing
//! whose address some namespace of the host still has.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::error::chain;
use super::orphans::Removal;
use super::place::Place;
use super::record::{Attachment, AttachmentId, Interface, Phase};
use super::remains::{Remains, Survey, ids_in, in_use};
use super::{Driver, Inner, Result, detach, embedded, forward, recover};
use crate::cni::{self, Cache, NetworkConfigList, ValidAttachment};
use crate::cnm::EndpointInterface;
use crate::netlink::{Address, Netlink, Snapshot};
use crate::netns;
use crate::translate::{self, PORT_MAPPINGS};

/// What [`Driver::collect`] is to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Collection {
    /// Remove what is found; else only tell.
    pub apply: bool,
    /// How old it must be at least, in seconds, to be taken for garbage.
    pub grace: u64,
    /// Also have the plugins collect (CNI's GC), for every conflist that a Docker network is on:
    /// whatever is neither this driver's nor in libcni's cache goes.
    pub exclusive: bool,
}

/// What was found, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What it is: an attachment by its id, an interface by its name, a network.
    pub what: String,
    /// Why it is garbage, or seems to be.
    pub reason: String,
    /// The traces of it on the host.
    pub found: Vec<String>,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is", content = "why")]
pub enum Outcome {
    /// It is gone.
    Removed,
    /// It would be removed, if that were asked for.
    Garbage,
    /// It is not touched, for this reason.
    Kept(String),
    /// It could not be removed, for this reason.
    Failed(String),
}

impl Outcome {
    fn of(removal: Result<()>) -> Self {
        match removal {
            Ok(()) => Self::Removed,
            Err(error) => Self::Failed(chain(&error)),
        }
    }
}

/// How old something must be before it is taken for garbage without anybody's asking: longer
/// than dockerd takes from CreateEndpoint to a running container, and than plugins may take.
const GRACE: Duration = Duration::from_secs(600);

/// For how long after the driver's start dockerd may have a call to repeat that the last driver
/// did not answer; it does so for 30 s.
pub(super) const DOCKERS_PATIENCE: Duration = Duration::from_secs(45);

/// Where libcni and its users keep their attachments.
const LIBCNI_CACHE: &str = "/var/lib/cni";

impl Driver {
    /// Looks for what attachments have left on the host that nothing will remove any more, and
    /// removes it if that is asked for.
    ///
    /// # Errors
    /// The host does not tell what is there.
    pub async fn collect(&self, wanted: &Collection) -> Result<Vec<Finding>> {
        self.inner.collect(wanted).await
    }
}

impl Inner {
    async fn collect(self: &Arc<Self>, wanted: &Collection) -> Result<Vec<Finding>> {
        // One at a time: two would both give the same remains a record.
        let _alone = self.collecting.lock().await;
        let grace = Duration::from_secs(wanted.grace);
        let mut findings = self.collect_attachments(grace, wanted.apply).await;
        findings.extend(self.collect_remains(grace, wanted.apply).await?);
        if wanted.exclusive {
            findings.extend(self.collect_exclusively(wanted.apply).await);
        }
        Ok(findings)
    }

    /// Attachments on record whose container has gone, or never came.
    async fn collect_attachments(self: &Arc<Self>, grace: Duration, apply: bool) -> Vec<Finding> {
        let mut findings = Vec::new();
        for endpoint in self.endpoints.ids() {
            // Whatever holds an endpoint is at work on it.
            let Some(mut slot) = self.endpoints.try_lock(&endpoint) else { continue };
            let Some(attachment) = slot.as_ref().filter(|attachment| attachment.id.age() >= grace)
            else {
                continue;
            };
            let Some(reason) = self.is_lost(attachment).await else { continue };
            let what = format!("attachment {}", attachment.id);
            let found = vec![format!("endpoint {}", endpoint.short())];
            let outcome =
                if apply { Outcome::of(self.detach(&mut slot).await) } else { Outcome::Garbage };
            findings.push(Finding { what, reason: reason.to_owned(), found, outcome });
        }
        findings
    }

    /// Why nobody will ask for the attachment's removal any more; none if somebody may.
    pub(super) async fn is_lost(&self, attachment: &Attachment) -> Option<&'static str> {
        if recover::lost_its_sandbox(attachment) {
            return Some("its container has ended, and Docker has not said so");
        }
        match (attachment.phase, self.locate(attachment).await.ok()?) {
            (_, Place::Sandbox(..)) | (Phase::Settled, Place::Nowhere) => None,
            (Phase::Settled, _) => Some("Docker took it out of its container, and said no more"),
            _ => Some("no container came to use it"),
        }
    }

    /// What is left of attachments that are not on record.
    async fn collect_remains(
        self: &Arc<Self>,
        grace: Duration,
        apply: bool,
    ) -> Result<Vec<Finding>> {
        let lists = self.known_lists();
        // Also records that cannot be read: their containers may run. Before the survey and after
        // it, since attachments come and go meanwhile.
        let mut on_record = ids_in(self.attachment_folder.path());
        let mut survey = Survey::take(&lists, &self.netns_dir, &self.own).await?;
        on_record.extend(ids_in(self.attachment_folder.path()));
        survey.stray_links.retain(|name| !on_record.iter().any(|id| id.if_name() == *name));
        survey.attachments.retain(|id, _| !on_record.contains(id) && id.age() >= grace);
        let addresses = survey.attachments.values().flat_map(|remains| &remains.addresses);
        let used = in_use(&addresses.copied().collect()).await?;
        let mut findings = Vec::new();
        for (id, remains) in survey.attachments {
            let kept = match remains.addresses.iter().find(|address| used.contains(address)) {
                Some(address) => {
                    Some(format!("a namespace of this host has its address {address}"))
                }
                None if !remains.proven => Some("it may be another runtime's".to_owned()),
                None => None,
            };
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
        findings.extend(survey.stray_links.into_iter().map(|name| Finding {
            what: format!("interface {name}"),
            reason: "it is named like this driver's, and belongs to no attachment".to_owned(),
            found: Vec::new(),
            outcome: Outcome::Kept("nothing proves that it is this driver's".to_owned()),
        }));
        Ok(findings)
    }

    /// Removes what is left of an attachment: by its chain's DEL, where the chain is known.
    async fn remove_remains(
        self: &Arc<Self>,
        id: AttachmentId,
        remains: &Remains,
        lists: &[NetworkConfigList],
    ) -> Result<()> {
        let list = lists.iter().find(|list| remains.conflist.as_deref() == Some(list.name()));
        let Some(list) = list else {
            forward::withdraw_all(id).await?;
            if let Some(link) = self.own.link(&id.if_name()).await? {
                self.own.delete_link(link.index).await?;
            }
            return Ok(netns::remove(&self.netns_dir.join(id.to_string())).await?);
        };
        let attachment = self.again_on_record(id, remains, list).await?;
        self.remove_now(self.abandon(attachment)).await
    }

    /// An interface for DEL to find: what is left of the attachment's own, or a stand-in, with the
    /// addresses that are left of it.
    async fn staged_again(
        &self,
        id: AttachmentId,
        remains: &Remains,
        list: &NetworkConfigList,
    ) -> Result<Snapshot> {
        let staging = self.netns_dir.join(id.to_string());
        let if_name = id.if_name();
        detach::stage(&staging).await?;
        if let Some(link) = self.own.link(&if_name).await? {
            self.own.move_to(link.index, &netns::open(&staging)?).await?;
        }
        let netlink = Netlink::in_netns(&staging).await?;
        let link = match netlink.link(&if_name).await? {
            Some(link) => link,
            None => detach::stand_in(&netlink, &if_name).await?,
        };
        let subnets = translate::prospects(list).subnets;
        for address in &remains.addresses {
            let subnet = subnets.iter().find(|subnet| subnet.contains(address));
            let prefix_len =
                subnet.map_or(if address.is_ipv4() { 32 } else { 128 }, IpNet::prefix_len);
            // Within what its family allows: it was a subnet's.
            if let Ok(net) = IpNet::new(*address, prefix_len) {
                netlink.add_address(link.index, &Address::from(net)).await?;
            }
        }
        Ok(netlink.snapshot(link.index).await?)
    }

    /// A record for what is left of an attachment.
    async fn again_on_record(
        &self,
        id: AttachmentId,
        remains: &Remains,
        list: &NetworkConfigList,
    ) -> Result<Attachment> {
        let snapshot = self.staged_again(id, remains, list).await?;
        let staging = self.netns_dir.join(id.to_string());
        let mut capability_args = serde_json::Map::new();
        if list.declares(PORT_MAPPINGS) {
            // portmap finds its rules by the attachment's id, and only if it is told of a port.
            let any = json!([{"hostPort": 1, "containerPort": 1, "protocol": "tcp"}]);
            capability_args.insert(PORT_MAPPINGS.to_owned(), any);
        }
        let attachment = Attachment {
            id,
            // Docker's own ids for them went with the record.
            network: id.without_dashes(),
            endpoint: id.without_dashes(),
            phase: Phase::Deleting,
            boot_id: self.boot_id.clone(),
            list: self.lists.share(list.clone()),
            parameters: cni::Attachment {
                container_id: id.to_string(),
                netns: Some(staging.clone()),
                if_name: id.if_name(),
                args: Vec::new(),
                capability_args,
            },
            ports: Vec::new(),
            staging,
            sandbox: None,
            internal: false,
            forwarded: true,
            is_gateway: false,
            widened: 0,
            tables: BTreeMap::new(),
            result: None,
            interface: Some(Interface {
                answer: EndpointInterface::default(),
                told: Vec::new(),
                snapshot,
                settings: None,
            }),
            removal: Some(Removal::begun_now()),
            writing: Arc::default(),
        };
        self.keep(&attachment).await?;
        Ok(attachment)
    }

    /// Has the plugins of every conflist that a Docker network is on collect what is not valid.
    async fn collect_exclusively(&self, apply: bool) -> Vec<Finding> {
        let conflists: BTreeSet<String> =
            self.networks().values().map(|network| network.conflist.clone()).collect();
        let mut findings = Vec::new();
        for name in conflists {
            let mut found = Vec::new();
            let outcome = self.collect_conflist(&name, apply, &mut found).await;
            findings.push(Finding {
                what: format!("conflist {name}"),
                reason: "the plugins remove whatever is not among the valid attachments".to_owned(),
                found,
                outcome: outcome.unwrap_or_else(|error| Outcome::Failed(chain(&error))),
            });
        }
        findings
    }

    /// Has the plugins of one conflist collect, and tells what is valid.
    async fn collect_conflist(
        &self,
        name: &str,
        apply: bool,
        found: &mut Vec<String>,
    ) -> Result<Outcome> {
        let list = self.conflist(Some(name))?;
        if list.disables_gc() {
            return Ok(Outcome::Kept("the conflist says disableGC".to_owned()));
        }
        if !list.has_gc() {
            let version = list.cni_version();
            let why = format!("its cniVersion is {version}, and plugins collect from 1.1.0 on");
            return Ok(Outcome::Kept(why));
        }
        let cache = Cache::new(Path::new(LIBCNI_CACHE));
        // Nothing becomes valid, or ceases to be, from here on. Only to look, nobody has to wait.
        let _turns = match apply {
            true => Some((self.turns.alone(name).await, cache.turn_for_gc().await?)),
            false => None,
        };
        let valid = self.valid_attachments(name, &cache)?;
        let names = valid.iter().map(|one| format!("valid: {} {}", one.container_id, one.if_name));
        found.extend(names);
        if !apply {
            return Ok(Outcome::Garbage);
        }
        self.runtime.gc(&list, &valid).await?;
        Ok(Outcome::Removed)
    }

    /// The attachments of a conflist: this driver's, and those in libcni's cache.
    fn valid_attachments(&self, conflist: &str, cache: &Cache) -> Result<Vec<ValidAttachment>> {
        let records = self.attachment_folder.look()?;
        // What cannot be read may be of any conflist, and its container may run.
        let mut own: BTreeSet<_> = ids_in(self.attachment_folder.path()).into_iter().collect();
        for record in records.iter().filter(|record| record.list.name() != conflist) {
            own.remove(&record.id);
        }
        let own = own
            .into_iter()
            .map(|id| ValidAttachment { container_id: id.to_string(), if_name: id.if_name() });
        Ok(own.chain(cache.valid_of_network(conflist)?).collect())
    }

    /// The conflists of this machine, and the embedded one.
    fn known_lists(&self) -> Vec<NetworkConfigList> {
        let listed = self.conf_dir.list().networks.into_iter().map(|listed| listed.list);
        listed.chain(embedded().ok()).collect()
    }
}

/// Collects at intervals, until the driver stops; and before that once what Docker gave up on
/// because the last driver died in the middle of a call: it asks neither for the end of an
/// endpoint whose CreateEndpoint was not answered, nor twice for that of one whose DeleteEndpoint
/// was not. What is older than this driver is seen through by then.
pub(super) async fn at_intervals(inner: Arc<Inner>, interval: Duration) {
    let (mut pause, mut grace) = (DOCKERS_PATIENCE, DOCKERS_PATIENCE);
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = inner.stop.cancelled() => return,
        }
        collect_and_log(&inner, grace).await;
        (pause, grace) = (interval, GRACE);
    }
}

async fn collect_and_log(inner: &Arc<Inner>, grace: Duration) {
    let wanted = Collection { apply: true, grace: grace.as_secs(), exclusive: false };
    match inner.collect(&wanted).await {
        Err(error) => tracing::warn!(error = chain(&error), "cannot look for garbage"),
        Ok(findings) => findings.into_iter().for_each(log),
    }
}

fn log(Finding { what, reason, found, outcome }: Finding) {
    match outcome {
        Outcome::Removed => tracing::info!(what, reason, ?found, "garbage removed"),
        Outcome::Failed(why) => tracing::warn!(what, reason, why, "garbage cannot be removed"),
        Outcome::Garbage | Outcome::Kept(_) => {}
    }
}
