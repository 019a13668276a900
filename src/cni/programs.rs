//! The plugins' executables: found by their type, and judged before they are run.

use std::io::Read as _;
use std::path::PathBuf;

use super::error::NoProgram;
use super::plugins::Plugins;
use super::{Error, NetworkConfigList, NotFound, PluginConfig, Runtime};
use crate::trust::{Judged, Trust, Untrusted};

/// A plugin's executable, as it was found and judged.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    judged: Judged,
    trust: Trust,
}

impl Program {
    /// The file to run: what was judged, whatever stands under its name by then. A script's
    /// interpreter is told its path, which nobody but root can have led elsewhere.
    pub(super) fn file(&self) -> PathBuf {
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

impl Plugins {
    /// The first file of this name that can be executed, in the order of the folders; not if others
    /// could change it.
    pub(super) fn find(&self, plugin: &str) -> Result<Program, NoProgram> {
        let mut unusable = Vec::new();
        for folder in &self.folders {
            let path = folder.join(plugin);
            // What is put there after this look is not run by it.
            if !path.exists() {
                continue;
            }
            match self.trust.judge(&path) {
                Ok(Some(judged)) if judged.is_program() => {
                    return Ok(Program { path, judged, trust: self.trust });
                }
                Ok(Some(_)) => unusable.push(path),
                Ok(None) | Err(Untrusted::Io { .. }) => {}
                Err(problem) => return Err(NoProgram::Untrusted(problem)),
            }
        }
        let searched = self.folders.clone();
        Err(NoProgram::NotFound(NotFound { plugin: plugin.to_owned(), searched, unusable }))
    }

    /// As [`Plugins::find`], of the plugin that `config` names. Those that it names for this plugin
    /// to run, as an IPAM plugin, are judged too where they are there.
    pub(super) fn find_for(&self, config: &PluginConfig) -> Result<Program, NoProgram> {
        let program = self.find(config.plugin_type())?;
        if self.trust == Trust::Root {
            for delegate in config.delegates() {
                if let Err(problem @ NoProgram::Untrusted(_)) = self.find(delegate) {
                    return Err(problem);
                }
            }
        }
        Ok(program)
    }

    /// Makes sure that others cannot put a plugin in any of the folders: plugins run others that
    /// they find there.
    pub(super) fn judge_folders(&self) -> Result<(), Untrusted> {
        self.folders.iter().try_for_each(|folder| self.trust.judge(folder).map(drop))
    }

    /// Folders, and files in them, that others could change.
    pub(super) fn untrusted(&self) -> Vec<Untrusted> {
        let files = self.folders.iter().flat_map(|folder| std::fs::read_dir(folder).ok());
        let files = files.flatten().flatten().map(|entry| entry.path());
        self.folders
            .iter()
            .cloned()
            .chain(files)
            .filter_map(|path| self.trust.judge(&path).err())
            .collect()
    }
}

impl Runtime {
    /// The executable of a plugin type. It is not run.
    ///
    /// # Errors
    ///
    /// There is none, and the error tells where it was looked for; or others could change it.
    pub fn find(&self, plugin_type: &str) -> Result<PathBuf, Error> {
        Ok(self.plugins.find(plugin_type)?.path)
    }

    /// Makes sure that every plugin of the chain is there, and every IPAM plugin that one runs, and
    /// that others could change none of them, nor put one in a folder where they are looked for.
    ///
    /// # Errors
    ///
    /// The first one that is amiss.
    pub fn find_all(&self, list: &NetworkConfigList) -> Result<(), Error> {
        self.judge_folders()?;
        for plugin in list.plugins() {
            self.plugins.find_for(plugin)?;
            if let Some(ipam) = plugin.ipam_type() {
                self.plugins.find(ipam)?;
            }
        }
        Ok(())
    }

    /// What others could change of the plugin folders and the files in them.
    #[must_use]
    pub fn untrusted(&self) -> Vec<Untrusted> {
        self.plugins.untrusted()
    }

    pub(super) fn judge_folders(&self) -> Result<(), Error> {
        Ok(self.plugins.judge_folders()?)
    }
}
