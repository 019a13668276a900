//! What a user sees while something takes long: one line on the terminal's standard error, which is gone when
//! the work is done. Where standard error is no terminal, nothing is written.

use std::io::{IsTerminal as _, stderr};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{JoinHandle, spawn};
use std::time::{Duration, Instant};

use super::output::complain;
use crate::plain;

/// What takes less is not told.
const BEGIN: Duration = Duration::from_secs(1);

/// How often the line is drawn.
const STEP: Duration = Duration::from_millis(250);

/// To the beginning of the line, and all of it away.
const ERASE: &str = "\r\x1b[K";

/// Work that may take long; the line is erased when this is dropped.
#[derive(Debug)]
pub(super) struct Progress {
    /// None where nothing is drawn.
    drawer: Option<(Sender<String>, JoinHandle<()>)>,
}

impl Progress {
    /// Begins; `what` is done, in a word or two.
    pub(super) fn of(what: &str) -> Self {
        let drawer = stderr().is_terminal().then(|| {
            let (sender, receiver) = channel::<String>();
            let mut what = what.to_owned();
            let thread = spawn(move || {
                let begun = Instant::now();
                let mut is_drawn = false;
                let mut pause = BEGIN;
                loop {
                    match receiver.recv_timeout(pause) {
                        Ok(next) => what = next,
                        Err(RecvTimeoutError::Timeout) => {}
                        Err(RecvTimeoutError::Disconnected) => break,
                    }
                    let past = begun.elapsed();
                    // A word that comes early does not begin the line.
                    pause = BEGIN.checked_sub(past).unwrap_or(STEP);
                    if past >= BEGIN {
                        is_drawn = true;
                        let text = format!("{what} … {} s", past.as_secs());
                        complain(&format!("{ERASE}{}", plain::line(&text)));
                    }
                }
                if is_drawn {
                    complain(ERASE);
                }
            });
            (sender, thread)
        });
        Self { drawer }
    }

    /// Tells what is done now.
    pub(super) fn tell(&self, what: &str) {
        if let Some((sender, _)) = &self.drawer {
            // The thread ends with this alone.
            let _ = sender.send(what.to_owned());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((sender, thread)) = self.drawer.take() {
            drop(sender);
            let _ = thread.join();
        }
    }
}
