//! Follows what happens in Docker, and keeps the journal's names.
//!
//! Docker tells a network driver neither a container's name nor a network's. The follower asks, outside of every
//! call: no call waits for it, and it waits for none. A Docker that is away, or that hangs, costs names and
//! nothing else.
//!
//! | what Docker says | what is learnt |
//! |---|---|
//! | the containers, and the networks of this driver, when the follower connects | all names |
//! | `container create`, `rename` | the container's name, its compose project and service |
//! | `network create` | the network's name |
//! | `network connect` | a container has joined a network: if one endpoint there has no name yet, it is this container's; if several have none, the network is looked at |
//! | why a container could not be started, after a call was refused | whose the refused endpoint was to be |

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::sleep;

use crate::cnm::NetworkId;
use crate::docker::{Container, Docker, Error, Event, Events};
use crate::journal::{Journal, Named, Refusal};

/// The driver's name in Docker, unless it is a managed plugin.
const DRIVER: &str = "cni";

/// Labels of `docker compose`.
const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";

/// The pause before Docker is asked again; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long after a refusal Docker is asked whose it was: once it has noted the failure.
const AFTER_REFUSAL: [Duration; 3] =
    [Duration::from_millis(200), Duration::from_millis(500), Duration::from_secs(2)];

/// How many containers are looked at for one refusal.
const MOST_LOOKED_AT: usize = 16;

/// How many containers are remembered that have no endpoint yet.
const MOST_CREATED: usize = 4096;

/// Follows Docker for ever.
pub async fn follow(docker: Docker, journal: Journal) {
    tokio::join!(follow_events(&docker, &journal), follow_refusals(&docker, &journal));
}

async fn follow_events(docker: &Docker, journal: &Journal) {
    let mut pause = FIRST_PAUSE;
    loop {
        let mut follower = Follower { docker, journal, containers: HashMap::new() };
        match follower.run().await {
            // It was there.
            Ok(()) => pause = FIRST_PAUSE,
            Err(error) => tracing::debug!(%error, "Docker's names are not followed"),
        }
        sleep(pause).await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

struct Follower<'f> {
    docker: &'f Docker,
    journal: &'f Journal,
    /// The names of containers, by their ids.
    containers: HashMap<String, Named>,
}

impl Follower<'_> {
    /// Learns what is there, and then what happens, until Docker ends.
    async fn run(&mut self) -> Result<(), Error> {
        let mut events = self.docker.events().await?;
        // What happens meanwhile waits in the stream.
        self.learn_all().await?;
        tracing::debug!("Docker's names are followed");
        self.learn_from(&mut events).await
    }

    async fn learn_all(&mut self) -> Result<(), Error> {
        let (containers, networks) =
            tokio::try_join!(self.docker.containers(), self.docker.networks(DRIVER))?;
        for network in networks {
            self.learn_network(&network.id, &network.name);
        }
        for container in containers {
            let names = names_of(&container);
            for (network, end) in &container.endpoints {
                if let Ok(endpoint) = end.id.parse() {
                    self.journal.learn(&endpoint, &names);
                }
                self.learn_network(&end.network, network);
            }
            self.remember(container.id, names);
        }
        // Docker has told of all that had joined before.
        self.journal.names().await_none();
        Ok(())
    }

    async fn learn_from(&mut self, events: &mut Events) -> Result<(), Error> {
        while let Some(Event { of, action, actor }) = events.next().await? {
            let attribute = |name: &str| actor.attributes.get(name).map(String::as_str);
            match (of.as_str(), action.as_str()) {
                ("container", "create" | "rename") => {
                    let names = named(&actor.id, attribute("name"), &actor.attributes);
                    self.journal.rename(&actor.id, &names);
                    self.remember(actor.id.clone(), names);
                }
                ("network", "create") => {
                    self.learn_network(&actor.id, attribute("name").unwrap_or_default());
                }
                ("network", "connect") => {
                    if let (Ok(network), Some(container)) =
                        (actor.id.parse(), attribute("container"))
                    {
                        self.learn_network(&actor.id, attribute("name").unwrap_or_default());
                        self.connected(&network, container).await;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A container has joined a network.
    async fn connected(&self, network: &NetworkId, container: &str) {
        if !self.journal.names().has_network(network) {
            return;
        }
        let awaited = self.journal.names().awaited_on(network);
        if let ([endpoint], Some(names)) = (&awaited[..], self.containers.get(container)) {
            return self.journal.learn(endpoint, names);
        }
        match self.docker.attached_to(network).await {
            Ok(attached) => {
                for (id, end) in attached.containers {
                    let known = self.containers.get(&id).cloned();
                    let names =
                        known.unwrap_or_else(|| named(&id, Some(&end.name), &BTreeMap::new()));
                    if let Ok(endpoint) = end.endpoint.parse() {
                        self.journal.learn(&endpoint, &names);
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "Docker does not tell who is on a network"),
        }
    }

    fn learn_network(&self, id: &str, name: &str) {
        if let (Ok(id), false) = (id.parse(), name.is_empty()) {
            self.journal.learn_network(&id, name);
        }
    }

    fn remember(&mut self, id: String, names: Named) {
        if self.containers.len() >= MOST_CREATED {
            // Each is told again when it is asked for.
            self.containers.clear();
        }
        self.containers.insert(id, names);
    }
}

/// Learns whose the endpoints were to be that Docker could not make.
async fn follow_refusals(docker: &Docker, journal: &Journal) {
    loop {
        let mut refusals = journal.names().refusals().await;
        for pause in AFTER_REFUSAL {
            sleep(pause).await;
            let mut left = Vec::new();
            for refusal in refusals {
                match whose(docker, &refusal).await {
                    Some(names) => journal.learn_refused(refusal.endpoint, refusal.network, names),
                    None => left.push(refusal),
                }
            }
            refusals = left;
            if refusals.is_empty() {
                break;
            }
        }
    }
}

/// The container that could not be started for the reason that Docker was told. None if that is nobody, or may
/// be one of several.
async fn whose(docker: &Docker, refusal: &Refusal) -> Option<Named> {
    let containers = docker.containers_with(&refusal.network).await.ok()?;
    let idle = containers.into_iter().filter(|container| container.state != "running");
    let mut found = None;
    for container in idle.take(MOST_LOOKED_AT) {
        let Ok(started) = docker.started(&container.id).await else { continue };
        if started.state.error.contains(&refusal.error) {
            if found.is_some() {
                return None;
            }
            found = Some(names_of(&container));
        }
    }
    found
}

fn names_of(container: &Container) -> Named {
    named(&container.id, Some(container.name()), &container.labels)
}

fn named(id: &str, name: Option<&str>, labels: &BTreeMap<String, String>) -> Named {
    Named {
        container: name.map(|name| name.trim_start_matches('/').to_owned()),
        container_id: Some(id.to_owned()),
        project: labels.get(PROJECT).cloned(),
        service: labels.get(SERVICE).cloned(),
        network_name: None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread;
    use std::time::Instant;

    use serde_json::{Value, json};

    use super::*;
    use crate::docker::Wanted;
    use crate::journal::{Event, Kind, Reader};

    const NETWORK: &str = "a1b2c3d4e5f6";

    /// A Docker that answers by `answers`, of which each is the beginning of a path and a body; and a journal.
    struct Site {
        folder: tempfile::TempDir,
        journal: Journal,
        events: Sender<Value>,
    }

    impl Site {
        fn with(answers: &[(&'static str, Value)]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let journal = Journal::open(folder.path());
            let (events, told) = channel();
            let listener = UnixListener::bind(folder.path().join("docker.sock")).unwrap();
            let answers = answers.to_vec();
            thread::spawn(move || serve(&listener, &answers, told));
            let site = Self { folder, journal, events };
            site.tell(Kind::NetworkCreate, None);
            let host = format!("unix://{}/docker.sock", site.folder.path().display());
            let wanted = Wanted { host: Some(host), ..Wanted::default() };
            tokio::spawn(follow(Docker::find(&wanted).unwrap(), site.journal.clone()));
            site
        }

        fn tell(&self, kind: Kind, endpoint: Option<&str>) {
            let error = (kind == Kind::Refuse).then(|| "no more addresses".to_owned());
            let (endpoint, network) =
                (endpoint.and_then(|id| id.parse().ok()), NETWORK.parse().ok());
            self.journal.tell(Event { endpoint, network, error, ..Event::now(kind) });
        }

        fn happens(&self, of: &str, action: &str, id: &str, attributes: Value) {
            let actor = json!({"ID": id, "Attributes": attributes});
            self.events.send(json!({"Type": of, "Action": action, "Actor": actor})).unwrap();
        }

        /// Waits until the journal says whose endpoint it is.
        async fn named(&self, endpoint: &str) -> Named {
            self.told(|event| event.endpoint.as_ref().is_some_and(|id| id.as_str() == endpoint))
                .await
        }

        async fn told(&self, wanted: impl Fn(&Event) -> bool) -> Named {
            let deadline = Instant::now() + Duration::from_secs(20);
            loop {
                let batch = Reader::open(self.folder.path()).unwrap().read().unwrap();
                let told = batch.events.iter().rfind(|it| it.kind == Kind::Name && wanted(it));
                if let Some(event) = told {
                    return event.names.clone();
                }
                assert!(Instant::now() < deadline, "{:#?}", batch.events);
                sleep(Duration::from_millis(5)).await;
            }
        }
    }

    fn serve(listener: &UnixListener, answers: &[(&'static str, Value)], events: Receiver<Value>) {
        let mut events = Some(events);
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let Some(Ok(first)) = lines.next() else { continue };
            let path = first.split(' ').nth(1).unwrap().to_owned();
            while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            if path.starts_with("/events")
                && let Some(events) = events.take()
            {
                thread::spawn(move || pour(stream, events));
                continue;
            }
            let answer = answers.iter().find(|(begin, _)| path.starts_with(begin));
            let body = answer.map_or_else(|| "[]".to_owned(), |(_, body)| body.to_string());
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
            )
            .unwrap();
        }
    }

    fn pour(mut stream: UnixStream, events: Receiver<Value>) {
        stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").unwrap();
        for event in events {
            // In two pieces.
            let text = format!("{event}\n");
            let (one, other) = text.split_at(text.len() / 2);
            for piece in [one, other] {
                stream.write_all(piece.as_bytes()).unwrap();
            }
        }
    }

    fn compose(name: &str) -> Value {
        json!({"name": name, PROJECT: "shop", SERVICE: name})
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_runs_already_is_known_once_docker_answers() {
        let containers = json!([{
            "Id": "c1", "Names": ["/web"], "Labels": {PROJECT: "shop"},
            "NetworkSettings": {"Networks": {"front": {"NetworkID": NETWORK, "EndpointID": "e1"}}},
        }]);
        let networks = json!([{"Id": NETWORK, "Name": "front"}]);
        let answers = [("/containers/json", containers), ("/networks", networks)];
        let site = Site::with(&answers);
        site.tell(Kind::Attach, Some("e1"));
        // Told once more, whether or not it was read before.
        site.happens("container", "rename", "c1", compose("/site"));
        site.happens("network", "connect", NETWORK, json!({"container": "c1", "name": "front"}));
        let network = site.told(|event| event.endpoint.is_none()).await;
        assert_eq!(network.network_name.as_deref(), Some("front"));
        assert_eq!(site.named("e1").await.container_id.as_deref(), Some("c1"));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_only_endpoint_without_a_name_is_that_of_the_container_that_has_joined() {
        let site = Site::with(&[]);
        site.happens("container", "create", "c1", compose("web"));
        site.happens("container", "create", "c2", compose("db"));
        // The follower has to be there before Docker attaches.
        site.happens("network", "create", NETWORK, json!({"name": "front"}));
        site.told(|event| event.endpoint.is_none()).await;
        for (endpoint, container, name) in [("e1", "c1", "web"), ("e2", "c2", "db")] {
            site.tell(Kind::Attach, Some(endpoint));
            site.happens("network", "connect", NETWORK, json!({"container": container}));
            let names = site.named(endpoint).await;
            assert_eq!((names.container(), names.service.as_deref()), (name, Some(name)));
        }
        site.happens("container", "rename", "c1", compose("/site"));
        while site.named("e1").await.container() != "site" {
            sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn of_several_endpoints_without_a_name_the_network_tells_whose_each_is() {
        let attached = json!({"Id": NETWORK, "Name": "front", "Containers": {
            "c1": {"Name": "web", "EndpointID": "e1"}, "c2": {"Name": "db", "EndpointID": "e2"},
        }});
        let networks = json!([{"Id": NETWORK, "Name": "front"}]);
        let site = Site::with(&[("/networks/a1b2", attached), ("/networks?", networks)]);
        site.told(|event| event.endpoint.is_none()).await;
        site.tell(Kind::Attach, Some("e1"));
        site.tell(Kind::Attach, Some("e2"));
        site.happens("network", "connect", NETWORK, json!({"container": "c1"}));
        assert_eq!(site.named("e1").await.container(), "web");
        assert_eq!(site.named("e2").await.container(), "db");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_refused_endpoint_is_that_of_the_container_that_could_not_be_started_for_it() {
        let idle = |id: &str, name: &str| json!({"Id": id, "Names": [name], "State": "created"});
        let told = |error: &str| json!({"State": {"Error": error}});
        let site = Site::with(&[
            ("/containers/json?all=1&filters", json!([idle("c1", "/web"), idle("c2", "/db")])),
            ("/containers/c1/", told("failed to set up: no more addresses")),
            ("/containers/c2/", told("")),
        ]);
        site.tell(Kind::Refuse, Some("e9"));
        assert_eq!(site.named("e9").await.container(), "web");
    }
}
