//! `cnm-cni create`: a Docker network, with the IPAM driver that its conflist needs.

use serde_json::json;

use super::client::{DockerArgs, answer_of};
use super::folders::Configurations;
use super::new_network;
use super::output::write;
use crate::docker::Wanted;
use crate::lifecycle;

const HELP: &str = "\
Examples:
  docker cni create web               # on the default conflist
  docker cni create web --conflist k8s-pod-network
  docker cni create web --conflist k8s --subnet 10.22.0.0/16    # --ip works
  docker cni create --config-only k8s --conflist k8s-pod-network
  docker network create -d cni --config-from k8s web

'docker cni explain create …' tells beforehand what would happen.

Exit status: 0 if the network is made, and its id is printed; 1 if not; 2 if the command line is not \
understood.";

/// Make a Docker network on a conflist, as 'docker network create' does
///
/// Looks into the conflist, and has Docker use the IPAM driver that it needs: null where the plugins
/// choose the addresses. All else is as with 'docker network create'. Docker and the driver need to run.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    #[command(flatten)]
    network: new_network::Flags,

    /// Make no network, but a set of options that others take with
    /// 'docker network create --config-from NAME'
    #[arg(long)]
    config_only: bool,

    #[command(flatten)]
    configurations: Configurations,

    #[command(flatten)]
    docker: DockerArgs,
}

pub(super) fn run(args: &Args, outer: &Wanted) -> anyhow::Result<()> {
    let mut network = args.network.read()?;
    let folder = args.configurations.conf_dir();
    network.settle_ipam(lifecycle::listed(&folder, network.conflist())?.as_ref());
    let mut asked = network.for_docker();
    if args.config_only {
        asked["ConfigOnly"] = json!(true);
        // The network that uses the options names the driver.
        asked["Driver"] = json!("");
    }
    let docker = args.docker.find(outer)?;
    let id = answer_of(docker.create_network(&asked))??;
    write(&format!("{id}\n"))
}
