//! `cnm-cni documents`: what packages and `make install` put into place.

use std::fs;
use std::process::Command;

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
