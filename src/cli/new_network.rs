//! A Docker network to be made: the user's flags, the request for Docker, and the request that the driver
//! would get.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Context, bail};
use ipnet::IpNet;
use serde_json::{Map, Value, json};

use crate::cni::NetworkConfigList;
use crate::cnm::{CreateNetworkRequest, IpamData, Pool};
use crate::translate::prospects;

/// Docker's first choice, if Docker chooses and nothing conflicts with it.
const EXAMPLE: &str = "172.18.0.0/16";
/// The IPAM driver with which CNI chooses the addresses.
pub(super) const NULL: &str = "null";
/// The IPAM driver with which Docker chooses them.
pub(super) const DEFAULT: &str = "default";

/// The flags of `docker network create`, and `--conflist`.
#[derive(Debug, clap::Args)]
pub(super) struct Flags {
    /// What the network is to be called
    name: String,

    /// The network configuration list that attaches its containers; the same as -o conflist=NAME
    /// [default: the first in file-name order, or the built-in one]
    #[arg(long, value_name = "NAME", add = super::operator::candidates::conflists())]
    conflist: Option<String>,

    /// An option of the driver; 'cnm-cni serve --help' and README.md tell them
    #[arg(short, long = "opt", value_name = "KEY=VALUE", value_parser = pair)]
    opt: Vec<(String, String)>,

    /// Who chooses the addresses: null for CNI, default for Docker
    /// [default: null, unless there is a --subnet, the conflist takes its ranges from Docker, or there is
    /// no conflist]
    #[arg(long, value_name = "DRIVER")]
    ipam_driver: Option<String>,

    /// A subnet that Docker is to choose from
    #[arg(long, value_name = "SUBNET")]
    subnet: Vec<IpNet>,

    /// The part of a subnet that Docker is to choose from
    #[arg(long, value_name = "RANGE")]
    ip_range: Vec<IpNet>,

    /// The gateway of a subnet
    #[arg(long, value_name = "ADDRESS")]
    gateway: Vec<IpAddr>,

    /// An address of a subnet that Docker is to give to no container
    #[arg(long, value_name = "NAME=ADDRESS", value_parser = pair)]
    aux_address: Vec<(String, String)>,

    /// No way out of the network
    #[arg(long)]
    internal: bool,

    /// Have Docker choose IPv6 addresses too
    #[arg(long)]
    ipv6: bool,

    /// Let services of a swarm and single containers share it
    #[arg(long)]
    attachable: bool,

    /// A label of Docker's
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    label: Vec<(String, String)>,

    /// The driver's name in Docker: another one for the managed plugin
    #[arg(short, long, value_name = "DRIVER", default_value = "cni")]
    driver: String,
}

/// A network that is to be made.
#[derive(Debug, Default, PartialEq)]
pub(super) struct NewNetwork {
    pub(super) name: String,
    pub(super) driver: String,
    /// None if the conflist decides.
    pub(super) ipam_driver: Option<String>,
    pub(super) subnets: Vec<Subnet>,
    pub(super) options: BTreeMap<String, String>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) internal: bool,
    pub(super) ipv6: bool,
    pub(super) attachable: bool,
}

/// A subnet for Docker's IPAM.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Subnet {
    pub(super) subnet: IpNet,
    pub(super) range: Option<IpNet>,
    pub(super) gateway: Option<IpAddr>,
    pub(super) reserved: BTreeMap<String, IpAddr>,
}

impl Flags {
    /// # Errors
    /// Flags contradict each other.
    pub(super) fn read(&self) -> anyhow::Result<NewNetwork> {
        let mut options: BTreeMap<_, _> = self.opt.iter().cloned().collect();
        if let Some(name) = &self.conflist
            && options.insert("conflist".to_owned(), name.clone()).is_some()
        {
            bail!("both --conflist and -o conflist=… are given; say one of them");
        }
        let mut subnets: Vec<_> = self.subnet.iter().copied().map(Subnet::new).collect();
        for range in &self.ip_range {
            with(&mut subnets, range.addr(), "--ip-range")?.range = Some(*range);
        }
        for gateway in &self.gateway {
            with(&mut subnets, *gateway, "--gateway")?.gateway = Some(*gateway);
        }
        for (name, address) in &self.aux_address {
            let address: IpAddr =
                address.parse().with_context(|| format!("--aux-address {name}={address}"))?;
            let reserved = &mut with(&mut subnets, address, "--aux-address")?.reserved;
            reserved.insert(name.clone(), address);
        }
        Ok(NewNetwork {
            name: self.name.clone(),
            driver: self.driver.clone(),
            ipam_driver: self.ipam_driver.clone(),
            subnets,
            options,
            labels: self.label.iter().cloned().collect(),
            internal: self.internal,
            ipv6: self.ipv6,
            attachable: self.attachable,
        })
    }
}

/// The subnet that has this address.
fn with<'s>(
    subnets: &'s mut [Subnet],
    address: IpAddr,
    flag: &str,
) -> anyhow::Result<&'s mut Subnet> {
    let subnet = subnets.iter_mut().find(|it| it.subnet.contains(&address));
    subnet.with_context(|| format!("{flag} {address} is in no --subnet"))
}

impl Subnet {
    pub(super) fn new(subnet: IpNet) -> Self {
        Self { subnet, range: None, gateway: None, reserved: BTreeMap::new() }
    }

    /// The form in which Docker's IPAM passes it to the driver.
    fn data(&self) -> IpamData {
        let subnet = self.subnet.trunc();
        let within = |address: IpAddr| IpNet::new(address, subnet.prefix_len()).ok();
        let first = || subnet.hosts().next().unwrap_or(subnet.addr());
        // The first address of the whole subnet is its network address, even if hosts could have it.
        let first = || Some(first()).filter(|it| *it != subnet.network()).or(subnet.hosts().nth(1));
        let reserved = self.reserved.iter();
        IpamData {
            address_space: "LocalDefault".to_owned(),
            pool: Pool::Subnet(subnet),
            gateway: self.gateway.or_else(first).and_then(within),
            aux_addresses: reserved
                .filter_map(|(name, address)| Some((name.clone(), within(*address)?)))
                .collect(),
        }
    }
}

impl NewNetwork {
    /// The name of its conflist, if it names one.
    pub(super) fn conflist(&self) -> Option<&str> {
        self.options.get("conflist").map(String::as_str)
    }

    /// The IPAM driver: the user's, or the one that fits the conflist. Without a conflist the network is
    /// the built-in one, where Docker chooses the addresses, so that `--ip` works.
    pub(super) fn settle_ipam(&mut self, list: Option<&NetworkConfigList>) {
        let needed = list.is_none_or(|list| prospects(list).needs_docker_ipam);
        let by_docker = !self.subnets.is_empty() || needed;
        let fits = if by_docker { DEFAULT } else { NULL };
        self.ipam_driver.get_or_insert_with(|| fits.to_owned());
    }

    /// Whether CNI chooses the addresses.
    pub(super) fn is_by_cni(&self) -> bool {
        self.ipam_driver.as_deref() == Some(NULL)
    }

    /// What `POST /networks/create` takes.
    pub(super) fn for_docker(&self) -> Value {
        let config: Vec<Value> = self.subnets.iter().map(Subnet::for_docker).collect();
        let mut network = json!({
            "Name": self.name,
            // Without this, Docker before 25 allows two networks with the same name.
            "CheckDuplicate": true,
            "Driver": self.driver,
            "Internal": self.internal,
            "Attachable": self.attachable,
            "Options": self.options,
            "Labels": self.labels,
            "IPAM": { "Driver": self.ipam_driver.as_deref().unwrap_or(DEFAULT), "Config": config },
        });
        if self.ipv6 {
            network["EnableIPv6"] = json!(true);
        }
        network
    }

    /// What Docker would ask the driver. If Docker has not chosen a pool yet, an example is used.
    pub(super) fn for_driver(&self) -> anyhow::Result<CreateNetworkRequest> {
        let pools: Vec<IpamData> = match (self.is_by_cni(), &self.subnets[..]) {
            (true, _) => vec![IpamData {
                address_space: NULL.to_owned(),
                pool: Pool::Unmanaged,
                gateway: None,
                aux_addresses: BTreeMap::new(),
            }],
            (false, []) => vec![Subnet::new(EXAMPLE.parse()?).data()],
            (false, subnets) => subnets.iter().map(Subnet::data).collect(),
        };
        let is_ipv4 = |data: &IpamData| match data.pool {
            Pool::Subnet(subnet) => subnet.addr().is_ipv4(),
            Pool::Unmanaged => true,
        };
        let (ipv4, ipv6) = pools.into_iter().partition(is_ipv4);
        let mut options = Map::new();
        options.insert("com.docker.network.generic".to_owned(), json!(self.options));
        options.insert("com.docker.network.enable_ipv6".to_owned(), json!(self.ipv6));
        if self.internal {
            options.insert("com.docker.network.internal".to_owned(), json!(true));
        }
        Ok(CreateNetworkRequest { network_id: "0".repeat(64).parse()?, options, ipv4, ipv6 })
    }

    /// The command that makes it.
    pub(super) fn command(&self) -> String {
        let mut words = vec!["docker network create -d".to_owned(), quoted(&self.driver)];
        let mut say = |flag: &str, value: &str| words.push(format!("{flag} {}", quoted(value)));
        if let Some(driver) = self.ipam_driver.as_deref().filter(|driver| *driver != DEFAULT) {
            say("--ipam-driver", driver);
        }
        for Subnet { subnet, range, gateway, reserved } in &self.subnets {
            say("--subnet", &subnet.to_string());
            if let Some(range) = range {
                say("--ip-range", &range.to_string());
            }
            if let Some(gateway) = gateway {
                say("--gateway", &gateway.to_string());
            }
            for (name, address) in reserved {
                say("--aux-address", &format!("{name}={address}"));
            }
        }
        for (key, value) in &self.options {
            say("-o", &format!("{key}={value}"));
        }
        for (key, value) in &self.labels {
            say("--label", &format!("{key}={value}"));
        }
        let switches = [
            ("--internal", self.internal),
            ("--ipv6", self.ipv6),
            ("--attachable", self.attachable),
        ];
        words.extend(switches.iter().filter(|it| it.1).map(|(switch, _)| (*switch).to_owned()));
        words.push(quoted(&self.name));
        words.join(" ")
    }
}

impl Subnet {
    fn for_docker(&self) -> Value {
        let mut config = json!({ "Subnet": self.subnet });
        if let Some(range) = self.range {
            config["IPRange"] = json!(range);
        }
        if let Some(gateway) = self.gateway {
            config["Gateway"] = json!(gateway);
        }
        if !self.reserved.is_empty() {
            config["AuxiliaryAddresses"] = json!(self.reserved);
        }
        config
    }
}

/// A word, quoted for a shell.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.,:=/@%+".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: Flags,
    }

    fn read(line: &str) -> anyhow::Result<NewNetwork> {
        Line::try_parse_from(format!("create {line}").split(' ')).unwrap().flags.read()
    }

    fn list(ipam: Value) -> NetworkConfigList {
        let list = json!({"cniVersion": "1.0.0", "name": "k8s",
                          "plugins": [{"type": "bridge", "ipam": ipam, "capabilities": {"ipRanges": true}}]});
        NetworkConfigList::parse(list.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn who_chooses_the_addresses_goes_by_the_conflist_unless_it_is_said() {
        let own = || list(json!({"type": "host-local", "ranges": [[{"subnet": "10.9.0.0/24"}]]}));
        let dockers = || list(json!({"type": "host-local"}));
        for (line, list, ipam) in [
            ("web", Some(own()), NULL),
            ("web", Some(dockers()), DEFAULT),
            ("web --subnet 10.9.0.0/24", Some(own()), DEFAULT),
            ("web --ipam-driver default", Some(own()), DEFAULT),
            ("web --ipam-driver null", Some(dockers()), NULL),
            // The built-in network.
            ("web", None, DEFAULT),
            ("web --ipam-driver null", None, NULL),
        ] {
            let mut network = read(line).unwrap();
            network.settle_ipam(list.as_ref());
            assert_eq!(network.ipam_driver.as_deref(), Some(ipam), "{line}");
            assert_eq!(network.for_docker()["IPAM"]["Driver"], ipam, "{line}");
        }
    }

    #[test]
    fn what_is_said_of_a_subnet_goes_with_the_subnet_that_has_it() {
        let network = read(
            "web --subnet 10.9.0.0/24 --subnet fd00:9::/64 --gateway fd00:9::1 --gateway 10.9.0.254 \
             --ip-range 10.9.0.128/25 --aux-address nas=10.9.0.5 --conflist k8s --ipv6",
        );
        let network = network.unwrap();
        assert_eq!(
            network.for_docker()["IPAM"]["Config"],
            json!([
                {"Subnet": "10.9.0.0/24", "IPRange": "10.9.0.128/25", "Gateway": "10.9.0.254",
                 "AuxiliaryAddresses": {"nas": "10.9.0.5"}},
                {"Subnet": "fd00:9::/64", "Gateway": "fd00:9::1"},
            ])
        );
        let asked = network.for_driver().unwrap();
        assert_eq!(asked.ipv4[0].gateway, Some("10.9.0.254/24".parse().unwrap()));
        assert_eq!(asked.ipv4[0].aux_addresses["nas"], "10.9.0.5/24".parse().unwrap());
        assert_eq!(asked.ipv6[0].pool, Pool::Subnet("fd00:9::/64".parse().unwrap()));
        assert_eq!(
            network.command(),
            "docker network create -d cni --subnet 10.9.0.0/24 --ip-range 10.9.0.128/25 \
             --gateway 10.9.0.254 --aux-address nas=10.9.0.5 --subnet fd00:9::/64 \
             --gateway fd00:9::1 -o conflist=k8s --ipv6 web"
        );
        let error = read("web --subnet 10.9.0.0/24 --gateway 10.8.0.1").unwrap_err();
        assert_eq!(error.to_string(), "--gateway 10.8.0.1 is in no --subnet");
        let error = read("web --conflist a -o conflist=b").unwrap_err();
        assert!(error.to_string().contains("say one of them"), "{error}");
    }

    #[test]
    fn dockers_own_gateway_is_the_first_address() {
        for (subnet, first) in [("10.9.0.0/24", "10.9.0.1/24"), ("fd00:9::/64", "fd00:9::1/64")] {
            let data = Subnet::new(subnet.parse().unwrap()).data();
            assert_eq!(data.gateway, Some(first.parse().unwrap()));
        }
    }

    #[test]
    fn a_command_can_be_pasted() {
        let mut network = read("web -o cni.capability.bandwidth={\"ingressRate\":1}").unwrap();
        network.ipam_driver = Some(NULL.to_owned());
        assert_eq!(
            network.command(),
            "docker network create -d cni --ipam-driver null \
             -o 'cni.capability.bandwidth={\"ingressRate\":1}' web"
        );
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
