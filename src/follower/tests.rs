//! A Docker that is played, and what the journal learns from it.

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
    /// The endpoints of containers that have left a network of another driver.
    left: tokio::sync::mpsc::UnboundedReceiver<Vec<EndpointId>>,
}

impl Site {
    fn with(answers: &[(&'static str, Value)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path());
        let (events, told) = channel();
        let listener = UnixListener::bind(folder.path().join("docker.sock")).unwrap();
        let answers = answers.to_vec();
        thread::spawn(move || serve(&listener, &answers, told));
        let (tell_left, left) = tokio::sync::mpsc::unbounded_channel();
        let site = Self { folder, journal, events, left };
        site.tell(Kind::NetworkCreate, None);
        let host = format!("unix://{}/docker.sock", site.folder.path().display());
        let wanted = Wanted { host: Some(host), ..Wanted::default() };
        let tell_left = move |endpoints| tell_left.send(endpoints).unwrap();
        tokio::spawn(follow(Docker::find(&wanted).unwrap(), site.journal.clone(), tell_left));
        site
    }

    fn tell(&self, kind: Kind, endpoint: Option<&str>) {
        let error = (kind == Kind::Refuse).then(|| "no more addresses".to_owned());
        let (endpoint, network) = (endpoint.and_then(|id| id.parse().ok()), NETWORK.parse().ok());
        self.journal.tell(Event { endpoint, network, error, ..Event::now(kind) });
    }

    fn happens(&self, of: &str, action: &str, id: &str, attributes: Value) {
        let actor = json!({"ID": id, "Attributes": attributes});
        self.events.send(json!({"Type": of, "Action": action, "Actor": actor})).unwrap();
    }

    /// Waits until the journal says whose endpoint it is.
    async fn named(&self, endpoint: &str) -> Named {
        self.told(|event| event.endpoint.as_ref().is_some_and(|id| id.as_str() == endpoint)).await
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
    let idle = |id: &str, name: &str| {
        let networks = json!({"front": {"NetworkID": "", "EndpointID": ""}});
        let settings = json!({ "Networks": networks });
        json!({"Id": id, "Names": [name], "State": "created", "NetworkSettings": settings})
    };
    let told = |error: &str| json!({"State": {"Error": error}});
    let site = Site::with(&[
        ("/networks?", json!([{"Id": NETWORK, "Name": "front"}])),
        ("/containers/json", json!([idle("c1", "/web"), idle("c2", "/db")])),
        ("/containers/c1/", told("failed to set up: no more addresses")),
        ("/containers/c2/", told("")),
    ]);
    site.tell(Kind::Refuse, Some("e9"));
    assert_eq!(site.named("e9").await.container(), "web");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_a_network_of_another_driver_is_told_with_the_endpoints_that_are_left() {
    let mut site = Site::with(&[]);
    site.happens("container", "create", "c1", compose("web"));
    site.happens("network", "create", NETWORK, json!({"name": "front"}));
    site.told(|event| event.endpoint.is_none()).await;
    site.tell(Kind::Attach, Some("e1"));
    site.happens("network", "connect", NETWORK, json!({"container": "c1"}));
    site.named("e1").await;
    // Of the driver's own network it has been told, and the other container has nothing here.
    site.happens("network", "disconnect", NETWORK, json!({"container": "c1"}));
    site.happens("network", "disconnect", "feedface", json!({"container": "c2"}));
    site.happens("network", "disconnect", "feedface", json!({"container": "c1"}));
    site.happens("network", "disconnect", "cafecafe", json!({"container": "c1"}));
    for _ in 0..2 {
        assert_eq!(site.left.recv().await.unwrap(), ["e1".parse().unwrap()]);
    }
    assert!(site.left.try_recv().is_err());
}
