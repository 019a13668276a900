//! The kernel's network configuration: typed verbs on links, addresses, routes, rules
//! and neighbours.
//!
//! A [`Netlink`] is a handle on one network namespace. It is opened inside that namespace and
//! used from anywhere: what a socket sees was settled when it was opened. Opening asks the
//! kernel nothing; every verb is one request, and lists are filtered by the kernel.
//!
//! The verbs have no policy: what to add or to remove, and what belongs to whom, is decided by the
//! callers. They go over rtnetlink, on a runtime of their own
//! (`session.rs` says why). A whole verb is one task there: it costs one change of threads, and
//! a verb that has started is finished, even if the caller stops waiting for it.
//!
//! Every verb fails with [`Error::Request`]; what is worth telling apart, it says.
//!
//! [`Link`], [`Address`], [`Route`], [`Rule`] and [`Neighbour`] hold all that is needed to make
//! the same thing again, and can be written to disk. Numbers are the kernel's own (linux/if_addr.h,
//! linux/rtnetlink.h), because CNI results carry them so.

mod address;
mod announce;
mod bridge;
pub mod conntrack;
mod error;
mod events;
mod link;
mod mac;
mod neighbour;
mod nfnetlink;
mod nftables;
mod route;
mod rule;
mod session;
mod snapshot;
mod socket;

pub use address::{Address, Lifetime};
pub use announce::announce;
pub use bridge::{BridgeSettings, filters_vlans};
pub use error::{Error, Failure};
pub use events::Events;
pub use link::Link;
pub use mac::{InvalidMac, Mac};
pub use neighbour::Neighbour;
pub use nftables::{NftTable, nft_tables};
pub use route::{Attribute, MAIN_TABLE, NextHop, Route};
pub use rule::{Family, Rule, RuleDetail};
pub use snapshot::Snapshot;

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use rtnetlink::Handle;
use rtnetlink::packet_route::AddressFamily;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::netns;
use session::{Session, runtime};

fn family_of(ip: IpAddr) -> AddressFamily {
    if ip.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

/// A handle on the network configuration of one namespace.
///
/// Cheap to clone; clones share one connection, and their requests wait for each other. It is
/// closed with the last clone, and keeps its namespace alive until then.
#[derive(Debug, Clone)]
pub struct Netlink {
    session: Arc<Mutex<Session>>,
    place: Arc<str>,
}

impl Netlink {
    /// Opens a handle on this process's own namespace; else fails with [`Error::Io`].
    pub fn own() -> Result<Self, Error> {
        Self::new(HOST, Session::open())
    }

    /// Opens a handle on the namespace at `path`. Fails with [`Error::Namespace`] if there is none,
    /// or it cannot be entered; with [`Error::Io`].
    pub async fn in_netns(path: &Path) -> Result<Self, Error> {
        let session = netns::run_in(path, Session::open).await?;
        Self::new(&path.display().to_string(), session)
    }

    fn new(place: &str, session: io::Result<Session>) -> Result<Self, Error> {
        let session = Arc::new(Mutex::new(session.map_err(unopened(place))?));
        Ok(Self { session, place: place.into() })
    }

    /// Has rtnetlink do one of its own requests.
    async fn request<R>(
        &self,
        operation: &'static str,
        object: String,
        request: impl FnOnce(&Handle) -> R + Send + 'static,
    ) -> Result<(), Error>
    where
        R: Future<Output = Result<(), rtnetlink::Error>> + Send,
    {
        let work = |mut turn: Turn| async move { turn.execute(request).await };
        self.run(operation, object, work).await
    }

    /// Has the connection to itself for as long as `work` runs.
    async fn run<T, W>(
        &self,
        operation: &'static str,
        object: String,
        work: impl FnOnce(Turn) -> W + Send + 'static,
    ) -> Result<T, Error>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, Failure>> + Send,
    {
        let done = async {
            let runtime = runtime()?;
            // A verb that waits for its turn has no thread yet.
            let turn = Arc::clone(&self.session).lock_owned().await;
            let verb = async move { work(turn).await };
            let task = runtime.spawn_blocking(move || runtime.block_on(verb));
            match task.await {
                Ok(outcome) => outcome,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => Err(Failure::Stopped),
            }
        };
        done.await.map_err(|source| Error::Request {
            operation,
            object,
            place: self.place.to_string(),
            source,
        })
    }
}

/// What this process's own namespace is called.
const HOST: &str = "the host's namespace";

/// An [`Error::Io`], for `map_err`.
fn unopened(place: &str) -> impl FnOnce(io::Error) -> Error {
    let (operation, place) = ("open a netlink socket".to_owned(), place.to_owned());
    move |source| Error::Io { operation, place, source }
}

/// The connection, while others wait for it.
type Turn = OwnedMutexGuard<Session>;

/// Turns the failure to find something that was to go into success.
fn or_absent<T: Default>(result: Result<T, Error>) -> Result<T, Error> {
    match result {
        Err(error) if error.is_not_found() => Ok(T::default()),
        other => other,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::process::Command;

    use super::*;
    use crate::netns::tests::{Pinned, eventually};
    use crate::sysctl;

    /// What iproute2 says inside the namespace: a second opinion on what the verbs did.
    pub(super) fn ip(namespace: &Path, arguments: &str) -> String {
        let output = Command::new("nsenter")
            .arg(format!("--net={}", namespace.display()))
            .arg("ip")
            .args(arguments.split(' '))
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        assert!(output.status.success(), "ip {arguments}: {}", text(output.stderr));
        text(output.stdout)
    }

    /// A namespace with a veth pair in it, up; the handle on it, and the index of `one`. The
    /// kernel gives them no addresses by itself, which would come and go at any time.
    pub(crate) async fn with_veth() -> (Pinned, Netlink, u32) {
        let pinned = Pinned::new().await;
        let netlink = Netlink::in_netns(&pinned.path).await.unwrap();
        let none = ("ipv6/conf/default/addr_gen_mode".into(), "1".into());
        let values = sysctl::Sysctls::from([none]);
        sysctl::write(&pinned.path, &sysctl::Scope::Namespace, &values).await.unwrap();
        netlink.add_veth("one", "two").await.unwrap();
        for name in ["one", "two"] {
            let index = netlink.link(name).await.unwrap().unwrap().index;
            netlink.set_up(index).await.unwrap();
        }
        let index = netlink.link("one").await.unwrap().unwrap().index;
        (pinned, netlink, index)
    }

    /// Waits until the kernel has made its own routes for the IPv6 addresses of a link, which
    /// it does some time after it has acknowledged them.
    pub(super) async fn reachable(netlink: &Netlink, index: u32) {
        eventually("every IPv6 address has a route in the local table", async || {
            let routes = netlink.routes(index).await.unwrap();
            let addresses = netlink.addresses(index).await.unwrap();
            addresses.iter().filter(|address| address.net.addr().is_ipv6()).all(|address| {
                let ip = address.net.addr();
                routes.iter().any(|route| route.table == 255 && route.destination.addr() == ip)
            })
        })
        .await;
    }

    #[tokio::test]
    async fn a_handle_keeps_its_namespace_alive_and_lets_it_go() {
        let pinned = Pinned::new().await;
        let inside = Netlink::in_netns(&pinned.path).await.unwrap();
        let other = Pinned::new().await;
        let outside = Netlink::in_netns(&other.path).await.unwrap();
        outside.add_veth("here", "there").await.unwrap();
        let there = outside.link("there").await.unwrap().unwrap().index;
        outside.move_to(there, netns::open(&pinned.path).unwrap()).await.unwrap();

        pinned.remove().await;
        assert!(inside.link("there").await.unwrap().is_some());
        let clone = inside.clone();
        drop(inside);
        assert!(clone.link("there").await.unwrap().is_some());
        drop(clone);
        eventually("the peer went with the namespace", async || {
            outside.link("here").await.unwrap().is_none()
        })
        .await;
    }

    #[tokio::test]
    async fn work_in_one_namespace_does_not_wait_for_work_in_another() {
        let places = [Pinned::new().await, Pinned::new().await];
        // As in a move, the thread is the kernel's until both are at it.
        let both = Arc::new(std::sync::Barrier::new(2));
        let mut tasks = tokio::task::JoinSet::new();
        for place in &places {
            let netlink = Netlink::in_netns(&place.path).await.unwrap();
            let both = Arc::clone(&both);
            tasks.spawn(async move {
                let meet = move |_: Turn| async move { Ok(both.wait()) };
                netlink.run("meet", "the other".into(), meet).await.unwrap();
            });
        }
        let met = tokio::time::timeout(std::time::Duration::from_secs(10), tasks.join_all());
        met.await.expect("the second waits for the first");
    }
}
