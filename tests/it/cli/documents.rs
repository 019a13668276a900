//! `cnm-cni documents`: what packages and `make install` put into place.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::program;

#[test]
fn there_is_a_man_page_for_each_verb_and_a_completion_for_each_shell() {
    let folder = tempfile::tempdir().unwrap();
    let written = folder.path().join("new/documents");
    let output = Command::new(program()).arg("documents").arg(&written).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut names: Vec<_> = fs::read_dir(&written)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    for (name, words) in [
        ("_cnm-cni", "#compdef cnm-cni"),
        ("cnm-cni.bash", "_clap_complete_cnm_cni"),
        ("cnm-cni.fish", "--command cnm-cni"),
        ("cnm-cni.1", "cnm\\-cni\\-serve(1)"),
        ("cnm-cni-serve.1", "CNM_CNI_STATE_DIR"),
        ("cnm-cni-cni-add.1", "CNI_PATH"),
    ] {
        let text = fs::read_to_string(written.join(name)).unwrap();
        assert!(text.contains(words), "{name}: {text}");
    }
    for (name, sections) in [
        ("cnm-cni-ls.1", &["COLUMNS", "EXAMPLES", "FILES", "EXIT STATUS", "SEE ALSO"][..]),
        ("cnm-cni-cni.1", &["EXAMPLES", "EXIT STATUS"]),
        ("cnm-cni.1", &["EXAMPLES", "EXIT STATUS"]),
    ] {
        let text = fs::read_to_string(written.join(name)).unwrap();
        for section in sections {
            let heading = format!("\n.SH {section}\n");
            let quoted = format!("\n.SH \"{section}\"\n");
            assert!(text.contains(&heading) || text.contains(&quoted), "{name}: {section}\n{text}");
        }
        assert!(!text.contains("EXTRA"), "{name}: {text}");
    }
    // Without those of verbs below verbs.
    let is_page = |name: &&String| name.ends_with(".1") && name.matches('-').count() <= 2;
    let help = Command::new(program()).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let verbs = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let mut expected: Vec<_> = verbs
        .lines()
        .map(|line| line.split_whitespace().next().unwrap())
        .filter(|verb| *verb != "help")
        .map(|verb| format!("cnm-cni-{verb}.1"))
        .chain(["cnm-cni.1".to_owned()])
        .collect();
    expected.sort();
    assert_eq!(
        names.iter().filter(is_page).collect::<Vec<_>>(),
        expected.iter().collect::<Vec<_>>()
    );
}

#[test]
fn the_settings_of_the_managed_plugin_are_those_of_the_driver_with_its_defaults() {
    let file =
        |path: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let config: Value = serde_json::from_str(&file("plugin-spec/managed/config.json")).unwrap();
    let settings = config["env"].as_array().unwrap().iter();
    let settings: Vec<_> =
        settings.map(|it| (it["name"].as_str().unwrap(), it["value"].as_str().unwrap())).collect();
    let mut serve = Command::new(program());
    serve.env_clear().args(["serve", "--state-dir", "/dev/null/nowhere"]);
    let said = serve.envs(settings.iter().copied()).output().unwrap();
    let error = String::from_utf8(said.stderr).unwrap();
    assert_eq!(said.status.code(), Some(1), "a setting is not understood: {error}");
    assert!(error.contains("cannot use --state-dir"), "{error}");

    let help = Command::new(program()).env_clear().args(["serve", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let page = file("docs/managed-plugin.md");
    for (name, value) in settings {
        assert!(help.contains(&format!("[env: {name}=]")), "{name} is no variable of the driver");
        let shown = if value.is_empty() { "nowhere".to_owned() } else { format!("`{value}`") };
        let mut rows = page.lines().filter(|line| line.starts_with(&format!("| `{name}` |")));
        assert!(rows.any(|row| row.ends_with(&format!("| {shown} |"))), "{name}={value}");
    }
}
