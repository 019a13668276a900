//! VERSION: what plugins support.

use cnm_cni::cni::{Limits, Runtime};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tempfile::TempDir;

use super::Bench;
use super::execution::write_executable;
use crate::alone::alone;

/// What a plugin is taken to support that answers VERSION with this shell script.
async fn answer(script: &str) -> Result<Vec<String>, String> {
    let dir = TempDir::new().unwrap();
    write_executable(&dir.path().join("script"), &format!("#!/bin/sh\n{script}\n"));
    let runtime = Runtime::new(vec![dir.path().to_owned()], Limits::default());
    runtime.version("script").await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn r29_a_plugin_reports_the_versions_that_it_supports() {
    let bench = Bench::with(&["a"]);
    let versions = bench.runtime().version("a").await.unwrap();
    assert_eq!(versions, ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]);
}

#[tokio::test]
async fn l34_the_probe_is_one_that_every_plugin_understands() {
    let probe = r#"test "$(cat)" = '{"cniVersion":"1.1.0"}' || exit 1
        test "$CNI_COMMAND $CNI_NETNS $CNI_IFNAME" = "VERSION dummy dummy" || exit 2
        test -n "$CNI_PATH" || exit 3
        echo '{"cniVersion":"1.1.0","supportedVersions":["1.0.0"]}'"#;
    assert_eq!(answer(probe).await.unwrap(), ["1.0.0"]);
}

#[tokio::test]
async fn l34_plugins_from_before_version_are_recognised() {
    let first = r#"echo '{"code":4,"msg":"unknown CNI_COMMAND: VERSION"}'; exit 1"#;
    assert_eq!(answer(first).await.unwrap(), ["0.1.0"]);
    let second = r#"echo '{"cniVersion":"0.2.0"}'"#;
    assert_eq!(answer(second).await.unwrap(), ["0.1.0", "0.2.0"]);
}

#[tokio::test]
async fn l34_any_other_answer_is_an_error() {
    let failed = |reason: &str| Err(format!("plugin type=\"script\" failed (version): {reason}"));
    assert_eq!(
        answer("echo '{}'").await,
        failed("decoding version info: missing field cniVersion")
    );
    assert_eq!(
        answer(r#"echo '{"cniVersion":"1.0.0"}'"#).await,
        failed("decoding version info: missing field supportedVersions")
    );
    assert_eq!(
        answer("echo x").await,
        failed(
            "decoding version info: it wrote \"x\" to standard output, which is no JSON: expected value at \
             line 1 column 1"
        )
    );
    assert_eq!(
        answer("echo []").await,
        failed("decoding version info: the answer: expected an object, found []")
    );
    assert_eq!(
        answer("true").await,
        failed("decoding version info: it wrote nothing to standard output")
    );
    assert_eq!(answer(r#"echo '{"code":4,"msg":"no"}'; exit 1"#).await, failed("no"));
    assert_eq!(
        answer("exit 3").await,
        failed("netplugin failed with no error message: exit status 3")
    );
    assert_eq!(
        answer("kill -9 $$").await,
        failed("netplugin failed with no error message: killed by signal 9")
    );
}

#[tokio::test]
async fn l23_the_first_folder_that_has_the_plugin_wins() {
    let (first, second) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let folders = vec!["/does/not/exist".into(), first.path().into(), second.path().into()];
    let runtime = Runtime::new(folders, Limits::default());
    assert!(runtime.find("x").unwrap_err().to_string().contains("/does/not/exist"));
    write_executable(&second.path().join("x"), "");
    assert_eq!(runtime.find("x").unwrap(), second.path().join("x"));
    std::fs::write(first.path().join("x"), "").unwrap();
    assert_eq!(runtime.find("x").unwrap(), second.path().join("x"), "not executable");
    std::fs::create_dir(first.path().join("y")).unwrap();
    assert!(runtime.find("y").is_err());
    write_executable(&first.path().join("x"), "");
    assert_eq!(runtime.find("x").unwrap(), first.path().join("x"));
}

#[test]
fn a_plugin_that_cannot_be_looked_at_is_not_said_to_be_missing() {
    alone(async {
        let folder = TempDir::new().unwrap();
        write_executable(&folder.path().join("x"), "");
        let runtime = Runtime::new(vec![folder.path().to_owned()], Limits::default());
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, 0, hard).unwrap();
        let found = runtime.find("x");
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        let error = found.unwrap_err().to_string();
        assert!(
            error.contains("cannot look at") && error.contains("Too many open files"),
            "{error}"
        );
        assert_eq!(runtime.find("x").unwrap(), folder.path().join("x"));
    });
}
