//! An IPAM plugin alone, as the plugin of the chain that delegates to it runs it: with that plugin's own
//! configuration, and the parameters of the attachment.

use super::{Chain, Result, Runtime, Step, invalid};
use crate::cni::exec::call::Call;
use crate::cni::exec::output::read_result;
use crate::cni::exec::request::Request;
use crate::cni::{AttachResult, Attachment, Failure, NetworkConfigList, Verb};

impl Runtime {
    /// ADD of the IPAM plugin `ipam` alone: what it allocates. None if no plugin of the chain delegates to it.
    ///
    /// # Errors
    ///
    /// The plugin's.
    pub async fn add_ipam(
        &self,
        list: &NetworkConfigList,
        ipam: &str,
        to: &Attachment,
    ) -> Result<Option<AttachResult>> {
        to.check_with_netns().map_err(|source| invalid(list, source))?;
        let chain = Chain { list, verb: Verb::Add, attachment: Some(to), valid: None };
        let Some(step) = chain.delegating_to(ipam) else { return Ok(None) };
        let read = |stdout: Vec<u8>| read_result(&stdout, list.cni_version());
        Ok(Some(self.run_ipam(step, ipam, read).await?))
    }

    /// DEL of the IPAM plugin `ipam` alone, with the same configuration. It succeeds again when repeated.
    ///
    /// # Errors
    ///
    /// The plugin's.
    pub async fn del_ipam(
        &self,
        list: &NetworkConfigList,
        ipam: &str,
        from: &Attachment,
    ) -> Result<()> {
        from.check().map_err(|source| invalid(list, source))?;
        let chain = Chain { list, verb: Verb::Del, attachment: Some(from), valid: None };
        if let Some(step) = chain.delegating_to(ipam) {
            self.run_ipam(step, ipam, |_| Ok(())).await?;
        }
        Ok(())
    }

    /// Runs it, and reads its answer with `read`.
    async fn run_ipam<T>(
        &self,
        step: Step<'_>,
        ipam: &str,
        read: impl Fn(Vec<u8>) -> std::result::Result<T, Failure>,
    ) -> Result<T> {
        let failed = |failure| step.of(ipam, &[]).failed(failure, String::new());
        let program = self.plugins.find(ipam).map_err(|problem| failed(problem.into()))?;
        let Chain { list, attachment, .. } = *step.chain;
        let request = Request {
            list,
            plugin: step.plugin,
            prev_result: None,
            attachment,
            valid_attachments: None,
        };
        let stdin =
            serde_json::to_vec(&request).map_err(|error| failed(Failure::Request(error)))?;
        Ok(self.plugins.call(&program, step.of(ipam, &stdin), read).await?)
    }
}

impl Chain<'_> {
    /// The first plugin that delegates to this IPAM plugin.
    fn delegating_to(&self, ipam: &str) -> Option<Step<'_>> {
        self.steps().find(|step| step.plugin.ipam_type() == Some(ipam))
    }
}

impl<'a> Step<'a> {
    /// The call of the IPAM plugin in this plugin's place.
    fn of(self, ipam: &'a str, stdin: &'a [u8]) -> Call<'a> {
        Call { plugin: ipam, ..self.call(stdin) }
    }
}
