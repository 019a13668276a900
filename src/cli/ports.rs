//! `cnm-cni ports`: which ports of the host are published, and to where.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::Context;

use super::folders::UNREADABLE_RECORDS;
use super::output::{Format, columns, print};
use crate::lifecycle::{self, PublishedPort};

/// Show the published ports of all containers on networks of this driver
///
/// Docker itself shows none of them in 'docker ps' and 'docker port', and does not know which
/// port was chosen for 'docker run -p 80'. 'docker network inspect' names the container of an
/// endpoint. The driver need not be running.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Folder of the driver's records, as for 'cnm-cni serve'
    #[arg(long, value_name = "DIR", env = "CNM_CNI_STATE_DIR", default_value = "/var/lib/cnm-cni")]
    state_dir: PathBuf,

    /// A table for people, or JSON: an array with an object for each port
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let ports = lifecycle::published(&args.state_dir).context(UNREADABLE_RECORDS)?;
    print(args.format, &ports, |ports| table(ports))
}

fn table(ports: &[PublishedPort]) -> String {
    if ports.is_empty() {
        return "No published ports.\n".to_owned();
    }
    let rows = ports.iter().map(|port| {
        let at = |ip: IpAddr, port| SocketAddr::new(ip, port).to_string();
        let host = match port.host_ip {
            Some(ip) => at(ip, port.host_port),
            None => format!("*:{}", port.host_port),
        };
        let ips = port.container_ips.iter();
        let container: Vec<_> = ips.map(|ip| at(*ip, port.container_port)).collect();
        [
            format!("{host}/{}", port.protocol),
            container.join(","),
            port.network.short().to_owned(),
            port.endpoint.short().to_owned(),
        ]
    });
    columns(["HOST", "CONTAINER", "NETWORK", "ENDPOINT"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_row_for_each_port() {
        let port = PublishedPort {
            host_ip: None,
            host_port: 8080,
            protocol: "tcp",
            container_ips: vec!["10.22.0.5".parse().unwrap(), "fd00::5".parse().unwrap()],
            container_port: 80,
            network: "0123456789abcdef".parse().unwrap(),
            endpoint: "e1".parse().unwrap(),
        };
        let local = PublishedPort { host_ip: Some("::1".parse().unwrap()), ..port.clone() };
        assert_eq!(
            table(&[port, local]),
            "HOST            CONTAINER                  NETWORK       ENDPOINT\n\
             *:8080/tcp      10.22.0.5:80,[fd00::5]:80  0123456789ab  e1\n\
             [::1]:8080/tcp  10.22.0.5:80,[fd00::5]:80  0123456789ab  e1\n"
        );
    }
}
