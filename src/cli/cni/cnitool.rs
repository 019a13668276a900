//! What is special in cnitool: its name, its ids, its paths.

use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha512};

use crate::cli::folders::unless_empty;

/// Whether the program was called by cnitool's name.
pub(in crate::cli) fn is_cnitool(program: Option<&OsStr>) -> bool {
    let program = unless_empty(program).map(Path::new);
    program.and_then(Path::file_name).is_some_and(|name| name == "cnitool")
}

/// Converts the command line of cnitool to the one of `cnm-cni`.
pub(in crate::cli) fn from_cnitool(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    ["cnm-cni", "cni"].map(OsString::from).into_iter().chain(arguments.skip(1)).collect()
}

/// The container id that cnitool gives to a namespace.
pub(super) fn id_for(netns: &Path) -> String {
    let digest = Sha512::digest(netns.as_os_str().as_encoded_bytes());
    digest.iter().take(10).fold("cnitool-".to_owned(), |id, byte| format!("{id}{byte:02x}"))
}

/// The path as Go makes it absolute: `..` removes a name, without following links. The id is made from it.
pub(super) fn absolute(path: &Path) -> std::io::Result<PathBuf> {
    let mut clean = PathBuf::new();
    for part in std::path::absolute(path)?.components() {
        match part {
            Component::ParentDir => {
                clean.pop();
            }
            part => clean.push(part),
        }
    }
    Ok(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_has_the_id_that_cnitool_gives_it() {
        // printf %s /var/run/netns/testing | sha512sum | cut -c1-20
        assert_eq!(id_for(Path::new("/var/run/netns/testing")), "cnitool-77383ca0a0715733ca6f");
    }

    #[test]
    fn a_path_is_cleaned_as_go_does() {
        for (written, clean) in [
            ("/var/run/netns/a", "/var/run/netns/a"),
            ("/var//run/./netns/a/", "/var/run/netns/a"),
            ("/var/run/netns/../netns/a", "/var/run/netns/a"),
            ("/../a", "/a"),
        ] {
            assert_eq!(absolute(Path::new(written)).unwrap(), Path::new(clean), "{written}");
        }
        let here = std::env::current_dir().unwrap();
        assert_eq!(absolute(Path::new("x/../a")).unwrap(), here.join("a"));
    }

    #[test]
    fn it_is_cnitool_when_it_is_called_so() {
        assert!(is_cnitool(Some("/usr/bin/cnitool".as_ref())));
        assert!(is_cnitool(Some("cnitool".as_ref())));
        assert!(!is_cnitool(Some("/usr/bin/cnm-cni".as_ref())));
        assert!(!is_cnitool(None));
    }
}
