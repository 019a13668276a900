//! JSON objects read the way plugins and libcni read them.
//!
//! Both are written in Go, whose decoder matches keys in any letter case, lets the last of
//! several win, takes `null` for "not there", and puts U+FFFD in place of what is no UTF-8. A
//! file that works under kubelet may rely on each of these.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Map, Value};

/// A value is not of the kind that its place asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: expected {expected}, found {found}")]
pub struct Mismatch {
    path: String,
    expected: &'static str,
    found: String,
}

impl Mismatch {
    pub(super) fn new(path: impl Into<String>, expected: &'static str, found: &Value) -> Self {
        let mut found = found.to_string();
        if let Some((cut, _)) = found.char_indices().nth(60) {
            found.truncate(cut);
            found.push('…');
        }
        Self { path: path.into(), expected, found }
    }

    /// The same mismatch, where what was found is shown otherwise.
    pub(super) fn with_found(mut self, shown: impl FnOnce(String) -> String) -> Self {
        self.found = shown(self.found);
        self
    }

    /// The same mismatch, seen from the object that holds `outer`.
    pub(super) fn within(mut self, outer: impl std::fmt::Display) -> Self {
        self.path = format!("{outer}.{}", self.path);
        self
    }
}

type Result<T> = std::result::Result<T, Mismatch>;

/// The fields of a configuration, which can be nothing but an object.
pub(super) fn object(json: Value) -> Result<Map<String, Value>> {
    match json {
        Value::Object(object) => Ok(object),
        other => Err(Mismatch::new("the configuration", "an object", &other)),
    }
}

/// Reads a JSON text. Bytes that are no UTF-8 stand in names and comments, if anywhere.
pub(super) fn parse(bytes: &[u8]) -> serde_json::Result<Value> {
    serde_json::from_str(&String::from_utf8_lossy(bytes))
}

/// What is wrong with a text that is no JSON.
pub(super) fn not_json(error: &serde_json::Error) -> String {
    match (error.line(), error.column()) {
        // Nothing was read: 1 and 0 are where an empty text ends.
        (1, 0) if error.is_eof() => "it is empty".to_owned(),
        _ => format!("not valid JSON: {error}"),
    }
}

/// Whether Go's decoder takes `written` for `key`.
pub(super) fn is_key(written: &str, key: &str) -> bool {
    written.eq_ignore_ascii_case(key)
}

/// What stands under `key`, unless nothing or `null` does.
pub(super) fn get<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    let (_, value) = object.iter().rev().find(|(written, _)| is_key(written, key))?;
    (!value.is_null()).then_some(value)
}

/// The text under `key`; an empty one counts as there.
pub(super) fn text<'a>(object: &'a Map<String, Value>, key: &str) -> Result<Option<&'a str>> {
    get(object, key)
        .map(|value| value.as_str().ok_or_else(|| Mismatch::new(key, "a string", value)))
        .transpose()
}

/// An object that is taken apart field by field; what is left over can be kept.
#[derive(Debug)]
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    /// The fields of `value`, which stands at `path`.
    pub(super) fn at(path: &str, value: Value) -> Result<Self> {
        match value {
            Value::Object(object) => Ok(Self(object)),
            other => Err(Mismatch::new(path, "an object", &other)),
        }
    }

    /// Takes out what stands under `key`, in every spelling.
    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        let spellings: Vec<String> =
            self.0.keys().filter(|written| is_key(written, key)).cloned().collect();
        let taken = spellings.iter().filter_map(|written| self.0.shift_remove(written)).last();
        taken.filter(|value| !value.is_null())
    }

    /// Takes a text; an empty one counts as absent.
    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
            Some(other) => Err(Mismatch::new(key, "a string", &other)),
        }
    }

    /// Takes a list; none is an empty one.
    pub(super) fn list(&mut self, key: &str) -> Result<Vec<Value>> {
        match self.take(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => Ok(values),
            Some(other) => Err(Mismatch::new(key, "a list", &other)),
        }
    }

    /// Takes a list of objects, each read by `read`. A `null` among them is skipped.
    pub(super) fn objects<T>(
        &mut self,
        key: &str,
        read: impl Fn(Fields) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.list(key)?
            .into_iter()
            .enumerate()
            .filter(|(_, value)| !value.is_null())
            .map(|(index, value)| {
                let path = format!("{key}[{index}]");
                read(Fields::at(&path, value)?).map_err(|mismatch| mismatch.within(path))
            })
            .collect()
    }

    /// Takes a list of texts.
    pub(super) fn texts(&mut self, key: &str) -> Result<Vec<String>> {
        self.list(key)?
            .into_iter()
            .map(|value| match value {
                Value::String(text) => Ok(text),
                other => Err(Mismatch::new(key, "a list of strings", &other)),
            })
            .collect()
    }

    /// Takes a whole number that `T` can hold.
    pub(super) fn number<T: TryFrom<u64>>(
        &mut self,
        key: &str,
        expected: &'static str,
    ) -> Result<Option<T>> {
        self.take(key).map(|value| whole(key, &value, expected)).transpose()
    }

    /// Takes an index into a list. One below 0 is none: what is built with the CNI library 0.5
    /// writes -1.
    pub(super) fn index(&mut self, key: &str, expected: &'static str) -> Result<Option<usize>> {
        let value = self.take(key).filter(|value| value.as_i64().is_none_or(|index| index >= 0));
        value.map(|value| whole(key, &value, expected)).transpose()
    }

    /// Takes an address; an empty text counts as absent.
    pub(super) fn address(&mut self, key: &str) -> Result<Option<IpAddr>> {
        self.text(key)?
            .map(|text| {
                text.parse().map_err(|_| Mismatch::new(key, "an IP address", &Value::String(text)))
            })
            .transpose()
    }

    /// Takes an address with the length of its prefix; bits beyond the prefix are kept.
    pub(super) fn network(&mut self, key: &str) -> Result<IpNet> {
        let value = self.take(key).unwrap_or(Value::Null);
        value
            .as_str()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| Mismatch::new(key, "an address with its prefix length", &value))
    }

    /// What was not taken, and does not go by one of the names in `known`.
    pub(super) fn rest(self, known: &[&str]) -> Vec<(String, Value)> {
        let is_known = |written: &str| known.iter().any(|key| is_key(written, key));
        self.0.into_iter().filter(|(written, _)| !is_known(written)).collect()
    }
}

fn whole<T: TryFrom<u64>>(key: &str, value: &Value, expected: &'static str) -> Result<T> {
    value
        .as_u64()
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| Mismatch::new(key, expected, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(json: &str) -> Map<String, Value> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn l14_keys_match_in_any_case_and_the_last_one_wins() {
        for spellings in [["CNIVersion", "cniVersion"], ["cniVersion", "cniversion"]] {
            let [first, last] = spellings;
            let written = object(&format!(r#"{{"{first}":"0.3.1","{last}":"1.0.0","other":1}}"#));
            assert_eq!(text(&written, "cniVersion").unwrap(), Some("1.0.0"));
            let mut fields = Fields(written);
            assert_eq!(fields.text("cniVersion").unwrap().as_deref(), Some("1.0.0"));
            assert_eq!(fields.rest(&[]), [("other".to_owned(), 1.into())]);
        }
    }

    #[test]
    fn l14_null_and_an_empty_address_are_absent() {
        let mut fields = Fields(object(r#"{"gateway":"","routes":null,"gw":null}"#));
        assert_eq!(fields.address("gateway").unwrap(), None);
        assert_eq!(fields.address("gw").unwrap(), None);
        assert!(fields.list("routes").unwrap().is_empty());
    }

    #[test]
    fn l14_what_is_no_utf_8_is_replaced() {
        let read = parse(b"{\"type\":\"a\",\"comment\":\"caf\xe9\"}").unwrap();
        assert_eq!(read, serde_json::json!({"type": "a", "comment": "caf\u{fffd}"}));
        assert!(parse(b"{\xe9}").is_err());
    }

    #[test]
    fn an_index_below_zero_is_none() {
        let mut fields = Fields(object(r#"{"a":-1,"b":0,"c":1.5,"d":"0"}"#));
        assert_eq!(fields.index("a", "an index").unwrap(), None);
        assert_eq!(fields.index("b", "an index").unwrap(), Some(0));
        assert!(fields.index("c", "an index").is_err());
        assert!(fields.index("d", "an index").is_err());
    }

    #[test]
    fn a_mismatch_says_where_what_and_what_instead() {
        let mut fields = Fields(object(r#"{"ips":[{},{"address":7}]}"#));
        let error = fields
            .objects("ips", |mut ip| {
                if ip.0.is_empty() { Ok(None) } else { ip.network("address").map(Some) }
            })
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "ips[1].address: expected an address with its prefix length, found 7"
        );
    }

    #[test]
    fn a_mismatch_does_not_repeat_a_whole_file() {
        let value = Value::String("é".repeat(10_000));
        assert!(Mismatch::new("x", "a number", &value).to_string().len() < 200);
    }
}
