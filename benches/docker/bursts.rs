//! Many `docker run` at once.

use anyhow::{Context, Result, ensure};

use crate::site::{Site, Way, turns};
use crate::table::Table;

/// Bursts on each network, in turns; one more goes before, to warm up.
const BURSTS: usize = 15;
/// Containers of a burst.
const AT_ONCE: [usize; 2] = [16, 32];

pub(crate) fn measure(site: &Site) -> Result<Table> {
    let mut table = Table::default();
    for at_once in AT_ONCE {
        for burst in turns(BURSTS, 1) {
            for way in Way::networks(burst) {
                let seconds = run_at_once(site, way, at_once)?;
                if burst > 0 {
                    let what = format!("burst of {at_once}, containers a second");
                    table.add(&what, way, at_once as f64 / seconds);
                }
            }
        }
    }
    Ok(table)
}

/// Starts the containers, takes them away again, and returns how many seconds the former took.
fn run_at_once(site: &Site, way: Way, at_once: usize) -> Result<f64> {
    let times = site.timed(&format!(
        "burst() {{ for i in $(seq {at_once}); do $run --network {} $image & done; wait; }}
         timed burst burst",
        way.name()
    ))?;
    let running = site.host.docker(&["ps", "-q"]).lines().count();
    ensure!(running == at_once, "{running} of {at_once} containers run on network {}", way.name());
    site.host.exec(&["sh", "-c", "docker rm -f $(docker ps -aq)"]);
    site.wait_for_removals()?;
    Ok(times.get("burst").context("no time of the burst")? / 1000.0)
}
