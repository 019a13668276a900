//! The CNI engine, driven through its public face against the scripted fake plugin.
//!
//! A test that begins with `r` or `l` and a number proves that rule of
//! `docs/cni-conformance.md`.

mod add;
mod discovery;
mod execution;
mod fake;
mod fuzz;
mod netns;
mod observer;
mod real;
mod request;
mod verbs;
mod version;

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use cnm_cni::cni::{Attachment, Limits, NetworkConfigList, Runtime};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A plugin folder with fake plugins in it, and the log that they write.
pub(crate) struct Bench {
    dir: TempDir,
}

impl Bench {
    /// A folder in which the fake plugin stands under each of `types`.
    pub(crate) fn with(types: &[&str]) -> Self {
        let dir = TempDir::new().unwrap();
        std::fs::create_dir(dir.path().join("bin")).unwrap();
        for name in types {
            symlink(fake_plugin(), dir.path().join("bin").join(name)).unwrap();
        }
        Self { dir }
    }

    /// The plugin folder.
    pub(crate) fn bin(&self) -> PathBuf {
        self.dir.path().join("bin")
    }

    /// A runtime on this folder.
    pub(crate) fn runtime(&self) -> Runtime {
        self.runtime_with(Limits::default())
    }

    pub(crate) fn runtime_with(&self, limits: Limits) -> Runtime {
        Runtime::new(vec![self.bin()], limits)
    }

    /// A list called `net` with these plugins, whose `fake` scripts all write to one log.
    pub(crate) fn list(&self, version: &str, plugins: Value) -> NetworkConfigList {
        self.list_of(json!({"cniVersion": version, "name": "net", "plugins": plugins}))
    }

    pub(crate) fn list_of(&self, mut list: Value) -> NetworkConfigList {
        for plugin in list["plugins"].as_array_mut().unwrap() {
            if plugin["fake"].is_null() {
                plugin["fake"] = json!({});
            }
            plugin["fake"]["log"] = json!(self.log());
        }
        NetworkConfigList::parse(list.to_string().as_bytes()).unwrap()
    }

    /// The file that they write to.
    pub(crate) fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// What the plugins were called with so far, in order.
    pub(crate) fn calls(&self) -> Vec<Value> {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The calls so far, as `VERB type`.
    pub(crate) fn order(&self) -> Vec<String> {
        let name = |call: &Value| {
            format!("{} {}", call["command"].as_str().unwrap(), call["type"].as_str().unwrap())
        };
        self.calls().iter().map(name).collect()
    }
}

/// An attachment of the container `c1`, in no real namespace.
pub(crate) fn attachment() -> Attachment {
    Attachment {
        container_id: "c1".into(),
        netns: Some("/some/netns".into()),
        if_name: "eth0".into(),
        ..Attachment::default()
    }
}

/// Where cargo put the fake plugin: beside the folder of the test binaries.
pub(crate) fn fake_plugin() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let plugin = profile.join("examples/fake-plugin");
    assert!(plugin.exists(), "{} is missing; `cargo test` builds it", plugin.display());
    plugin
}
