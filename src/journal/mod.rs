//! The history: what became of networks and attachments, a line of JSON for each event.
//!
//! ```text
//!   lifecycle ──tell──▶ log line            a queue with an end     a thread of its own
//!                  └──────────────▶ [event, event, …] ──────▶ <state-dir>/journal/00000007.jsonl
//!   follower ──names──▶ the same
//! ```
//!
//! Nobody waits for the journal. If its file is slow, the queue fills up, and what does not fit is counted and
//! told later. A file that is large enough is followed by the next one, and the oldest is removed. Nothing is
//! synced: after a loss of power the last lines may be missing, or the last one may be damaged. A line that
//! cannot be read is skipped.
//!
//! | file | has |
//! |---|---|
//! | `event` | an event, and its line in the log |
//! | `named` | Docker's names of a container and a network |
//! | `names` | the names that are known now, and whose names are missing |
//! | `writer` | the queue, and the thread that empties it |
//! | `files` | the files: appending, rotation |
//! | `reader` | reading them, also while they are written |

mod event;
mod files;
mod named;
mod names;
mod reader;
mod writer;

pub use event::{Event, Kind, PluginRun, Port};
pub use files::folder;
pub use named::Named;
pub use names::{Names, Refusal};
pub use reader::{Batch, Reader};
pub use writer::Journal;

/// The folder of the journal, in the state folder.
const FOLDER: &str = "journal";
