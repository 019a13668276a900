//! A call as Docker makes it, for the benches.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Calls a method of the driver at that socket.
pub(crate) fn call(socket: &Path, method: &str, request: &Value) -> Result<Value> {
    let body = request.to_string();
    let mut stream = UnixStream::connect(socket)?;
    write!(
        stream,
        "POST /NetworkDriver.{method} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    ensure!(head.starts_with("HTTP/1.1 200"), "{method}: {head}: {body}");
    let answer: Value = serde_json::from_str(body)?;
    ensure!(answer.get("Err").is_none(), "{method}: {answer}");
    Ok(answer)
}
