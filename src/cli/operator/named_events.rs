//! Events with the names that other events tell, and those of them that a user wants.

use std::collections::{HashMap, VecDeque};

use jiff::Timestamp;

use super::names::{Named, is_beginning_of_id};
use crate::cnm::{EndpointId, NetworkId};
use crate::journal::{Event, Kind};

/// What happened, in order, and the names that are told anywhere in it.
#[derive(Debug, Default)]
pub(super) struct NamedEvents {
    events: Vec<Event>,
    new: VecDeque<Event>,
    endpoints: HashMap<EndpointId, Named>,
    networks: HashMap<NetworkId, String>,
    attachments: HashMap<String, (EndpointId, NetworkId)>,
}

/// Which events a user wants.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) since: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
    pub(super) container: Option<Called>,
    pub(super) network: Option<Called>,
    pub(super) plugin: Option<String>,
    pub(super) kinds: Vec<Kind>,
}

/// What a user calls a container or a network: its name, or the beginning of its id.
#[derive(Debug)]
pub(super) struct Called {
    word: String,
    /// Something has exactly this name. So no id is meant.
    is_name: bool,
}

impl NamedEvents {
    /// Adds an event.
    pub(super) fn add(&mut self, event: Event) {
        self.note_names(&event);
        if event.kind != Kind::Name {
            self.events.push(event);
        }
    }

    /// The events, with all names that are known by now.
    pub(super) fn named(&mut self) -> Vec<Event> {
        let mut events = std::mem::take(&mut self.events);
        events.iter_mut().for_each(|event| self.complete(event));
        events
    }

    /// Adds an event that has just happened.
    pub(super) fn add_new(&mut self, event: Event) {
        self.note_names(&event);
        if event.kind != Kind::Name {
            self.new.push_back(event);
        }
    }

    /// The new events that have all names, or need not wait for them any more; in order.
    pub(super) fn take_new(&mut self, waits: impl Fn(&Event) -> bool) -> Vec<Event> {
        let mut taken = Vec::new();
        while let Some(mut event) = self.new.pop_front() {
            self.complete(&mut event);
            let nameless = event.endpoint.is_some() && event.names.container.is_none();
            if nameless && waits(&event) {
                self.new.push_front(event);
                break;
            }
            taken.push(event);
        }
        taken
    }

    /// Whether a container of exactly that name is told of.
    pub(super) fn has_container(&self, name: &str) -> bool {
        self.endpoints.values().any(|it| it.container.as_deref() == Some(name))
    }

    /// Whether a network of exactly that name is told of.
    pub(super) fn has_network(&self, name: &str) -> bool {
        self.networks.values().any(|it| it == name)
    }

    fn note_names(&mut self, event: &Event) {
        if let Some(endpoint) = &event.endpoint
            && event.names.container_id.is_some()
        {
            self.endpoints.insert(endpoint.clone(), event.names.clone());
        }
        if let (Some(attachment), Some(endpoint), Some(network)) =
            (&event.attachment, &event.endpoint, &event.network)
        {
            let of = (endpoint.clone(), network.clone());
            self.attachments.insert(attachment.clone(), of);
        }
        if let (Some(network), Some(name)) = (&event.network, &event.names.network_name) {
            self.networks.insert(network.clone(), name.clone());
        }
    }

    fn complete(&self, event: &mut Event) {
        if let (Some(attachment), None) = (&event.attachment, &event.endpoint)
            && let Some((endpoint, network)) = self.attachments.get(attachment)
        {
            event.endpoint = Some(endpoint.clone());
            event.network.get_or_insert_with(|| network.clone());
        }
        if let Some(names) = event.endpoint.as_ref().and_then(|id| self.endpoints.get(id)) {
            event.names.complete(names);
        }
        if event.names.network_name.is_none() {
            let name = event.network.as_ref().and_then(|id| self.networks.get(id));
            event.names.network_name = name.cloned();
        }
    }
}

impl Wanted {
    /// Whether an event is within the time.
    pub(super) fn is_within(&self, event: &Event) -> bool {
        self.since.is_none_or(|since| event.time >= since)
            && self.until.is_none_or(|until| event.time <= until)
    }

    /// Whether an event is wanted.
    pub(super) fn has(&self, event: &Event) -> bool {
        self.is_within(event)
            && (self.kinds.is_empty() || self.kinds.contains(&event.kind))
            && self.container.as_ref().is_none_or(|it| it.is_container_of(event))
            && self.network.as_ref().is_none_or(|it| it.is_network_of(event))
            && (self.plugin.is_none() || event.plugins.iter().any(|it| self.has_plugin(&it.plugin)))
    }

    /// Whether a plugin is the one that is asked about.
    pub(super) fn has_plugin(&self, plugin: &str) -> bool {
        self.plugin.as_deref() == Some(plugin)
    }

    /// Notes which words are the exact names of something: these take precedence over ids.
    pub(super) fn note_names(
        &mut self,
        is_container: impl Fn(&str) -> bool,
        is_network: impl Fn(&str) -> bool,
    ) {
        if let Some(called) = self.container.as_mut().filter(|it| it.may_be_id()) {
            called.is_name = is_container(&called.word);
        }
        if let Some(called) = self.network.as_mut().filter(|it| it.may_be_id()) {
            called.is_name = is_network(&called.word);
        }
    }

    /// Whether a word is the beginning of an id, as far as the names are known.
    pub(super) fn may_be_ids(&self) -> bool {
        [&self.container, &self.network].into_iter().flatten().any(Called::may_be_id)
    }
}

impl Called {
    pub(super) fn new(word: &str) -> Self {
        // Docker's API writes names of containers so.
        Self { word: word.trim_start_matches('/').to_owned(), is_name: false }
    }

    fn may_be_id(&self) -> bool {
        !self.is_name && is_beginning_of_id(&self.word)
    }

    fn is_container_of(&self, event: &Event) -> bool {
        let Named { container, container_id, .. } = &event.names;
        self.is(container.as_deref(), container_id.as_deref())
    }

    fn is_network_of(&self, event: &Event) -> bool {
        let id = event.network.as_ref().map(NetworkId::as_str);
        self.is(event.names.network_name.as_deref(), id)
    }

    fn is(&self, name: Option<&str>, id: Option<&str>) -> bool {
        name == Some(self.word.as_str())
            || (self.may_be_id() && id.is_some_and(|id| id.starts_with(&self.word)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: Kind, endpoint: &str, container: Option<&str>) -> Event {
        let container = container.map(str::to_owned);
        let container_id = container.as_ref().map(|_| format!("c0ffee{endpoint}"));
        Event {
            endpoint: endpoint.parse().ok(),
            network: "a1b2c3d4".parse().ok(),
            names: Named { container, container_id, ..Named::default() },
            ..Event::now(kind)
        }
    }

    #[test]
    fn an_event_has_the_names_that_are_told_later() {
        let mut happened = NamedEvents::default();
        happened.add(event(Kind::Attach, "e1", None));
        happened.add(event(Kind::Attach, "e2", None));
        let mut name = event(Kind::Name, "e1", Some("web"));
        name.names.network_name = Some("front".into());
        happened.add(name);
        happened.add(event(Kind::Detach, "e1", None));
        let named = happened.named();
        let told = named.iter().map(|it| (it.names.container(), it.names.network_name.as_deref()));
        let told: Vec<_> = told.collect();
        assert_eq!(told, [("web", Some("front")), ("-", Some("front")), ("web", Some("front"))]);
    }

    #[test]
    fn who_follows_gets_events_in_order_once_their_names_are_known() {
        let mut happened = NamedEvents::default();
        happened.add_new(event(Kind::Attach, "e1", None));
        happened.add_new(event(Kind::Attach, "e2", Some("db")));
        assert!(happened.take_new(|_| true).is_empty());
        happened.add_new(event(Kind::Name, "e1", Some("web")));
        let taken = happened.take_new(|_| true);
        let names: Vec<_> = taken.iter().map(|it| it.names.container()).collect();
        assert_eq!(names, ["web", "db"]);
        happened.add_new(event(Kind::Attach, "e3", None));
        assert_eq!(happened.take_new(|_| false).len(), 1, "some have none for ever");
    }

    #[test]
    fn events_are_chosen_by_what_is_told_of_them() {
        let event = event(Kind::Attach, "e1", Some("web"));
        let is = |wanted: Wanted| wanted.has(&event);
        let called = |word: &str| Some(Called::new(word));
        assert!(is(Wanted { container: called("web"), ..Wanted::default() }));
        assert!(is(Wanted { container: called("/web"), ..Wanted::default() }));
        assert!(is(Wanted { container: called("c0ffee"), ..Wanted::default() }));
        assert!(!is(Wanted { container: called("we"), ..Wanted::default() }));
        assert!(is(Wanted { network: called("a1b2"), ..Wanted::default() }));
        assert!(!is(Wanted { kinds: vec![Kind::Detach], ..Wanted::default() }));
        assert!(!is(Wanted { plugin: Some("bridge".into()), ..Wanted::default() }));
        assert!(!is(Wanted { since: Some(Timestamp::MAX), ..Wanted::default() }));
        assert!(!is(Wanted { until: Some(Timestamp::MIN), ..Wanted::default() }));
    }

    #[test]
    fn the_exact_name_wins_over_the_beginning_of_an_id() {
        let mut happened = NamedEvents::default();
        // The ids of "web" and "cafe" begin with c0ffee, and that of their network with a1b2.
        happened.add(event(Kind::Attach, "e1", Some("web")));
        happened.add(event(Kind::Attach, "e2", Some("cafe")));
        let other = Event { network: "b2c3d4e5".parse().ok(), ..event(Kind::Attach, "e3", None) };
        happened.add(other.clone());
        let count = |happened: &mut NamedEvents, wanted: &mut Wanted| {
            wanted.note_names(|it| happened.has_container(it), |it| happened.has_network(it));
            let events = happened.named();
            let wanted = events.iter().filter(|event| wanted.has(event)).count();
            events.into_iter().for_each(|event| happened.add(event));
            wanted
        };
        let container = || Wanted { container: Some(Called::new("c0ffee")), ..Wanted::default() };
        let network = || Wanted { network: Some(Called::new("a1b2")), ..Wanted::default() };
        assert_eq!(count(&mut happened, &mut container()), 2);
        assert_eq!(count(&mut happened, &mut network()), 2);
        // Somebody calls a container and a network so, and that is told later.
        let mut wanted = [container(), network()];
        let mut name = Event { kind: Kind::Name, ..other };
        name.names.container = Some("c0ffee".into());
        name.names.container_id = Some("deadbeef".into());
        name.names.network_name = Some("a1b2".into());
        happened.add(name);
        assert_eq!(count(&mut happened, &mut wanted[0]), 1);
        assert_eq!(count(&mut happened, &mut wanted[1]), 1);
        assert!(!wanted.iter().any(Wanted::may_be_ids), "Docker need not be asked");
    }
}
