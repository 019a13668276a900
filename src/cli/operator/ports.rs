//! `cnm-cni ports`: which ports of the host are published, and to where.

use std::net::{IpAddr, SocketAddr};

use anyhow::Context;
use serde::Serialize;

use super::docker;
use super::known::Records;
use super::names::Named;
use super::thing::{PORT_FORM, WantedPort};
use crate::cli::folders::UNREADABLE_RECORDS;
use crate::cli::table::{Cell, Table};
use crate::docker::Wanted;
use crate::lifecycle::{self, PublishedPort};

const HELP: &str = "\
Examples:
  cnm-cni ports                       # all published ports, by their numbers
  cnm-cni ports :8080                 # who has a port; :53/udp, 192.0.2.1:8080
  cnm-cni ports --format json | jq -r '.[] | [.host_port, .container] | @tsv'

Files: the driver's records in /var/lib/cnm-cni; the driver need not be running.

Exit status: 0; 1 if the records cannot be read, or nobody has the port that is asked for.

See also: 'cnm-cni show :8080'.";

/// Show the published ports of all containers on networks of this driver
///
/// Docker itself shows none of them in 'docker ps' and 'docker port', and cannot tell which
/// port was chosen for 'docker run -p 80'.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = HELP)]
pub(in crate::cli) struct Args {
    /// Only this port of the host: :8080, :53/udp, 192.0.2.1:8080
    #[arg(value_name = ":PORT", value_parser = wanted)]
    port: Option<WantedPort>,

    #[command(flatten)]
    records: Records,
}

fn wanted(text: &str) -> Result<WantedPort, &'static str> {
    // A number alone is meant as a port, too.
    WantedPort::read(text).or_else(|| WantedPort::read(&format!(":{text}"))).ok_or(PORT_FORM)
}

/// A published port with its names, as JSON has it.
#[derive(Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    names: Named,
    #[serde(flatten)]
    port: PublishedPort,
}

pub(in crate::cli) fn run(args: &Args, outer: &Wanted) -> anyhow::Result<()> {
    let mut ports = lifecycle::published(&args.records.state_dir).context(UNREADABLE_RECORDS)?;
    if let Some(wanted) = &args.port {
        ports.retain(|port| wanted.is(port.host_ip, port.host_port, port.protocol));
        if ports.is_empty() {
            anyhow::bail!(wanted.nobody_has());
        }
    }
    let names = docker::names_of(&ports, &args.records.docker, outer);
    let rows = ports.into_iter().map(|port| {
        let names = names.of(&port.endpoint, &port.network);
        Row { names, port }
    });
    let rows: Vec<_> = rows.collect();
    let below = if rows.is_empty() { "No published ports.\n" } else { "" };
    let quiet = rows.iter().map(|row| host(&row.port));
    args.records.listing.print(&rows, quiet, || table(&rows), below)
}

/// The host's end.
fn host(port: &PublishedPort) -> String {
    match port.host_ip {
        Some(ip) => format!("{}/{}", SocketAddr::new(ip, port.host_port), port.protocol),
        None => format!("*:{}/{}", port.host_port, port.protocol),
    }
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(["HOST", "CONTAINER", "TO", "NETWORK"]).and_wide(["ENDPOINT"]);
    for Row { names, port } in rows {
        let to = |ip: &IpAddr| SocketAddr::new(*ip, port.container_port).to_string();
        table.row([
            host(port).into(),
            names.container().into(),
            Cell::lines(port.container_ips.iter().map(to)),
            names.network(&port.network).into(),
            port.endpoint.short().into(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::table::Style;

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
        let named = Named { container: Some("web".into()), ..Named::default() };
        let rows = [(port, named), (local, Named::default())];
        let rows: Vec<_> = rows.map(|(port, names)| Row { names, port }).into();
        let style = Style { width: Some(80), header: true, colour: false };
        assert_eq!(
            table(&rows).text(style),
            "HOST            CONTAINER  TO            NETWORK\n\
             *:8080/tcp      web        10.22.0.5:80  0123456789ab\n\
             \x20                          [fd00::5]:80\n\
             [::1]:8080/tcp  -          10.22.0.5:80  0123456789ab\n\
             \x20                          [fd00::5]:80\n"
        );
    }

    #[test]
    fn a_port_is_asked_for_with_or_without_a_colon() {
        assert_eq!(wanted("8080"), wanted(":8080"));
        assert!(wanted("http").is_err() && wanted(":0").is_err() && wanted("").is_err());
    }
}
