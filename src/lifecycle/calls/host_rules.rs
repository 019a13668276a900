//! Reads the rules that attachments have on the host: in the background, once for all that have joined
//! meanwhile.

use crate::lifecycle::driver::Driver;
use crate::lifecycle::host::masquerade::Masquerade;
use crate::lifecycle::record::Attachment;

/// Reads the rules for an endpoint in the background, if all else on the host is known.
pub(crate) fn read_soon(driver: &Driver, attachment: &Attachment) {
    let side = attachment.joined().and_then(|joined| joined.joining.host_side.as_ref());
    if side.is_none_or(|side| side.masqueraded.is_some()) {
        return;
    }
    if driver.unread_rules.add(attachment.endpoint.clone()) {
        let driver = driver.clone();
        driver.background.clone().spawn(async move { read(&driver).await });
    }
}

/// Reads the rules for all endpoints that have joined until now.
async fn read(driver: &Driver) {
    let pass = driver.gate.enter().await;
    let endpoints = driver.unread_rules.take();
    let rules = Masquerade::read().await;
    // Docker's calls, which this waits for, may wait for somebody who needs a place.
    drop(pass);
    for endpoint in endpoints {
        let Some(mut slot) = driver.endpoints.lock_after_calls(&endpoint).await else { continue };
        let Some(attachment) = slot.as_mut() else { continue };
        let hidden = attachment
            .addresses()
            .filter(|address| rules.masquerades(attachment, *address) == Ok(true))
            .collect();
        attachment.note(|joining| {
            if let Some(side) = &mut joining.host_side {
                side.masqueraded = Some(hidden);
            }
        });
        if attachment.joined().is_some() {
            driver.records.keep_soon(attachment).await;
        }
    }
}
