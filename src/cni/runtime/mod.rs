//! The operations on a network: each a walk along its chain (SPEC.md section 3).
//!
//! ```text
//!   ADD     bridge ──result──▶ tuning ──result──▶ portmap ──result──▶ AttachResult
//!   DEL     bridge ◀── tuning ◀── portmap     every one with the final result of ADD
//!   CHECK   bridge ─▶ tuning ─▶ portmap       the same
//!   GC      every plugin, whatever the others say
//!   STATUS  every plugin, until one is not ready
//! ```
//!
//! It keeps nothing: what ADD gave is the caller's to store, and to hand in again. It runs
//! no two operations against each other's rules either: one at a time for a container, and
//! GC alone on its network, is the caller's to see to.

mod ipam;
mod some_plugins;
mod validate;

pub use validate::{Outlook, Unusable, ValidatedPlugin, Validation};

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use crate::cni::exec::call::Call;
use crate::cni::exec::output::read_result;
use crate::cni::exec::plugins::Plugins;
use crate::cni::exec::program::Program;
use crate::cni::exec::request::Request;
use crate::cni::exec::strays;
use crate::cni::{
    AttachResult, Attachment, Error, Failure, Limits, NetworkConfigList, Observer, PluginConfig,
    PluginError, ValidAttachment, Verb,
};
use crate::trust::Trust;

/// The CNI runtime. Clones share their limits.
#[derive(Debug, Clone)]
pub struct Runtime {
    pub(in crate::cni) plugins: Arc<Plugins>,
}

type Result<T> = std::result::Result<T, Error>;

impl Runtime {
    /// A runtime that looks for plugins in the folders of `cni_path`, in their order, and runs
    /// anybody's.
    #[must_use]
    pub fn new(cni_path: Vec<PathBuf>, limits: Limits) -> Self {
        Self::trusting(cni_path, limits, Trust::Anybody)
    }

    /// As [`Runtime::new`], and runs only what these could change.
    #[must_use]
    pub fn trusting(cni_path: Vec<PathBuf>, limits: Limits, trust: Trust) -> Self {
        Self::observed(cni_path, limits, trust, Vec::new())
    }

    /// As [`Runtime::trusting`], and tells these of each run of a plugin.
    #[must_use]
    pub fn observed(
        cni_path: Vec<PathBuf>,
        limits: Limits,
        trust: Trust,
        observers: Vec<Arc<dyn Observer>>,
    ) -> Self {
        Self { plugins: Arc::new(Plugins::new(cni_path, limits, trust, observers)) }
    }

    /// ADD: attaches a container, and gives the last plugin's result.
    ///
    /// After a failure nothing is undone. The caller follows with [`Runtime::del`] (see
    /// [`Error::needs_del`]), without a result, and with time of its own.
    ///
    /// # Errors
    ///
    /// The first plugin's that fails; or before any is run, that the attachment is not
    /// valid or a plugin is missing.
    pub async fn add(&self, list: &NetworkConfigList, to: &Attachment) -> Result<AttachResult> {
        self.add_step_by_step(list, to, |_, _| {}).await
    }

    /// The same; `see` gets what each plugin gives.
    ///
    /// # Errors
    ///
    /// Those of [`Runtime::add`].
    pub async fn add_step_by_step(
        &self,
        list: &NetworkConfigList,
        to: &Attachment,
        mut see: impl FnMut(&PluginConfig, &AttachResult),
    ) -> Result<AttachResult> {
        to.check_with_netns().map_err(|source| invalid(list, source))?;
        self.judge_folders()?;
        let chain = Chain { list, verb: Verb::Add, attachment: Some(to), valid: None };
        let mut programs = Vec::with_capacity(list.plugins().len());
        for step in chain.steps() {
            programs.push(self.find_for(step)?);
        }
        let mut result = None;
        let mut prev_result = None;
        for (step, program) in chain.steps().zip(programs) {
            let read = |stdout: Vec<u8>| read_result(&stdout, list.cni_version());
            let given = self.run_and_read(step, &program, prev_result.as_ref(), read).await?;
            // The forms without a place for "no address" are from before chains.
            prev_result = given.to_version(list.cni_version()).ok();
            see(step.plugin, &given);
            result = Some(given);
        }
        Ok(result.unwrap_or_default())
    }

    /// DEL: detaches a container, in reverse order. It succeeds again when repeated.
    ///
    /// `list` and `from` are the ones of the ADD, `result` is what it gave, if anything.
    ///
    /// # Errors
    ///
    /// The first plugin's that fails; the ones before it in the chain are not run.
    pub async fn del(
        &self,
        list: &NetworkConfigList,
        from: &Attachment,
        result: Option<&AttachResult>,
    ) -> Result<()> {
        from.check().map_err(|source| invalid(list, source))?;
        let version = list.cni_version();
        // Older plugins know of no result at DEL, and one without a form in their version is no reason
        // to leave an attachment behind.
        let result = result.filter(|_| version.has_check()).and_then(|result| {
            let problem = |problem: &_| tracing::warn!(%problem, "DEL goes without prevResult");
            result.to_version(version).inspect_err(problem).ok()
        });
        let chain = Chain { list, verb: Verb::Del, attachment: Some(from), valid: None };
        for step in chain.steps().rev() {
            let program = self.find_for(step)?;
            self.run(step, &program, result.as_ref()).await?;
        }
        Ok(())
    }

    /// DEL after an ADD that failed: as [`Runtime::del`] without a result, and each plugin is run
    /// whatever the others say. One that refuses for good what its ADD refused would keep the
    /// others from taking back what theirs made.
    ///
    /// # Errors
    ///
    /// Those of all plugins that fail.
    pub async fn undo(&self, list: &NetworkConfigList, from: &Attachment) -> Result<()> {
        from.check().map_err(|source| invalid(list, source))?;
        let chain = Chain { list, verb: Verb::Del, attachment: Some(from), valid: None };
        let mut errors = Vec::new();
        for step in chain.steps().rev() {
            errors.extend(self.run_alone(step).await.err());
        }
        together(errors)
    }

    /// CHECK: whether an attachment is as its ADD left it. On a network that disables CHECK
    /// it always is.
    ///
    /// `list` and `of` are the ones of the ADD, `result` is what it gave.
    ///
    /// # Errors
    ///
    /// The first plugin's that finds a difference; [`Error::NoCheck`] on a network of a
    /// version before 0.4.0.
    pub async fn check(
        &self,
        list: &NetworkConfigList,
        of: &Attachment,
        result: &AttachResult,
    ) -> Result<()> {
        if list.disables_check() {
            return Ok(());
        }
        let version = list.cni_version();
        if !version.has_check() {
            return Err(Error::NoCheck(version));
        }
        of.check_with_netns().map_err(|source| invalid(list, source))?;
        let result = prev_result(list, result)?;
        let chain = Chain { list, verb: Verb::Check, attachment: Some(of), valid: None };
        for step in chain.steps() {
            let program = self.find_for(step)?;
            self.run(step, &program, Some(&result)).await?;
        }
        Ok(())
    }

    /// GC: sends every plugin the list of what is still in use, so that it frees the rest. Nothing is
    /// done on a network that disables GC, or is of a version before 1.1.0.
    ///
    /// Never call it on a network that another runtime uses too: `valid` would not name
    /// that one's attachments.
    ///
    /// # Errors
    ///
    /// Those of all plugins that fail; every plugin is run.
    pub async fn gc(&self, list: &NetworkConfigList, valid: &[ValidAttachment]) -> Result<()> {
        if list.disables_gc() || !list.has_gc() {
            return Ok(());
        }
        let chain = Chain { list, verb: Verb::Gc, attachment: None, valid: Some(valid) };
        let mut errors = Vec::new();
        for step in chain.steps() {
            errors.extend(self.run_alone(step).await.err());
        }
        together(errors)
    }

    /// STATUS: whether the plugins could serve an ADD. Before version 1.1.0 no plugin is
    /// asked. It is a hint; ADD and DEL may be called whatever it says.
    ///
    /// # Errors
    ///
    /// The first plugin's that is not ready, with its code: 50 not available, 51 not
    /// available and existing containers may suffer.
    pub async fn status(&self, list: &NetworkConfigList) -> Result<()> {
        if !list.cni_version().has_gc_and_status() {
            return Ok(());
        }
        let chain = Chain { list, verb: Verb::Status, attachment: None, valid: None };
        for step in chain.steps() {
            let program = self.find_for(step)?;
            self.run(step, &program, None).await?;
        }
        Ok(())
    }

    /// Sees the end of whatever still runs for these containers, by their `CNI_CONTAINERID`: a runtime that
    /// was killed leaves its plugins running, and a DEL must not meet an ADD that is under way.
    /// For a runtime that has just started; it may not run plugins for them meanwhile.
    pub async fn end_strays(&self, containers: HashSet<String>) {
        strays::end(containers).await;
    }

    fn find_for(&self, step: Step<'_>) -> std::result::Result<Program, Box<PluginError>> {
        self.plugins.find_to_run(step.plugin, step.call(&[]))
    }

    /// One plugin, without a result.
    async fn run_alone(&self, step: Step<'_>) -> Result<()> {
        let program = self.find_for(step)?;
        self.run(step, &program, None).await?;
        Ok(())
    }

    /// One plugin, whose standard output does not count.
    async fn run(
        &self,
        step: Step<'_>,
        program: &Program,
        prev_result: Option<&Value>,
    ) -> std::result::Result<(), Box<PluginError>> {
        self.run_and_read(step, program, prev_result, |_| Ok(())).await
    }

    async fn run_and_read<T>(
        &self,
        step: Step<'_>,
        program: &Program,
        prev_result: Option<&Value>,
        read: impl Fn(Vec<u8>) -> std::result::Result<T, Failure>,
    ) -> std::result::Result<T, Box<PluginError>> {
        let Chain { list, attachment, valid, .. } = *step.chain;
        let request = Request {
            list,
            plugin: step.plugin,
            prev_result,
            attachment,
            valid_attachments: valid,
        };
        let stdin =
            serde_json::to_vec(&request).map_err(|error| step.failed(Failure::Request(error)))?;
        self.plugins.call(program, step.call(&stdin), read).await
    }
}

/// One operation on one network.
struct Chain<'a> {
    list: &'a NetworkConfigList,
    verb: Verb,
    attachment: Option<&'a Attachment>,
    valid: Option<&'a [ValidAttachment]>,
}

/// One plugin's part in it.
#[derive(Clone, Copy)]
struct Step<'a> {
    chain: &'a Chain<'a>,
    position: usize,
    plugin: &'a PluginConfig,
}

impl Chain<'_> {
    fn steps(&self) -> impl DoubleEndedIterator<Item = Step<'_>> {
        self.list.plugins().iter().enumerate().map(move |(position, plugin)| Step {
            chain: self,
            position,
            plugin,
        })
    }
}

impl<'a> Step<'a> {
    fn is_about(self, capability: &str) -> bool {
        self.position > 0 && self.plugin.capabilities().any(|name| name == capability)
    }

    fn call(self, stdin: &'a [u8]) -> Call<'a> {
        Call {
            verb: self.chain.verb,
            plugin: self.plugin.plugin_type(),
            position: self.position,
            network: Some(self.chain.list.name()),
            attachment: self.chain.attachment,
            stdin,
        }
    }

    fn failed(self, failure: Failure) -> Box<PluginError> {
        self.call(&[]).failed(failure, String::new())
    }
}

fn together(mut errors: Vec<Error>) -> Result<()> {
    match errors.pop() {
        None => Ok(()),
        Some(error) if errors.is_empty() => Err(error),
        Some(error) => {
            errors.push(error);
            Err(Error::Several(errors))
        }
    }
}

/// A result in the version that the list's plugins speak.
fn prev_result(list: &NetworkConfigList, result: &AttachResult) -> Result<Value> {
    result
        .to_version(list.cni_version())
        .map_err(|source| Error::PrevResult { network: list.name().to_owned(), source })
}

fn invalid(list: &NetworkConfigList, source: crate::cni::InvalidAttachment) -> Error {
    Error::Attachment { network: list.name().to_owned(), source }
}
