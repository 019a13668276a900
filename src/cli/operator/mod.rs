//! The operator's verbs: who has what, why it does not work, and what has to be removed.
//!
//! | file | the verb, or what the verbs share |
//! |---|---|
//! | `status` | `cnm-cni`, `cnm-cni status`: one screen |
//! | `ls`, `net`, `show`, `pools` | who has what |
//! | `check`, `doctor` | whether it works |
//! | `events` | what happened |
//! | `graph` | a picture of all that |
//! | `bundle` | all that a bug report needs |
//! | `reload` | what a reload of the firewall took away |
//! | `ports`, `orphans`, `gc` | ports; what is not removed yet |
//! | `metrics` | metrics for Prometheus |
//! | `known` | what the driver has, with Docker's names |
//! | `plugins` | the plugins of the last hour |
//! | `named_events` | events with names, and which of them are wanted |
//! | `names`, `docker` | Docker's names |
//! | `candidates` | what a shell completes |
//! | `thing` | what a user may mean by a word |
//! | `named_endpoints` | which endpoints words name, for the verbs that have the driver look at them |
//! | `ping` | asking for an answer from inside of a container |
//! | `short` | reasons for a table |
//! | `lost_networks` | networks on record that Docker has no more |
//! | `disagreements` | where Docker's records and the driver's do not agree |

mod bundle;
pub(super) mod candidates;
mod check;
mod disagreements;
mod docker;
mod doctor;
mod events;
mod gc;
mod graph;
mod known;
mod lost_networks;
mod ls;
mod metrics;
mod named_endpoints;
mod named_events;
mod names;
mod net;
mod orphans;
mod ping;
mod plugins;
mod pools;
mod ports;
mod reload;
mod short;
mod show;
#[cfg(test)]
mod snapshots;
mod status;
mod thing;

use std::process::ExitCode;

use clap::Subcommand;

use crate::docker::Wanted;

/// What the operator asks for: the same under `cnm-cni` and under `docker cni`.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    Status(status::Args),
    Ls(ls::Args),
    Net(net::Args),
    Show(show::Args),
    Pools(pools::Args),
    Ports(ports::Args),
    Doctor(doctor::Args),
    Check(check::Args),
    Reload(reload::Args),
    Graph(graph::Args),
    Bundle(bundle::Args),
    Orphans(orphans::Args),
    Gc(gc::Args),
    Metrics(metrics::Args),
    Events(events::Args),
}

impl Verb {
    /// Runs the verb. Status 1 means that something is wrong. `outer` has the flags of `docker` itself,
    /// before `cni`.
    pub(super) fn run(self, outer: &Wanted) -> anyhow::Result<ExitCode> {
        let told = |()| ExitCode::SUCCESS;
        match self {
            Self::Status(args) => status::run(&args, outer),
            Self::Ls(args) => ls::run(&args, outer).map(told),
            Self::Net(args) => net::run(&args, outer).map(told),
            Self::Show(args) => show::run(&args, outer).map(told),
            Self::Pools(args) => pools::run(&args, outer).map(told),
            Self::Ports(args) => ports::run(&args, outer).map(told),
            Self::Doctor(args) => doctor::run(&args, outer),
            Self::Check(args) => check::run(&args, outer),
            Self::Reload(args) => reload::run(&args, outer),
            Self::Graph(args) => graph::run(&args, outer).map(told),
            Self::Bundle(args) => bundle::run(&args, outer).map(told),
            Self::Orphans(args) => orphans::run(args, outer),
            Self::Gc(args) => gc::run(&args, outer),
            Self::Metrics(args) => metrics::run(&args).map(told),
            Self::Events(args) => events::run(&args, outer).map(told),
        }
    }
}
