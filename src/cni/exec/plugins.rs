//! The plugins of this machine: found by their type, run with a verb, their answer read.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Semaphore;

use super::call::Call;
use super::error::{NoProgram, code};
use super::log::Log;
use super::observer::{Observer, Observers};
use super::program::Program;
use super::secrets::Secrets;
use crate::cni::{Failure, Limits, NotFound, PluginConfig, PluginError, Verb};
use crate::crash;
use crate::process::{Cut, DEFAULT_PATH, Process, Run};
use crate::trust::{Trust, Untrusted};

/// Where plugins are, and what every execution has in common.
pub(in crate::cni) struct Plugins {
    folders: Vec<PathBuf>,
    trust: Trust,
    limits: Limits,
    turns: Semaphore,
    observers: Observers,
    /// What plugins inherit; see [`inherited`].
    env: Vec<(OsString, OsString)>,
    /// `CNI_PATH`.
    cni_path: OsString,
}

impl Plugins {
    /// The log is told of each run, and then `observers` are.
    pub(in crate::cni) fn new(
        folders: Vec<PathBuf>,
        limits: Limits,
        trust: Trust,
        observers: Vec<Arc<dyn Observer>>,
    ) -> Self {
        let env = inherited(std::env::vars_os());
        let cni_path =
            folders.iter().map(|folder| folder.as_os_str()).collect::<Vec<_>>().join(":".as_ref());
        let turns = Semaphore::new(limits.parallel.clamp(1, Semaphore::MAX_PERMITS));
        let log: Arc<dyn Observer> = Arc::new(Log { alone: observers.is_empty() });
        let observers = Observers::new([log].into_iter().chain(observers).collect());
        Self { folders, trust, limits, turns, observers, env, cni_path }
    }

    /// The first file of this name that can be executed, in the order of the folders; not if others
    /// could change it.
    pub(in crate::cni) fn find(&self, plugin: &str) -> Result<Program, NoProgram> {
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
                Ok(None) => {}
                // Also if it cannot be looked at, as without descriptors: that is not "not there".
                Err(problem) => return Err(NoProgram::Untrusted(problem)),
            }
        }
        let searched = self.folders.clone();
        Err(NoProgram::NotFound(NotFound { plugin: plugin.to_owned(), searched, unusable }))
    }

    /// As [`Plugins::find`], of the plugin that `config` names. Those that it names for this plugin
    /// to run, as an IPAM plugin, are judged too where they are there.
    pub(in crate::cni) fn find_for(&self, config: &PluginConfig) -> Result<Program, NoProgram> {
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
    pub(in crate::cni) fn judge_folders(&self) -> Result<(), Untrusted> {
        self.folders.iter().try_for_each(|folder| self.trust.judge(folder).map(drop))
    }

    /// Folders, and files in them, that others could change.
    pub(in crate::cni) fn untrusted(&self) -> Vec<Untrusted> {
        let files = self.folders.iter().flat_map(|folder| std::fs::read_dir(folder).ok());
        let files = files.flatten().flatten().map(|entry| entry.path());
        self.folders
            .iter()
            .cloned()
            .chain(files)
            .filter_map(|path| self.trust.judge(&path).err())
            .collect()
    }

    /// As [`Plugins::find_for`], to run it for `call`. Observers are told if that cannot be.
    pub(in crate::cni) fn find_to_run(
        &self,
        config: &PluginConfig,
        call: Call<'_>,
    ) -> Result<Program, Box<PluginError>> {
        self.find_for(config).map_err(|problem| {
            let failure = problem.into();
            self.observers.not_run(call, &failure);
            call.failed(failure, String::new())
        })
    }

    /// Runs a plugin, and again as long as it asks for that; gives what `read` reads on its standard output.
    pub(in crate::cni) async fn call<T>(
        &self,
        program: &Program,
        call: Call<'_>,
        read: impl Fn(Vec<u8>) -> Result<T, Failure>,
    ) -> Result<T, Box<PluginError>> {
        let mut pause = self.limits.backoff;
        for _ in 1..self.limits.tries {
            match self.call_once(program, call, &read).await {
                Err(error) if error.code() == Some(code::TRY_AGAIN) => {
                    if call.verb == Verb::Add && !self.undo(program, call).await {
                        return Err(error);
                    }
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                ended => return ended,
            }
        }
        self.call_once(program, call, &read).await
    }

    /// Between two ADDs of one attachment there has to be a DEL.
    async fn undo(&self, program: &Program, call: Call<'_>) -> bool {
        self.call_once(program, Call { verb: Verb::Del, ..call }, &|_| Ok(())).await.is_ok()
    }

    async fn call_once<T>(
        &self,
        program: &Program,
        call: Call<'_>,
        read: &impl Fn(Vec<u8>) -> Result<T, Failure>,
    ) -> Result<T, Box<PluginError>> {
        let process = Process {
            program: &program.path,
            file: &program.file(),
            arguments: &[],
            env: &self.environment(call),
            stdin: call.stdin,
            deadline: self.limits.deadline(call.verb),
            max_stdout: self.limits.output,
            netns: None,
        };
        // The semaphore is never closed, so a turn always comes.
        let _turn = self.turns.acquire().await.ok();
        let observed = self.observers.start(call);
        let begun = Instant::now();
        crash::point(format_args!("{} {}: start", call.verb, call.plugin));
        let Run { outcome, stdout, stderr } = observed.watch(self.limits.slow, process.run()).await;
        let took = begun.elapsed();
        crash::point(format_args!("{} {}: ended", call.verb, call.plugin));
        let secrets = Secrets::of(call.attachment);
        let stderr = secrets.hidden_in(String::from_utf8_lossy(&stderr).trim_end().to_owned());
        let ended = match outcome {
            Ok(status) if status.success() => read(stdout),
            Ok(status) => Err(Failure::read(status, &stdout, &stderr)),
            Err(Cut::Unstarted(source)) => {
                Err(Failure::Unstarted { program: program.path.clone(), source })
            }
            Err(Cut::Pipe(source)) => Err(Failure::Pipe(source)),
            Err(Cut::TooMuchOutput) => Err(Failure::TooMuchOutput { limit: process.max_stdout }),
            Err(Cut::Deadline) => Err(Failure::Deadline { after: process.deadline }),
        };
        let ended = ended.map_err(|failure| secrets.hidden_in_failure(failure));
        observed.ended(took, ended.as_ref().err(), &stderr);
        ended.map_err(|failure| call.failed(failure, stderr))
    }

    /// The whole environment of an execution. All six variables of the protocol are always
    /// there, since some plugins ask for more of them than they need.
    fn environment(&self, call: Call<'_>) -> Vec<(OsString, OsString)> {
        // Plugins from before VERSION refuse to start without these two.
        let placeholder = if call.verb == Verb::Version { "dummy" } else { "" };
        let (id, netns, if_name, args) = match call.attachment {
            Some(of) => (
                of.container_id.as_str(),
                of.netns.as_deref().map_or(OsStr::new(""), Path::as_os_str),
                of.if_name.as_str(),
                of.cni_args(),
            ),
            None => ("", OsStr::new(placeholder), placeholder, String::new()),
        };
        let mut env = self.env.clone();
        env.extend([
            ("CNI_COMMAND".into(), call.verb.as_str().into()),
            ("CNI_CONTAINERID".into(), id.into()),
            ("CNI_NETNS".into(), netns.into()),
            ("CNI_IFNAME".into(), if_name.into()),
            ("CNI_ARGS".into(), args.into()),
            ("CNI_PATH".into(), self.cni_path.clone()),
        ]);
        env
    }
}

// Without the environment, which may hold secrets.
impl fmt::Debug for Plugins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugins")
            .field("folders", &self.folders)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// What plugins inherit of the variables of this process: all, as with libcni, but for
/// those that are addressed to this process alone. A stray `CNI_NETNS_OVERRIDE` would switch
/// off a check in the plugins; the others belong to the driver, to its C library and to systemd.
///
/// There is always a `PATH`: plugins call `ip`, `iptables` and others by name.
fn inherited(all: impl Iterator<Item = (OsString, OsString)>) -> Vec<(OsString, OsString)> {
    const OWN: [&str; 6] =
        ["CNI_", "CNM_CNI_", "GLIBC_TUNABLES", "LISTEN_", "NOTIFY_SOCKET", "WATCHDOG_"];
    let is_own = |key: &OsStr| {
        let key = key.as_encoded_bytes();
        OWN.iter().any(|own| key.starts_with(own.as_bytes()))
    };
    let mut env: Vec<_> = all.filter(|(key, _)| !is_own(key)).collect();
    if !env.iter().any(|(key, _)| key == "PATH") {
        env.push(("PATH".into(), DEFAULT_PATH.into()));
    }
    env
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(variables: &[&str]) -> Vec<String> {
        let pairs = variables.iter().map(|key| (OsString::from(key), OsString::from("x")));
        inherited(pairs)
            .into_iter()
            .map(|(key, value)| format!("{}={}", key.display(), value.display()))
            .collect()
    }

    #[test]
    fn l20_l33_plugins_inherit_all_but_what_is_addressed_to_the_driver() {
        let variables = [
            "PATH",
            "HOME",
            "HTTPS_PROXY",
            "TRACEPARENT",
            "CNI_NETNS_OVERRIDE",
            "CNI_ARGS",
            "CNM_CNI_SOCKET",
            "GLIBC_TUNABLES",
            "LISTEN_FDS",
            "NOTIFY_SOCKET",
            "WATCHDOG_USEC",
            "XCNI_X",
        ];
        assert_eq!(
            kept(&variables),
            ["PATH=x", "HOME=x", "HTTPS_PROXY=x", "TRACEPARENT=x", "XCNI_X=x"]
        );
    }

    #[test]
    fn l20_there_is_always_a_path() {
        assert!(kept(&["HOME"])[1].starts_with("PATH=/usr/local/sbin:"));
    }
}
