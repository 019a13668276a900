//! What holds for every verb: odd variables, arguments and outputs.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Said, program};

fn cnm_cni(args: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(args).env_clear().stdin(Stdio::null());
    command
}

#[test]
fn an_empty_variable_counts_as_none() {
    for verb in ["serve", "orphans", "check"] {
        let said = Said::by(
            cnm_cni(&[verb, "--no-such-flag"])
                .envs(["NETCONFPATH", "CNI_PATH", "CNM_CNI_STATE_DIR"].map(|name| (name, "")))
                .envs(["CNM_CNI_SYNC_DELETE", "CNM_CNI_GC_INTERVAL"].map(|name| (name, "")))
                .envs(["CNM_CNI_SOCKET", "CNM_CNI_LOG_LEVEL"].map(|name| (name, ""))),
        );
        assert!(said.stderr.contains("unexpected argument '--no-such-flag'"), "{said:?}");
    }
    let empty = TempDir::new().unwrap();
    let said = Said::by(
        cnm_cni(&["orphans", "--format", "json", "--state-dir"])
            .arg(empty.path())
            .env("CNM_CNI_LOG_LEVEL", "")
            .env("CNM_CNI_LOG_FORMAT", ""),
    );
    assert_eq!(said.output().trim(), "[]");
}

#[test]
fn a_switch_is_set_by_a_variable_in_any_of_the_usual_words() {
    let said = |value: &str| {
        Said::by(cnm_cni(&["serve", "--help"]).env("CNM_CNI_SYNC_DELETE", value)).status
    };
    assert_eq!(["1", "true", "yes", "on", "0", "false", "no", "off", ""].map(said), [0; 9]);
    let said = Said::by(cnm_cni(&["serve"]).env("CNM_CNI_SYNC_DELETE", "perhaps"));
    assert_eq!(said.status, 2);
    assert!(said.stderr.contains("invalid value 'perhaps' for '--sync-delete'"), "{said:?}");
}

#[test]
fn a_time_longer_than_a_year_is_refused_by_every_flag_that_takes_one() {
    const FLAGS: [(&str, &str); 5] = [
        ("serve", "--plugin-timeout"),
        ("serve", "--chain-timeout"),
        ("serve", "--gc-interval"),
        ("serve", "--drain-timeout"),
        ("gc", "--grace"),
    ];
    for (verb, flag) in FLAGS {
        for seconds in ["18446744073709551615", "9223372036854775807", "31536001"] {
            let said = Said::by(&mut cnm_cni(&[verb, flag, seconds]));
            assert_eq!(said.status, 2, "{flag}: {said:?}");
            let invalid = format!("invalid value '{seconds}' for '{flag} <SECONDS>'");
            let told = said.stderr.contains(&invalid) && said.stderr.contains("31536000");
            assert!(told, "{flag}: {said:?}");
        }
        // A year is not too long: what is refused then is the flag beside it.
        let said = Said::by(&mut cnm_cni(&[verb, flag, "31536000", "--no-such-flag"]));
        assert!(said.stderr.contains("unexpected argument '--no-such-flag'"), "{said:?}");
    }
    let serve = Said::by(&mut cnm_cni(&["serve", "--help"])).stdout;
    let gc = Said::by(&mut cnm_cni(&["gc", "--help"])).stdout;
    let told = format!("{serve}{gc}").matches("<SECONDS>").count();
    assert_eq!(told, FLAGS.len(), "a flag that takes seconds is not tried here");
}

#[test]
fn a_failure_is_in_the_exit_status_where_it_cannot_be_written() {
    let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
    let status = |args: &[&str]| {
        let mut command = cnm_cni(args);
        command.stdout(full()).stderr(full()).status().unwrap().code()
    };
    assert_eq!(status(&["gc", "--socket", "/nonexistent"]), Some(1));
    assert_eq!(status(&["ports", "--state-dir", "/nonexistent"]), Some(1));
    assert_eq!(status(&["no-such-verb"]), Some(2));
    assert_eq!(status(&["cni", "status", "no-such-network"]), Some(1));
}

#[test]
fn output_that_nobody_reads_to_its_end_is_no_failure() {
    for args in [&["ports", "--state-dir", "/nonexistent"][..], &["serve", "--help"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = cnm_cni(args).stdout(writer).output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
    }
}

#[test]
fn arguments_that_are_no_text_are_refused_or_taken_as_paths() {
    let odd = OsStr::from_bytes(b"a\xff");
    for verb in ["check", "orphans forget", "cni status"] {
        let words: Vec<_> = verb.split(' ').collect();
        let said = Said::by(cnm_cni(&words).arg(odd));
        assert_eq!(said.status, 2, "{said:?}");
        assert!(said.stderr.contains("invalid UTF-8"), "{said:?}");
    }
    let folder = TempDir::new().unwrap();
    let said = Said::by(cnm_cni(&["ports", "--state-dir"]).arg(folder.path().join(odd)));
    assert_eq!(said.output(), "No published ports.\n");
}

#[test]
fn records_that_cannot_be_read_are_reported_with_what_may_be_wrong() {
    for verb in ["ports", "orphans"] {
        let error = Said::by(&mut cnm_cni(&[verb, "--state-dir", "/dev/null"])).error();
        assert!(error.contains("are you root, and is --state-dir that of 'cnm-cni serve'?"));
        assert!(error.contains("/dev/null/attachments"), "{error}");
    }
}

/// They stay where they are, and standard output stays what programs expect.
#[test]
fn a_record_that_means_nothing_is_reported_beside_the_others() {
    let folder = TempDir::new().unwrap();
    let records = folder.path().join("attachments");
    fs::create_dir(&records).unwrap();
    for name in ["0198.json", "0199.json.unreadable"] {
        fs::write(records.join(name), "{").unwrap();
    }
    for verb in ["ports", "orphans"] {
        let said = Said::by(cnm_cni(&[verb, "--format=json", "--state-dir"]).arg(folder.path()));
        assert_eq!((said.status, said.stdout.trim()), (0, "[]"), "{said:?}");
        for name in ["0198.json ", "0199.json.unreadable "] {
            let named = said.stderr.lines().filter(|line| line.contains(name));
            assert_eq!(named.filter(|line| line.contains("cannot be read")).count(), 1, "{said:?}");
        }
    }
}

/// Each verb whose output is data has it as JSON too, also where there is none.
#[test]
fn where_there_is_nothing_json_is_an_empty_list() {
    for verb in ["ports", "orphans"] {
        let args = [verb, "--format", "json", "--state-dir", "/nonexistent"];
        let output = Said::by(&mut cnm_cni(&args)).output();
        assert_eq!(serde_json::from_str::<Value>(&output).unwrap(), json!([]));
    }
}

/// A machine on which nobody answers and nothing is on record.
fn alone(args: &[&str], folder: &TempDir) -> Command {
    let mut command = cnm_cni(args);
    command.env("CNM_CNI_STATE_DIR", folder.path()).env("NETCONFPATH", folder.path());
    command.env("DOCKER_HOST", "unix:///nonexistent");
    command
}

#[test]
fn without_a_verb_it_tells_how_things_stand() {
    let folder = TempDir::new().unwrap();
    let status = Said::by(&mut alone(&["status"], &folder));
    assert!(status.stdout.starts_with("driver       does not answer\n"), "{status:?}");
    assert_eq!(status.status, 1, "{status:?}");
    let docker_cni = folder.path().join("docker-cni");
    std::os::unix::fs::symlink(program(), &docker_cni).unwrap();
    let ways: [(&Path, &[&str]); 5] = [
        (&program(), &[]),
        (&program(), &["--log-level", "debug"]),
        (&docker_cni, &["cni"]),
        (&docker_cni, &["--host", "unix:///nonexistent", "cni"]),
        (&docker_cni, &["cni", "--log-level=error"]),
    ];
    for (program, args) in ways {
        let mut command = Command::new(program);
        command.args(args).env_clear();
        command.env("CNM_CNI_STATE_DIR", folder.path()).env("NETCONFPATH", folder.path());
        let said = Said::by(command.env("DOCKER_HOST", "unix:///nonexistent"));
        assert_eq!((said.status, &said.stdout), (1, &status.stdout), "{args:?}: {said:?}");
    }
    let help = Said::by(&mut cnm_cni(&["--help"])).output();
    assert!(help.contains("Usage: cnm-cni [OPTIONS] [COMMAND]"), "{help}");
}

#[test]
fn every_verb_has_examples_and_tells_its_exit_status() {
    let help = Said::by(&mut cnm_cni(&["--help"])).output();
    let (_, verbs) = help.split_once("Commands:\n").unwrap();
    let verbs = verbs.lines().map_while(|line| line.split_whitespace().next());
    let verbs: Vec<&str> = verbs.filter(|verb| *verb != "help").collect();
    assert!(verbs.len() >= 15, "{verbs:?}");
    for verb in verbs {
        let help = Said::by(&mut cnm_cni(&[verb, "--help"])).output();
        for part in ["\nExamples:\n", "\nExit status: "] {
            assert!(help.contains(part), "{verb} --help has no {part:?}");
        }
    }
}

#[test]
fn a_word_that_means_nothing_is_told_as_it_was_understood() {
    let folder = TempDir::new().unwrap();
    for (args, told) in [
        (["show", ":0"], "\":0\" is no port: a port is written as :8080"),
        (["show", ":http"], "\":http\" is no port"),
        (["show", "8080"], "a port is written as :8080"),
        (["show", ""], "is called \"\", as far as is known without Docker's names"),
        (["show", "9.9.9.9"], "9.9.9.9 is no address of this driver's"),
        (["doctor", "9.9.9.9"], "9.9.9.9 is no address of this driver's"),
        (["doctor", ":9"], "publishes :9; 'ss "),
        (["doctor", "nobody"], "is called \"nobody\", as far as"),
        (["net", ""], "no network of this driver is called \"\""),
        (["pools", "x y"], "no conflist is called \"x y\""),
    ] {
        let said = Said::by(&mut alone(&args, &folder));
        assert!(said.stderr.contains(told), "{args:?}: {said:?}");
        assert_eq!((said.status, &*said.stdout), (1, ""), "{args:?}: {said:?}");
    }
    for args in [["ports", ":0"], ["ports", ""], ["show", "-x"], ["doctor", "-x"], ["net", "-x"]] {
        assert_eq!(Said::by(&mut alone(&args, &folder)).status, 2, "{args:?}");
    }
}

#[test]
fn a_terminal_of_no_width_is_none() {
    let folder = TempDir::new().unwrap();
    let list =
        |columns: &str| Said::by(alone(&["pools"], &folder).env("COLUMNS", columns)).output();
    assert_eq!(list("0"), list("80"));
    assert_ne!(list("0"), list("40"));
}
