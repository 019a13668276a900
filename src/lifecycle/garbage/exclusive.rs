//! CNI's GC, which removes everything that is not in its list of valid attachments. It runs only on
//! request, because other runtimes may share a conflist.

use std::path::Path;

use crate::cni::{Cache, ValidAttachment};
use crate::lifecycle::blocking::on_blocking_thread;
use crate::lifecycle::driver::Driver;
use crate::lifecycle::error::{Result, chain};
use crate::lifecycle::garbage::collect::{Finding, Outcome};

/// The cache of libcni and its users.
const LIBCNI_CACHE: &str = "/var/lib/cni";

impl Driver {
    /// Runs GC of every conflist that a Docker network uses.
    pub(crate) async fn collect_exclusively(&self, apply: bool) -> Vec<Finding> {
        let mut findings = Vec::new();
        for name in self.networks.conflists() {
            let mut found = Vec::new();
            let outcome = self.collect_conflist(&name, apply, &mut found).await;
            findings.push(Finding {
                what: format!("conflist {name}"),
                reason: "the plugins remove whatever is not among the valid attachments".to_owned(),
                found,
                outcome: outcome.unwrap_or_else(|error| Outcome::Failed(chain(&error))),
            });
        }
        findings
    }

    /// Runs GC of one conflist, with the list of its valid attachments.
    async fn collect_conflist(
        &self,
        name: &str,
        apply: bool,
        found: &mut Vec<String>,
    ) -> Result<Outcome> {
        let list = self.chains.read(Some(name)).await?;
        if list.disables_gc() {
            return Ok(Outcome::Kept("the conflist says disableGC".to_owned()));
        }
        if !list.has_gc() {
            let version = list.cni_version();
            let why = format!("its cniVersion is {version}, and plugins collect from 1.1.0 on");
            return Ok(Outcome::Kept(why));
        }
        let cache = Cache::new(Path::new(LIBCNI_CACHE));
        // From here on the list of valid attachments does not change. A mere look need not wait for this.
        let _turns = match apply {
            true => Some((self.chains.exclusive(name).await, cache.turn_for_gc().await?)),
            false => None,
        };
        let valid = self.valid_attachments(name).await?;
        let names = valid.iter().map(|one| format!("valid: {} {}", one.container_id, one.if_name));
        found.extend(names);
        if !apply {
            return Ok(Outcome::Garbage);
        }
        self.chains.gc(&list, &valid).await?;
        Ok(Outcome::Removed)
    }

    /// The attachments of a conflist: this driver's, and those in libcni's cache.
    async fn valid_attachments(&self, conflist: &str) -> Result<Vec<ValidAttachment>> {
        let own = self.records.of_conflist(conflist).await?.into_iter();
        let own =
            own.map(|id| ValidAttachment { container_id: id.to_string(), if_name: id.if_name() });
        let conflist = conflist.to_owned();
        let cached = on_blocking_thread(move || {
            Ok(Cache::new(Path::new(LIBCNI_CACHE)).valid_of_network(&conflist)?)
        });
        Ok(own.chain(cached.await?).collect())
    }
}
