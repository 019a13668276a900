//! The core: the life of a network and of an attachment, step by step.
//!
//! An **attachment** is one run of a chain's ADD. It is made when Docker creates an
//! endpoint, and it ends with DEL when Docker deletes the endpoint:
//!
//! ```text
//!   CreateEndpoint             Join     Docker has set up      DeleteEndpoint
//!        │                      │       the interface                │
//!   ┌────▼───┐  ADD ok   ┌──────▼─┐    ┌────────┐    ┌─────────┐    ┌──▼───────┐ DEL ok
//!   │ Adding ├──────────▶│ Staged ├───▶│ Joined ├───▶│ Settled ├───▶│ Deleting ├──────▶ gone
//!   └────┬───┘           └───▲────┘    └────────┘    └─────────┘    └──▲───────┘
//!        │  ADD ok,      ┌───┴────┐                                    │
//!        ├──────────────▶│ Spare  ├──── nobody needs it ───────────────┤
//!        │  ahead        └────────┘                                    │
//!        └──── a step fails, or a crash: undo ─────────────────────────┘
//! ```
//!
//! A spare is made before Docker asks, and CreateEndpoint claims it ([`spares`]).
//!
//! Two rules make it safe. Every intent is on disk first: the intent to create before ADD begins, the
//! result of ADD before Docker gets it, and the intent to delete before DEL begins. So after a crash the
//! next start runs DEL ([`garbage`]). And the place of the interface is observed, never remembered
//! ([`interface`]): Docker moves it, and containers are killed.
//!
//! | room | its part | may use |
//! |---|---|---|
//! | `open` | the records are read, and what was interrupted is taken up | everything |
//! | `calls` | one file for each of Docker's calls, and for the operator's | `garbage`, `driver`, and what that may use |
//! | `check` | the chain's CHECK in a live container, what it and the host have of what ADD left, and repair | `driver`, and what that may use |
//! | `inventory` | all that the driver has, reported to the operator | `driver`, and what that may use |
//! | `garbage` | what nobody will ask to be removed any more | `driver`, and what that may use |
//! | `driver` | the driver, and the parts that it is made of | `spares`, and what that may use; `driver_info`, `config` |
//! | `spares` | attachments that are made ahead of time | `attach`, `removal`, and what those may use |
//! | `attach` | making an attachment: the input of its chain, ADD, what ADD made | `lease`, `parts`, and what those may use |
//! | `removal` | DEL in the background, again and again; what an orphan keeps from others | `ports`, `lease`, and what those may use |
//! | `ports` | published ports: who holds which, and where they are published | `parts`, and what that may use |
//! | `parts` | the parts that the rooms above are made of | `interface`, `history`, and what those may use |
//! | `lease` | leases of `dhcp`, which follow the interface into the container | `interface`, and what that may use |
//! | `interface` | the place of an interface, what ADD left, and restoring that | `host`, and what that may use |
//! | `host` | the host's conflists and plugins, and its rules | `record`, `judgement`, and what those may use; `config` |
//! | `history` | each outcome, told to the log and the journal, and counted | `record`, and what that may use |
//! | `record` | what is known of networks and attachments, on disk and in memory | `background`, `blocking`, `host_folders`, and what those may use |
//! | `judgement` | which conflist a network runs, and whether it can be used here | `error`, and what that may use |
//! | `blocking`, `host_folders` | work that blocks; looking into folders | `error`, and what that may use |
//! | `error` | why a call failed, or a port cannot be published | nobody |
//! | `driver_info` | what is reported to the operator about the driver itself | `config` |
//! | `background`, `config` | tasks and their gate; what the operator decides | nobody |

mod attach;
mod background;
mod blocking;
mod calls;
mod check;
mod config;
mod driver;
mod driver_info;
mod error;
mod garbage;
mod history;
mod host;
mod host_folders;
mod interface;
pub mod inventory;
mod judgement;
mod lease;
mod open;
mod parts;
mod ports;
mod record;
mod removal;
mod spares;

pub use calls::explain::{Explanation, explain};
pub use check::{ChainCheck, Check, Fault};
pub use config::{Config, Maximum};
pub use driver::Driver;
pub use driver_info::DriverInfo;
pub use error::{Error, PortError, chain};
pub use garbage::collect::{Collection, Finding, Outcome};
pub use host::forward::exempts_by_default;
pub use judgement::{
    EMBEDDED_NAME, Judgement, Plan, Wishes, choose, embedded, isolated_subnets, judge,
    judge_conflist, listed, plan, routed,
};
pub use ports::publish::{PublishedPort, published};
pub use record::{PhaseName, reread_record};
pub use removal::{Orphan, Retried, orphans};
