//! A plugin, a container or a user chooses texts that reach root's terminal, Docker and the log.

use serde_json::json;

use super::{Site, scripted_with};
use crate::alone::alone;

/// Clears the screen, and forges a line.
const ATTACK: &str = "\u{1b}[2Jgone\n2026-11-26T00:00:00Z  INFO all is well\u{9b}31m\u{202e}";

fn is_fit(text: &str) -> bool {
    text.chars().all(|letter| letter == '\n' || !letter.is_control() && letter != '\u{202e}')
}

#[test]
fn a_plugins_words_move_no_cursor_and_begin_no_line() {
    alone(async {
        let fails = json!({"exit": 1, "stdout": {"code": 100, "msg": ATTACK, "details": "x".repeat(100_000)}});
        let site = Site::with(json!([scripted_with(json!({"DEL": fails, "STATUS": fails}))])).await;
        site.create_endpoint("e1").await.unwrap();
        site.delete_endpoint("e1").await;
        assert_eq!(site.orphans().len(), 1);
        let state = site.config.state_dir.to_str().unwrap();
        for args in [
            &["orphans", "--state-dir", state][..],
            &["orphans", "--state-dir", state, "--format", "json"],
            &["cni", "del", "net", "/run/no-namespace"],
        ] {
            let output = site.command_line(args);
            let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
            assert!(text.contains("gone") && is_fit(&text), "{args:?}: {text:.200}");
            assert!(!text.contains("\n2026"), "{args:?}: {text:.200}");
        }
        let output = site.command_line(&["orphans", "--state-dir", state]).stdout;
        assert!(output.len() < 6000, "{} bytes", output.len());
    });
}

#[test]
fn what_users_pass_to_plugins_is_shown_to_nobody_else() {
    alone(async {
        let echoes = json!({
            "exit": 1, "times": 1, "stderr": "hunter22 and s3cret!",
            "stdout": {"code": 7, "msg": "bad TOKEN=hunter22", "details": "key s3cret!"},
        });
        let mut plugin = scripted_with(json!({"ADD": echoes}));
        plugin["capabilities"] = json!({"vpn": true});
        let site = Site::with(json!([plugin])).await;
        let options =
            json!({"cni.args.TOKEN": "hunter22", "cni.capability.vpn": r#"{"key":"s3cret!"}"#});
        let error = site.create_endpoint_with("e1", options.clone()).await.unwrap_err().to_string();
        assert!(error.contains("bad TOKEN=[hidden]; key [hidden]"), "{error}");
        // The plugin is told, of course.
        site.create_endpoint_with("e2", options).await.unwrap();
        let log = std::fs::read_to_string(site.path("log")).unwrap();
        assert!(log.contains("TOKEN=hunter22") && log.contains("s3cret!"));
        site.delete_endpoint("e2").await;
    });
}
