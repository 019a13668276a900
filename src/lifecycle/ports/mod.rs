//! Published ports: who holds which, and where they are published.

mod elsewhere;
mod hold;
pub(crate) mod publish;
mod table;

pub use hold::HostPort;
pub use table::PortError;

pub(crate) use hold::Hold;
pub(crate) use table::Ports;
