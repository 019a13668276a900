//! A local user, who can write a file or a folder that root obeys, wants root's rights.

use std::fs;
use std::os::unix::fs::{chown, symlink};

use serde_json::json;

use super::{Site, chmod, scripted};
use crate::alone::alone;

/// A user who is nobody in particular.
const NOBODY: Option<u32> = Some(65534);

#[test]
fn a_plugin_below_a_folder_that_others_can_write_is_run_for_no_verb() {
    alone(async {
        let site = Site::with(json!([scripted()])).await;
        site.create_endpoint("e1").await.unwrap();
        // The folder itself and the plugin in it stay root's.
        chmod(&site.path("opt"), 0o777);
        for error in [
            site.create_endpoint("e2").await.unwrap_err(),
            site.create_network("b2", "net").await.unwrap_err(),
        ] {
            let error = error.to_string();
            assert!(error.contains("opt, which can be written by others"), "{error}");
        }
        site.delete_endpoint("e1").await;
        assert_eq!(site.calls(), ["ADD fake-plugin"]);
        let [orphan] = site.orphans().try_into().expect("one orphan, e1's");
        let reason = orphan.error.unwrap();
        assert!(reason.contains("opt, which can be written by others"), "{reason}");

        chmod(&site.path("opt"), 0o755);
        site.driver.retry_orphans("").await.unwrap();
        assert!(site.orphans().is_empty());
        assert_eq!(site.calls(), ["ADD fake-plugin", "DEL fake-plugin"]);
    });
}

#[test]
fn a_plugin_of_another_user_is_not_run_whatever_leads_to_it() {
    alone(async {
        let site = Site::with(json!([scripted()])).await;
        let elsewhere = site.path("elsewhere");
        fs::rename(site.plugin(), &elsewhere).unwrap();
        symlink(&elsewhere, site.plugin()).unwrap();
        site.create_endpoint("e1").await.unwrap();
        site.delete_endpoint("e1").await;
        chown(&elsewhere, NOBODY, None).unwrap();
        let error = site.create_endpoint("e2").await.unwrap_err().to_string();
        assert!(error.contains("elsewhere, which belongs to user 65534"), "{error}");
        // Another plugin's file is no reason.
        site.conflist("20-other.conflist", "other", json!([{"type": "other"}]));
        site.create_network("b2", "other").await.unwrap();
        // Unless a plugin is told to run it.
        let ipam = json!([{"type": "other", "ipam": {"type": "fake-plugin"}}]);
        site.conflist("30-ipam.conflist", "ipam", ipam);
        let delegate = json!([{"type": "other", "delegate": {"type": "fake-plugin"}}]);
        site.conflist("40-delegate.conflist", "delegate", delegate);
        for conflist in ["ipam", "delegate"] {
            let error = site.create_network("b3", conflist).await.unwrap_err().to_string();
            assert!(error.contains("belongs to user 65534"), "{conflist}: {error}");
        }
        assert_eq!(site.calls(), ["ADD fake-plugin", "DEL fake-plugin"]);
    });
}

#[test]
fn a_loose_conflist_stops_the_networks_that_name_it_and_no_others() {
    alone(async {
        let site = Site::with(json!([scripted()])).await;
        site.conflist("35-open.conflist", "open", json!([scripted()]));
        // It may call itself like another one, and stand before it.
        site.conflist("05-net.conflist", "net", json!([{"type": "no-such-plugin"}]));
        for file in ["35-open.conflist", "05-net.conflist"] {
            chmod(&site.config.conf_dir.join(file), 0o666);
        }
        site.create_endpoint("e1").await.unwrap();
        site.delete_endpoint("e1").await;
        site.create_network("b2", "net").await.unwrap();
        let error = site.create_network("b3", "open").await.unwrap_err().to_string();
        assert!(error.contains("35-open.conflist can be written by others than root"), "{error}");
        assert!(error.contains("0666") && error.contains("chmod go-w"), "{error}");

        chmod(&site.config.conf_dir, 0o777);
        for error in [
            site.create_endpoint("e2").await.unwrap_err(),
            site.create_network("b4", "net").await.unwrap_err(),
            site.create_network_with("b5", json!({})).await.unwrap_err(),
        ] {
            let error = error.to_string();
            assert!(error.contains("conf can be written by others"), "{error}");
        }
    });
}

#[test]
fn a_networks_own_folder_counts_as_its_conflist_does() {
    alone(async {
        let site = Site::with(json!([scripted()])).await;
        let folder = site.config.conf_dir.join("net");
        let more = folder.join("50-more.conf");
        fs::create_dir(&folder).unwrap();
        fs::write(&more, r#"{"type": "other"}"#).unwrap();
        site.create_endpoint("e1").await.unwrap();
        assert_eq!(site.calls(), ["ADD fake-plugin"], "the scripted plugin alone writes a log");
        for (path, mode, sound) in [(&more, 0o666, 0o644), (&folder, 0o777, 0o755)] {
            chmod(path, mode);
            let error = site.create_endpoint("e2").await.unwrap_err().to_string();
            assert!(error.contains(&format!("{mode:04o}")), "{error}");
            chmod(path, sound);
        }
        chown(&more, NOBODY, None).unwrap();
        let error = site.create_endpoint("e2").await.unwrap_err().to_string();
        assert!(error.contains("50-more.conf belongs to user 65534"), "{error}");
        assert_eq!(site.calls(), ["ADD fake-plugin"]);
    });
}

#[test]
fn a_masked_conflist_is_not_there() {
    alone(async {
        let site = Site::with(json!([scripted()])).await;
        symlink("/dev/null", site.config.conf_dir.join("05-masked.conflist")).unwrap();
        site.create_endpoint("e1").await.unwrap();
        site.create_network("b2", "net").await.unwrap();
        let error = site.create_network("b3", "masked").await.unwrap_err().to_string();
        assert!(error.contains("there is net") && !error.contains("chmod"), "{error}");
    });
}

#[test]
fn validate_and_cni_judge_as_the_driver_does() {
    alone(async {
        let site = Site::with(json!([scripted()])).await;
        site.conflist("35-open.conflist", "open", json!([scripted()]));
        chmod(&site.config.conf_dir.join("35-open.conflist"), 0o666);
        let run = |args: &[&str]| {
            let output = site.command_line(args);
            let text = [output.stdout, output.stderr].concat();
            (output.status.code(), String::from_utf8(text).unwrap())
        };
        let (status, text) = run(&["validate"]);
        assert_eq!(status, Some(1), "{text}");
        assert!(text.contains("35-open.conflist can be written by others"), "{text}");
        assert_eq!(run(&["validate", "net"]).0, Some(0));
        assert_eq!(run(&["validate", "open"]).0, Some(1));
        assert_eq!(run(&["validate", "open", "--allow-writable"]).0, Some(0));

        // A plugin that is loose only as another one's delegate.
        let delegate = json!([{"type": "fake-plugin", "delegate": {"type": "other"}}]);
        site.conflist("40-delegate.conflist", "delegate", delegate);
        assert_eq!(run(&["validate", "delegate"]).0, Some(0));
        chown(site.path("opt/bin/other"), NOBODY, None).unwrap();
        let refused = site.create_network("b2", "delegate").await.unwrap_err().to_string();
        let (status, text) = run(&["validate", "delegate"]);
        assert_eq!(status, Some(1), "{text}");
        for text in [text, refused, run(&["explain", "create", "web", "--conflist", "delegate"]).1]
        {
            assert!(text.contains("belongs to user 65534") && !text.contains("beware"), "{text}");
        }

        let (status, text) = run(&["cni", "status", "open"]);
        assert_eq!(status, Some(1), "{text}");
        assert!(text.contains("--allow-writable"), "{text}");
        chmod(&site.path("opt"), 0o777);
        for args in [&["validate", "net"][..], &["cni", "add", "net", "/proc/self/ns/net"]] {
            let (status, text) = run(args);
            assert_eq!(status, Some(1), "{text}");
            assert!(text.contains("opt, which can be written by others"), "{text}");
        }
        assert_eq!(site.calls(), [] as [&str; 0]);
    });
}
