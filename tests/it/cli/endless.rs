//! What users, variables and configurations name may have no end: `/dev/zero`, a pipe that nobody writes to.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::json;

use super::{Desk, Said, program};

impl Desk {
    /// The program with these arguments and variables, with little time and memory.
    fn bounded(&self, args: &[&str], variables: &[(&str, &str)]) -> Said {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -v 4000000; exec timeout -s KILL 30 \"$@\"", "sh"]);
        command.arg(program()).args(args).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("NETCONFPATH", self.path("conf")).env("CNI_PATH", self.bench.bin());
        command.envs(variables.iter().copied());
        let output = command.output().unwrap();
        assert!(
            output.status.code().is_some_and(|it| it < 126),
            "{args:?} {variables:?}: {output:?}"
        );
        Said {
            status: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

#[test]
fn a_time_zone_without_an_end_is_utc_with_a_word() {
    let desk = Desk::with(&[]);
    let state = desk.path("state").display().to_string();
    let events = |variables: &[(&str, &str)]| {
        desk.bounded(&["events", "--state-dir", &state, "--since", "03:00"], variables)
    };
    for (variables, why) in [
        (&[("TZ", "/dev/zero")][..], "/dev/zero: it is not a regular file"),
        (&[("TZ", "zero"), ("TZDIR", "/dev")], "/dev/zero: it is not a regular file"),
        (&[("TZ", "nowhere"), ("TZDIR", "/dev")], "/dev/nowhere does not exist"),
        (&[("TZ", "/proc/kmsg")], "/proc/kmsg"),
        (&[("TZ", "/")], "Is a directory"),
    ] {
        let said = events(variables);
        assert_eq!(said.status, 0, "{said:?}");
        assert!(said.stderr.starts_with("note: times are in UTC: TZ="), "{said:?}");
        assert!(said.stderr.contains(why), "{said:?}");
    }
    for variables in [&[("TZ", "UTC")][..], &[("TZ", "JST-9")], &[("TZ", "")], &[("TZDIR", "/dev")]]
    {
        assert_eq!(events(variables).stderr, "", "{variables:?}");
    }
}

#[test]
fn no_file_that_somebody_names_keeps_a_command_from_its_end() {
    let desk = Desk::with(&["a", "flannel", "bridge", "host-local"]);
    let pipe = desk.path("pipe");
    mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    desk.network("net", "1.1.0", json!([{"type": "a"}]));
    symlink("/dev/zero", desk.path("conf/20-zero.conflist")).unwrap();
    mkfifo(&desk.path("conf/30-pipe.conflist"), Mode::S_IRWXU).unwrap();

    let said = desk.bounded(&["validate"], &[]);
    assert!(said.stdout.contains("net "), "{said:?}");
    assert!(said.stdout.contains("30-pipe.conflist: it is not a regular file"), "{said:?}");
    for file in ["/dev/zero", pipe.to_str().unwrap()] {
        let said = desk.bounded(&["validate", file], &[]);
        assert!(said.status == 1 && said.stdout.contains("not a regular file"), "{said:?}");
        desk.network("flannel", "1.0.0", json!([{"type": "flannel", "subnetFile": file}]));
        let said = desk.bounded(&["validate", "flannel"], &[]);
        assert!(said.stdout.contains(&format!("{file}: it is not a regular file")), "{said:?}");
        let error = desk.bounded(&["explain", "compose", file], &[]).error();
        assert!(error.contains(&format!("{file} is no regular file")), "{error}");
        // Folders that are none.
        assert!(desk.bounded(&["validate", "--conf-dir", file], &[]).status == 1);
        let said = desk.bounded(&["validate", "net", "--cni-path", file], &[]);
        assert!(said.status == 1 && said.stdout.contains("failed to find plugin"), "{said:?}");
        let error = desk.bounded(&["ls", "--state-dir", file], &[]).error();
        assert!(error.contains(file), "{error}");
        let host = format!("unix://{file}");
        let state = desk.path("state").display().to_string();
        desk.bounded(&["ls", "--state-dir", &state, "--docker", &host], &[]).output();
    }

    let docker = desk.path("docker");
    fs::create_dir(&docker).unwrap();
    symlink("/dev/zero", docker.join("config.json")).unwrap();
    let config = [("DOCKER_CONFIG", docker.to_str().unwrap())];
    let state = desk.path("state").display().to_string();
    let said = desk.bounded(&["ls", "--state-dir", &state], &config);
    assert!(said.stderr.contains("config.json: it is not a regular file"), "{said:?}");

    // The cache of cnitool.
    let results = desk.path("cache/results");
    fs::create_dir_all(&results).unwrap();
    mkfifo(&results.join("net-id-eth0"), Mode::S_IRWXU).unwrap();
    let cache = desk.path("cache").display().to_string();
    let check = ["cni", "check", "net", "/proc/self/ns/net", "--container-id", "id"];
    let error = desk.bounded(&[&check[..], &["--cache-dir", &cache]].concat(), &[]).error();
    assert!(error.contains("net-id-eth0: it is not a regular file"), "{error}");
    desk.bounded(&["cni", "gc", "net", "--cache-dir", &cache], &[]).output();
}
