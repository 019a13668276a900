//! Crash points: the places at which a test ends this program as `kill -9` does.
//!
//! A place is marked with one line, which is nothing in a release build. In a debug build the
//! variable `CNM_CNI_CRASH_AT` says what becomes of it:
//!
//! | value | meaning |
//! |---|---|
//! | `list` | each point that is passed is written to standard error: `crash point: NAME/1` |
//! | `NAME/3` | the program ends when NAME is passed for the third time |

use std::fmt;

/// Passes the point of this name.
#[cfg(debug_assertions)]
pub(crate) fn point(name: fmt::Arguments<'_>) {
    chosen::pass(name);
}

/// Nothing.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn point(_: fmt::Arguments<'_>) {}

#[cfg(debug_assertions)]
mod chosen {
    use std::collections::HashMap;
    use std::fmt;
    use std::sync::{LazyLock, Mutex, PoisonError};

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    /// Where to end; none without the variable.
    static AT: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("CNM_CNI_CRASH_AT").ok());

    /// How often each point was passed.
    static PASSED: LazyLock<Mutex<HashMap<String, u32>>> = LazyLock::new(Mutex::default);

    pub(super) fn pass(name: fmt::Arguments<'_>) {
        let Some(at) = AT.as_deref() else { return };
        let name = name.to_string();
        let mut passed = PASSED.lock().unwrap_or_else(PoisonError::into_inner);
        let count = passed.entry(name.clone()).or_default();
        *count += 1;
        let point = format!("{name}/{count}");
        if at == "list" {
            #[expect(clippy::print_stderr, reason = "a test asks for it")]
            {
                eprintln!("crash point: {point}");
            }
        } else if at == point {
            // Nothing can be done about a failure, which a test would notice.
            let _ = kill(Pid::this(), Signal::SIGKILL);
        }
    }
}
