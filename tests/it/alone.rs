//! A machine of its own for a test: network and mount namespaces that end with it.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use cnm_cni::cni::Limits;
use cnm_cni::cnm::SpareCount;
use cnm_cni::lifecycle::{Config, Maximum};

/// Set in the copy of the test that runs inside.
const INSIDE: &str = "CNM_CNI_TEST_INSIDE";

/// Runs `body` in fresh network and mount namespaces, with an empty `/run` and an empty `/var/lib`,
/// where CNI's programs keep their files. Whatever it leaves there goes with it.
///
/// `body` is an `async` block of the test itself. The test is started once more, below unshare(1):
/// a namespace that only some threads of a process are in would be another one than
/// `/proc/self/ns/net` says.
pub(crate) fn alone<Body: Future<Output = ()>>(body: Body) {
    // As `it::room::test::{{closure}}`.
    let test = std::any::type_name::<Body>();
    let test = test.split_once("::").map_or(test, |(_, path)| path);
    let test = test.split("::{{").next().unwrap_or(test);
    if std::env::var_os(INSIDE).is_some() {
        sh("mount -t sysfs sysfs /sys; mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /var/lib");
        sh("ip link set lo up");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        return runtime.unwrap().block_on(body);
    }
    let outcome = Command::new("unshare")
        .args(["--net", "--mount", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "--include-ignored", test])
        .env(INSIDE, "yes")
        .output()
        .expect("unshare, of util-linux");
    let told = format!(
        "{}{}",
        String::from_utf8_lossy(&outcome.stdout),
        String::from_utf8_lossy(&outcome.stderr)
    );
    assert!(outcome.status.success(), "(needs root)\n{told}");
    assert!(told.contains("1 passed"), "no test is called {test}:\n{told}");
    // Shown with --nocapture.
    print!("{told}");
}

/// Runs a line of shell, and returns what it printed.
pub(crate) fn sh(line: &str) -> String {
    let outcome = Command::new("sh").args(["-ec", line]).output().unwrap();
    let stderr = String::from_utf8_lossy(&outcome.stderr);
    assert!(outcome.status.success(), "{line}: {stderr}");
    String::from_utf8(outcome.stdout).unwrap()
}

/// A driver's folders below `folder`: `conf`, `state`, `run`; plugins from the examples.
pub(crate) fn config(folder: &Path) -> Config {
    Config {
        conf_dir: folder.join("conf"),
        cni_path: vec![examples()],
        state_dir: folder.join("state"),
        run_dir: folder.join("run"),
        limits: Limits::default(),
        // So that a test sees at once what DEL has left.
        sync_delete: true,
        // Cargo's folders are whoever's builds.
        allow_writable: true,
        add_within: Duration::from_secs(60),
        maximum: Maximum::default(),
        forward_mark: 0x1000,
        collect_every: None,
        metrics: Arc::default(),
        observers: Vec::new(),
        spares: SpareCount::Number(0),
    }
}

/// Where cargo puts the examples, of which one is the scripted plugin.
fn examples() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    test.ancestors().nth(2).expect("target/PROFILE/deps/TEST").join("examples")
}
