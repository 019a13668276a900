//! What the names that reach a plugin may look like.
//!
//! Network names become parts of file paths in plugins such as host-local, plugin types
//! are looked up as files, and container ids and interface names become environment
//! variables and device names. So each is checked before anything is run.

use std::fmt;

/// A name breaks the rules of the CNI specification.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {name:?} is not valid: {rule}")]
pub struct InvalidName {
    what: What,
    name: String,
    rule: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Network,
    Container,
    Interface,
    Plugin,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Network => "network name",
            Self::Container => "container id",
            Self::Interface => "interface name",
            Self::Plugin => "plugin type",
        })
    }
}

type Result = std::result::Result<(), InvalidName>;

const WORD: &str =
    "it begins with a letter or digit, and goes on with letters, digits, '_', '.' and '-'";

/// Checks a network's `name` (SPEC.md section 1, "Configuration format").
pub(super) fn check_network(name: &str) -> Result {
    check(What::Network, name, is_word(name), WORD)
}

/// Checks a `CNI_CONTAINERID` (SPEC.md section 2, "Parameters").
pub(super) fn check_container_id(name: &str) -> Result {
    check(What::Container, name, is_word(name), WORD)
}

/// Checks a `CNI_IFNAME`: what the kernel takes for a device name.
pub(super) fn check_interface(name: &str) -> Result {
    let sound = (1..=15).contains(&name.len())
        && !matches!(name, "." | "..")
        && !name.contains(|c: char| matches!(c, '/' | ':' | '\0') || c.is_whitespace());
    check(
        What::Interface,
        name,
        sound,
        "it has 1 to 15 bytes, is neither '.' nor '..', and has no '/', ':' or white space",
    )
}

/// Checks the `type` of a plugin or of its `ipam`: the name of a file, without a path.
pub(super) fn check_plugin_type(name: &str) -> Result {
    let sound = !matches!(name, "" | "." | "..") && !name.contains(['/', '\\', '\0', '\n', '\r']);
    check(What::Plugin, name, sound, "it is the name of a file in a plugin folder, without a path")
}

fn check(what: What, name: &str, sound: bool, rule: &'static str) -> Result {
    if sound { Ok(()) } else { Err(InvalidName { what, name: name.to_owned(), rule }) }
}

fn is_word(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r1_r15_names_and_ids_begin_with_a_letter_or_digit() {
        for good in ["a", "k8s-pod-network", "0", "cbr0.v2", "a..b", "A_B"] {
            assert_eq!(check_network(good), Ok(()));
            assert_eq!(check_container_id(good), Ok(()));
        }
        for bad in ["", ".", "..", "../etc", "a/b", "-a", "_a", "a b", "a\n", "é", "a;b"] {
            assert!(check_network(bad).is_err(), "{bad:?} was accepted");
            assert!(check_container_id(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn r8_a_plugin_type_has_no_path() {
        assert_eq!(check_plugin_type("bridge"), Ok(()));
        assert_eq!(check_plugin_type("my_plugin-2.0"), Ok(()));
        for bad in ["", "..", ".", "a/b", "/bin/sh", "a\\b", "a\0b"] {
            assert!(check_plugin_type(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn l32_an_interface_name_is_one_that_the_kernel_takes() {
        for good in ["eth0", "cni0123456789ab", "a.b", "é"] {
            assert_eq!(check_interface(good), Ok(()));
        }
        let bad = ["", ".", "..", "a/b", "a:b", "a b", "a\u{2003}b", "0123456789abcdef", "a\0"];
        for bad in bad {
            assert!(check_interface(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn the_error_shows_what_the_name_and_the_rule() {
        let error = check_network("../x").unwrap_err().to_string();
        assert!(error.starts_with("network name \"../x\" is not valid: it begins"), "{error}");
    }
}
