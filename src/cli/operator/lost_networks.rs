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

/// Why nothing is removed.
const OTHER_DOCKER: &str = "this Docker has no network of the driver, so that another one may use it; if it is the \
                            right one, name it: --docker unix:///var/run/docker.sock";

/// Docker has a network a moment after the driver has it.
const WHILE_IT_IS_MADE: Duration = Duration::from_secs(2);

/// What Docker says of the networks on record.
struct Compared<'n> {
    /// Those without containers that it does not have.
    lost: Vec<&'n Network>,
    /// Whether it has any of the others.
    has_any: bool,
}

/// The networks without containers that Docker has no more. With `apply` the driver removes them, as if
/// Docker had asked for it. If Docker does not answer there are none, and a line tells the user why.
///
/// # Errors
/// No driver answers.
pub(super) fn found(
    socket: &Socket,
    docker: &DockerArgs,
    outer: &Wanted,
    apply: bool,
) -> anyhow::Result<Vec<Finding>> {
    let inventory: Inventory = socket.ask(INVENTORY, &Everything {})?;
    if inventory.networks.iter().all(|network| is_used(network, &inventory)) {
        return Ok(Vec::new());
    }
    let compared = match docker.find(outer) {
        Ok(docker) => answer_of(compare(&docker, &inventory))?,
        Err(error) => Err(error),
    };
    let Compared { lost, has_any } = match compared {
        Ok(compared) => compared,
        Err(error) => {
            complain(&line(&format!("note: networks are not looked at: {error}")));
            return Ok(Vec::new());
        }
    };
    // DOCKER_HOST or a context may lead to another Docker than the one that uses this driver.
    let is_right = has_any || docker.is_named();
    let outcome = |network| match (is_right, apply) {
        (false, _) => Outcome::Kept(OTHER_DOCKER.to_owned()),
        (true, false) => Outcome::Garbage,
        (true, true) => remove(socket, network),
    };
    Ok(lost.into_iter().map(|network| finding(network, outcome(&network.network))).collect())
}

fn is_used(network: &Network, inventory: &Inventory) -> bool {
    inventory.attachments.iter().any(|it| it.network == network.network)
}

/// Asks twice for what Docker does not have: it may be making it.
async fn compare<'n>(docker: &Docker, inventory: &'n Inventory) -> Result<Compared<'n>, Error> {
    let (mut missing, mut has_any) = (Vec::new(), false);
    for network in &inventory.networks {
        match docker.has_network(&network.network).await? {
            true => has_any = true,
            false if is_used(network, inventory) => {}
            false => missing.push(network),
        }
    }
    if !missing.is_empty() {
        sleep(WHILE_IT_IS_MADE).await;
    }
    let mut lost = Vec::new();
    for network in missing {
        match docker.has_network(&network.network).await? {
            true => has_any = true,
            false => lost.push(network),
        }
    }
    Ok(Compared { lost, has_any })
}

fn remove(socket: &Socket, network: &NetworkId) -> Outcome {
    match socket.ask::<Value>("NetworkDriver.DeleteNetwork", &json!({ "NetworkID": network })) {
        Ok(_) => Outcome::Removed,
        Err(error) => Outcome::Failed(format!("{error:#}")),
    }
}

fn finding(network: &Network, outcome: Outcome) -> Finding {
    Finding {
        what: format!("network {}", network.network.short()),
        reason: "Docker does not have it: it was removed while no driver answered".to_owned(),
        found: vec![format!("its record, on conflist {:?}", network.conflist)],
        outcome,
    }
}
