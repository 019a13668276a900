//! A client as plain as can be: bytes out, one answer in. What goes over the wire is the
//! test's to decide, down to the last header.

use std::path::Path;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// One connection to the driver.
pub(crate) struct Connection {
    stream: BufReader<UnixStream>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// As they came, name and value.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Value,
}

impl Connection {
    pub(crate) async fn open(socket: &Path) -> Self {
        Self::try_open(socket).await.expect("the driver's socket")
    }

    /// None if nobody listens.
    pub(crate) async fn try_open(socket: &Path) -> Option<Self> {
        let stream = UnixStream::connect(socket).await.ok()?;
        Some(Self { stream: BufReader::new(stream) })
    }

    /// Posts `body` to a method as Docker 28 does, and reads the answer.
    pub(crate) async fn call(&mut self, method: &str, body: &Value) -> Answer {
        self.try_call(method, &body.to_string()).await.expect("an answer")
    }

    /// The same with the text of a body; none if the connection breaks.
    pub(crate) async fn try_call(&mut self, method: &str, body: &str) -> Option<Answer> {
        let request = format!(
            "POST /{method} HTTP/1.1\r\nHost: plugin.moby.localhost\r\n\
             User-Agent: Go-http-client/1.1\r\nContent-Length: {}\r\n\
             Accept: application/vnd.docker.plugins.v1.2+json\r\n\r\n{body}",
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes()).await.ok()?;
        // All of an answer is written at once.
        self.stream.fill_buf().await.ok().filter(|read| !read.is_empty())?;
        Some(self.answer().await)
    }

    /// Begins a call whose body has `length` bytes, and sends none of them. Once this
    /// returns, the driver waits for them: it has said so.
    pub(crate) async fn begin(&mut self, method: &str, length: usize) {
        let head = format!(
            "POST /{method} HTTP/1.1\r\nHost: \r\nContent-Length: {length}\r\n\
             Expect: 100-continue\r\n\r\n"
        );
        self.send(head.as_bytes()).await;
        assert_eq!(self.line().await, "HTTP/1.1 100 Continue");
        assert_eq!(self.line().await, "");
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).await.expect("the driver closed the connection");
    }

    /// Says that nothing more will come.
    pub(crate) async fn close_its_end(&mut self) {
        self.stream.get_mut().shutdown().await.unwrap();
    }

    /// Reads one answer, whose length it states.
    pub(crate) async fn answer(&mut self) -> Answer {
        let first = self.line().await;
        let status = first
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3)?.parse().ok())
            .unwrap_or_else(|| panic!("not a status line: {first:?}"));
        let mut headers = Vec::new();
        loop {
            let line = self.line().await;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').expect("a header");
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut answer = Answer { status, headers, body: Value::Null };
        let length = answer.header("content-length").expect("a stated length").parse().unwrap();
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await.expect("the whole body");
        answer.body = serde_json::from_slice(&body).expect("a body in JSON");
        answer
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).await.expect("a line");
        assert!(line.ends_with("\r\n"), "the connection ended at {line:?}");
        line.trim_end().to_owned()
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// The text of `Err`; empty where there is none, as Docker reads it.
    pub(crate) fn error(&self) -> &str {
        self.body.get("Err").and_then(Value::as_str).unwrap_or_default()
    }
}
