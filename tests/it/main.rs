//! What the crate does as a whole, seen from outside: one binary, one module a room.

mod server;
