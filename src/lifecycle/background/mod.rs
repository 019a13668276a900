//! Work that Docker does not wait for: its tasks, and the gate that each passes.

mod gate;
mod tasks;

pub(crate) use gate::Gate;
pub(crate) use tasks::Background;
