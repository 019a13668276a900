//! What an attacker tries, and what he gets. docs/security.md names the promise that each keeps.

mod files;
mod options;
mod output;
mod records;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cnm_cni::lifecycle::{Config, Driver, Error, Orphan, orphans};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::alone::config;

/// A driver that trusts root alone, with folders of its own and the scripted plugin in one of them.
struct Site {
    folder: TempDir,
    config: Config,
    driver: Driver,
}

impl Site {
    /// What `cnm-cni` with these arguments makes of the same configurations and plugins.
    fn command_line(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_cnm-cni"))
            .args(arguments)
            .env_clear()
            .env("NETCONFPATH", &self.config.conf_dir)
            .env("CNI_PATH", &self.config.cni_path[0])
            .output()
            .unwrap()
    }

    /// With one conflist, `net`, of these plugins; and a Docker network, `a1`, on it.
    async fn with(plugins: Value) -> Self {
        let folder = tempfile::tempdir_in("/run").unwrap();
        let mut config = config(folder.path());
        config.allow_writable = false;
        let fake_plugin = config.cni_path[0].join("fake-plugin");
        config.cni_path = vec![folder.path().join("opt/bin")];
        fs::create_dir_all(&config.cni_path[0]).unwrap();
        fs::create_dir(&config.conf_dir).unwrap();
        for name in ["fake-plugin", "other"] {
            // Linked or copied: cargo's folders are whoever's builds.
            fs::copy(&fake_plugin, config.cni_path[0].join(name)).unwrap();
        }
        let driver = Driver::open(config.clone()).await.unwrap();
        let site = Self { folder, config, driver };
        site.conflist("10-net.conflist", "net", plugins);
        site.create_network("a1", "net").await.unwrap();
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn plugin(&self) -> PathBuf {
        self.config.cni_path[0].join("fake-plugin")
    }

    fn conflist(&self, file: &str, name: &str, plugins: Value) {
        let list = json!({"cniVersion": "1.0.0", "name": name, "plugins": plugins});
        let text = list.to_string().replace("LOG", &self.path("log").to_string_lossy());
        fs::write(self.config.conf_dir.join(file), text).unwrap();
    }

    async fn restart(&mut self) {
        self.driver.drain().await;
        self.driver = Driver::open(self.config.clone()).await.unwrap();
        self.driver.drain().await;
    }

    async fn create_network(&self, id: &str, conflist: &str) -> Result<(), Error> {
        self.create_network_with(id, json!({"conflist": conflist})).await
    }

    async fn create_network_with(&self, id: &str, options: Value) -> Result<(), Error> {
        let options = json!({"com.docker.network.generic": options});
        self.driver.create_network(read(json!({"NetworkID": id, "Options": options}))).await
    }

    async fn create_endpoint(&self, id: &str) -> Result<(), Error> {
        self.create_endpoint_with(id, json!({})).await
    }

    async fn create_endpoint_with(&self, id: &str, options: Value) -> Result<(), Error> {
        let request =
            json!({"NetworkID": "a1", "EndpointID": id, "Interface": {}, "Options": options});
        self.driver.create_endpoint(read(request)).await.map(drop)
    }

    async fn delete_endpoint(&self, id: &str) {
        self.driver.delete_endpoint(read(json!({"NetworkID": "a1", "EndpointID": id}))).await;
    }

    fn orphans(&self) -> Vec<Orphan> {
        orphans(&self.config.state_dir).unwrap()
    }

    /// The verbs that plugins were run with, each with the plugin's type.
    fn calls(&self) -> Vec<String> {
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        let calls = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        calls.map(|it| format!("{} {}", text(&it["command"]), text(&it["type"]))).collect()
    }

    fn records(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.config.state_dir.join("attachments")).unwrap();
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }
}

fn read<T: DeserializeOwned>(json: Value) -> T {
    serde_json::from_value(json).unwrap()
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The one plugin of most chains here: it makes an interface.
fn scripted() -> Value {
    scripted_with(json!({}))
}

fn scripted_with(more: Value) -> Value {
    let mut fake = json!({"log": "LOG", "interface": true, "addresses": ["10.22.3.7/16"]});
    fake.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"type": "fake-plugin", "fake": fake})
}
