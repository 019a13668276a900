//! What the values of a user's options may be: what no plugin could ever take is refused as soon as it arrives.
//!
//! The reasons do not repeat a value: it may be a secret.

use serde_json::Value;

/// The longest value of one option, in bytes, and of all `CNI_ARGS` together. These are one
/// variable of a plugin's environment, for which Linux has 128 KiB.
const LONGEST: usize = 16 << 10;
const LONGEST_TOGETHER: usize = 64 << 10;

/// Checks one pair of `CNI_ARGS`.
pub(super) fn check_arg(name: &str, value: &str) -> Result<(), String> {
    let plain = |text: &str| !text.contains([';', '=']);
    if name.is_empty() || !plain(name) || !plain(value) {
        return Err("CNI_ARGS cannot carry ';' or '=' in a pair".to_owned());
    }
    check_text(name)?;
    check_text(value)?;
    // As plugins in Go read it.
    let is_true = ["1", "t", "T", "true", "TRUE", "True"].contains(&value);
    if name == "IgnoreUnknown" && !is_true {
        return Err("plugins would refuse what the driver itself sets; leave it out".to_owned());
    }
    Ok(())
}

/// Checks all of them together.
pub(super) fn check_args(args: &[(String, String)]) -> Result<(), String> {
    let length: usize = args.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    match length {
        0..=LONGEST_TOGETHER => Ok(()),
        _ => Err(format!("all of them have {length} bytes, and may have {LONGEST_TOGETHER}")),
    }
}

/// Reads one capability argument.
pub(super) fn read_capability(name: &str, text: &str) -> Result<Value, String> {
    let instead = match name {
        "portMappings" => Some("-p"),
        "ips" => Some("--ip, or the option ip"),
        "mac" => Some("--mac-address"),
        "ipRanges" => Some("--subnet"),
        _ => None,
    };
    if let Some(instead) = instead {
        return Err(format!("the driver itself sets this for plugins; use {instead}"));
    }
    check_text(name)?;
    if name.is_empty() {
        return Err("expected the name of a capability behind it".to_owned());
    }
    if text.len() > LONGEST {
        return Err(format!("it has {} bytes, and may have {LONGEST}", text.len()));
    }
    let value = serde_json::from_str(text).map_err(|error| format!("expected JSON: {error}"))?;
    check_json(&value)?;
    Ok(value)
}

/// Checks the name of a link that is to be made, as the kernel does.
pub(super) fn check_link_name(name: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'/' && byte != b':';
    match name.len() {
        1..=15 if name.bytes().all(plain) && !matches!(name, "." | "..") => Ok(()),
        _ => {
            Err("expected the name of an interface: up to 15 letters, digits and signs".to_owned())
        }
    }
}

fn check_json(value: &Value) -> Result<(), String> {
    match value {
        Value::Null | Value::Bool(_) => Ok(()),
        Value::Number(number) if number.as_f64().is_none_or(|number| !number.is_finite()) => {
            Err("it has a number beyond what plugins can read".to_owned())
        }
        Value::Number(_) => Ok(()),
        Value::String(text) => check_text(text),
        Value::Array(values) => values.iter().try_for_each(check_json),
        Value::Object(object) => object.iter().try_for_each(|(key, value)| {
            check_text(key)?;
            check_json(value)
        }),
    }
}

fn check_text(text: &str) -> Result<(), String> {
    if let Some(letter) = text.chars().find(|letter| letter.is_control()) {
        return Err(format!("it has a control character ({})", letter.escape_default()));
    }
    if text.len() > LONGEST {
        return Err(format!("it has {} bytes, and may have {LONGEST}", text.len()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_that_no_plugin_can_take_are_refused() {
        check_arg("K8S_POD_NAME", "wéb").unwrap();
        check_arg("IgnoreUnknown", "true").unwrap();
        let long = "x".repeat(200_000);
        for (name, value) in [
            ("", "a"),
            ("A", "b;C=d"),
            ("A", "nul\0"),
            ("A", "line\nfeed"),
            ("A\x1b", "b"),
            ("A", long.as_str()),
            ("IgnoreUnknown", "0"),
            ("IgnoreUnknown", ""),
        ] {
            let reason = check_arg(name, value).unwrap_err();
            assert!(value.len() < 3 || !reason.contains(value), "{reason}");
        }
        let one = ("A".to_owned(), "x".repeat(10_000));
        check_args(&vec![one.clone(); 6]).unwrap();
        assert!(check_args(&vec![one; 7]).is_err());
    }

    #[test]
    fn capabilities_that_no_plugin_can_take_are_refused() {
        read_capability("bandwidth", r#"{"ingressRate":1e6,"unit":"bit/s"}"#).unwrap();
        for text in [
            "{",
            r#"{"ingressRate":1e9999}"#,
            r#"["nul\u0000"]"#,
            r#"{"key\n":1}"#,
            &format!("[{}1]", "1,".repeat(100_000)),
        ] {
            read_capability("bandwidth", text).unwrap_err();
        }
        assert!(read_capability("", "1").is_err());
    }

    #[test]
    fn a_name_that_no_link_can_have_is_refused() {
        check_link_name("br-web.1_x").unwrap();
        for name in ["", ".", "..", "a/b", "a b", "a:b", "sixteen-letters-", "nul\0", "bär"] {
            check_link_name(name).unwrap_err();
        }
    }

    #[test]
    fn what_the_driver_fills_itself_is_no_option() {
        for (name, instead) in [
            ("portMappings", "-p"),
            ("ips", "--ip"),
            ("mac", "--mac-address"),
            ("ipRanges", "--subnet"),
        ] {
            let reason = read_capability(name, "[]").unwrap_err();
            assert!(reason.contains(instead), "{reason}");
        }
    }
}
