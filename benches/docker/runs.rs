//! One container at a time: started, with a port and without, started again, removed.

use std::collections::HashMap;

use anyhow::{Context, Result};

use crate::site::{Site, Way, turns};
use crate::table::Table;

/// Lives of a container that are measured for each way, in turns; some more go before, to warm up.
const TURNS: usize = 21;
const WARM_UP: usize = 2;

pub(crate) fn measure(site: &Site) -> Result<Table> {
    let mut table = Table::default();
    for turn in turns(TURNS, WARM_UP) {
        // Without a network: what all have in common.
        let none = life(site, Way::None)?;
        let mut lives = Vec::new();
        for way in Way::networks(turn) {
            let mut life = life(site, way)?;
            let published = site.timed(&format!(
                "timed port $run --name one -p 8080:80 --network {} $image
                 docker rm -f one",
                way.name()
            ))?;
            site.wait_for_removals()?;
            life.port = published.get("port").copied();
            life.attached = Some(life.run + life.remove - (none.run + none.remove));
            lives.push((way, life));
        }
        lives.push((Way::None, none));
        for (way, life) in lives.into_iter().filter(|_| turn >= WARM_UP) {
            table.add("run -d, ms", way, life.run);
            life.port.into_iter().for_each(|ms| table.add("run -d -p 8080:80, ms", way, ms));
            table.add("start, ms", way, life.start);
            table.add("rm -f, ms", way, life.remove);
            let attached = life.attached.into_iter();
            attached.for_each(|ms| table.add("run and rm -f less those of none, ms", way, ms));
        }
    }
    Ok(table)
}

/// What a container's life took, in ms.
#[derive(Clone, Copy)]
struct Life {
    run: f64,
    start: f64,
    remove: f64,
    /// To run it with a published port.
    port: Option<f64>,
    /// To run and to remove it, less what that takes without a network.
    attached: Option<f64>,
}

fn life(site: &Site, way: Way) -> Result<Life> {
    let first = format!("timed run $run --name one --network {} $image", way.name());
    let run = site.timed(&format!("{first}\ndocker kill one"))?;
    site.wait_for_removals()?;
    let rest = site.timed("timed start docker start one\ntimed rm docker rm -f one")?;
    site.wait_for_removals()?;
    let of = |times: &HashMap<String, f64>, what: &str| {
        times.get(what).copied().with_context(|| format!("no time of {what}"))
    };
    let (run, start, remove) = (of(&run, "run")?, of(&rest, "start")?, of(&rest, "rm")?);
    Ok(Life { run, start, remove, port: None, attached: None })
}
