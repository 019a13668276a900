//! `-w`: a list that is drawn again and again.

use std::io::IsTerminal as _;
use std::time::Duration;

use super::output::write;

/// Whether a list is drawn again and again.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Watch {
    /// Draw it again every two seconds, until Ctrl-C
    #[arg(long, short)]
    watch: bool,
}

impl Watch {
    /// Draws once, or until an error.
    pub(super) fn run(self, mut draw: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<()> {
        const PAUSE: Duration = Duration::from_secs(2);
        const CLEAR: &str = "\x1b[H\x1b[2J";
        if !self.watch {
            return draw();
        }
        loop {
            if std::io::stdout().is_terminal() {
                write(CLEAR)?;
            }
            draw()?;
            std::thread::sleep(PAUSE);
        }
    }
}
