//! A test host: a simulated machine, with its own Docker and the driver in it.
//!
//! Everything uses `tests/testbed/host`, the script that people use too.

use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{self, Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testbed/host");
const BINARY: &str = env!("CARGO_BIN_EXE_cnm-cni");
pub(super) const IMAGE: &str = "cnm-cni/busybox";
const SOCKET: &str = "/run/docker/plugins/cni.sock";

/// The Debian of a host, which decides its Docker and its plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Suite {
    /// Docker 20.10.24, CNI plugins 1.1.1.
    Bookworm,
    /// Docker 26.1.5, CNI plugins 1.1.1, docker compose.
    Trixie,
    /// Docker 28.5.2, CNI plugins 1.9.1.
    Forky,
    /// As [`Suite::Bookworm`], and podman 4.3.1.
    Podman,
}

/// A host; gone when it is dropped.
#[derive(Debug)]
pub(super) struct Host {
    name: String,
    /// The path of its file tree from here.
    root: PathBuf,
}

impl Host {
    /// Starts a host with dockerd, the driver's binary, and the image of a web server whose
    /// page is the container's host name.
    pub(super) fn up(suite: Suite) -> Self {
        let host = Self::made(suite, None);
        host.install_binary();
        host
    }

    /// Copies the driver's binary into the host.
    pub(super) fn install_binary(&self) {
        fs::copy(BINARY, self.path("/usr/local/bin/cnm-cni")).unwrap();
    }

    /// Starts a host where systemd runs, with dockerd as its service, and the same image. The
    /// driver is not there.
    pub(super) fn up_with_systemd(suite: Suite) -> Self {
        Self::made(suite, Some("systemd"))
    }

    fn made(suite: Suite, manager: Option<&str>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let suite = match suite {
            Suite::Bookworm => "bookworm",
            Suite::Trixie => "trixie",
            Suite::Forky => "forky",
            Suite::Podman => "podman",
        };
        success(script(&[&["up", &name, suite], manager.as_slice()].concat()));
        let root = success(script(&["root", &name])).trim().into();
        Self { name, root }
    }

    /// A path of the host, from here.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Writes a file, and makes the folders above it.
    pub(super) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Writes a program.
    pub(super) fn write_program(&self, path: &str, text: &str) {
        self.write(path, text);
        fs::set_permissions(self.path(path), Permissions::from_mode(0o755)).unwrap();
    }

    /// The cgroup that goes with the host: for the containers of every runtime.
    pub(super) fn group(&self) -> String {
        format!("/cnm-cni-testbed-{}", self.name)
    }

    /// Its address, on the veth pair between it and the machine.
    pub(super) fn address(&self) -> String {
        success(script(&["address", &self.name])).trim().to_owned()
    }

    /// The machine's address at the other end of that veth pair.
    pub(super) fn machine(&self) -> String {
        let neighbour = self.address();
        let (network, _host) = neighbour.rsplit_once('.').unwrap();
        format!("{network}.1")
    }

    /// Lays a cable to another host: they reach each other's address.
    #[track_caller]
    pub(super) fn cable_to(&self, other: &Self) {
        success(script(&["cable", &self.name, &other.name]));
    }

    /// Runs a command in the host, a minute at most. Returns its output if it succeeds, or its error
    /// message.
    pub(super) fn try_exec(&self, command: &[&str]) -> Result<String, String> {
        outcome(script(&[&["exec", &self.name, "timeout", "60"], command].concat()))
    }

    /// Runs a command that must succeed.
    #[track_caller]
    pub(super) fn exec(&self, command: &[&str]) -> String {
        self.try_exec(command).unwrap_or_else(|error| panic!("{}: {error}", command.join(" ")))
    }

    /// Runs `docker`, which must succeed.
    #[track_caller]
    pub(super) fn docker(&self, args: &[&str]) -> String {
        self.exec(&[&["docker"], args].concat()).trim().to_owned()
    }

    /// Runs `docker`, which must fail, and returns what it says.
    #[track_caller]
    pub(super) fn docker_refuses(&self, args: &[&str]) -> String {
        match self.try_exec(&[&["docker"], args].concat()) {
            Ok(output) => panic!("docker {} succeeded: {output}", args.join(" ")),
            Err(error) => error,
        }
    }

    /// Makes a network of the driver, with its addresses from CNI; `None` is no `-o conflist`.
    #[track_caller]
    pub(super) fn create_network(&self, name: &str, conflist: Option<&str>) {
        let option = conflist.map(|conflist| format!("conflist={conflist}"));
        self.create_network_with(name, option.as_slice()).unwrap();
    }

    /// The same with these options of `-o`; an error is returned.
    pub(super) fn create_network_with(
        &self,
        name: &str,
        options: &[String],
    ) -> Result<String, String> {
        let options = options.iter().flat_map(|option| ["-o", option]).collect::<Vec<_>>();
        let create = ["docker", "network", "create", "-d", "cni", "--ipam-driver", "null"];
        self.try_exec(&[&create[..], &options, &[name]].concat())
    }

    /// The attachments that `cnm-cni ls` shows with these flags.
    #[track_caller]
    pub(super) fn attachments(&self, flags: &[&str]) -> Vec<Value> {
        let ls = ["cnm-cni", "ls", "--format", "json"];
        serde_json::from_str(&self.exec(&[&ls[..], flags].concat())).unwrap()
    }

    /// Waits until there are so many spares, and returns them.
    #[track_caller]
    pub(super) fn spares(&self, count: usize) -> Vec<Value> {
        let ready = || {
            let mut spares = self.attachments(&["--spares"]);
            // The last one may still be in the making.
            spares.retain(|spare| spare["state"] == "spare");
            spares
        };
        assert!(within(Duration::from_secs(30), || ready().len() == count), "{:?}", ready());
        ready()
    }

    /// Starts a container with the web server on a network.
    #[track_caller]
    pub(super) fn run(&self, name: &str, network: &str, options: &[&str]) {
        self.docker(&run(name, network, options));
    }

    /// Starts a container, which must fail, and returns what Docker says. What Docker keeps
    /// of it is removed.
    #[track_caller]
    pub(super) fn run_refuses(&self, name: &str, network: &str, options: &[&str]) -> String {
        let error = self.docker_refuses(&run(name, network, options));
        self.docker(&["rm", "-f", name]);
        error
    }

    /// Removes containers by force, then networks.
    #[track_caller]
    pub(super) fn remove(&self, containers: &[&str], networks: &[&str]) {
        self.docker(&[&["rm", "-f"], containers].concat());
        self.docker(&[&["network", "rm"], networks].concat());
    }

    /// What Docker shows about a container's endpoint in a network.
    #[track_caller]
    pub(super) fn endpoint(&self, container: &str, network: &str) -> Value {
        let inspected = self.ask_docker(&format!("/containers/{container}/json"));
        inspected["NetworkSettings"]["Networks"][network].clone()
    }

    /// What dockerd answers to a GET of its API. Its own command line takes twenty times as long to start.
    #[track_caller]
    pub(super) fn ask_docker(&self, path: &str) -> Value {
        let stream = UnixStream::connect(self.path("/run/docker.sock")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        serde_json::from_str(&http_get(stream, path).unwrap()).unwrap()
    }

    /// Sends one ping from a container.
    pub(super) fn ping(&self, from: &str, to: &str) -> Result<String, String> {
        self.try_exec(&["docker", "exec", from, "ping", "-c", "1", "-W", "3", to])
    }

    /// The page at a URL, requested by the host itself.
    pub(super) fn get(&self, url: &str) -> Result<String, String> {
        self.try_exec(&["curl", "--silent", "--show-error", "--max-time", "3", url])
    }

    /// The page at a URL, requested by a container.
    pub(super) fn get_in(&self, container: &str, url: &str) -> Result<String, String> {
        // busybox's own `wget -T` crashes where it is linked statically.
        let get = ["timeout", "3", "wget", "-q", "-O", "-", url];
        self.try_exec(&[&["docker", "exec", container], &get[..]].concat())
    }

    /// The page at a port of the host's address, requested from outside.
    pub(super) fn get_from_outside(&self, port: u16) -> Result<String, String> {
        let limit = Duration::from_secs(3);
        let address = SocketAddr::new(self.address().parse().unwrap(), port);
        let page = TcpStream::connect_timeout(&address, limit).and_then(|stream| {
            stream.set_read_timeout(Some(limit))?;
            http_get(stream, "/")
        });
        page.map_err(|error| error.to_string())
    }

    /// Starts a daemon; its output goes to the log of this name.
    #[track_caller]
    pub(super) fn start(&self, log: &str, command: &[&str]) {
        success(script(&[&["start", &self.name, log], command].concat()));
    }

    /// Starts the driver, and waits until it answers.
    #[track_caller]
    pub(super) fn start_driver(&self) {
        self.start_driver_on(SOCKET);
    }

    /// The same, without spares.
    #[track_caller]
    pub(super) fn start_driver_without_spares(&self) {
        self.start_driver_with(SOCKET, &["--spares=0"]);
    }

    /// The same with spares, whatever [`spares`] says: networks have as many as their option says.
    #[track_caller]
    pub(super) fn start_driver_with_spares(&self) {
        self.start_driver_with(SOCKET, &["--spares=auto"]);
    }

    /// The same for one attachment at a time: a network has no spare while a container has what was one.
    #[track_caller]
    pub(super) fn start_driver_for_one_attachment(&self) {
        self.start_driver_with(SOCKET, &["--spares=auto", "--max-attachments=1"]);
    }

    /// Starts the driver on a socket, and waits until it answers.
    #[track_caller]
    pub(super) fn start_driver_on(&self, socket: &str) {
        self.start_driver_with(socket, &[]);
    }

    #[track_caller]
    fn start_driver_with(&self, socket: &str, flags: &[&str]) {
        let driver = [&["cnm-cni", "serve", "--socket", socket], flags].concat();
        match spares() {
            Some(variable) => {
                self.start("cnm-cni", &[&["env", &variable], &driver[..]].concat());
            }
            None => self.start("cnm-cni", &driver),
        }
        let answers = || UnixStream::connect(self.path(socket)).is_ok();
        assert!(within(Duration::from_secs(10), answers), "the driver does not answer on {socket}");
    }

    /// Starts the driver, which shall die at this crash point, or list the points.
    #[track_caller]
    pub(super) fn begin_driver(&self, crash_at: &str) {
        let variable = format!("CNM_CNI_CRASH_AT={crash_at}");
        let start = ["start", &self.name, "cnm-cni", "env", &variable];
        success(script(&[&start[..], &["cnm-cni", "serve"]].concat()));
        let answers = || UnixStream::connect(self.path(SOCKET)).is_ok();
        assert!(
            within(Duration::from_secs(10), || answers() || !self.driver_runs()),
            "the driver does not answer on {SOCKET}"
        );
    }

    /// Whether the driver has been started, and has not ended.
    pub(super) fn driver_runs(&self) -> bool {
        let pid = fs::read_to_string(self.path("/run/testbed/cnm-cni.pid")).unwrap_or_default();
        let status = self.path(&format!("/proc/{}/stat", pid.trim()));
        // A dead child waits for its parent as a zombie.
        fs::read_to_string(status).is_ok_and(|status| !status.contains(") Z "))
    }

    /// The log of a daemon of the host so far.
    pub(super) fn log(&self, label: &str) -> String {
        success(script(&["logs", &self.name, label]))
    }

    /// Starts dockerd again, with more flags, and waits until it answers.
    #[track_caller]
    pub(super) fn start_dockerd(&self, flags: &[&str]) {
        let group = self.group();
        let dockerd = ["dockerd", "--log-level", "warn", "--cgroup-parent", &group];
        self.start("dockerd", &[&dockerd, flags].concat());
        let answers = || self.try_exec(&["docker", "version"]).is_ok();
        assert!(within(Duration::from_secs(60), answers), "dockerd does not answer");
    }

    /// Ends dockerd with a signal, and waits until it has ended.
    #[track_caller]
    pub(super) fn stop_dockerd(&self, signal: &str) {
        success(script(&["stop", &self.name, "dockerd", signal]));
    }

    /// Ends a daemon that [`Host::start`] has started, and waits until it has ended.
    #[track_caller]
    pub(super) fn stop(&self, label: &str, signal: &str) {
        success(script(&["stop", &self.name, label, signal]));
    }

    /// What the driver has logged.
    pub(super) fn driver_log(&self) -> String {
        success(script(&["logs", &self.name, "cnm-cni"]))
    }

    /// Ends the driver with a signal, and waits until it has ended.
    #[track_caller]
    pub(super) fn stop_driver(&self, signal: &str) {
        success(script(&["stop", &self.name, "cnm-cni", signal]));
    }
}

/// How many spares the drivers of all hosts are to have, as a variable of theirs: `CNM_CNI_SPARES=0 make e2e`.
fn spares() -> Option<String> {
    std::env::var("CNM_CNI_SPARES").ok().map(|spares| format!("CNM_CNI_SPARES={spares}"))
}

impl Drop for Host {
    fn drop(&mut self) {
        if thread::panicking() {
            let logs = script(&["logs", &self.name]);
            eprintln!("{}", String::from_utf8_lossy(&logs.stdout));
        }
        let down = script(&["down", &self.name]);
        if !down.status.success() {
            eprintln!("{}", String::from_utf8_lossy(&down.stderr));
        }
    }
}

fn run<'w>(name: &'w str, network: &'w str, options: &[&'w str]) -> Vec<&'w str> {
    let run = ["run", "-d", "--pull", "never", "--name", name, "--hostname", name];
    [&run[..], &["--network", network], options, &[IMAGE]].concat()
}

fn http_get(mut stream: impl Read + Write, path: &str) -> io::Result<String> {
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let answer = io::read_to_string(stream)?;
    let (_head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    Ok(body.to_owned())
}

/// The files of Debian 11: CNI plugins 0.9.0, which include `flannel`, and etcd.
#[track_caller]
pub(super) fn bullseye() -> PathBuf {
    success(script(&["files", "bullseye"])).trim().into()
}

/// Fails unless the web server of this container answers; it may just be starting.
#[track_caller]
pub(super) fn answers(container: &str, get: impl Fn() -> Result<String, String>) {
    let answers = || get().is_ok_and(|page| page.trim() == container);
    assert!(within(Duration::from_secs(5), answers), "instead of {container}: {:?}", get());
}

/// Polls a condition until it is true; returns whether it became true in time.
pub(super) fn within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn script(args: &[&str]) -> Output {
    Command::new(SCRIPT).args(args).output().unwrap()
}

#[track_caller]
fn success(output: Output) -> String {
    outcome(output).unwrap_or_else(|error| panic!("{SCRIPT}: {error}"))
}

/// The output of a command; if it failed, an error that also has its error output.
pub(super) fn outcome(output: Output) -> Result<String, String> {
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    match output.status.success() {
        true => Ok(stdout),
        false => Err(format!("{stdout}{}", String::from_utf8_lossy(&output.stderr))),
    }
}
