//! Which endpoints words of the command line name, for the verbs that have the driver look at them.

use std::net::IpAddr;

use super::names::{Names, is_beginning_of_id};
use crate::cli::output::{complain, line};
use crate::lifecycle::Check;

/// What the driver is to look at: for a container all of its endpoints, otherwise the word itself. Empty means
/// everything; none means that the words name nothing that the driver could have.
pub(super) fn wanted(words: &[String], names: &Names) -> Option<Vec<String>> {
    let all: Vec<String> = words.iter().flat_map(|word| endpoints(word, names)).collect();
    (words.is_empty() || !all.is_empty()).then_some(all)
}

/// The endpoints of one word. The name of a container is never the beginning of an endpoint's id or an address,
/// even if it is written like one; neither is a word that is too short for an id.
fn endpoints(word: &str, names: &Names) -> Vec<String> {
    let ends = names.containers_called(word).into_iter().flat_map(|container| &container.ends);
    let of_container: Vec<_> =
        ends.filter_map(|end| Some(end.endpoint.as_ref()?.to_string())).collect();
    let is_name = names.container_named(word).is_some() || is_short_of_an_id(word);
    match of_container.is_empty() && !is_name {
        true => vec![word.to_owned()],
        false => of_container,
    }
}

fn is_short_of_an_id(word: &str) -> bool {
    let is_hexadecimal = word.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hexadecimal && !is_beginning_of_id(word) && word.parse::<IpAddr>().is_err()
}

/// Whether each of these words names an endpoint that was looked at; the user is told of those that do not.
pub(super) fn are_found(words: &[String], checks: &[Check], names: &Names) -> bool {
    let is_found = |word: &&String| {
        let ends = endpoints(word, names);
        checks.iter().any(|check| ends.iter().any(|end| check.answers_to(end)))
    };
    let missing: Vec<_> = words.iter().filter(|word| !is_found(word)).collect();
    for word in &missing {
        complain(&line(&format!("error: {}", names.nothing_called(word))));
    }
    missing.is_empty()
}

#[cfg(test)]
mod tests {
    use super::super::names::{Container, End};
    use super::*;

    fn container(name: &str, id: &str, endpoint: Option<&str>) -> Container {
        let endpoint = endpoint.map(|it| it.parse().unwrap());
        let end = End { network: "web".into(), network_id: None, endpoint };
        Container { id: id.into(), name: name.into(), ends: vec![end], ..Container::default() }
    }

    #[test]
    fn the_exact_name_of_a_container_wins_over_ids_and_addresses() {
        let names = Names {
            containers: vec![
                container("web", "cafe0123", Some("e1")),
                container("cafe", "1234abcd", Some("e2")),
                container("10.22.0.17", "5678abcd", None),
                container("beef", "9abcabcd", None),
            ],
            ..Names::default()
        };
        let wanted = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|it| (*it).to_owned()).collect();
            super::wanted(&words, &names)
        };
        let some = |ends: &[&str]| Some(ends.iter().map(|it| (*it).to_owned()).collect());
        assert_eq!(wanted(&[]), some(&[]), "everything");
        assert_eq!(wanted(&["cafe"]), some(&["e2"]), "not the container whose id begins so");
        assert_eq!(wanted(&["cafe0"]), some(&["e1"]));
        assert_eq!(wanted(&["10.22.0.17"]), None, "not the endpoint that has the address");
        assert_eq!(wanted(&["beef"]), None, "not an endpoint whose id begins so");
        assert_eq!(wanted(&["db"]), None, "too short for an id");
        assert_eq!(wanted(&["beef", "web"]), some(&["e1"]));
        assert_eq!(wanted(&["10.22.0.18", "e1e1"]), some(&["10.22.0.18", "e1e1"]));
    }
}
