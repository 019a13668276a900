//! A real Chromium without a window, told what to do over a pipe (the DevTools protocol).

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::host::within;

/// A browser with one page.
pub(super) struct Browser {
    process: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    calls: u64,
    session: Option<String>,
    /// What the page has complained of, and what it has asked the network for.
    pub(super) complaints: Vec<String>,
    pub(super) fetched: Vec<String>,
    _profile: TempDir,
}

impl Browser {
    /// Starts it; the program is Debian's `chromium`.
    pub(super) fn start() -> Self {
        let profile = TempDir::new().unwrap();
        // The protocol is on descriptors 3 and 4. As root there is no sandbox.
        let script = "exec chromium --headless=new --no-sandbox --disable-gpu --no-first-run \
                      --disable-background-networking --remote-debugging-pipe \"--user-data-dir=$0\" \
                      about:blank 3<&0 4>&1 </dev/null >&2";
        let mut process = Command::new("sh")
            .args(["-c", script])
            .arg(profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (to, from) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let mut browser = Self {
            process,
            to,
            from: BufReader::new(from),
            calls: 0,
            session: None,
            complaints: Vec::new(),
            fetched: Vec::new(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", attach);
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Calls a method of the protocol.
    fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let mut message = json!({"id": self.calls, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.to.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let mut answer = Vec::new();
            self.from.read_until(0, &mut answer).unwrap();
            assert!(!answer.is_empty(), "chromium has ended at {method}; is it installed?");
            let answer: Value = serde_json::from_slice(answer.strip_suffix(&[0]).unwrap()).unwrap();
            if answer["id"] == json!(self.calls) {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].clone();
            }
            self.note(&answer);
        }
    }

    /// Takes note of an event.
    fn note(&mut self, event: &Value) {
        let params = &event["params"];
        match event["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" | "Runtime.consoleAPICalled" | "Log.entryAdded" => {
                self.complaints.push(params.to_string());
            }
            "Network.requestWillBeSent" => {
                self.fetched.push(params["request"]["url"].as_str().unwrap().to_owned());
            }
            _ => {}
        }
    }

    /// Opens a file, in a window of this size, and waits until it is there.
    pub(super) fn open(&mut self, file: &Path, (width, height): (u32, u32)) {
        let size =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", size);
        self.call("Page.navigate", json!({"url": format!("file://{}", file.display())}));
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let is_there = |browser: &mut Self| {
            let state = "document.readyState + ' ' + location.href";
            let state = browser.tell(state).as_str().unwrap().to_owned();
            state.starts_with("complete") && state.ends_with(&name)
        };
        assert!(within(Duration::from_secs(30), || is_there(self)), "{name} is not loaded");
    }

    /// What an expression is in the page.
    pub(super) fn tell(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true});
        let told = self.call("Runtime.evaluate", params);
        assert!(told.get("exceptionDetails").is_none(), "{expression}: {told}");
        told["result"]["value"].clone()
    }

    /// Types into whatever has the focus.
    pub(super) fn write(&mut self, text: &str) {
        self.call("Input.insertText", json!({"text": text}));
    }

    /// Whether the page is shown as for those who like it dark.
    pub(super) fn make_dark(&mut self, dark: bool) {
        let value = if dark { "dark" } else { "light" };
        let features = json!([{"name": "prefers-color-scheme", "value": value}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    /// Keeps what can be seen as a PNG.
    pub(super) fn photograph(&mut self, file: &Path) {
        let shot = self.call("Page.captureScreenshot", json!({"format": "png"}));
        let image = STANDARD.decode(shot["data"].as_str().unwrap()).unwrap();
        std::fs::write(file, image).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
