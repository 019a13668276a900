//! The reconciler reads an interface and its namespace, compares them with the desired state, and changes
//! them. [`super::desired`] decides what differs.
//!
//! It handles one aspect after the other, and reads each when the ones before it are right: the kernel's
//! treatment of an address or a route depends on them.

use super::change::{Change, Live};
use super::desired::{ASPECTS, Actual, Aspect, Desired};
use crate::lifecycle::error::Result;
use crate::lifecycle::host::kernel_routes::own_rules;
use crate::sysctl::{self, Scope};

impl Desired<'_> {
    /// Makes all changes, up to the first one that the kernel refuses.
    ///
    /// # Errors
    /// The kernel cannot be asked, or refuses a change.
    pub(crate) async fn reconcile(&self, live: &Live<'_>) -> Result<()> {
        let mut actual = Actual::of(live.link.clone());
        for aspect in ASPECTS {
            self.read(aspect, live, &mut actual).await?;
            for change in self.changes_of(aspect, &actual) {
                change.make(live).await?;
            }
        }
        Ok(())
    }

    /// Returns all differences; changes nothing.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub(crate) async fn differences(&self, live: &Live<'_>) -> Result<Vec<Change>> {
        let mut actual = Actual::of(live.link.clone());
        for aspect in ASPECTS {
            self.read(aspect, live, &mut actual).await?;
        }
        Ok(self.changes(&actual))
    }

    /// Reads one aspect of the actual state, if anything is desired there.
    async fn read(&self, aspect: Aspect, live: &Live<'_>, actual: &mut Actual) -> Result<()> {
        let Live { path, netlink, link } = *live;
        match aspect {
            // They were read when the interface was found.
            Aspect::Attributes | Aspect::State => {}
            Aspect::Settings => {
                let Some(settings) = self.settings else { return Ok(()) };
                for (scope, asked, read) in [
                    (Scope::Namespace, &settings.namespace, &mut actual.settings.namespace),
                    (Scope::Link(link.name.clone()), &settings.link, &mut actual.settings.link),
                ] {
                    if !asked.is_empty() {
                        *read = sysctl::read_again(path, &scope, asked).await?;
                    }
                }
            }
            Aspect::Addresses => actual.addresses = netlink.addresses(link.index).await?,
            Aspect::Neighbours => actual.neighbours = netlink.neighbours(link.index).await?,
            Aspect::Routes if self.dockers.is_empty() => {
                actual.routes = netlink.routes(link.index).await?;
            }
            Aspect::Routes => actual.routes = netlink.all_routes().await?,
            Aspect::Rules => {
                if own_rules(self.snapshot, &link.name).next().is_some() {
                    actual.rules = netlink.rules().await?;
                }
            }
        }
        Ok(())
    }
}
