//! Where Docker's records and the driver's do not agree.

use std::collections::HashSet;

use jiff::Timestamp;

use super::known::Known;
use crate::lifecycle::Fault;
use crate::lifecycle::inventory::{Attachment, Phase};

/// How long one of them may know something that the other does not know yet, in seconds, because calls are
/// under way.
const GRACE: i64 = 60;

/// What one of them has and the other has not. Empty if Docker does not answer.
pub(super) fn disagreements(known: &Known, now: Timestamp) -> Vec<Fault> {
    if known.names.unknown.is_some() {
        return Vec::new();
    }
    let mut faults = Vec::new();
    let of_driver: HashSet<&str> =
        known.inventory.networks.iter().map(|it| it.network.as_str()).collect();
    for id in known.names.of_driver.iter().filter(|id| !of_driver.contains(id.as_str())) {
        let name = known.names.networks.get(id).map_or(id.short(), String::as_str);
        faults.push(Fault::new(
            format!(
                "the driver has no record of network {name}, which Docker has: once it is removed, it can \
                 be created again"
            ),
            format!("docker network rm {name}"),
        ));
    }
    // Without any, the driver may have another name in Docker.
    let may_be_lost = known.inventory.networks.iter().filter(|_| !known.names.of_driver.is_empty());
    for network in may_be_lost.filter(|it| !known.names.networks.contains_key(&it.network)) {
        faults.push(Fault::new(
            format!(
                "network {} is on record, and Docker has removed it while no driver answered",
                network.network.short()
            ),
            "cnm-cni gc --apply",
        ));
    }
    let attached: HashSet<&str> =
        known.inventory.attachments.iter().map(|it| it.endpoint.as_str()).collect();
    for container in known.names.containers.iter().filter(|it| it.state == "running") {
        for end in &container.ends {
            let ours = end.network_id.as_ref().is_some_and(|id| of_driver.contains(id.as_str()));
            if let Some(endpoint) = &end.endpoint
                && ours
                && !attached.contains(endpoint.as_str())
            {
                faults.push(Fault::new(
                    format!(
                        "container {} is on network {} for Docker, and has no attachment: its interface is \
                         gone, or nobody's",
                        container.name, end.network
                    ),
                    format!("docker restart {}", container.name),
                ));
            }
        }
    }
    for attachment in known.inventory.attachments.iter().filter(|it| is_settled(it, now)) {
        if known.names.container_of(&attachment.endpoint).is_none() {
            faults.push(Fault::new(
                format!(
                    "attachment {} is of no container that Docker knows, and may be garbage",
                    attachment.attachment
                ),
                "cnm-cni gc",
            ));
        }
    }
    faults
}

/// Whether the container should be known by now.
fn is_settled(attachment: &Attachment, now: Timestamp) -> bool {
    let age = attachment.made.map_or(0, |made| now.as_second() - made.as_second());
    attachment.phase != Phase::Deleting && age > GRACE
}
