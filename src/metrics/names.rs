//! Names as the values of labels, bounded in number.
//!
//! Conflists and plugins are named by root's files. A file may change its name every day, or each network may have
//! a chain of its own: a series for each would fill the memory of this process and of Prometheus.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use crate::translate;

/// How many conflists, and how many plugins of conflists, have series of their own.
const MOST: usize = 200;

/// Stands for all names beyond [`MOST`].
const OTHER: &str = "other";

/// Stands for the chains that networks have of their own: each is named after its network.
const BUILT_IN: &str = "built-in";

/// The names that have been seen.
#[derive(Debug, Default)]
pub(super) struct Names {
    conflists: Mutex<HashSet<String>>,
    plugins: Mutex<HashSet<(String, String)>>,
}

impl Names {
    /// The value of the label `conflist`.
    pub(super) fn conflist(&self, name: &str) -> String {
        let name = shown(general(name));
        if is_among(&self.conflists, &name) { name } else { OTHER.to_owned() }
    }

    /// The values of the labels `conflist` and `plugin`. Without a conflist, a plugin was asked for its
    /// versions.
    pub(super) fn plugin(&self, conflist: Option<&str>, plugin: &str) -> (String, String) {
        let names = (shown(general(conflist.unwrap_or_default())), shown(plugin));
        if is_among(&self.plugins, &names) { names } else { (OTHER.into(), OTHER.into()) }
    }
}

fn general(conflist: &str) -> &str {
    if translate::is_own_name(conflist) { BUILT_IN } else { conflist }
}

/// A name that neither breaks a line nor fills one.
fn shown(name: &str) -> String {
    const LONGEST: usize = 100;
    name.chars().take(LONGEST).map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Whether the name is among the first ones, of which it may become the last.
fn is_among<Name: Clone + Eq + std::hash::Hash>(seen: &Mutex<HashSet<Name>>, name: &Name) -> bool {
    // Whole even if a holder panicked: every change is one insert.
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    if seen.contains(name) {
        return true;
    }
    let has_room = seen.len() < MOST;
    if has_room {
        seen.insert(name.clone());
    }
    has_room
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_names_have_labels_and_the_others_share_one() {
        let names = Names::default();
        for number in 0..MOST {
            let name = format!("net-{number}");
            assert_eq!(names.conflist(&name), name);
            assert_eq!(names.plugin(Some(&name), "bridge"), (name, "bridge".to_owned()));
        }
        assert_eq!(names.conflist("one-more"), OTHER);
        assert_eq!(names.conflist("net-7"), "net-7");
        assert_eq!(names.plugin(Some("net-7"), "ptp"), (OTHER.to_owned(), OTHER.to_owned()));
    }

    #[test]
    fn networks_with_chains_of_their_own_share_a_label() {
        let names = Names::default();
        assert_eq!(names.conflist("cni0123456789ab"), BUILT_IN);
        assert_eq!(names.conflist("cni0"), "cni0");
    }
}
