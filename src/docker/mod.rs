//! Asking Docker, over the Unix socket that its own command line would use.
//!
//! The driver must not ask while it serves a call: Docker waits for its drivers, and would wait for ever. So
//! only tools ask, and the follower, which no call waits for.

mod error;
mod events;
mod find;
mod types;

use std::path::PathBuf;
use std::time::Duration;

use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::timeout;

pub use error::Error;
pub use events::{Actor, Event, Events};
pub use find::Wanted;
pub use types::{Attached, AttachedContainer, Container, Endpoint, Network, Started, State};

use error::Result;

use crate::cnm::NetworkId;
use crate::http::{begin, exchange};

/// The limit for reads. A table without names is better than a table that comes late.
const READ_WITHIN: Duration = Duration::from_secs(1);

/// How long Docker may take to begin with its events. While it starts, it answers nobody.
const UNTIL_BEGUN: Duration = Duration::from_secs(60);

/// A dockerd of this machine.
#[derive(Debug, Clone)]
pub struct Docker {
    socket: PathBuf,
}

/// The body of Docker's refusal.
#[derive(Deserialize)]
struct Refusal {
    message: String,
}

impl Docker {
    /// The dockerd that the user wants, or the one that `docker` itself would ask. It need not run.
    ///
    /// # Errors
    /// It is not on a Unix socket, or the file that says where it is cannot be read.
    pub fn find(wanted: &Wanted) -> Result<Self> {
        Ok(Self { socket: find::socket(wanted)? })
    }

    /// All containers, also those that do not run.
    ///
    /// # Errors
    /// Docker does not answer within a second, or refuses.
    pub async fn containers(&self) -> Result<Vec<Container>> {
        self.read("/containers/json?all=1").await
    }

    /// The networks of a driver, including those without containers.
    ///
    /// # Errors
    /// Docker does not answer within a second, or refuses.
    pub async fn networks(&self, driver: &str) -> Result<Vec<Network>> {
        let filters = json!({ "driver": [driver] }).to_string();
        self.read(&format!("/networks?filters={}", escaped(&filters))).await
    }

    /// The containers whose endpoints are on a network now.
    ///
    /// # Errors
    /// Docker does not answer within a second, or refuses.
    pub async fn attached_to(&self, network: &NetworkId) -> Result<Attached> {
        self.read(&format!("/networks/{network}")).await
    }

    /// Whether there is a network of this id.
    ///
    /// # Errors
    /// Docker does not answer within a second, or refuses for another reason.
    pub async fn has_network(&self, network: &NetworkId) -> Result<bool> {
        match self.read::<Value>(&format!("/networks/{network}")).await {
            Ok(_) => Ok(true),
            Err(Error::Refused { status: StatusCode::NOT_FOUND, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// How a container was started the last time.
    ///
    /// # Errors
    /// Docker does not answer within a second, or refuses.
    pub async fn started(&self, container: &str) -> Result<Started> {
        self.read(&format!("/containers/{}/json", escaped(container))).await
    }

    /// What happens to containers and networks from now on, as far as it is about names.
    ///
    /// # Errors
    /// Docker does not answer, or refuses.
    pub async fn events(&self) -> Result<Events> {
        let filters = json!({
            "type": ["container", "network"],
            "event": ["create", "rename", "connect", "disconnect"],
        });
        let path = format!("/events?filters={}", escaped(&filters.to_string()));
        let socket = || self.socket.clone();
        let answer = timeout(UNTIL_BEGUN, begin(&self.socket, Method::GET, &path, Vec::new()))
            .await
            .map_err(|_| Error::TooSlow { socket: socket(), limit: UNTIL_BEGUN })?
            .map_err(|cause| Error::Unreachable { socket: socket(), cause })?;
        let status = answer.status();
        match status.is_success() {
            true => Ok(Events::of(answer.into_body(), socket())),
            false => Err(Error::Refused { status, message: format!("no events: {status}") }),
        }
    }

    /// What Docker tells of itself at `/version` or `/info`.
    ///
    /// # Errors
    /// Docker does not answer within a second, or refuses.
    pub async fn about(&self, path: &str) -> Result<Value> {
        self.read(path).await
    }

    /// Makes a network, as `POST /networks/create` takes it; returns its id. There is no limit, because
    /// Docker waits for the driver.
    ///
    /// # Errors
    /// Docker does not answer, or refuses.
    pub async fn create_network(&self, network: &Value) -> Result<String> {
        #[derive(Deserialize)]
        struct Created {
            #[serde(rename = "Id")]
            id: String,
        }
        let body = network.to_string().into_bytes();
        let created: Created = self.ask(Method::POST, "/networks/create", body).await?;
        Ok(created.id)
    }

    async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        timeout(READ_WITHIN, self.ask(Method::GET, path, Vec::new()))
            .await
            .map_err(|_| Error::TooSlow { socket: self.socket.clone(), limit: READ_WITHIN })?
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<T> {
        let answer = exchange(&self.socket, method, path, body)
            .await
            .map_err(|cause| Error::Unreachable { socket: self.socket.clone(), cause })?;
        let (head, body) = answer.into_parts();
        if !head.status.is_success() {
            let message = match serde_json::from_slice(&body) {
                Ok(Refusal { message }) => message,
                Err(_) => String::from_utf8_lossy(&body).trim().to_owned(),
            };
            return Err(Error::Refused { status: head.status, message });
        }
        serde_json::from_slice(&body)
            .map_err(|source| Error::Answer { socket: self.socket.clone(), source })
    }
}

/// A text as a part of a URL: everything except letters, digits, `-`, `_` and `~` becomes %XX.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            _ => escaped += &format!("%{byte:02X}"),
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    /// A socket that takes connections, and its Docker.
    fn listening() -> (tempfile::TempDir, UnixListener, Docker) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("docker.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        (folder, listener, Docker { socket })
    }

    #[tokio::test(start_paused = true)]
    async fn a_docker_that_says_nothing_is_not_waited_for() {
        let (_folder, _listener, docker) = listening();
        let asked = docker.containers().await;
        assert!(matches!(asked, Err(Error::TooSlow { .. })), "{asked:?}");
    }

    #[tokio::test]
    async fn a_refusal_is_told_in_dockers_own_words() {
        let (_folder, listener, docker) = listening();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 4096];
            let length = stream.read(&mut asked).unwrap();
            let body = r#"{"message":"remote: no such conflist"}"#;
            let head = "HTTP/1.1 500 Internal Server Error\r\nContent-Length";
            write!(stream, "{head}: {}\r\n\r\n{body}", body.len()).unwrap();
            String::from_utf8_lossy(&asked[..length]).into_owned()
        });
        let error = docker.networks("cni").await.unwrap_err();
        assert_eq!(error.to_string(), "remote: no such conflist");
        let asked = server.join().unwrap();
        let filters = "%7B%22driver%22%3A%5B%22cni%22%5D%7D";
        assert!(asked.starts_with(&format!("GET /networks?filters={filters} HTTP/1.1")), "{asked}");
    }

    #[test]
    fn a_name_cannot_become_another_path() {
        assert_eq!(escaped("web-1_a"), "web-1_a");
        assert_eq!(escaped("../x?a b"), "%2E%2E%2Fx%3Fa%20b");
    }
}
