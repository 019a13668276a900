//! How networks are found in a folder of configuration files.

use std::fs;

use cnm_cni::cni::{AttachResult, ConfDir, ConfigError, Version};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Bench, attachment};

/// A configuration folder with these files in it; a name may have a folder of its own.
struct Folder {
    dir: TempDir,
}

impl Folder {
    fn with(files: &[(&str, &str)]) -> Self {
        let dir = TempDir::new().unwrap();
        for (name, content) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        Self { dir }
    }

    fn conf_dir(&self) -> ConfDir {
        ConfDir::new(self.dir.path().to_owned())
    }

    /// The types of the chain of a network.
    fn chain(&self, name: &str) -> Result<Vec<String>, ConfigError> {
        let list = self.conf_dir().load(name)?;
        Ok(list.plugins().iter().map(|plugin| plugin.plugin_type().to_owned()).collect())
    }

    fn error(&self, name: &str) -> String {
        let error = self.chain(name).unwrap_err().to_string();
        error.replace(self.dir.path().to_str().unwrap(), "DIR")
    }
}

const MALFORMED: &str = "{";

#[test]
fn l1_the_first_conflist_by_file_name_wins() {
    let folder = Folder::with(&[
        ("50-b.conflist", r#"{"name":"net","plugins":[{"type":"late"}]}"#),
        ("10-z.conflist", r#"{"name":"other","plugins":[{"type":"other"}]}"#),
        ("20-a.conflist", r#"{"name":"net","plugins":[{"type":"early"}]}"#),
    ]);
    assert_eq!(folder.chain("net").unwrap(), ["early"]);
    assert_eq!(folder.chain("other").unwrap(), ["other"]);
}

#[test]
fn l2_l5_a_conflist_goes_before_a_conf_and_both_are_found() {
    let folder = Folder::with(&[
        ("10-a.conf", r#"{"name":"net","type":"single"}"#),
        ("90-b.conflist", r#"{"name":"net","plugins":[{"type":"inlined"}]}"#),
        ("20-c.json", r#"{"name":"json","cniVersion":"0.2.0","type":"from-json"}"#),
        ("20-b.conf", r#"{"name":"conf","type":"from-conf"}"#),
        ("20-d.yaml", "name: yaml"),
    ]);
    assert_eq!(folder.chain("net").unwrap(), ["inlined"]);
    assert_eq!(folder.chain("json").unwrap(), ["from-json"]);
    assert_eq!(folder.chain("conf").unwrap(), ["from-conf"]);
    assert_eq!(folder.conf_dir().load("json").unwrap().cni_version(), Version::V0_2_0);
    assert!(folder.error("yaml").starts_with("no network configuration with name \"yaml\""));
}

#[test]
fn l3_a_malformed_file_does_not_hide_the_networks_in_the_others() {
    let folder = Folder::with(&[
        ("10-bad.conflist", MALFORMED),
        ("11-typeless.conf", r#"{"name":"typeless"}"#),
        ("12-list.conf", r#"{"name":"listed","plugins":[{"type":"a"}]}"#),
        ("20-good.conflist", r#"{"name":"net","plugins":[{"type":"a"}]}"#),
    ]);
    assert_eq!(folder.chain("net").unwrap(), ["a"]);
    assert_eq!(
        folder.error("typeless"),
        "no network configuration with name \"typeless\" in DIR: there is net; also, \
         DIR/11-typeless.conf: it has no \"type\", the name of the plugin's executable; 2 files \
         there cannot be used: see 'cnm-cni validate'"
    );
}

#[test]
fn l4_sub_folders_are_not_searched_and_links_are_followed() {
    let folder = Folder::with(&[
        ("deep/10-a.conflist", r#"{"name":"deep","plugins":[{"type":"a"}]}"#),
        ("deep.conflist/keep", ""),
        ("elsewhere/file", r#"{"name":"linked","plugins":[{"type":"a"}]}"#),
    ]);
    let path = folder.dir.path();
    std::os::unix::fs::symlink(path.join("elsewhere/file"), path.join("l.conflist")).unwrap();
    assert_eq!(folder.chain("linked").unwrap(), ["a"]);
    assert_eq!(
        folder.error("deep"),
        "no network configuration with name \"deep\" in DIR: there is linked"
    );
}

#[test]
fn l4_a_folder_that_does_not_exist_is_empty() {
    let conf_dir = ConfDir::new("/does/not/exist".into());
    assert!(conf_dir.first().unwrap().is_none());
    assert_eq!(
        conf_dir.load("net").unwrap_err().to_string(),
        "no network configuration with name \"net\" in /does/not/exist: there is none"
    );
    let file = Folder::with(&[("file", "")]);
    let not_a_folder = ConfDir::new(file.dir.path().join("file"));
    assert!(not_a_folder.first().unwrap_err().to_string().contains("cannot read"));
    assert!(not_a_folder.load("net").unwrap_err().to_string().contains("cannot read"));
}

#[test]
fn l6_the_default_network_is_the_first_usable_file_of_any_kind() {
    let folder = Folder::with(&[
        ("05-bad.conf", MALFORMED),
        ("10-a.conf", r#"{"name":"first","type":"a"}"#),
        ("10-b.conflist", r#"{"name":"second","plugins":[{"type":"b"}]}"#),
    ]);
    assert_eq!(folder.conf_dir().first().unwrap().unwrap().name(), "first");

    let folder = Folder::with(&[("05-bad.conf", MALFORMED)]);
    let error = folder.conf_dir().first().unwrap_err().to_string();
    assert!(error.contains("05-bad.conf: not valid JSON"), "{error}");
}

#[test]
fn r4_l7_the_plugins_of_a_networks_folder_join_its_chain() {
    let inlined = r#"{"name":"net","plugins":[{"type":"inlined"}]}"#;
    let folder = Folder::with(&[
        ("10-net.conflist", inlined),
        ("net/20-b.conf", r#"{"type":"b"}"#),
        ("net/10-a.conf", r#"{"type":"a"}"#),
        ("net/15-c.json", r#"{"type":"c"}"#),
        ("net/16-d.conflist", r#"{"type":"d"}"#),
        ("20-empty.conflist", r#"{"name":"empty"}"#),
        ("empty/10-only.conf", r#"{"type":"only"}"#),
        ("30-single.conf", r#"{"name":"single","type":"single"}"#),
        ("single/10-not.conf", r#"{"type":"not"}"#),
    ]);
    assert_eq!(folder.chain("net").unwrap(), ["inlined", "a", "b"]);
    assert_eq!(folder.chain("empty").unwrap(), ["only"]);
    assert_eq!(folder.chain("single").unwrap(), ["single"]);
}

#[test]
fn r5_only_inlined_plugins_are_used_where_it_is_asked_for() {
    let inlined =
        r#"{"name":"net","loadOnlyInlinedPlugins":"true","plugins":[{"type":"inlined"}]}"#;
    let folder = Folder::with(&[("net.conflist", inlined), ("net/a.conf", r#"{"type":"a"}"#)]);
    assert_eq!(folder.chain("net").unwrap(), ["inlined"]);
}

#[test]
fn r6_l8_a_network_whose_plugins_are_not_all_valid_is_not_used() {
    let folder = Folder::with(&[
        ("10-net.conflist", r#"{"name":"net","plugins":[{"type":"inlined"}]}"#),
        ("net/a.conf", r#"{"name":"typeless"}"#),
        ("20-none.conflist", r#"{"name":"none"}"#),
        ("30-blank.conflist", r#"{"name":"blank","plugins":[]}"#),
        ("blank/a.conf", r#"{"type":"a"}"#),
    ]);
    let error = folder.error("net");
    assert!(error.contains("DIR/net/a.conf: it has no \"type\""), "{error}");
    assert!(error.ends_with("; 2 files there cannot be used: see 'cnm-cni validate'"), "{error}");
}

#[test]
fn r1_l9_a_name_cannot_lead_out_of_the_folder() {
    let folder = Folder::with(&[
        ("in/10-evil.conflist", r#"{"name":"../out"}"#),
        ("out/a.conf", r#"{"type":"a"}"#),
    ]);
    let conf_dir = ConfDir::new(folder.dir.path().join("in"));
    let error = conf_dir.load("../out").unwrap_err();
    assert!(matches!(error, ConfigError::Name(_)));
    assert!(error.to_string().contains("\"../out\" is not valid"), "{error}");
    let listing = conf_dir.list();
    assert!(listing.networks.is_empty());
    assert!(listing.problems[0].to_string().contains("\"../out\" is not valid"));
}

#[test]
fn a_listing_has_networks_and_problems_each_with_its_file() {
    let folder = Folder::with(&[
        ("10-a.conf", r#"{"name":"twice","type":"a"}"#),
        ("20-b.conflist", r#"{"name":"twice","plugins":[{"type":"b"}]}"#),
        ("30-c.conflist", MALFORMED),
        ("40-d.conflist", r#"{"name":"once","plugins":[{"type":"d"}]}"#),
    ]);
    let listing = folder.conf_dir().list();
    let path = |name: &str| folder.dir.path().join(name);
    let networks: Vec<_> =
        listing.networks.iter().map(|it| (it.list.name(), it.file.clone())).collect();
    assert_eq!(networks, [("twice", path("20-b.conflist")), ("once", path("40-d.conflist"))]);
    let [hidden, malformed] = listing.problems.as_slice() else {
        panic!("{:?}", listing.problems);
    };
    assert!(matches!(hidden, ConfigError::Hidden { file, .. } if *file == path("10-a.conf")));
    assert!(malformed.to_string().contains("30-c.conflist"));
}

#[test]
fn pipes_and_monsters_in_the_folder_are_not_read() {
    let folder = Folder::with(&[("10-a.conflist", r#"{"name":"net","plugins":[{"type":"a"}]}"#)]);
    let path = folder.dir.path();
    let made = std::process::Command::new("mkfifo").arg(path.join("05.conflist")).status();
    assert!(made.unwrap().success());
    fs::File::create(path.join("06.conf")).unwrap().set_len(1 << 40).unwrap();
    let listing = folder.conf_dir().list();
    assert_eq!(listing.networks.len(), 1);
    assert!(listing.problems[0].to_string().contains("not a regular file"));
    assert!(listing.problems[1].to_string().contains("larger than 4 MiB"));
}

/// What the fake plugin is sent at ADD of the network `net` in the `folder`, without its script.
async fn sent(folder: &Folder, bench: &Bench) -> Value {
    let list = folder.conf_dir().load("net").unwrap();
    bench.runtime().add(&list, &attachment()).await.unwrap();
    let mut stdin = bench.calls().pop().unwrap()["stdin"].take();
    stdin.as_object_mut().unwrap().remove("fake");
    stdin
}

#[tokio::test]
async fn l2_a_single_plugin_is_sent_its_whole_object() {
    let bench = Bench::with(&["a"]);
    for file in ["net.conf", "net.json"] {
        let plugin = json!({
            "cniVersion": "0.3.1", "name": "net", "type": "a", "mtu": 1400, "ipam": {"type": "b"},
            "fake": {"log": bench.log()},
        });
        let folder = Folder::with(&[(file, &plugin.to_string())]);
        let mut expected = plugin;
        expected.as_object_mut().unwrap().remove("fake");
        assert_eq!(sent(&folder, &bench).await, expected);
    }
}

#[tokio::test]
async fn r11_l12_plugins_are_sent_the_version_that_was_selected() {
    let bench = Bench::with(&["a"]);
    let versions = [
        (json!({"cniVersion": "0.3.1"}), "0.3.1"),
        (json!({"cniVersions": ["0.4.0", "1.0.0"]}), "1.0.0"),
        (json!({"cniVersion": "0.3.1", "cniVersions": ["1.0.0", "0.4.0"]}), "1.0.0"),
        (json!({"cniVersion": "1.1.0", "cniVersions": ["1.0.0", "0.4.0"]}), "1.1.0"),
        (json!({"cniVersion": "1.0.0", "cniVersions": ["1.2.0", "9.0.0"]}), "1.0.0"),
        (json!({}), "0.1.0"),
    ];
    for (mut list, expected) in versions {
        list["name"] = "net".into();
        list["plugins"] = json!([{"type": "a", "fake": {"log": bench.log()}}]);
        let folder = Folder::with(&[("net.conflist", &list.to_string())]);
        assert_eq!(sent(&folder, &bench).await["cniVersion"], expected, "{list}");
    }
}

#[tokio::test]
async fn l10_check_can_be_disabled_by_a_string() {
    let bench = Bench::with(&["a"]);
    let written = [(json!("true"), 0), (json!("TRUE"), 0), (json!(true), 0), (json!("False"), 1)];
    for (disabled, calls) in written {
        let before = bench.calls().len();
        let list = json!({
            "cniVersion": "1.0.0", "name": "net", "disableCheck": disabled,
            "plugins": [{"type": "a", "fake": {"log": bench.log()}}],
        });
        let folder = Folder::with(&[("net.conflist", &list.to_string())]);
        let list = folder.conf_dir().load("net").unwrap();
        bench.runtime().check(&list, &attachment(), &AttachResult::default()).await.unwrap();
        assert_eq!(bench.calls().len() - before, calls, "{disabled}");
    }
    let folder = Folder::with(&[(
        "net.conflist",
        r#"{"name":"net","disableCheck":"maybe","plugins":[{"type":"a"}]}"#,
    )]);
    let error = folder.error("net");
    assert!(error.contains("disableCheck") && error.contains("maybe"), "{error}");
}

#[test]
fn r5_a_network_of_inlined_plugins_only_has_to_have_some() {
    let folder = Folder::with(&[
        ("net.conflist", r#"{"name":"net","loadOnlyInlinedPlugins":true}"#),
        ("net/a.conf", r#"{"type":"a"}"#),
    ]);
    let error = folder.error("net");
    assert!(error.contains("DIR/net.conflist: ") && error.contains("plugins"), "{error}");
}
