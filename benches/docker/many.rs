//! Hundreds of containers that are removed by one command.

use anyhow::{Context, Result};

use crate::site::{Site, Way, turns};
use crate::table::Table;

/// Turns: to make the containers takes minutes, so there are fewer than of all else.
const TURNS: usize = 3;
const CONTAINERS: usize = 200;
/// Containers that are started by one command of the script: a command of a host ends within a minute.
const AT_ONCE: usize = 20;

pub(crate) fn measure(site: &Site) -> Result<Table> {
    let mut table = Table::default();
    for turn in turns(TURNS, 0) {
        for way in Way::networks(turn) {
            for _ in 0..CONTAINERS / AT_ONCE {
                site.timed(&format!(
                    "for i in $(seq {AT_ONCE}); do $run --network {} $image & done; wait",
                    way.name()
                ))?;
            }
            let times = site.timed("timed removed docker rm -f $(docker ps -q)")?;
            site.wait_for_removals()?;
            let ms = times.get("removed").context("no time of the removal")?;
            table.add(&format!("{CONTAINERS} removed by one command, s"), way, ms / 1000.0);
        }
    }
    Ok(table)
}
