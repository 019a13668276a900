//! What a configuration list says, and what is wrong with it.

use super::*;

fn parse(json: &str) -> Result<NetworkConfigList> {
    NetworkConfigList::parse(json.as_bytes())
}

fn error(json: &str) -> String {
    parse(json).unwrap_err().to_string()
}

/// A list with these versions, and what was selected.
fn selected(cni_version: Option<&str>, others: Option<&[&str]>) -> Result<String> {
    let mut json = serde_json::json!({"name": "test", "plugins": [{"type": "foo"}]});
    if let Some(version) = cni_version {
        json["cniVersion"] = version.into();
    }
    if let Some(others) = others {
        json["cniVersions"] = others.into();
    }
    Ok(parse(&json.to_string())?.cni_version().to_string())
}

#[test]
fn r11_l12_the_highest_supported_version_is_selected() {
    let of = |versions: &[&str]| selected(None, Some(versions)).unwrap();
    assert_eq!(of(&["1.1.0", "0.4.0", "1.0.0"]), "1.1.0");
    assert_eq!(of(&["99.0.0", "1.1.0", "0.4.0", "1.0.0"]), "1.1.0");
    assert_eq!(of(&[]), "0.1.0");
    assert_eq!(selected(Some("1.0.0"), Some(&["0.1.0", "0.4.0"])).unwrap(), "1.0.0");
    assert_eq!(selected(Some("0.3.1"), Some(&["0.4.0", "1.0.0"])).unwrap(), "1.0.0");
    assert_eq!(selected(Some("2.0.0"), Some(&["0.4.0"])).unwrap(), "0.4.0");
}

#[test]
fn l12_a_single_version_is_taken_even_if_it_is_too_high() {
    assert_eq!(selected(Some("1.2.3"), None).unwrap(), "1.2.3");
    assert_eq!(selected(Some(""), None).unwrap(), "0.1.0");
    assert_eq!(selected(None, None).unwrap(), "0.1.0");
}

#[test]
fn l12_a_version_that_is_none_is_an_error() {
    let error = selected(None, Some(&["1.1.0", "0.4.0", "1.0.f"])).unwrap_err().to_string();
    assert!(error.contains("\"1.0.f\""), "{error}");
    assert!(selected(Some("one"), None).is_err());
    assert!(parse(r#"{"name":"x","cniVersion":1,"plugins":[{"type":"a"}]}"#).is_err());
    assert!(parse(r#"{"name":"x","cniVersions":"1.0.0","plugins":[{"type":"a"}]}"#).is_err());
    assert!(parse(r#"{"name":"x","cniVersions":[1],"plugins":[{"type":"a"}]}"#).is_err());
}

#[test]
fn r12_fields_that_are_not_known_yet_are_no_error() {
    let list = parse(r#"{"name":"x","future":{"a":1},"plugins":[{"type":"a","future":2}]}"#);
    assert_eq!(list.unwrap().plugins()[0].get("future"), Some(&2.into()));
}

#[test]
fn l10_a_boolean_may_be_written_as_a_string() {
    for (written, read) in
        [("true", true), ("false", false), ("\"True\"", true), ("\"FALSE\"", false)]
    {
        let list = parse(&format!(
            r#"{{"name":"x","disableCheck":{written},"disableGC":{written},
                    "loadOnlyInlinedPlugins":{written},"plugins":[{{"type":"a"}}]}}"#
        ))
        .unwrap();
        assert_eq!((list.disables_check(), list.disables_gc()), (read, read), "{written}");
    }
    assert_eq!(
        error(r#"{"name":"x","disableCheck":"maybe","plugins":[{"type":"a"}]}"#),
        "disableCheck: expected true or false, found \"maybe\""
    );
    assert!(error(r#"{"name":"x","disableGC":1,"plugins":[{"type":"a"}]}"#).contains("GC"));
}

#[test]
fn r1_l9_a_list_needs_a_name_that_can_be_one() {
    let named = |name: &str| error(&format!(r#"{{"name":{name},"plugins":[{{"type":"a"}}]}}"#));
    assert!(named("\"../etc\"").contains("network name \"../etc\" is not valid"));
    assert!(named("\"\"").contains("network name \"\" is not valid"));
    assert_eq!(named("null"), "it has no \"name\"");
    assert_eq!(named("7"), "name: expected a string, found 7");
    assert_eq!(error(r#"{"plugins":[{"type":"a"}]}"#), "it has no \"name\"");
}

#[test]
fn l8_l11_a_list_needs_plugins_and_each_of_them_a_type() {
    assert!(error(r#"{"name":"x","plugins":[]}"#).starts_with("it has no plugins"));
    assert!(error(r#"{"name":"x"}"#).starts_with("it has no plugins"));
    assert_eq!(error(r#"{"name":"x","plugins":{}}"#), "plugins: expected a list, found {}");
    assert_eq!(
        error(r#"{"name":"x","plugins":[{"type":"a"},{"bridge":"b"}]}"#),
        "plugins[1]: it has no \"type\", the name of the plugin's executable"
    );
    assert!(error(r#"{"name":"x","plugins":[{"type":"a/b"}]}"#).contains("plugins[0]"));
    assert!(error(r#"{"name":"x","plugins":["a"]}"#).contains("expected an object"));
    assert!(error("[]").contains("expected an object"));
    assert!(error("{").starts_with("not valid JSON"));
    assert!(error("{").starts_with("not valid JSON"));
}

#[test]
fn r5_only_inlined_plugins_without_any_is_an_error() {
    let error = error(r#"{"name":"x","loadOnlyInlinedPlugins":true}"#);
    assert!(error.contains("loadOnlyInlinedPlugins"), "{error}");
}

#[test]
fn l14_keys_match_in_any_case() {
    let list = parse(
        r#"{"Name":"x","CNIVersion":"0.4.0","DISABLECHECK":true,
                "Plugins":[{"Type":"a","Capabilities":{"ips":true},"IPAM":{"Type":"b"}}]}"#,
    )
    .unwrap();
    assert_eq!((list.name(), list.cni_version()), ("x", Version::V0_4_0));
    assert!(list.disables_check() && list.declares("ips"));
    assert_eq!(list.plugins()[0].plugin_type(), "a");
    assert_eq!(list.plugins()[0].ipam_type(), Some("b"));
}

#[test]
fn l2_a_single_plugin_becomes_a_list_of_one() {
    let conf = br#"{"cniVersion":"0.3.1","name":"some-list","type":"foobar","key":"value"}"#;
    let list = NetworkConfigList::up_convert(conf).unwrap();
    assert_eq!((list.name(), list.cni_version()), ("some-list", Version::V0_3_1));
    let whole: Value = serde_json::from_slice(conf).unwrap();
    assert_eq!(Value::from(list.plugins()[0].clone()), whole);

    let error = NetworkConfigList::up_convert(br#"{"name":"x"}"#).unwrap_err();
    assert!(matches!(error, ConfigError::NoType));
    let error = NetworkConfigList::up_convert(br#"{"type":"x"}"#).unwrap_err();
    assert!(matches!(error, ConfigError::NoName));
}

#[test]
fn a_stored_list_reads_back_equal_to_the_last_digit() {
    let list = parse(
        r#"{"name":"x","cniVersions":["0.4.0","1.0.0"],"disableGC":"true","plugins":[
                {"type":"b","z":1,"a":12345678901234567890123,"f":0.10,"e":1e+400,"n":null,
                 "capabilities":{"ips":true,"mac":false}}]}"#,
    )
    .unwrap()
    .with_plugin(PluginConfig::from_json(serde_json::json!({"type": "c"})).unwrap());
    let stored = serde_json::to_string(&list).unwrap();
    assert!(stored.contains(r#""z":1,"a":12345678901234567890123,"f":0.10,"e":1e+400"#));
    let read: NetworkConfigList = serde_json::from_str(&stored).unwrap();
    assert_eq!(read, list);
    let read: NetworkConfigList =
        serde_json::from_value(serde_json::to_value(&list).unwrap()).unwrap();
    assert_eq!(read, list);
    assert_eq!(read.plugins()[0].capabilities().collect::<Vec<_>>(), ["ips"]);
}

#[test]
fn l11_capabilities_and_ipam_of_the_wrong_kind_are_errors() {
    let with =
        |fields: &str| error(&format!(r#"{{"name":"x","plugins":[{{"type":"a",{fields}}}]}}"#));
    assert_eq!(
        with(r#""capabilities":{"ips":"yes"}"#),
        "plugins[0]: capabilities.ips: expected true or false, found \"yes\""
    );
    assert!(with(r#""capabilities":["ips"]"#).contains("an object of true and false"));
    assert!(with(r#""ipam":"host-local""#).contains("ipam: expected an object"));
    assert!(with(r#""ipam":{"type":7}"#).contains("ipam.type: expected a string"));
    assert!(with(r#""ipam":{"type":"../x"}"#).contains("\"../x\" is not valid"));
}
