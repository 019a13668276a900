//! cnm-cni: a Docker libnetwork remote driver that runs CNI plugin chains.
//!
//! Docker speaks CNM (network, endpoint, sandbox); the plugins speak CNI (network
//! configuration list, attachment). This crate translates between them, so that a
//! container on a Docker network gets what a pod gets from the same conflist.
//!
//! A *room* is a folder of `src/`, or a file there: it owns one thing, and the table below says
//! which other rooms it may use.
//!
//! ```text
//!   dockerd ──POST /NetworkDriver.*──▶ server     answers Docker: HTTP, JSON, {"Err"}
//!                                        │
//!                                        ▼
//!                                    lifecycle    the core: phases, undo, recovery
//!            ┌──────────┬──────────┬─────┴────┬──────────┐
//!            ▼          ▼          ▼          ▼          ▼
//!        translate     cni       netns     netlink     state
//!        CNM ⇄ CNI   the CNI   namespaces   links,     records
//!        (pure)      engine                addresses   on disk
//! ```
//!
//! # Which room may use which
//!
//! Calls go down only.
//!
//! | room | may use |
//! |---|---|
//! | `cli` (with `main`) | everything |
//! | `server` | `lifecycle`, `metrics`, `cnm`, `crash`, `flock`, `plain` |
//! | `lifecycle` | `metrics`, `translate`, `cni`, `netns`, `netlink`, `sysctl`, `state`, `journal`, `cnm`, `process`, `trust`, `flock`, `blocking`, `whole`, `crash` |
//! | `metrics` | `cni`, `translate` |
//! | `translate` | the types of `cnm` and `cni`, `nearest` |
//! | `netlink` | `netns`, `crash` |
//! | `sysctl` | `netns` |
//! | `follower` | `docker`, `journal`, `cnm` |
//! | `docker` | `http`, `cnm`, `whole` |
//! | `state` | `blocking`, `crash`, `durable`, `flock`, `trust`, `whole` |
//! | `journal` | `cnm`, `plain`, `trust` |
//! | `flock` | `trust` |
//! | `cni` | `process`, `durable`, `trust`, `whole`, `plain`, `nearest`, `crash` |
//! | `process` | `netns`, `trust`, `plain`, `crash` |
//! | `netns` | `mounts`, `crash` |
//! | `cnm` | `nearest` |
//! | `blocking`, `durable`, `http`, `mounts`, `nearest`, `trust`, `whole`, `plain`, `crash` (which is nothing in a release) | nobody |
//!
//! `tests/rooms` reads this table and those of `lifecycle` and `cni`, and fails on an arrow that points up, or on
//! files that use each other in a circle.

mod blocking;
pub mod cli;
pub mod cni;
pub mod cnm;
mod crash;
pub mod docker;
mod durable;
mod flock;
pub mod follower;
pub mod http;
pub mod journal;
pub mod lifecycle;
pub mod metrics;
mod mounts;
mod nearest;
pub mod netlink;
pub mod netns;
mod plain;
mod process;
pub mod server;
pub mod state;
pub mod sysctl;
pub mod translate;
mod trust;
mod whole;
