//! Networks on record that Docker has no more.
//!
//! Docker removes a network whether or not a driver answers, and asks only once: if the driver is away, or is killed
//! meanwhile, the network stays on record, with its bridge, its subnet and its spares. A driver must not ask Docker
//! within a call, so the command line compares.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::cli::client::{DockerArgs, Socket, answer_of};
use crate::cli::output::{complain, line};
use crate::cnm::NetworkId;
use crate::docker::{Docker, Error, Wanted};
use crate::lifecycle::inventory::{Inventory, Network};
use crate::lifecycle::{Finding, Outcome};
use crate::server::control::{Everything, INVENTORY};

/// Docker has a network a moment after the driver has it.
const WHILE_IT_IS_MADE: Duration = Duration::from_secs(2);

/// The networks without containers that Docker has no more. With `apply` the driver removes them, as if
/// Docker had asked for it. If Docker does not answer there are none, and a line tells the user why.
///
/// # Errors
/// No driver answers.
pub(super) fn networks(
    socket: &Socket,
    docker: &DockerArgs,
    outer: &Wanted,
    apply: bool,
) -> anyhow::Result<Vec<Finding>> {
    let inventory: Inventory = socket.ask(INVENTORY, &Everything {})?;
    let live = || inventory.attachments.iter().filter(|it| it.removal.is_none());
    let is_used = |id: &NetworkId| live().any(|it| it.network == *id);
    let unused: Vec<_> = inventory.networks.iter().filter(|it| !is_used(&it.network)).collect();
    if unused.is_empty() {
        return Ok(Vec::new());
    }
    let lost = match docker.find(outer) {
        Ok(docker) => answer_of(lost_of(&docker, unused))?,
        Err(error) => Err(error),
    };
    let lost = lost.unwrap_or_else(|error| {
        complain(&line(&format!("note: networks are not looked at: {error}")));
        Vec::new()
    });
    Ok(lost.into_iter().map(|network| finding(network, apply.then_some(socket))).collect())
}

/// Those that Docker does not have, asked twice: it may be making one of them.
async fn lost_of<'n>(
    docker: &Docker,
    mut networks: Vec<&'n Network>,
) -> Result<Vec<&'n Network>, Error> {
    for pause in [Duration::ZERO, WHILE_IT_IS_MADE] {
        if !networks.is_empty() {
            sleep(pause).await;
        }
        let mut lost = Vec::new();
        for network in networks {
            if !docker.has_network(&network.network).await? {
                lost.push(network);
            }
        }
        networks = lost;
    }
    Ok(networks)
}

fn finding(network: &Network, remove: Option<&Socket>) -> Finding {
    let id = &network.network;
    let removed = remove.map(|socket| {
        socket.ask::<Value>("NetworkDriver.DeleteNetwork", &json!({ "NetworkID": id }))
    });
    Finding {
        what: format!("network {}", id.short()),
        reason: "Docker has removed it, while no driver answered".to_owned(),
        found: vec![format!("its record, on conflist {:?}", network.conflist)],
        outcome: match removed {
            None => Outcome::Garbage,
            Some(Ok(_)) => Outcome::Removed,
            Some(Err(error)) => Outcome::Failed(format!("{error:#}")),
        },
    }
}
