//! Join: the interface is handed to Docker.

use std::path::PathBuf;

use crate::cnm::{JoinRequest, JoinResponse};
use crate::lifecycle::calls::host_rules;
use crate::lifecycle::calls::watch;
use crate::lifecycle::driver::Driver;
use crate::lifecycle::error::{Error, Result, chain};
use crate::lifecycle::history::Asked;
use crate::lifecycle::host::host_side;
use crate::lifecycle::interface::netfilter;
use crate::lifecycle::interface::place::Place;
use crate::lifecycle::record::{Attachment, Joined, Joining, Made, PhaseName};
use crate::netns;

impl Driver {
    /// `NetworkDriver.Join`: hands the interface to Docker, with the gateways and routes.
    ///
    /// # Errors
    /// The endpoint is unknown, or its interface cannot be moved; it stays in staging then.
    pub async fn join(&self, request: JoinRequest) -> Result<JoinResponse> {
        let asked = Asked::now("Join", &request.network_id, Some(&request.endpoint_id));
        let joined = self.enter(request).await;
        self.history.ended(&asked, joined)
    }
}

impl Driver {
    async fn enter(&self, request: JoinRequest) -> Result<JoinResponse> {
        let _call = self.gate.docker_call(&request.endpoint_id);
        self.inherited.seen_by_dockerd(&request.endpoint_id);
        let slot = self.endpoints.lock_beside_publication(&request.endpoint_id).await;
        let Some(attachment) = slot.as_ref() else {
            return Err(Error::UnknownEndpoint(request.endpoint_id));
        };
        let sandbox = match request.sandbox_key.as_str() {
            // Docker always names a sandbox. Another caller gets a path where there is none.
            "" => attachment.staging.with_extension("unnamed"),
            key => PathBuf::from(key),
        };
        self.wait_for_ports(attachment, &[]).await?;
        let mut slot = self.publisher.publish_at_join(slot, &sandbox).await?;
        let Some(attachment) = slot.as_mut() else {
            return Err(Error::UnknownEndpoint(request.endpoint_id));
        };
        let made = attachment.made()?;
        let joining = self.decide(attachment, made, sandbox).await?;
        let answer = Joined { attachment, made, joining: &joining }.answer();
        self.carry_out(attachment, joining).await?;
        host_rules::read_soon(self, attachment);
        // Where the namespace exists, Docker makes another call once the interface is in place, with one exception.
        match attachment.sandbox().map(netns::identity) {
            Some(Ok(Some(_))) | None => watch::start_unless_called(self, attachment),
            Some(_) => watch::start(self, attachment),
        }
        self.publisher.note_published_elsewhere(attachment).await;
        Ok(answer)
    }

    /// What the attachment needs in that sandbox, beside the container's other networks.
    async fn decide(
        &self,
        attachment: &Attachment,
        made: &Made,
        sandbox: PathBuf,
    ) -> Result<Joining> {
        let mut joining = match attachment.joined() {
            // It may differ from the width at an earlier Join.
            Some(earlier) => Joining { sandbox, widened: 0, ..earlier.joining.clone() },
            None => Joining::at(sandbox),
        };
        let joined = Joined { attachment, made, joining: &joining };
        let sandboxes = &self.interfaces.sandboxes;
        sandboxes.check_overlap(joined)?;
        let live = self.interfaces.live_routes(joined.sandbox()).await?;
        let widened = sandboxes.widening(joined, &live);
        let settled = attachment.settled().is_some_and(|it| it.sandbox() == joined.sandbox());
        if !settled {
            joining.tables = sandboxes.renumbering(joined, &live);
        }
        joining.widened = widened;
        Ok(joining)
    }

    /// Changes the attachment as planned, and puts its interface where Docker finds it. After an error the
    /// attachment is unchanged: no Leave follows a Join that failed.
    async fn carry_out(&self, attachment: &mut Attachment, mut joining: Joining) -> Result<()> {
        let mut joined = attachment.clone();
        // What a spare needs was seen, and its rules were written, before anybody asked for it.
        let prepared = attachment.prepared();
        if let Some(prepared) = prepared {
            joining.settings = prepared.settings.clone();
            joining.netfilter = prepared.netfilter.clone();
            netfilter::check_programs(&joining.netfilter)?;
            joining.host_side = prepared.host_side.clone();
        }
        let is_spare = prepared.is_some();
        // The first Join of an ordinary attachment.
        let is_first = attachment.phase.name() == PhaseName::Staged && !is_spare;
        let exempt = async {
            match () {
                () if is_first => self.exemptions.exempt(attachment).await,
                // The host is looked at afterwards: see `crate::lifecycle::spares`.
                () if is_spare => Ok(()),
                // The earlier Join has written it, or was about to when the driver ended.
                () => self.exemptions.complete(attachment).await,
            }
        };
        let hand_over = async {
            self.observe(attachment, &mut joining, is_first).await?;
            joined.join(joining)?;
            // Before the interface moves: so its settings are on record, wherever a crash leaves it.
            self.records.keep(&joined).await?;
            self.hand_over(&joined, is_spare).await
        };
        let isolate = async {
            match self.networks.get(&attachment.network) {
                Ok(network) if network.is_isolated() && !is_spare => self.isolate().await,
                _ => Ok(()),
            }
        };
        // Docker does not look at the interface before the answer, so it moves while the programs for the
        // rules run. All steps run to their end, so that an undo does not run beside a step.
        let (handed_over, exempted, isolated) = tokio::join!(hand_over, exempt, isolate);
        if let Err(cause) = handed_over.and(exempted).and(isolated) {
            return Err(cause.undone(self.take_back(attachment, is_first).await));
        }
        // What this program knows changes last, because the Join may fail before.
        *attachment = joined;
        if let Some(joined) = attachment.joined() {
            self.interfaces.sandboxes.enter(joined);
            self.ports.enter(&joined.endpoint, joined.sandbox());
        }
        Ok(())
    }

    /// Sees what ADD left: on the host, if that is not known yet; and, at an ordinary first Join, in staging.
    async fn observe(
        &self,
        attachment: &Attachment,
        joining: &mut Joining,
        is_first: bool,
    ) -> Result<()> {
        let made = attachment.made()?;
        let warn = |error: &Error| {
            tracing::warn!(attachment = %attachment.id, error = chain(error),
                "what it has on the host is not known, and will not be checked");
        };
        let known = joining.host_side.take();
        let host_side = async {
            match known {
                Some(known) => Some(known),
                None => host_side::observe(&self.interfaces.own, made).await.inspect_err(warn).ok(),
            }
        };
        let settings = async {
            match is_first {
                true => self.interfaces.read_settings(attachment, made).await.map(Some),
                false => Ok(None),
            }
        };
        let rules = async {
            match is_first {
                true => netfilter::read(&attachment.staging).await.map(Some),
                false => Ok(None),
            }
        };
        let (host_side, settings, rules) = tokio::join!(host_side, settings, rules);
        joining.host_side = host_side;
        if let Some(rules) = rules? {
            joining.netfilter = rules;
        }
        if let Some(settings) = settings? {
            joining.settings = settings;
        }
        Ok(())
    }

    /// Takes back what a Join that failed has done: of an ordinary first one everything, of others the record.
    async fn take_back(&self, attachment: &Attachment, is_first: bool) -> Result<()> {
        let withdraw = async {
            match is_first {
                true => self.exemptions.withdraw(attachment).await,
                false => Ok(()),
            }
        };
        let give_back = async {
            match is_first {
                true => self.give_back(attachment).await,
                false => Ok(()),
            }
        };
        let (withdrawn, given_back) = tokio::join!(withdraw, give_back);
        let kept = self.records.keep(attachment).await;
        kept.and(withdrawn).and(given_back)
    }

    /// Moves the interface back into staging, unless it is there.
    async fn give_back(&self, attachment: &Attachment) -> Result<()> {
        match self.interfaces.locate(attachment).await? {
            Place::Own(link) => {
                let staging = netns::open(&attachment.staging)?;
                Ok(self.interfaces.own.move_to(link.index, staging).await?)
            }
            Place::Staging(..) | Place::Sandbox(..) | Place::Nowhere => Ok(()),
        }
    }

    /// Moves the interface to where Docker looks for it, unless it is there or in the container already.
    async fn hand_over(&self, attachment: &Attachment, is_spare: bool) -> Result<()> {
        let if_name = &attachment.parameters.if_name;
        if is_spare && self.interfaces.own.link(if_name).await?.is_some() {
            return Ok(());
        }
        match self.interfaces.locate(attachment).await? {
            Place::Staging(staging, link) => {
                Ok(staging.move_to(link.index, &netns::own()?).await?)
            }
            Place::Own(_) | Place::Sandbox(..) => Ok(()),
            Place::Nowhere => Err(attachment.gone()),
        }
    }
}
