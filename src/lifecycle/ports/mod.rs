//! Published ports: who holds which, and where they are published.

mod beside;
mod elsewhere;
mod hold;
pub(crate) mod publish;
mod table;

pub(crate) use publish::Publisher;
pub(crate) use table::Ports;
