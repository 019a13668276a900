//! What a bug report leaves out: what users gave to plugins alone, and what names itself a secret.

use std::path::Path;

use serde_json::{Map, Value};

use crate::cni::{Attachment, Secrets};
use crate::cnm::ChainOptions;
use crate::whole;

/// No record is near this size, in bytes.
const MOST: u64 = 16 << 20;

/// Stands for what is left out.
const HIDDEN: &str = "[hidden]";

/// A key whose name has one of these in it has a secret.
const SECRET: [&str; 10] = [
    "passw",
    "passphrase",
    "secret",
    "token",
    "credential",
    "private",
    "psk",
    "apikey",
    "api_key",
    "auth",
];

/// All that is not to be seen of a driver.
pub(super) struct Redaction(Secrets);

impl Redaction {
    /// The secrets that these records have, as files of JSON.
    pub(super) fn of<'r>(records: impl Iterator<Item = &'r Value>) -> Self {
        let parameters: Vec<Attachment> = records.flat_map(given).collect();
        Self(Secrets::of(&parameters))
    }

    /// A text without the secrets in it, and without the user in a URL.
    pub(super) fn text(&self, text: String) -> String {
        without_users(self.0.hidden_in(text))
    }

    /// JSON without the secrets in it; none if it is no JSON.
    pub(super) fn json(&self, text: &str) -> Option<String> {
        let mut value: Value = serde_json::from_str(text).ok()?;
        hide(&mut value);
        Some(self.text(serde_json::to_string_pretty(&value).ok()?))
    }

    /// Settings of a shell, `NAME=value`.
    pub(super) fn settings(&self, text: &str) -> String {
        let lines = text.lines().map(|line| match line.split_once('=') {
            Some((name, _)) if is_secret(name) => format!("{name}={HIDDEN}\n"),
            _ => format!("{line}\n"),
        });
        self.text(lines.collect())
    }
}

/// What a record of an attachment or a network has for plugins.
fn given(record: &Value) -> Vec<Attachment> {
    // Records may lie in an envelope that has their version.
    let inner = record.get("record").unwrap_or(record);
    let of_attachment: Option<Attachment> =
        serde_json::from_value(inner["parameters"].clone()).ok();
    let of_network: Option<ChainOptions> =
        serde_json::from_value(inner["options"]["chain"].clone()).ok();
    let of_network = of_network.map(|ChainOptions { args, capabilities }| Attachment {
        args,
        capability_args: capabilities,
        ..Attachment::default()
    });
    of_attachment.into_iter().chain(of_network).collect()
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    key.ends_with("key") || SECRET.iter().any(|word| key.contains(word))
}

/// Hides the values of such keys, whatever they are, and what a conflist gives to plugins as `args`.
fn hide(value: &mut Value) {
    match value {
        Value::Object(object) => {
            for (key, value) in object.iter_mut() {
                match (key.as_str(), is_secret(key)) {
                    (_, true) => hide_all(value),
                    ("args", false) if value.is_object() => hide_all(value),
                    _ => hide(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(hide),
        Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => {}
    }
}

/// Hides all values; the keys stay.
fn hide_all(value: &mut Value) {
    match value {
        Value::Object(object) => Map::values_mut(object).for_each(hide_all),
        Value::Array(values) => values.iter_mut().for_each(hide_all),
        Value::Null | Value::Bool(_) => {}
        value => *value = HIDDEN.into(),
    }
}

/// `https://user:password@proxy` becomes `https://[hidden]@proxy`.
fn without_users(text: String) -> String {
    const BEGIN: &str = "://";
    if !text.contains(BEGIN) {
        return text;
    }
    let mut parts = text.split(BEGIN);
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        shown += BEGIN;
        let ends = |letter: char| letter.is_whitespace() || "/\"'<>,".contains(letter);
        let host = part.split(ends).next().unwrap_or_default();
        match host.rsplit_once('@') {
            Some((user, _)) => {
                shown += HIDDEN;
                shown += &part[user.len()..];
            }
            None => shown += part,
        }
    }
    shown
}

/// The JSON in the files of a folder; what is none is left out.
pub(super) fn records(folder: &Path) -> Vec<Value> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let texts = entries.filter_map(|entry| whole::read(&entry.path(), MOST).ok());
    texts.filter_map(|text| serde_json::from_slice(&text).ok()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn redaction() -> Redaction {
        let attachment = json!({"parameters": {
            "container_id": "a", "netns": null, "if_name": "eth0", "args": [["TOKEN", "s3cret"]],
            "capability_args": {"vpn": {"peer": "hunter22"}},
        }});
        let network = json!({"options": {"chain": {
            "args": [["PIN", "9876"]], "capabilities": {"wifi": ["bl4bla"]},
        }}});
        Redaction::of([attachment, network].iter())
    }

    #[test]
    fn what_users_gave_to_plugins_is_in_no_text() {
        let text = "TOKEN=s3cret vpn hunter22 9876 [\"bl4bla\"] 10.0.0.1";
        let hidden = "TOKEN=[hidden] vpn [hidden] [hidden] [\"[hidden]\"] 10.0.0.1";
        assert_eq!(redaction().text(text.into()), hidden);
    }

    #[test]
    fn what_names_itself_a_secret_is_hidden_with_all_in_it() {
        let conflist = json!({
            "name": "net", "plugins": [{
                "type": "vpn", "privateKey": "abc", "peers": [{"psk": 7, "endpoint": "192.0.2.1"}],
                "auth": {"user": "me", "ok": true}, "args": {"cni": {"COLOUR": "blue"}},
                "kubernetes": {"kubeconfig": "/etc/cni/net.d/calico-kubeconfig"},
            }],
        });
        let shown: Value =
            serde_json::from_str(&redaction().json(&conflist.to_string()).unwrap()).unwrap();
        assert_eq!(
            shown["plugins"][0],
            json!({
                "type": "vpn", "privateKey": HIDDEN,
                "peers": [{"psk": HIDDEN, "endpoint": "192.0.2.1"}],
                "auth": {"user": HIDDEN, "ok": true}, "args": {"cni": {"COLOUR": HIDDEN}},
                "kubernetes": {"kubeconfig": "/etc/cni/net.d/calico-kubeconfig"},
            })
        );
        assert!(redaction().json("{").is_none());
        let settings = redaction().settings("A=1\nREGISTRY_PASSWORD=x\n# note");
        assert_eq!(settings, "A=1\nREGISTRY_PASSWORD=[hidden]\n# note\n");
    }

    #[test]
    fn the_user_in_a_url_is_hidden() {
        for (text, shown) in [
            ("http://me:pw@proxy:3128/", "http://[hidden]@proxy:3128/"),
            ("\"https://t@h\", x", "\"https://[hidden]@h\", x"),
            ("unix:///run/docker.sock me@host", "unix:///run/docker.sock me@host"),
            ("://", "://"),
        ] {
            assert_eq!(without_users(text.into()), shown);
        }
    }
}
