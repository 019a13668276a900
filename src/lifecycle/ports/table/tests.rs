//! Who holds which ports.

use std::net::TcpListener;

use serde_json::{Value, json};

use super::*;
use crate::lifecycle::record::PhaseName;
use crate::lifecycle::record::tests::attachment;
use crate::translate::PORT_MAPPINGS;

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

fn asked(json: Value) -> Vec<PortBinding> {
    serde_json::from_value(json).unwrap()
}

/// A port that is free, or was just now.
fn free() -> u16 {
    TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port()
}

fn fixed(number: u16) -> Vec<PortBinding> {
    asked(json!([{"Proto": 6, "Port": 80, "HostPort": number}]))
}

#[test]
fn the_error_of_a_second_endpoint_names_the_holder_of_the_port() {
    let (ports, number) = (Ports::default(), free());
    ports.hold(&id("e1"), &id("n1"), &fixed(number)).unwrap();
    let error = ports.hold(&id("e2"), &id("n1"), &fixed(number)).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with(&format!("port {number}/tcp is held by endpoint e1 of network n1")),
        "{error}"
    );
    ports.release(&id("e1"));
    ports.hold(&id("e2"), &id("n1"), &fixed(number)).unwrap();
}

#[test]
fn all_ports_are_held_or_none() {
    let (ports, number) = (Ports::default(), free());
    let other = TcpListener::bind("0.0.0.0:0").unwrap();
    let taken = other.local_addr().unwrap().port();
    let both = [fixed(number), fixed(taken)].concat();
    let error = ports.hold(&id("e1"), &id("n1"), &both).unwrap_err();
    assert!(error.to_string().contains("in use by another process"), "{error}");
    ports.hold(&id("e2"), &id("n1"), &fixed(number)).unwrap();
}

#[test]
fn a_free_port_is_chosen_where_docker_leaves_the_choice() {
    let ports = Ports::default();
    let any = asked(json!([{"Proto": 6, "Port": 80}, {"Proto": 17, "Port": 53},
                           {"Proto": 132, "Port": 99}]));
    let one = ports.hold(&id("e1"), &id("n1"), &any).unwrap();
    let other = ports.hold(&id("e2"), &id("n1"), &any).unwrap();
    for (one, other) in one.iter().zip(&other) {
        assert!(one.host_port > 1024 && other.host_port > 1024);
        assert_ne!(one.host_port, other.host_port);
        assert_eq!(one.host_port, one.host_port_end);
    }
}

#[test]
fn the_first_free_port_of_a_range_is_chosen_until_none_is() {
    let (ports, first) = (Ports::default(), 20_000);
    let range = asked(json!([
        {"Proto": 132, "Port": 80, "HostPort": first, "HostPortEnd": first + 1}]));
    let number =
        |endpoint| ports.hold(&id(endpoint), &id("n1"), &range).map(|settled| settled[0].host_port);
    assert_eq!(number("e1"), Ok(first));
    assert_eq!(number("e2"), Ok(first + 1));
    let error = number("e3").unwrap_err().to_string();
    assert!(error.contains("20000 to 20001/sctp"), "{error}");
}

#[test]
fn a_port_twice_on_one_command_line_is_one_or_an_error() {
    let (ports, number) = (Ports::default(), free());
    let same = [fixed(number), fixed(number)].concat();
    assert_eq!(ports.hold(&id("e1"), &id("n1"), &same).unwrap().len(), 1);
    ports.release(&id("e1"));
    let other = asked(json!([{"Proto": 6, "Port": 81, "HostPort": number}]));
    let error = ports.hold(&id("e2"), &id("n1"), &[same, other].concat()).unwrap_err();
    assert!(error.to_string().contains("twice"), "{error}");
}

#[test]
fn the_ends_of_one_container_are_distinguished_from_two_containers_at_join() {
    let (ports, number) = (Ports::default(), free());
    let asked = fixed(number);
    ports.hold(&id("e1"), &id("n1"), &asked).unwrap();
    let had_in =
        |sandbox, asked: &[PortBinding]| ports.are_held_in(Some(Path::new(sandbox)), asked);
    assert!(!had_in("/netns/a", &asked), "not before Join");
    ports.enter(&id("e1"), Path::new("/netns/a"));
    assert!(had_in("/netns/a", &asked) && !had_in("/netns/b", &asked));
    assert!(!ports.are_held_in(None, &asked));

    assert!(ports.may_be_of_same_container(&id("n2"), &asked));
    assert!(!ports.may_be_of_same_container(&id("n1"), &asked), "one end per network");
    let (one, other) = (fixed(free()), fixed(free()));
    ports.hold(&id("e3"), &id("n1"), &[one.clone(), other.clone()].concat()).unwrap();
    assert!(ports.may_be_of_same_container(&id("n2"), &[other, one].concat()), "in any order");
    let more = [asked.clone(), fixed(free())].concat();
    assert!(!ports.may_be_of_same_container(&id("n2"), &more), "other ports");
}

#[test]
fn two_ends_of_one_sandbox_share_their_ports_until_both_have_released_them() {
    let (ports, alice) = (Ports::default(), Path::new("/netns/alice"));
    let any = asked(json!([{"Proto": 6, "Port": 80}]));
    let chosen = ports.hold(&id("e1"), &id("n1"), &any).unwrap();
    let share = |sandbox, asked: &[PortBinding]| ports.share(&id("e2"), &id("n2"), sandbox, asked);
    assert_eq!(share(alice, &any), None, "not before Join");
    ports.enter(&id("e1"), alice);
    assert_eq!(share(Path::new("/netns/bob"), &any), None);
    assert_eq!(share(alice, &fixed(free())), None, "other ports");
    assert_eq!(share(alice, &any).as_ref(), Some(&chosen));
    assert_eq!(ports.count(), 1);

    let taken = || TcpListener::bind(("0.0.0.0", chosen[0].host_port)).is_err();
    ports.release(&id("e1"));
    assert!(taken() && ports.hold(&id("e3"), &id("n1"), &chosen).is_err());
    ports.release(&id("e2"));
    assert!(!taken());
}

#[test]
fn after_a_start_two_ends_of_one_sandbox_share_their_ports_again() {
    let number = free();
    let one = publishing(PhaseName::Settled, &fixed(number));
    let mut other = one.clone();
    other.endpoint = id("e2");
    let ports = Ports::of([&one, &other].into_iter());
    assert_eq!(ports.count(), 1);
    ports.release(&one.endpoint);
    TcpListener::bind(("0.0.0.0", number)).expect_err("the other end has it");
}

#[test]
fn the_ends_of_one_container_ask_for_the_same_choice() {
    let ports = Ports::default();
    let any = self::asked(json!([{"Proto": 6, "Port": 80}, {"Proto": 6, "Port": 80},
        {"Proto": 17, "Port": 53, "HostPort": 20_010, "HostPortEnd": 20_019}]));
    ports.hold(&id("e1"), &id("n1"), &any).unwrap();
    assert!(ports.may_be_of_same_container(&id("n2"), &any));
    assert!(!ports.may_be_of_same_container(&id("n2"), &any[..2]), "fewer ports");
    let other = self::asked(json!([{"Proto": 6, "Port": 81}]));
    assert!(!ports.may_be_of_same_container(&id("n2"), &other), "another port of the container's");
}

/// An attachment of endpoint e1 in that phase, which publishes these ports.
fn publishing(phase: PhaseName, ports: &[PortBinding]) -> Attachment {
    let mut attachment = attachment(phase);
    attachment.ports = ports.to_vec();
    let capabilities = &mut attachment.parameters.capability_args;
    capabilities.insert(PORT_MAPPINGS.to_owned(), json!([]));
    attachment
}

#[test]
fn after_a_start_the_ports_of_every_attachment_are_held_until_it_is_gone() {
    // A spare has none.
    for phase in PhaseName::ALL.into_iter().filter(|phase| *phase != PhaseName::Spare) {
        let number = free();
        let attachment = publishing(phase, &fixed(number));
        let ports = Ports::of(std::iter::once(&attachment));
        TcpListener::bind(("0.0.0.0", number)).expect_err("no process can have it");
        let error = ports.hold(&id("e2"), &id("n1"), &fixed(number)).unwrap_err();
        assert!(error.to_string().contains("held by endpoint e1"), "{phase}: {error}");
        // The other ends of its container find it where it has joined.
        let is_inside = ports.are_held_in(Some(Path::new("/run/sandbox")), &fixed(number));
        assert_eq!(is_inside, attachment.joined().is_some(), "{phase}");
        ports.release(&attachment.endpoint);
        ports.hold(&id("e2"), &id("n1"), &fixed(number)).unwrap();
    }
}

#[test]
fn after_a_start_a_port_that_a_process_took_meanwhile_is_still_nobody_elses() {
    let process = TcpListener::bind("0.0.0.0:0").unwrap();
    let number = process.local_addr().unwrap().port();
    let attachment = publishing(PhaseName::Settled, &fixed(number));
    let ports = Ports::of(std::iter::once(&attachment));
    let error = ports.hold(&id("e2"), &id("n1"), &fixed(number)).unwrap_err();
    assert!(error.to_string().contains("held by endpoint e1"), "{error}");
}

#[test]
fn after_a_start_ports_that_were_taken_back_are_free() {
    let number = free();
    let mut attachment = publishing(PhaseName::Settled, &fixed(number));
    attachment.parameters.capability_args.remove(PORT_MAPPINGS);
    let ports = Ports::of(std::iter::once(&attachment));
    ports.hold(&id("e2"), &id("n1"), &fixed(number)).unwrap();
}

#[test]
fn the_same_port_of_different_addresses_is_two() {
    let (ports, number) = (Ports::default(), free());
    let at = |ip: &str| asked(json!([{"Proto": 6, "Port": 80, "HostIP": ip, "HostPort": number}]));
    ports.hold(&id("e1"), &id("n1"), &at("127.0.0.1")).unwrap();
    ports.hold(&id("e2"), &id("n1"), &at("127.0.0.2")).unwrap();
    for taken in [at("127.0.0.1"), fixed(number)] {
        let error = ports.hold(&id("e3"), &id("n1"), &taken).unwrap_err().to_string();
        assert!(error.contains("is held by endpoint"), "{error}");
    }
    let error = ports.hold(&id("e3"), &id("n1"), &at("192.0.2.1")).unwrap_err().to_string();
    assert!(error.contains("the host does not have that address"), "{error}");
}
