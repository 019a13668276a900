//! CNI's GC, which removes whatever is not valid: only on request, since other runtimes may share
//! a conflist.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use crate::cni::{Cache, ValidAttachment};
use crate::lifecycle::blocking::on_blocking_thread;
use crate::lifecycle::error::chain;
use crate::lifecycle::garbage::collect::{Finding, Outcome};
use crate::lifecycle::garbage::remains::ids_in;
use crate::lifecycle::record::Attachment;
use crate::lifecycle::{Inner, Result};
use crate::state::Folder;

/// Where libcni and its users keep their attachments.
const LIBCNI_CACHE: &str = "/var/lib/cni";

impl Inner {
    /// Has the plugins of every conflist that a Docker network is on collect what is not valid.
    pub(crate) async fn collect_exclusively(self: &Arc<Self>, apply: bool) -> Vec<Finding> {
        let conflists: BTreeSet<String> =
            self.networks().values().map(|network| network.conflist.clone()).collect();
        let mut findings = Vec::new();
        for name in conflists {
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

    /// Has the plugins of one conflist collect, and tells what is valid.
    async fn collect_conflist(
        self: &Arc<Self>,
        name: &str,
        apply: bool,
        found: &mut Vec<String>,
    ) -> Result<Outcome> {
        let (inner, wanted) = (Arc::clone(self), name.to_owned());
        let list = on_blocking_thread(move || inner.conflist(Some(&wanted))).await?;
        if list.disables_gc() {
            return Ok(Outcome::Kept("the conflist says disableGC".to_owned()));
        }
        if !list.has_gc() {
            let version = list.cni_version();
            let why = format!("its cniVersion is {version}, and plugins collect from 1.1.0 on");
            return Ok(Outcome::Kept(why));
        }
        let cache = Cache::new(Path::new(LIBCNI_CACHE));
        // Nothing becomes valid, or ceases to be, from here on. Only to look, nobody has to wait.
        let _turns = match apply {
            true => Some((self.turns.alone(name).await, cache.turn_for_gc().await?)),
            false => None,
        };
        let valid = self.valid_attachments(name).await?;
        let names = valid.iter().map(|one| format!("valid: {} {}", one.container_id, one.if_name));
        found.extend(names);
        if !apply {
            return Ok(Outcome::Garbage);
        }
        self.runtime.gc(&list, &valid).await?;
        Ok(Outcome::Removed)
    }

    /// The attachments of a conflist: this driver's, and those in libcni's cache.
    async fn valid_attachments(&self, conflist: &str) -> Result<Vec<ValidAttachment>> {
        let (folder, conflist) = (self.attachment_folder.path().to_owned(), conflist.to_owned());
        on_blocking_thread(move || {
            let records = Folder::<Attachment>::glance(folder.parent().unwrap_or(&folder))?;
            // What cannot be read may be of any conflist, and its container may run.
            let mut own: BTreeSet<_> = ids_in(&folder)?.into_iter().collect();
            for record in records.iter().filter(|record| record.list.name() != conflist) {
                own.remove(&record.id);
            }
            let own = own
                .into_iter()
                .map(|id| ValidAttachment { container_id: id.to_string(), if_name: id.if_name() });
            let cached = Cache::new(Path::new(LIBCNI_CACHE)).valid_of_network(&conflist)?;
            Ok(own.chain(cached).collect())
        })
        .await
    }
}
