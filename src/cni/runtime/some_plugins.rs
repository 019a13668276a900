//! Some plugins of a chain alone, for an attachment that is there already.

use super::{Chain, Result, Runtime, Step, invalid, prev_result};
use crate::cni::{AttachResult, Attachment, NetworkConfigList, Verb};

impl Runtime {
    /// ADD of those plugins alone that declare `capability`, on top of the `result` of an
    /// attachment that is there already: it gets what this capability is about later on. The
    /// result stays what it was. The first plugin of a chain is never run so: it would make
    /// the attachment once more.
    ///
    /// # Errors
    ///
    /// The first plugin's that fails; [`Runtime::del_capability`] takes the others back.
    pub async fn add_capability(
        &self,
        list: &NetworkConfigList,
        to: &Attachment,
        capability: &str,
        result: &AttachResult,
    ) -> Result<()> {
        self.add_some(list, to, result, |step| step.is_about(capability)).await
    }

    /// ADD of the plugins of one type alone, as [`Runtime::add_capability`]: they make again what was
    /// taken from an attachment.
    ///
    /// # Errors
    ///
    /// The first plugin's that fails.
    pub async fn add_type(
        &self,
        list: &NetworkConfigList,
        to: &Attachment,
        plugin_type: &str,
        result: &AttachResult,
    ) -> Result<()> {
        let is_wanted =
            |step: &Step<'_>| step.position > 0 && step.plugin.plugin_type() == plugin_type;
        self.add_some(list, to, result, is_wanted).await
    }

    /// ADD of some plugins alone, on top of a result.
    async fn add_some(
        &self,
        list: &NetworkConfigList,
        to: &Attachment,
        result: &AttachResult,
        is_wanted: impl Fn(&Step<'_>) -> bool,
    ) -> Result<()> {
        to.check_with_netns().map_err(|source| invalid(list, source))?;
        let result = prev_result(list, result)?;
        let chain = Chain { list, verb: Verb::Add, attachment: Some(to), valid: None };
        for step in chain.steps().filter(is_wanted) {
            let program = self.find_for(step)?;
            self.run(step, &program, Some(&result)).await?;
        }
        Ok(())
    }

    /// DEL of those plugins alone that declare `capability`: what they did is taken back, and
    /// the rest of the attachment stays.
    ///
    /// # Errors
    ///
    /// The first plugin's that fails; the ones before it in the chain are not run.
    pub async fn del_capability(
        &self,
        list: &NetworkConfigList,
        from: &Attachment,
        capability: &str,
        result: &AttachResult,
    ) -> Result<()> {
        from.check().map_err(|source| invalid(list, source))?;
        let result = prev_result(list, result)?;
        let chain = Chain { list, verb: Verb::Del, attachment: Some(from), valid: None };
        for step in chain.steps().rev().filter(|step| step.is_about(capability)) {
            let program = self.find_for(step)?;
            self.run(step, &program, Some(&result)).await?;
        }
        Ok(())
    }
}
