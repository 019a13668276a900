//! A plugin's executable, as it was found and judged.

use std::io::Read as _;
use std::path::PathBuf;

use crate::trust::{Judged, Trust};

/// A plugin's executable, as it was found and judged.
#[derive(Debug)]
pub(in crate::cni) struct Program {
    pub(in crate::cni) path: PathBuf,
    pub(in crate::cni) judged: Judged,
    pub(in crate::cni) trust: Trust,
}

impl Program {
    /// The file to run: what was judged, whatever stands under its name by then. A script's
    /// interpreter gets its path, which only root can have changed.
    pub(in crate::cni) fn file(&self) -> PathBuf {
        let mut magic = [0; 4];
        let mut is_elf = || {
            let read = self.judged.read().and_then(|mut file| file.read_exact(&mut magic));
            read.is_ok() && magic == *b"\x7fELF"
        };
        match self.trust {
            Trust::Root if is_elf() => self.judged.descriptor(),
            _ => self.path.clone(),
        }
    }
}
