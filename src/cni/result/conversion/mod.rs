//! The forms that results have had, read and written.
//!
//! | versions | form |
//! |---|---|
//! | 0.1.0, 0.2.0 | `ip4` and `ip6`: one address each, with its gateway and routes; `dns` |
//! | 0.3.0, 0.3.1, 0.4.0 | lists `interfaces`, `ips`, `routes`; each address has its family in `version` |
//! | 1.0.0, 1.1.0 | the same without `version`; an empty `dns` is left out |
//!
//! What an older form has no place for is left out of it, as libcni does.

#[cfg(test)]
mod tests;

use ipnet::IpNet;
use serde_json::{Map, Value, json};

use super::{AttachResult, Dns, Interface, IpConfig, Other, Route};
use crate::cni::Version;
use crate::cni::lenient::{self, Fields, Mismatch, not_json};
use crate::cni::version::InvalidVersion;

/// A result cannot be read, or cannot be put into another version's form.
#[derive(Debug, thiserror::Error)]
pub enum InvalidResult {
    /// Not JSON, or nothing at all.
    #[error("{}", not_json(.0))]
    Syntax(#[from] serde_json::Error),
    /// Something in it is of the wrong kind.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// `cniVersion` is no version.
    #[error(transparent)]
    Version(#[from] InvalidVersion),
    /// `cniVersion` is a version whose form is not known here.
    #[error("unsupported CNI result version \"{0}\"")]
    UnknownVersion(Version),
    /// The older form needs an address, and there is none.
    #[error("cannot convert: no valid IP addresses")]
    NoAddress,
}

type Result<T> = std::result::Result<T, InvalidResult>;
type Object = Map<String, Value>;

impl AttachResult {
    /// Reads what a plugin wrote. A result without a version has the version
    /// `asked`, the configuration's.
    ///
    /// # Errors
    ///
    /// Not a result, or one of an unknown version.
    pub fn parse(bytes: &[u8], asked: Version) -> Result<Self> {
        Self::from_json(lenient::parse(bytes)?, asked)
    }

    pub(in crate::cni) fn from_json(json: Value, asked: Version) -> Result<Self> {
        // Go's decoder leaves a result as it was, that is empty, when it reads `null`.
        let json = if json.is_null() { json!({}) } else { json };
        let mut fields = Fields::at("the result", json)?;
        let version = match fields.text("cniVersion")? {
            Some(text) => text.parse()?,
            None => asked,
        };
        if !version.is_published() {
            return Err(InvalidResult::UnknownVersion(version));
        }
        let mut result = if version.has_one_address_per_family() {
            read_families(&mut fields)?
        } else {
            read_lists(&mut fields)?
        };
        result.dns = read_dns(&mut fields)?;
        result.other = fields.rest(RESULT_FIELDS);
        Ok(result)
    }

    /// The result in the form of `version`.
    ///
    /// # Errors
    ///
    /// [`InvalidResult::NoAddress`] for 0.1.0 and 0.2.0, which cannot do without one.
    pub fn to_version(&self, version: Version) -> Result<Value> {
        let mut object = Object::new();
        object.insert("cniVersion".into(), json!(version));
        if version.has_one_address_per_family() {
            self.write_families(&mut object)?;
        } else {
            self.write_lists(&mut object, version);
        }
        if version < Version::V1_0_0 || !self.dns.is_empty() {
            object.insert("dns".into(), write_dns(&self.dns));
        }
        object.extend(self.other.clone());
        Ok(Value::Object(object))
    }

    fn write_lists(&self, object: &mut Object, version: Version) {
        put_list(object, "interfaces", &self.interfaces, |it| write_interface(it, version));
        put_list(object, "ips", &self.ips, |it| write_ip(it, version));
        put_list(object, "routes", &self.routes, write_route);
    }

    fn write_families(&self, object: &mut Object) -> Result<()> {
        for (key, is_family) in FAMILIES {
            let Some(ip) = self.ips.iter().find(|ip| is_family(&ip.address)) else { continue };
            let mut family = Object::new();
            family.insert("ip".into(), json!(ip.address));
            put(&mut family, "gateway", ip.gateway);
            let routes: Vec<_> = self.routes.iter().filter(|it| is_family(&it.dst)).collect();
            put_list(&mut family, "routes", &routes, |route| {
                let mut written = Object::new();
                written.insert("dst".into(), json!(route.dst));
                put(&mut written, "gw", route.gw);
                Value::Object(written)
            });
            family.extend(ip.other.clone());
            object.insert(key.into(), Value::Object(family));
        }
        if object.keys().any(|key| FAMILIES.iter().any(|(family, _)| key == family)) {
            Ok(())
        } else {
            Err(InvalidResult::NoAddress)
        }
    }
}

/// What the forms call their fields: no unknown field may get in the way of these when a
/// result is put into another version's form. The family follows from the address.
const RESULT_FIELDS: &[&str] =
    &["cniVersion", "interfaces", "ips", "routes", "dns", FAMILIES[0].0, FAMILIES[1].0];
const IP_FIELDS: &[&str] = &["address", "gateway", "interface", "version", "ip", "routes"];

type IsFamily = fn(&IpNet) -> bool;

const FAMILIES: [(&str, IsFamily); 2] = [("ip4", is_v4), ("ip6", is_v6)];

fn is_v4(net: &IpNet) -> bool {
    matches!(net, IpNet::V4(_))
}

fn is_v6(net: &IpNet) -> bool {
    matches!(net, IpNet::V6(_))
}

/// Reads the form of 0.1.0 and 0.2.0.
fn read_families(fields: &mut Fields) -> Result<AttachResult> {
    let mut result = AttachResult::default();
    for (key, _) in FAMILIES {
        let Some(value) = fields.take(key) else { continue };
        let mut family = Fields::at(key, value)?;
        let mut read = || {
            let address = family.network("ip")?;
            let gateway = family.address("gateway")?;
            result.routes.extend(family.objects("routes", read_route)?);
            Ok((address, gateway))
        };
        let (address, gateway) = read().map_err(|mismatch: Mismatch| mismatch.within(key))?;
        result.ips.push(IpConfig {
            address,
            gateway,
            interface: None,
            other: family.rest(IP_FIELDS),
        });
    }
    Ok(result)
}

/// Reads the form of 0.3.0 and later.
fn read_lists(fields: &mut Fields) -> Result<AttachResult> {
    Ok(AttachResult {
        interfaces: fields.objects("interfaces", read_interface)?,
        ips: fields.objects("ips", read_ip)?,
        routes: fields.objects("routes", read_route)?,
        ..AttachResult::default()
    })
}

fn read_interface(mut fields: Fields) -> std::result::Result<Interface, Mismatch> {
    Ok(Interface {
        name: fields.text("name")?.unwrap_or_default(),
        mac: fields.text("mac")?,
        mtu: fields.number("mtu", "a size in bytes")?.filter(|mtu| *mtu != 0),
        sandbox: fields.text("sandbox")?,
        socket_path: fields.text("socketPath")?,
        pci_id: fields.text("pciID")?,
        other: fields.rest(&[]),
    })
}

fn read_ip(mut fields: Fields) -> std::result::Result<IpConfig, Mismatch> {
    Ok(IpConfig {
        address: fields.network("address")?,
        gateway: fields.address("gateway")?,
        interface: fields.index("interface", "an index into \"interfaces\"")?,
        other: fields.rest(IP_FIELDS),
    })
}

fn read_route(mut fields: Fields) -> std::result::Result<Route, Mismatch> {
    Ok(Route {
        dst: fields.network("dst")?,
        gw: fields.address("gw")?,
        mtu: fields.number("mtu", "a size in bytes")?.filter(|mtu| *mtu != 0),
        advmss: fields.number("advmss", "a size in bytes")?.filter(|advmss| *advmss != 0),
        priority: fields.number("priority", "a metric")?.filter(|priority| *priority != 0),
        table: fields.number("table", "the number of a routing table")?,
        scope: fields.number("scope", "a scope from 0 to 255")?,
        other: fields.rest(&[]),
    })
}

fn read_dns(fields: &mut Fields) -> Result<Dns> {
    let Some(value) = fields.take("dns") else { return Ok(Dns::default()) };
    let mut dns = Fields::at("dns", value)?;
    let mut read = || {
        Ok(Dns {
            nameservers: dns.texts("nameservers")?,
            domain: dns.text("domain")?,
            search: dns.texts("search")?,
            options: dns.texts("options")?,
            other: Other::new(),
        })
    };
    let read = read().map_err(|mismatch: Mismatch| mismatch.within("dns"))?;
    Ok(Dns { other: dns.rest(&[]), ..read })
}

fn write_interface(interface: &Interface, version: Version) -> Value {
    let mut object = Object::new();
    object.insert("name".into(), json!(interface.name));
    put(&mut object, "mac", interface.mac.as_ref());
    if version >= Version::V1_0_0 {
        put(&mut object, "mtu", interface.mtu);
    }
    put(&mut object, "sandbox", interface.sandbox.as_ref());
    if version >= Version::V1_0_0 {
        put(&mut object, "socketPath", interface.socket_path.as_ref());
        put(&mut object, "pciID", interface.pci_id.as_ref());
    }
    object.extend(interface.other.clone());
    Value::Object(object)
}

fn write_ip(ip: &IpConfig, version: Version) -> Value {
    let mut object = Object::new();
    if version.has_address_family() {
        let family = if is_v4(&ip.address) { "4" } else { "6" };
        object.insert("version".into(), json!(family));
    }
    put(&mut object, "interface", ip.interface);
    object.insert("address".into(), json!(ip.address));
    put(&mut object, "gateway", ip.gateway);
    object.extend(ip.other.clone());
    Value::Object(object)
}

fn write_route(route: &Route) -> Value {
    let mut object = Object::new();
    object.insert("dst".into(), json!(route.dst));
    put(&mut object, "gw", route.gw);
    put(&mut object, "mtu", route.mtu);
    put(&mut object, "advmss", route.advmss);
    put(&mut object, "priority", route.priority);
    put(&mut object, "table", route.table);
    put(&mut object, "scope", route.scope);
    object.extend(route.other.clone());
    Value::Object(object)
}

fn write_dns(dns: &Dns) -> Value {
    let mut object = Object::new();
    put_list(&mut object, "nameservers", &dns.nameservers, |text| json!(text));
    put(&mut object, "domain", dns.domain.as_ref());
    put_list(&mut object, "search", &dns.search, |text| json!(text));
    put_list(&mut object, "options", &dns.options, |text| json!(text));
    object.extend(dns.other.clone());
    Value::Object(object)
}

fn put(object: &mut Object, key: &str, value: Option<impl serde::Serialize>) {
    if let Some(value) = value {
        object.insert(key.into(), json!(value));
    }
}

fn put_list<T>(object: &mut Object, key: &str, list: &[T], write: impl Fn(&T) -> Value) {
    if !list.is_empty() {
        object.insert(key.into(), list.iter().map(write).collect());
    }
}
