//! Many attachments in a test host, which no container of Docker has: they are made by the calls that Docker would
//! make. For the benches that need hundreds of them.

use std::ops::Range;
use std::path::PathBuf;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::call::call;
use crate::host::Host;

/// Their network. A bridge takes a thousand ports, and few more.
pub(crate) const CONFLIST: &str = r#"{"cniVersion": "1.0.0", "name": "others", "plugins": [
    {"type": "bridge", "bridge": "others0", "isGateway": true,
     "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.77.0.0/16"}]]}}]}"#;

/// How many are made at the same time.
const AT_ONCE: usize = 4;

/// Makes attachments on Docker's network `others`.
pub(crate) struct Others {
    socket: PathBuf,
    /// Docker's id of it.
    network: String,
}

impl Others {
    /// The driver of `host` runs, and has a conflist of that name.
    pub(crate) fn on(host: &Host) -> Self {
        let create = ["network", "create", "-d", "cni", "--ipam-driver", "null"];
        let options = ["-o", "conflist=others", "-o", "forward=always", "-o", "spares=0", "others"];
        let network = host.docker(&[&create[..], &options].concat());
        Self { socket: host.path("/run/docker/plugins/cni.sock"), network }
    }

    /// The namespace of a number's container.
    fn sandbox(number: usize) -> String {
        format!("/run/docker/netns/other{number}")
    }

    /// Makes those of these numbers, and has them join. Then `moved` has the number, and the answers to
    /// CreateEndpoint and Join.
    pub(crate) fn make(
        &self,
        numbers: Range<usize>,
        moved: impl Fn(usize, &Value, &Value) -> Result<()> + Sync,
    ) -> Result<()> {
        let make = &|number: usize| -> Result<()> {
            let mut ids = self.ids(number);
            ids["Interface"] = json!({});
            let made = self.call("CreateEndpoint", &ids)?;
            ids["SandboxKey"] = Self::sandbox(number).into();
            let joined = self.call("Join", &ids)?;
            moved(number, &made, &joined)
        };
        let begun = Instant::now();
        thread::scope(|scope| {
            let workers: Vec<_> = (0..AT_ONCE)
                .map(|worker| {
                    let mine = numbers.clone().skip(worker).step_by(AT_ONCE);
                    scope.spawn(move || mine.into_iter().try_for_each(make))
                })
                .collect();
            let panicked = |_| Err(anyhow::anyhow!("a worker panicked"));
            let made = workers.into_iter().map(|worker| worker.join().unwrap_or_else(panicked));
            made.collect::<Result<()>>()
        })
        .with_context(|| format!("after {:?}", begun.elapsed()))
    }

    /// The same, each in a namespace of its own, as the interface of a container that runs.
    pub(crate) fn make_in_namespaces(&self, host: &Host, numbers: Range<usize>) -> Result<()> {
        self.make(numbers, |number, made, joined| {
            enter(host, number, made, joined)?;
            self.settle(number)
        })
    }

    /// Tells the driver that a number's container has its interface.
    fn settle(&self, number: usize) -> Result<()> {
        self.call("ProgramExternalConnectivity", &self.ids(number)).map(drop)
    }

    fn ids(&self, number: usize) -> Value {
        let endpoint = format!("{number:064x}");
        json!({"NetworkID": self.network, "EndpointID": endpoint, "Options": {}})
    }

    fn call(&self, method: &str, request: &Value) -> Result<Value> {
        call(&self.socket, method, request)
    }
}

/// Does what Docker does after Join: the interface comes into a namespace of its own.
fn enter(host: &Host, number: usize, made: &Value, joined: &Value) -> Result<()> {
    let text =
        |value: &Value| value.as_str().map(str::to_owned).context("it is missing in an answer");
    let address = text(&made["Interface"]["Address"])?;
    let name = text(&joined["InterfaceName"]["SrcName"])?;
    let sandbox = Others::sandbox(number);
    let script = format!(
        "mkdir -p /run/docker/netns; touch {sandbox}; unshare --net={sandbox} true; \
         ip link set {name} netns {sandbox}; \
         nsenter --net={sandbox} ip -batch - <<END
link set {name} name eth0
addr add {address} dev eth0
link set eth0 up
END"
    );
    host.exec(&["sh", "-ec", &script]);
    Ok(())
}
