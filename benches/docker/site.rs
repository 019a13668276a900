//! A test host with a network of each way, and commands in it whose time is taken.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use serde_json::Value;

use crate::host::{Host, IMAGE, Suite, within};
use crate::measuring::number_of_turns;

/// How a container gets its network. A further way of the driver's is a further variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// None: what a container takes without.
    None,
    /// A user-defined network of Docker's bridge driver.
    OwnBridge,
    /// A network of the driver, without spares: the ordinary way.
    Cni,
    /// The same with as many spares ready as the smaller burst has containers.
    Spares,
}

impl Way {
    pub(crate) const ALL: [Self; 4] = [Self::None, Self::OwnBridge, Self::Cni, Self::Spares];
    /// Those of the driver, each of which is compared to Docker's own bridge.
    pub(crate) const OURS: [Self; 2] = [Self::Cni, Self::Spares];

    /// Those that have a network, in turns: each is first as often as the others.
    pub(crate) fn networks(turn: usize) -> Vec<Self> {
        let mut ways = [&[Self::OwnBridge], &Self::OURS[..]].concat();
        let first = turn % ways.len();
        ways.rotate_left(first);
        ways
    }

    /// Its column; and its network's name, as `docker run --network` has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::OwnBridge => "own",
            Self::Cni => "cni",
            Self::Spares => "spares",
        }
    }
}

/// Which addresses containers have, on Docker's own bridge as on the driver's networks: so both do the same work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Families {
    /// IPv4, which is what Docker gives a network unless it is asked for more.
    Ipv4,
    /// IPv4 and IPv6.
    Both,
}

impl Families {
    pub(crate) const ALL: [Self; 2] = [Self::Ipv4, Self::Both];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "IPv4",
            Self::Both => "IPv4 and IPv6",
        }
    }

    /// What is measured with them.
    pub(crate) fn parts(self) -> &'static [&'static str] {
        match self {
            Self::Ipv4 => &["run", "burst", "many", "growth"],
            Self::Both => &["run", "burst"],
        }
    }

    /// `conflists/bridge.conflist`: with masquerade, and published ports.
    pub(crate) fn conflist(self) -> Result<String> {
        let mut list: Value =
            serde_json::from_str(include_str!("../../conflists/bridge.conflist"))?;
        let ranges = list.pointer_mut("/plugins/0/ipam/ranges").and_then(Value::as_array_mut);
        let ranges = ranges.context("the conflist has no ranges")?;
        if self == Self::Ipv4 {
            ranges.truncate(1);
        }
        Ok(list.to_string())
    }

    /// What Docker's own network is made with.
    fn options(self) -> &'static [&'static str] {
        match self {
            Self::Ipv4 => &[],
            Self::Both => &["--ipv6", "--subnet", "fd00:c8::/64"],
        }
    }
}

/// How long a figure is measured at most.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// So many turns, or as many as begin in time: the table says how many there were. Some more go before, to warm up.
pub(crate) fn turns(most: usize, warm_up: usize) -> impl Iterator<Item = usize> {
    let begin = Instant::now();
    (0..number_of_turns(most) + warm_up).take_while(move |_| begin.elapsed() < LONGEST)
}

/// The spares of a network that has some.
pub(crate) const READY: usize = 16;

/// The log of the driver.
const LOG: &str = "/run/driver.log";

/// Takes the time of one command: what a shell of the host sees.
const TIMED: &str = r#"
    timed() {
        what=$1; shift
        begin=$EPOCHREALTIME
        "$@" >/dev/null
        end=$EPOCHREALTIME
        echo "$what=$((${end/./} - ${begin/./}))"
    }
    run="docker run -d --pull never"
    image="IMAGE sleep 600"
"#;

/// A host.
pub(crate) struct Site {
    pub(crate) host: Host,
}

impl Site {
    /// Starts a host with the driver on this conflist, and makes a network of each way.
    pub(crate) fn up(suite: Suite, conflist: &str, families: Families) -> Result<Self> {
        let host = Host::up(suite);
        host.write("/etc/cni/net.d/10-only.conflist", conflist);
        let site = Self { host };
        site.start_driver();
        let answers = || UnixStream::connect(site.socket()).is_ok();
        ensure!(within(Duration::from_secs(10), answers), "the driver does not answer");
        let create = [&["network", "create"], families.options(), &[Way::OwnBridge.name()]];
        site.host.docker(&create.concat());
        site.make_network(Way::Cni, 0);
        site.make_network(Way::Spares, READY);
        site.wait_for_removals()?;
        Ok(site)
    }

    pub(crate) fn start_driver(&self) {
        // With the memory that it has as a service.
        let tunables = "GLIBC_TUNABLES=glibc.malloc.tcache_count=0";
        let serve = format!("{tunables} exec cnm-cni serve --log-level=debug >>{LOG} 2>&1");
        self.host.start("cnm-cni", &["sh", "-c", &serve]);
    }

    /// Where the driver listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.host.path("/run/docker/plugins/cni.sock")
    }

    fn make_network(&self, way: Way, spares: usize) {
        let option = format!("spares={spares}");
        let create = ["network", "create", "-d", "cni", "--ipam-driver", "null", "-o"];
        self.host.docker(&[&create[..], &[&option, way.name()]].concat());
    }

    /// Runs a script of bash, with `timed WHAT COMMAND…`, `$run` and `$image`. Returns how many
    /// milliseconds each WHAT took.
    pub(crate) fn timed(&self, script: &str) -> Result<HashMap<String, f64>> {
        let script = format!("{}{script}", TIMED.replace("IMAGE", IMAGE));
        let said = self.host.try_exec(&["bash", "-euc", &script]);
        let said = said.map_err(|error| anyhow::anyhow!("{script}: {error}"))?;
        let lines = said.lines().filter_map(|line| line.split_once('='));
        lines.map(|(what, us)| Ok((what.to_owned(), us.parse::<f64>()? / 1000.0))).collect()
    }

    /// Waits until nothing of removed containers is left, and all spares are ready: both happen behind Docker's
    /// back, and the next turn shall not meet it.
    pub(crate) fn wait_for_removals(&self) -> Result<()> {
        match within(Duration::from_secs(120), || self.rests().unwrap_or(false)) {
            true => Ok(()),
            false => bail!("containers cannot be removed, or spares not be made"),
        }
    }

    /// Whether the records are those of the spares.
    fn rests(&self) -> Result<bool> {
        let phases = self.phases()?;
        Ok(phases.len() == READY && phases.iter().all(|phase| phase == "Spare"))
    }

    /// The phase of each attachment on record.
    pub(crate) fn phases(&self) -> Result<Vec<String>> {
        let records = fs::read_dir(self.host.path("/var/lib/cnm-cni/attachments"))?;
        let phase = |entry: io::Result<fs::DirEntry>| {
            let record: Value = serde_json::from_slice(&fs::read(entry?.path())?)?;
            Ok(record["record"]["phase"].as_str().unwrap_or_default().to_owned())
        };
        records.map(phase).collect()
    }

    pub(crate) fn driver_log(&self) -> Result<String> {
        fs::read_to_string(self.host.path(LOG)).context("the driver's log")
    }
}
