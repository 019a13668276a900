//! What a shell completes: the names that there are now.
//!
//! The user waits for the next letter: whoever does not answer soon is left out.

use std::time::Duration;

use clap::Parser;
use clap_complete::CompletionCandidate;
use clap_complete::engine::ArgValueCandidates;

use super::docker;
use super::known::Sources;
use super::names::Names;
use crate::docker::Wanted;
use crate::lifecycle;
use crate::lifecycle::inventory::Inventory;

/// How long the driver and Docker may take, each.
const PATIENCE: Duration = Duration::from_millis(400);

// Nobody is asked twice for one word, and a second is too long.
const _: () = assert!(2 * PATIENCE.as_millis() < 1_000);

/// The usual sources, with the variables that the verbs go by.
#[derive(Debug, Parser)]
struct Usual {
    #[command(flatten)]
    sources: Sources,
}

/// Containers on networks of this driver.
pub(in crate::cli) fn containers() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let names = names();
        let on_driver = names.containers.iter().filter(|container| {
            let mut networks = container.ends.iter().filter_map(|end| end.network_id.as_ref());
            networks.any(|network| names.of_driver.contains(network))
        });
        candidates(on_driver.map(|it| (it.name.clone(), it.state.clone())))
    })
}

/// Docker's networks on this driver.
pub(in crate::cli) fn networks() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let names = names();
        let networks = names.of_driver.iter().filter_map(|id| names.networks.get(id));
        candidates(networks.map(|name| (name.clone(), String::new())))
    })
}

/// Conflists that make an interface.
pub(in crate::cli) fn conflists() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let conflists = inventory().conflists.into_iter();
        candidates(conflists.map(|it| (it.conflist, it.plugins.join(" "))))
    })
}

/// Attachments whose removal has not succeeded yet.
pub(in crate::cli) fn orphans() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let usual = usual();
        let orphans = usual.and_then(|it| lifecycle::orphans(it.sources.state_dir(None)).ok());
        let orphans = orphans.unwrap_or_default().into_iter();
        candidates(orphans.map(|it| (it.attachment, it.error.unwrap_or_default())))
    })
}

fn usual() -> Option<Usual> {
    Usual::try_parse_from([""]).ok()
}

fn names() -> Names {
    let asked = usual()
        .and_then(|it| docker::names_within(PATIENCE, &it.sources.docker, &Wanted::default()));
    asked.unwrap_or_default()
}

fn inventory() -> Inventory {
    let asked = usual().and_then(|it| it.sources.quietly(PATIENCE));
    asked.unwrap_or_default()
}

/// Words with what they are. A name that a shell would read as something else is left out.
fn candidates(words: impl Iterator<Item = (String, String)>) -> Vec<CompletionCandidate> {
    let is_plain = |letter: char| letter.is_alphanumeric() || "-_.:".contains(letter);
    let plain = words.filter(|(word, _)| word.chars().all(is_plain));
    let told = plain.map(|(word, help)| {
        let help = crate::plain::line(&help).into_owned();
        CompletionCandidate::new(word).help((!help.is_empty()).then(|| help.into()))
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_more_than_a_word_to_a_shell_is_left_out() {
        let words = ["web-1", "$(reboot)", "a b", "-x;y", "net.é"];
        let words = words.iter().map(|word| ((*word).to_owned(), String::new()));
        let told: Vec<_> = candidates(words).iter().map(|it| it.get_value().to_owned()).collect();
        assert_eq!(told, ["web-1", "net.é"]);
    }
}
