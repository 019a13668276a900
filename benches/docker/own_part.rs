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
    let mut calls = calls(&site.driver_log()?, "CreateEndpoint")?;
    // Without a plugin it has claimed a spare.
    calls.retain(|call| call.has_run_plugins);
    let own = median(&calls.iter().map(|call| call.own_ms).collect::<Vec<_>>());
    let holds = own <= MAX_MS;
    let verdict = if holds { "ok" } else { "FAILED" };
    println!("{verdict}: CreateEndpoint less its plugins: {own:.2} ms, at most {MAX_MS} ms");
    Ok(holds)
}

/// A call of Docker's that the driver has answered.
pub(crate) struct Call {
    /// What it took less what its plugins did.
    pub(crate) own_ms: f64,
    pub(crate) has_run_plugins: bool,
}

/// The calls of a method, by the driver's log.
pub(crate) fn calls(log: &str, method: &str) -> Result<Vec<Call>> {
    let method = format!("method=NetworkDriver.{method} ");
    let mut plugins = HashMap::<&str, f64>::new();
    let mut calls = Vec::new();
    for line in log.lines().filter(|line| line.contains(&method)) {
        // A line from before the body is read names none.
        let Some(endpoint) = field(line, "endpoint=") else { continue };
        if line.contains("plugin executed") {
            let ms: f64 = field(line, " ms=").context("a plugin without a time")?.parse()?;
            *plugins.entry(endpoint).or_default() += ms;
        } else if let Some(ms) = field(line, "duration_ms=") {
            let theirs = plugins.remove(endpoint);
            let own_ms = ms.parse::<f64>()? - theirs.unwrap_or_default();
            calls.push(Call { own_ms, has_run_plugins: theirs.is_some() });
        }
    }
    ensure!(!calls.is_empty(), "the log has no {method}:\n{log}");
    Ok(calls)
}

fn field<'l>(line: &'l str, key: &str) -> Option<&'l str> {
    line.split_once(key)?.1.split([' ', '}']).next()
}
