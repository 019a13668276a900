//! Real pods: what a kubelet asks of containerd, over CRI, in a test host.
//!
//! The messages have those fields of CRI's `api.proto` (`runtime.v1`) that are used here. The
//! containerd is a second one, beside Docker's own, which has CRI turned off.

use std::collections::HashMap;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::UnixStream;
use tokio::runtime::Builder;

use super::host::{Host, IMAGE, within};

const SOCKET: &str = "/run/pods/containerd.sock";
const PAUSE: &str = "cnm-cni/pause";

/// The OOM killer's settings cannot be changed here, and the folders are on a file system on which
/// containerd can mount its overlay.
const CONFIG: &str = r#"
version = 2
root = "/run/pods/root"
state = "/run/pods/state"
[grpc]
address = "/run/pods/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
path = "/run/pods/opt"
[plugins."io.containerd.nri.v1.nri"]
disable = true
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "docker.io/cnm-cni/pause:latest"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "/etc/cni/net.d"
"#;

/// A kubelet's side of the host's containerd.
pub(super) struct Kubelet<'h> {
    host: &'h Host,
}

/// A pod's sandbox, in which a web server answers with [`Pod::PAGE`].
#[derive(Debug)]
pub(super) struct Pod {
    id: String,
    /// CRI's status of it, as JSON.
    info: serde_json::Value,
    /// Its first address.
    pub(super) address: String,
}

impl Pod {
    pub(super) const PAGE: &'static str = "pause";

    /// The path of its network namespace.
    pub(super) fn netns(&self) -> &str {
        let namespaces = self.info["runtimeSpec"]["linux"]["namespaces"].as_array().unwrap();
        let network = namespaces.iter().find(|namespace| namespace["type"] == "network");
        network.unwrap()["path"].as_str().unwrap()
    }
}

impl<'h> Kubelet<'h> {
    /// Starts a containerd for pods, and gives it an image for their sandboxes.
    pub(super) fn start(host: &'h Host) -> Self {
        host.write("/etc/pods.toml", CONFIG);
        host.start("containerd-of-pods", &["containerd", "--config", "/etc/pods.toml"]);
        host.write("/run/pods/index.html", Pod::PAGE);
        host.docker(&["create", "--name", "pause", IMAGE]);
        host.docker(&["cp", "/run/pods/index.html", "pause:/www/index.html"]);
        let command = r#"CMD ["/bin/httpd", "-f", "-h", "/www"]"#;
        host.docker(&["commit", "--change", command, "pause", PAUSE]);
        host.docker(&["rm", "pause"]);
        host.docker(&["save", "--output", "/run/pods/pause.tar", PAUSE]);
        host.docker(&["rmi", PAUSE]);
        let ctr = ["ctr", "--address", SOCKET, "--namespace", "k8s.io"];
        let import = [&ctr[..], &["images", "import", "/run/pods/pause.tar"]].concat();
        let imported = || host.try_exec(&import).is_ok();
        assert!(within(Duration::from_secs(20), imported), "{}", host.log("containerd-of-pods"));
        host.exec(&["rm", "/run/pods/pause.tar"]);
        Self { host }
    }

    /// Waits until containerd has read a conflist, by what is written in it: it takes the first in
    /// the folder, and follows its changes.
    pub(super) fn knows(&self, conflist: &str) {
        let knows = || {
            let status: Status = self.call("Status", &StatusRequest { verbose: true });
            let config = status.info.get("cniconfig").map(|config| {
                serde_json::from_str::<serde_json::Value>(config).unwrap_or_default()
            });
            let networks = config.and_then(|config| config["Networks"].as_array().cloned());
            let sources =
                networks.into_iter().flatten().map(|network| network["Config"]["Source"].clone());
            sources.into_iter().any(|source| source == conflist)
        };
        assert!(within(Duration::from_secs(10), knows), "{}", self.host.log("containerd-of-pods"));
    }

    /// Starts a pod, with its port 80 published at a port of the host.
    pub(super) fn run(&self, name: &str, host_port: Option<u16>) -> Pod {
        let request = RunPodSandboxRequest {
            config: Some(PodSandboxConfig {
                metadata: Some(PodSandboxMetadata {
                    name: name.to_owned(),
                    uid: format!("uid-of-{name}"),
                    namespace: "default".to_owned(),
                    attempt: 0,
                }),
                hostname: name.to_owned(),
                log_directory: String::new(),
                port_mappings: Vec::from_iter(host_port.map(|host_port| PortMapping {
                    protocol: 0,
                    container_port: 80,
                    host_port: host_port.into(),
                })),
                linux: Some(LinuxPodSandboxConfig { cgroup_parent: self.host.group() }),
            }),
        };
        let SandboxId { id } = self.call("RunPodSandbox", &request);
        let status: PodSandboxStatus = self
            .call("PodSandboxStatus", &PodSandboxStatusRequest { id: id.clone(), verbose: true });
        let info = serde_json::from_str(&status.info["info"]).unwrap();
        let network = status.status.and_then(|sandbox| sandbox.network).unwrap();
        Pod { id, info, address: network.ip }
    }

    /// Ends a pod, and removes it.
    pub(super) fn remove(&self, pod: Pod) {
        let Nothing {} = self.call("StopPodSandbox", &SandboxId { id: pod.id.clone() });
        let Nothing {} = self.call("RemovePodSandbox", &SandboxId { id: pod.id });
    }

    /// One call of CRI's, which must succeed.
    fn call<Answer: Message + Default>(&self, method: &str, request: &impl Message) -> Answer {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(self.exchange(method, &request.encode_to_vec()))
    }

    /// gRPC: a message each way, behind a byte (not compressed) and its length, and the outcome in
    /// the trailers, or in the head where there is no message.
    async fn exchange<Answer: Message + Default>(&self, method: &str, request: &[u8]) -> Answer {
        let stream = UnixStream::connect(self.host.path(SOCKET)).await.unwrap();
        let (mut sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut frame = vec![0];
        frame.extend(u32::try_from(request.len()).unwrap().to_be_bytes());
        frame.extend(request);
        let request =
            Request::post(format!("http://containerd/runtime.v1.RuntimeService/{method}"))
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .body(Full::<Bytes>::from(frame))
                .unwrap();
        let answer = sender.send_request(request).await.unwrap();
        let mut outcome = answer.headers().clone();
        let body = answer.into_body().collect().await.unwrap();
        outcome.extend(body.trailers().cloned().unwrap_or_default());
        assert_eq!(outcome["grpc-status"], "0", "{method}: {:?}", outcome.get("grpc-message"));
        Answer::decode(body.to_bytes().slice(5..)).unwrap()
    }
}

#[derive(Clone, PartialEq, Message)]
struct Nothing {}

#[derive(Clone, PartialEq, Message)]
struct StatusRequest {
    #[prost(bool, tag = "1")]
    verbose: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(map = "string, string", tag = "2")]
    info: HashMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct RunPodSandboxRequest {
    #[prost(message, optional, tag = "1")]
    config: Option<PodSandboxConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct PodSandboxConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<PodSandboxMetadata>,
    #[prost(string, tag = "2")]
    hostname: String,
    #[prost(string, tag = "3")]
    log_directory: String,
    #[prost(message, repeated, tag = "5")]
    port_mappings: Vec<PortMapping>,
    #[prost(message, optional, tag = "8")]
    linux: Option<LinuxPodSandboxConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct PodSandboxMetadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    namespace: String,
    #[prost(uint32, tag = "4")]
    attempt: u32,
}

#[derive(Clone, PartialEq, Message)]
struct PortMapping {
    /// TCP is 0.
    #[prost(int32, tag = "1")]
    protocol: i32,
    #[prost(int32, tag = "2")]
    container_port: i32,
    #[prost(int32, tag = "3")]
    host_port: i32,
}

#[derive(Clone, PartialEq, Message)]
struct LinuxPodSandboxConfig {
    #[prost(string, tag = "1")]
    cgroup_parent: String,
}

/// The answer to `RunPodSandbox`, and what the calls about a sandbox begin with.
#[derive(Clone, PartialEq, Message)]
struct SandboxId {
    #[prost(string, tag = "1")]
    id: String,
}

#[derive(Clone, PartialEq, Message)]
struct PodSandboxStatusRequest {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(bool, tag = "2")]
    verbose: bool,
}

#[derive(Clone, PartialEq, Message)]
struct PodSandboxStatus {
    #[prost(message, optional, tag = "1")]
    status: Option<Sandbox>,
    #[prost(map = "string, string", tag = "2")]
    info: HashMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct Sandbox {
    #[prost(message, optional, tag = "5")]
    network: Option<SandboxNetwork>,
}

#[derive(Clone, PartialEq, Message)]
struct SandboxNetwork {
    #[prost(string, tag = "1")]
    ip: String,
}
