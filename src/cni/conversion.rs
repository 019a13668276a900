//! The forms that results have had, read and written.
//!
//! | versions | form |
//! |---|---|
//! | 0.1.0, 0.2.0 | `ip4` and `ip6`: one address each, with its gateway and routes; `dns` |
//! | 0.3.0, 0.3.1, 0.4.0 | lists `interfaces`, `ips`, `routes`; each address tells its family in `version` |
//! | 1.0.0, 1.1.0 | the same without `version`; an empty `dns` is left out |
//!
//! What an older form has no place for is left out of it, as libcni does.

use ipnet::IpNet;
use serde_json::{Map, Value, json};

use super::lenient::{Fields, Mismatch};
use super::version::InvalidVersion;
use super::{AttachResult, Dns, Interface, IpConfig, Route, Version};

/// A result cannot be read, or cannot be put into another version's form.
#[derive(Debug, thiserror::Error)]
pub enum InvalidResult {
    /// Not JSON, or nothing at all.
    #[error("not valid JSON: {0}")]
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
    /// Reads what a plugin wrote. A result that does not tell its version has the version
    /// `asked`, the configuration's.
    ///
    /// # Errors
    ///
    /// Not a result, or one of an unknown version.
    pub fn parse(bytes: &[u8], asked: Version) -> Result<Self> {
        Self::from_json(serde_json::from_slice(bytes)?, asked)
    }

    pub(super) fn from_json(json: Value, asked: Version) -> Result<Self> {
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
/// result is put into another version's form. An address tells its family by itself.
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
        interface: fields.number("interface", "an index into \"interfaces\"")?,
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
            other: Object::new(),
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
    if version.tells_address_family() {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: Value) -> AttachResult {
        AttachResult::from_json(json, Version::V1_0_0).unwrap()
    }

    fn written(json: Value, version: &str) -> Value {
        read(json).to_version(version.parse().unwrap()).unwrap()
    }

    fn error(json: Value) -> String {
        AttachResult::from_json(json, Version::V1_0_0).unwrap_err().to_string()
    }

    /// A result that uses all that the latest version has.
    fn full() -> Value {
        json!({
            "cniVersion": "1.1.0",
            "interfaces": [
                {"name": "cni0", "mac": "00:11:22:33:44:55"},
                {"name": "eth0", "mac": "00:11:22:33:44:66", "mtu": 1400, "sandbox": "/n",
                 "socketPath": "/s", "pciID": "0000:04:00.5"},
            ],
            "ips": [
                {"interface": 0, "address": "1.2.3.30/24", "gateway": "1.2.3.1"},
                {"interface": 1, "address": "abcd:1234:ffff::cdde/64", "gateway": "abcd:1234:ffff::1"},
                {"address": "1.2.4.30/24"},
            ],
            "routes": [
                {"dst": "15.5.6.8/24", "gw": "15.5.6.8", "mtu": 9000, "advmss": 1360,
                 "priority": 5, "table": 100, "scope": 253},
                {"dst": "1111:dddd::aaaa/80", "gw": "1111:dddd::aaaa"},
            ],
            "dns": {"nameservers": ["1.2.3.4"], "domain": "acompany.com",
                    "search": ["somedomain.com"], "options": ["foo"]},
        })
    }

    #[test]
    fn r52_l56_the_latest_version_and_1_0_0_differ_in_name_only() {
        assert_eq!(written(full(), "1.1.0"), full());
        let mut expected = full();
        expected["cniVersion"] = "1.0.0".into();
        assert_eq!(written(full(), "1.0.0"), expected);
        assert_eq!(written(expected, "1.1.0"), full());
    }

    #[test]
    fn l55_the_middle_versions_tell_the_family_and_have_no_new_interface_fields() {
        for version in ["0.3.0", "0.3.1", "0.4.0"] {
            let mut expected = full();
            expected["cniVersion"] = version.into();
            expected["interfaces"][1] =
                json!({"name": "eth0", "mac": "00:11:22:33:44:66", "sandbox": "/n"});
            for (index, family) in ["4", "6", "4"].iter().enumerate() {
                expected["ips"][index]["version"] = (*family).into();
            }
            let old = written(full(), version);
            assert_eq!(old, expected);

            let mut back = full();
            back["interfaces"][1] = expected["interfaces"][1].clone();
            assert_eq!(written(old, "1.1.0"), back);
        }
    }

    #[test]
    fn l57_the_first_versions_have_one_address_per_family() {
        for version in ["0.1.0", "0.2.0"] {
            let expected = json!({
                "cniVersion": version,
                "ip4": {"ip": "1.2.3.30/24", "gateway": "1.2.3.1",
                        "routes": [{"dst": "15.5.6.8/24", "gw": "15.5.6.8"}]},
                "ip6": {"ip": "abcd:1234:ffff::cdde/64", "gateway": "abcd:1234:ffff::1",
                        "routes": [{"dst": "1111:dddd::aaaa/80", "gw": "1111:dddd::aaaa"}]},
                "dns": full()["dns"],
            });
            assert_eq!(written(full(), version), expected);
        }
    }

    #[test]
    fn l54_addresses_of_the_first_versions_are_on_no_known_interface() {
        let old = written(full(), "0.2.0");
        let new = json!({
            "cniVersion": "1.0.0",
            "ips": [
                {"address": "1.2.3.30/24", "gateway": "1.2.3.1"},
                {"address": "abcd:1234:ffff::cdde/64", "gateway": "abcd:1234:ffff::1"},
            ],
            "routes": [
                {"dst": "15.5.6.8/24", "gw": "15.5.6.8"},
                {"dst": "1111:dddd::aaaa/80", "gw": "1111:dddd::aaaa"},
            ],
            "dns": full()["dns"],
        });
        assert_eq!(written(old.clone(), "1.0.0"), new);
        assert_eq!(written(new, "0.2.0"), old);
    }

    #[test]
    fn l53_the_first_two_versions_differ_in_name_only() {
        let mut expected = written(full(), "0.1.0");
        expected["cniVersion"] = "0.2.0".into();
        assert_eq!(written(written(full(), "0.1.0"), "0.2.0"), expected);
    }

    #[test]
    fn l57_without_an_address_there_is_no_result_of_the_first_versions() {
        for version in ["0.1.0", "0.2.0"] {
            let result = read(json!({"interfaces": [{"name": "lo"}]}));
            let error = result.to_version(version.parse().unwrap()).unwrap_err();
            assert_eq!(error.to_string(), "cannot convert: no valid IP addresses");
        }
    }

    #[test]
    fn l58_index_zero_is_written_and_none_is_not() {
        let ips = json!([{"interface": 0, "address": "10.0.0.2/8"}, {"address": "10.0.0.3/8"}]);
        let result = written(json!({"interfaces": [{"name": "a"}], "ips": ips}), "1.0.0");
        assert_eq!(result["ips"], ips);
    }

    #[test]
    fn l58_an_empty_dns_is_left_out_since_1_0_0_and_not_before() {
        let result = json!({"ips": [{"address": "10.0.0.2/8"}], "dns": {}});
        assert_eq!(written(result.clone(), "1.0.0").get("dns"), None);
        for version in ["0.1.0", "0.2.0", "0.3.1", "0.4.0"] {
            assert_eq!(written(result.clone(), version)["dns"], json!({}), "{version}");
        }
    }

    #[test]
    fn l58_the_bits_of_a_destination_beyond_its_prefix_are_kept() {
        let routes = json!([{"dst": "10.1.2.3/8"}]);
        assert_eq!(written(json!({"routes": routes}), "1.0.0")["routes"], routes);
    }

    #[test]
    fn l29_a_result_without_a_version_has_the_one_that_was_asked_for() {
        let old = br#"{"ip4":{"ip":"10.0.0.2/8"}}"#;
        for asked in [Version::V0_1_0, Version::V0_2_0] {
            assert_eq!(AttachResult::parse(old, asked).unwrap().ips.len(), 1);
        }
        let new = br#"{"cniVersion":"","ips":[{"address":"10.0.0.2/8"}]}"#;
        assert_eq!(AttachResult::parse(new, Version::V0_4_0).unwrap().ips.len(), 1);
        assert_eq!(
            error(json!({"cniVersion": "1.2.0"})),
            "unsupported CNI result version \"1.2.0\""
        );
        assert!(error(json!({"cniVersion": "abc"})).contains("\"abc\""));
    }

    #[test]
    fn l28_null_is_an_empty_result_and_nothing_is_none() {
        assert_eq!(AttachResult::parse(b"null", Version::LATEST).unwrap(), AttachResult::default());
        for bytes in ["", "  \n", "{", "[]", "7", "{} x", "\u{0}"] {
            assert!(AttachResult::parse(bytes.as_bytes(), Version::LATEST).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn l14_empty_texts_null_lists_and_keys_in_any_case_are_read() {
        let result = read(json!({
            "CniVersion": "0.4.0",
            "interfaces": null,
            "IPs": [null, {"Version": "4", "Address": "10.0.0.2/8", "Gateway": ""}],
            "routes": [{"dst": "0.0.0.0/0", "gw": "", "mtu": 0, "priority": 0}],
            "dns": {"nameservers": null, "domain": ""},
        }));
        assert_eq!(result.ips, [IpConfig::new("10.0.0.2/8".parse().unwrap())]);
        assert_eq!(result.routes, [Route::new("0.0.0.0/0".parse().unwrap())]);
        assert!(result.dns.is_empty() && result.other.is_empty());
    }

    #[test]
    fn r53_an_address_is_on_the_interface_that_its_index_names() {
        let result = read(full());
        let on = |ip: usize| result.interface_of(&result.ips[ip]).map(|it| it.name.as_str());
        assert_eq!((on(0), on(1), on(2)), (Some("cni0"), Some("eth0"), None));
        let lost = read(json!({"ips": [{"address": "10.0.0.2/8", "interface": 3}]}));
        assert_eq!(lost.interface_of(&lost.ips[0]), None);
    }

    #[test]
    fn unknown_fields_stay_where_they_are() {
        let mut json = full();
        json["vendor"] = json!({"exact": 1});
        json["interfaces"][0]["a"] = json!(1);
        json["ips"][0]["b"] = json!([2]);
        json["routes"][1]["c"] = json!("3");
        json["dns"]["d"] = json!(null);
        assert_eq!(written(json.clone(), "1.1.0"), json);
    }

    #[test]
    fn a_field_that_only_other_versions_know_does_not_come_back_in_theirs() {
        let old = json!({
            "cniVersion": "0.2.0", "interfaces": "none", "IPs": 7, "vendor": 1,
            "ip4": {"ip": "10.0.0.2/8", "Address": 8, "interface": "x", "vendor": 2},
        });
        assert_eq!(
            written(old, "1.0.0"),
            json!({
                "cniVersion": "1.0.0", "ips": [{"address": "10.0.0.2/8", "vendor": 2}], "vendor": 1,
            })
        );
    }

    #[test]
    fn what_is_wrong_with_a_result_is_told_by_its_place() {
        assert_eq!(
            error(json!({"ips": [{"address": "10.0.0.2"}]})),
            "ips[0].address: expected an address with its prefix length, found \"10.0.0.2\""
        );
        assert_eq!(
            error(json!({"ips": [{"address": "10.0.0.2/8", "interface": -1}]})),
            "ips[0].interface: expected an index into \"interfaces\", found -1"
        );
        assert_eq!(
            error(json!({"routes": [{"dst": "10.0.0.0/8", "gw": "x"}]})),
            "routes[0].gw: expected an IP address, found \"x\""
        );
        assert_eq!(
            error(json!({"dns": {"search": [1]}})),
            "dns.search: expected a list of strings, found 1"
        );
        assert_eq!(
            error(json!({"cniVersion": "0.2.0", "ip4": {"ip": 4}})),
            "ip4.ip: expected an address with its prefix length, found 4"
        );
        assert!(error(json!({"interfaces": ["eth0"]})).starts_with("interfaces[0]: expected an"));
    }

    #[test]
    fn a_stored_result_reads_back_equal() {
        let result = read(full());
        let stored = serde_json::to_string(&result).unwrap();
        assert_eq!(serde_json::from_str::<AttachResult>(&stored).unwrap(), result);
    }
}
