//! The ways of installation that build first, from an empty host where systemd runs to one
//! where nothing is left.
//!
//! `make test-install` runs them: they build the static binary, which takes minutes. Each build
//! here is one of what that target has built before, and finds nothing to do.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::host::{Host, Suite, answers};
use super::readme::{FOLDER, Steps};
use super::traffic::Traffic;

const PAGE: &str = "docs/install.md";

macro_rules! on_request_on_both_dockers {
    ($($case:ident,)+) => {
        mod docker_20_10 {
            $(
                #[test]
                #[ignore = "make test-install"]
                fn $case() { super::$case(crate::e2e::host::Suite::Bookworm); }
            )+
        }
        mod docker_28_5 {
            $(
                #[test]
                #[ignore = "make test-install"]
                fn $case() { super::$case(crate::e2e::host::Suite::Forky); }
            )+
        }
    };
}

on_request_on_both_dockers! {
    the_package_is_installed_upgraded_and_purged,
    make_install_and_uninstall,
}

fn the_package_is_installed_upgraded_and_purged(suite: Suite) {
    let host = empty_host(suite);
    let before = files(&host);
    Steps::read(PAGE, "build-deb").here(&[]);
    offer(&host, "cnm-cni_0.1.0_");
    Steps::read(PAGE, "install-deb").on(&host);
    let told = Steps::read(PAGE, "try-it").on(&host);
    assert!(told.contains("inet 10.233."), "{told}");
    documents_are_below(&host, "/usr", "zsh/vendor-completions");

    // The user's own, with settings, and published ports below 1024.
    let conflist = include_str!("../../../conflists/ptp.conflist");
    host.write("/etc/cni/net.d/10-mine.conflist", conflist);
    host.write("/etc/default/cnm-cni", "CNM_CNI_LOG_LEVEL=debug\n");
    host.exec(&["systemctl", "restart", "cnm-cni.service"]);
    host.create_network("mine", None);
    host.run("alice", "mine", &["-p", "80:80"]);
    answers("alice", || host.get_from_outside(80));
    assert!(tells_details(&host), "/etc/default/cnm-cni is not heeded");

    host.run("carol", "mine", &[]);
    let traffic = Traffic::between(&host, "alice", "carol");
    upgrade(&host);
    a_killed_driver_is_back_at_once(&host);
    traffic.assert_that_no_packet_was_lost();

    host.docker(&["rm", "-f", "carol"]);
    let said = Steps::read(PAGE, "remove-deb").on(&host);
    assert!(said.contains("1 attachments of containers are on record"), "{said}");
    answers("alice", || host.get_from_outside(80));
    assert!(host.path("/var/lib/cnm-cni/attachments").exists(), "the records were removed");
    Steps::read("README.md", "install-deb").on(&host);
    answers("alice", || host.get_from_outside(80));
    host.remove(&["alice"], &["mine", "web"]);
    assert!(host.get_from_outside(80).is_err());

    // A pin that a crash left with two mounts on it.
    host.exec(&["install", "-D", "/dev/null", "/run/cnm-cni/netns/left"]);
    for _ in 0..2 {
        host.exec(&["mount", "--bind", "/proc/self/ns/net", "/run/cnm-cni/netns/left"]);
    }
    Steps::read(PAGE, "purge-deb").on(&host);
    assert!(!host.path("/run/cnm-cni").exists(), "the pin is still there");
    assert_eq!(left(&host, &before), ["/etc/cni/net.d/10-mine.conflist"]);
}

/// Version 0.1.0+1, while containers run, and while another one is started.
fn upgrade(host: &Host) {
    Steps::read(PAGE, "build-deb").here(&[("VERSION", "0.1.0+1")]);
    offer(host, "cnm-cni_0.1.0+1_");
    let first = main_pid(host);
    let upgraded = AtomicBool::new(false);
    thread::scope(|scope| {
        // Docker's calls go on all the time: none fails.
        let calls = scope.spawn(|| {
            let mut count = 0;
            while !upgraded.load(Ordering::Relaxed) {
                host.run("bob", "mine", &[]);
                host.docker(&["rm", "-f", "bob"]);
                count += 1;
            }
            count
        });
        Steps::read(PAGE, "install-deb").on(host);
        upgraded.store(true, Ordering::Relaxed);
        assert!(calls.join().unwrap() > 0);
    });
    assert_ne!(main_pid(host), first, "the driver was not replaced");
    let version = host.exec(&["dpkg-query", "--show", "--showformat", "${Version}", "cnm-cni"]);
    assert_eq!(version, "0.1.0+1");
    let settings = fs::read_to_string(host.path("/etc/default/cnm-cni")).unwrap();
    assert_eq!(settings, "CNM_CNI_LOG_LEVEL=debug\n", "the user's settings were replaced");
}

fn a_killed_driver_is_back_at_once(host: &Host) {
    let pid = main_pid(host);
    host.exec(&["systemctl", "kill", "--signal=KILL", "cnm-cni.service"]);
    // The call waits in the socket.
    host.create_network("after", None);
    host.docker(&["network", "rm", "after"]);
    assert_ne!(main_pid(host), pid);
}

fn make_install_and_uninstall(suite: Suite) {
    let host = empty_host(suite);
    let before = files(&host);
    let root = host.path("/");
    // Root, as sudo makes one of a user, has no Rust.
    let root_has = [("DESTDIR", root.to_str().unwrap()), ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")];
    Steps::read(PAGE, "build-release").here(&[]);
    Steps::read(PAGE, "make-install").here(&root_has);
    Steps::read(PAGE, "start-units").on(&host);
    let told = Steps::read(PAGE, "try-it").on(&host);
    assert!(told.contains("inet 10.233."), "{told}");
    documents_are_below(&host, "/usr/local", "zsh/site-functions");

    // Once more, over what is there, as an upgrade.
    host.run("bob", "web", &[]);
    host.run("carol", "web", &[]);
    let traffic = Traffic::between(&host, "bob", "carol");
    let pid = main_pid(&host);
    host.write("/etc/default/cnm-cni", "CNM_CNI_LOG_LEVEL=debug\n");
    Steps::read(PAGE, "make-install").here(&root_has);
    Steps::read(PAGE, "restart-units").on(&host);
    assert_ne!(main_pid(&host), pid);
    host.run("alice", "web", &["-p", "8080:80"]);
    answers("alice", || host.get_from_outside(8080));
    assert!(tells_details(&host), "the settings were replaced");
    traffic.assert_that_no_packet_was_lost();
    host.remove(&["alice", "bob", "carol"], &["web"]);

    Steps::read(PAGE, "stop-units").on(&host);
    assert!(!host.path("/run/docker/plugins/cni.sock").exists());
    Steps::read(PAGE, "make-uninstall").here(&root_has);
    assert!(host.path("/etc/default/cnm-cni").exists(), "changed settings are the user's");
    Steps::read(PAGE, "forget").on(&host);
    // Folders may be others' too.
    let mut left = left(&host, &before);
    left.retain(|path| !(path.starts_with("/usr/local/") && host.path(path).is_dir()));
    assert_eq!(left, [""; 0]);
}

/// Runs with nothing around it: no C library, no loader, no `/etc`.
#[test]
#[ignore = "make test-install"]
fn the_static_binary_runs_in_an_empty_folder() {
    Steps::read(PAGE, "build-release").here(&[]);
    let binary = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/static/cnm-cni");
    let size = fs::metadata(&binary).unwrap().len();
    assert!(size < 12 << 20, "{size} bytes");
    eprintln!("{}: {size} bytes", binary.display());
    let folder = tempfile::tempdir().unwrap();
    fs::copy(&binary, folder.path().join("cnm-cni")).unwrap();
    let run = |args: &[&str]| {
        let output = Command::new("chroot").arg(folder.path()).arg("/cnm-cni").args(args).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(run(&["--version"]).trim(), concat!("cnm-cni ", env!("CARGO_PKG_VERSION")));
    run(&["documents", "/documents"]);
    assert!(folder.path().join("documents/cnm-cni-serve.1").exists());
}

/// A host without the driver, whose user says yes to apt, and has the image of the steps.
fn empty_host(suite: Suite) -> Host {
    let host = Host::up_with_systemd(suite);
    host.write("/etc/apt/apt.conf.d/90yes", r#"APT::Get::Assume-Yes "true";"#);
    // There is no question about the settings that the user has changed: they stay.
    host.write("/etc/dpkg/dpkg.cfg.d/90keep", "force-confold\n");
    host.docker(&["tag", "cnm-cni/busybox", "busybox"]);
    host
}

/// Puts the one package that was built and whose name begins so where the steps expect it.
fn offer(host: &Host, name: &str) {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/debian");
    let offered = host.path(&format!("{FOLDER}/target/debian"));
    let _ = fs::remove_dir_all(&offered);
    fs::create_dir_all(&offered).unwrap();
    let entries = fs::read_dir(&built).unwrap().map(|entry| entry.unwrap().file_name());
    let names: Vec<_> = entries.filter(|entry| entry.to_string_lossy().starts_with(name)).collect();
    assert_eq!(names.len(), 1, "{names:?} in {}", built.display());
    fs::copy(built.join(&names[0]), offered.join(&names[0])).unwrap();
}

/// Man pages and completions of all shells.
fn documents_are_below(host: &Host, prefix: &str, zsh: &str) {
    let share = format!("{prefix}/share");
    for (file, words) in [
        ("bash-completion/completions/cnm-cni".to_owned(), "_clap_complete_cnm_cni"),
        (format!("{zsh}/_cnm-cni"), "#compdef cnm-cni"),
        ("fish/vendor_completions.d/cnm-cni.fish".to_owned(), "--command cnm-cni"),
        ("man/man1/cnm-cni-serve.1*".to_owned(), "CNM_CNI_STATE_DIR"),
        ("doc/cnm-cni/examples/bridge.conflist".to_owned(), "portmap"),
    ] {
        let found = host.exec(&["sh", "-c", &format!("zcat -f {share}/{file}")]);
        assert!(found.contains(words), "{share}/{file}: {found}");
    }
    let load = format!(". {share}/bash-completion/completions/cnm-cni; complete -p cnm-cni");
    host.exec(&["bash", "-ec", &load]);
    assert!(host.docker(&["cni", "--help"]).contains("Usage: docker cni "));
}

fn main_pid(host: &Host) -> String {
    let show = ["systemctl", "show", "--property=MainPID", "--value", "cnm-cni.service"];
    let pid = host.exec(&show).trim().to_owned();
    assert_ne!(pid, "0", "the service does not run");
    pid
}

/// Whether the log has lines of the level `debug`, which systemd's journal calls informational.
fn tells_details(host: &Host) -> bool {
    // What the driver itself has sent there.
    let own = ["_SYSTEMD_UNIT=cnm-cni.service", "_TRANSPORT=journal"];
    let journal = ["journalctl", "--quiet", "--no-pager", "--priority=info..debug"];
    !host.exec(&[&journal[..], &own].concat()).is_empty()
}

/// The files that may belong to an installation, and to a driver that has run.
fn files(host: &Host) -> BTreeSet<String> {
    let of_others = [
        // The package manager's records, and logs.
        "/var/lib/dpkg",
        "/var/lib/apt",
        "/run/log",
        // Docker's and systemd's own.
        "/var/lib/docker",
        "/var/lib/containerd",
        "/run/docker",
        "/run/containerd",
        "/run/systemd",
        "/var/lib/systemd",
        // What CNI plugins keep.
        "/var/lib/cni",
        "/run/xtables.lock",
    ];
    let prune = of_others.map(|path| format!("-path {path} -prune -o")).join(" ");
    let find = format!("find /etc /opt /usr /var/lib /run {prune} -print");
    host.exec(&["sh", "-c", &find]).lines().map(str::to_owned).collect()
}

/// What is new since then, in order.
fn left(host: &Host, before: &BTreeSet<String>) -> Vec<String> {
    files(host).difference(before).cloned().collect()
}
