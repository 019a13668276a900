//! What the driver itself adds to CreateEndpoint, which dockerd calls for one endpoint of a network after
//! another.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};

use crate::site::Site;
use crate::table::median;

/// What has to hold: the driver's own part of a CreateEndpoint that is alone.
const MAX_MS: f64 = 5.0;

/// Prints the median over all containers so far, which were started one after another.
pub(crate) fn holds(site: &Site) -> Result<bool> {
    let own = median(&own_parts(&site.driver_log()?)?);
    let holds = own <= MAX_MS;
    let verdict = if holds { "ok" } else { "FAILED" };
    println!("{verdict}: CreateEndpoint less its plugins: {own:.2} ms, at most {MAX_MS} ms");
    Ok(holds)
}

/// What each CreateEndpoint took less what its plugins did, in ms, by the driver's log.
fn own_parts(log: &str) -> Result<Vec<f64>> {
    let mut plugins = HashMap::<&str, f64>::new();
    let mut own = Vec::new();
    for line in log.lines().filter(|line| line.contains("method=NetworkDriver.CreateEndpoint")) {
        // A line from before the body is read names none.
        let Some(endpoint) = field(line, "endpoint=") else { continue };
        if line.contains("plugin executed") {
            let ms: f64 = field(line, " ms=").context("a plugin without a time")?.parse()?;
            *plugins.entry(endpoint).or_default() += ms;
        } else if let Some(ms) = field(line, "duration_ms=") {
            // Without a plugin it has claimed a spare.
            if let Some(theirs) = plugins.remove(endpoint) {
                own.push(ms.parse::<f64>()? - theirs);
            }
        }
    }
    ensure!(!own.is_empty(), "the log has no CreateEndpoint:\n{log}");
    Ok(own)
}

fn field<'l>(line: &'l str, key: &str) -> Option<&'l str> {
    line.split_once(key)?.1.split([' ', '}']).next()
}
