//! The phases of an attachment: whatever call comes at whatever time, they follow each other as in the
//! table.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::{Arc, Mutex};

use cnm_cni::cnm::SpareCount;
use cnm_cni::lifecycle::{Collection, Driver, PhaseName};
use serde_json::{Value, json};
use tracing_subscriber::filter::LevelFilter;

use super::{Bench, NETWORK, SANDBOX, as_docker_moves_it, make_sandbox, read, scripted, until};
use crate::alone::{alone, sh};

/// What is called in each phase.
const CALLS: [&str; 12] = [
    "CreateEndpoint",
    "Join",
    "Program",
    "Revoke",
    "EndpointOperInfo",
    "Leave",
    "DeleteEndpoint",
    "Activate",
    "check --repair",
    "gc --apply",
    "orphans retry",
    "a restart",
];

async fn call(bench: &mut Bench, call: &str) {
    let ids = json!({"NetworkID": NETWORK, "EndpointID": "e1"});
    let driver = &bench.driver;
    // Some are refused, as they should be.
    match call {
        "CreateEndpoint" => drop(bench.create_endpoint("e1").await),
        "Join" => drop(bench.join("e1", SANDBOX).await),
        "Program" => drop(bench.program("e1").await),
        "Revoke" => drop(driver.revoke_external_connectivity(read(ids)).await),
        "EndpointOperInfo" => drop(driver.endpoint_oper_info(read(ids)).await),
        "Leave" => bench.leave("e1").await,
        "DeleteEndpoint" => bench.delete_endpoint("e1").await,
        "Activate" => driver.activate(),
        "check --repair" => drop(driver.check(&[], true).await),
        "gc --apply" => {
            let wanted = Collection { apply: true, grace: 0, exclusive: false };
            driver.collect(&wanted).await.unwrap();
        }
        "orphans retry" => drop(driver.retry_orphans("").await),
        "a restart" => bench.driver = Driver::open(bench.config.clone()).await.unwrap(),
        other => panic!("{other}"),
    }
}

/// Brings an endpoint into a phase, by Docker's calls.
async fn bring(bench: &mut Bench, phase: PhaseName) {
    if matches!(phase, PhaseName::Adding | PhaseName::Spare) {
        return;
    }
    bench.create_endpoint("e1").await.unwrap();
    if phase == PhaseName::Staged {
        return;
    }
    make_sandbox();
    let joined = bench.join("e1", SANDBOX).await.unwrap();
    match phase {
        PhaseName::Joined => {}
        _ => {
            as_docker_moves_it(&joined.interface_name.src_name);
            bench.program("e1").await.unwrap();
        }
    }
    if phase == PhaseName::Deleting {
        // The first DEL fails, and the next one is a while away.
        let _ = std::fs::remove_file(bench.log());
        bench.delete_endpoint("e1").await;
    }
}

/// Ends what there is of the endpoint, and its container.
async fn clear(bench: &mut Bench) {
    bench.delete_endpoint("e1").await;
    let _ = bench.driver.retry_orphans("").await;
    until(|| bench.records().is_empty()).await;
    sh(&format!("[ ! -e {SANDBOX} ] || {{ umount {SANDBOX}; rm {SANDBOX}; }}"));
}

#[test]
fn every_call_in_every_phase_leads_to_a_phase_that_the_table_has() {
    alone(async {
        let log = Log::listen();
        let plugin = scripted(json!({"DEL": {"exit": 1, "times": 1}}));
        let mut bench = Bench::with(json!([plugin])).await;
        for phase in PhaseName::ALL {
            for name in CALLS {
                bring(&mut bench, phase).await;
                call(&mut bench, name).await;
                clear(&mut bench).await;
            }
        }
        // What ends an ADD in the middle.
        bench.write_conflist(json!([scripted(json!({"ADD": {"exit": 1}}))]));
        bench.create_endpoint("e1").await.unwrap_err();
        clear(&mut bench).await;
        // A spare is made, and claimed; the next one is given up.
        bench.write_conflist(json!([scripted(json!({}))]));
        bench.with_spares(SpareCount::Number(1)).await;
        bench.create_endpoint("e1").await.unwrap();
        bench.delete_endpoint("e1").await;
        until(|| bench.spares().len() == 1).await;
        bench.driver.drain().await;
        bench.config.spares = SpareCount::Number(0);
        bench.restart().await;
        clear(&mut bench).await;
        bench.assert_nothing_is_left();

        let table: BTreeSet<_> = (PhaseName::ALL.into_iter())
            .flat_map(|from| from.next().iter().map(move |to| (from, *to)))
            .collect();
        assert_eq!(log.transitions(), table, "those that were made, and the table");
    });
}

/// What the driver logs.
#[derive(Debug, Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// From now on, in this process.
    pub(super) fn listen() -> Self {
        let log = Self::default();
        let writer = log.clone();
        let all = tracing_subscriber::fmt().json().with_max_level(LevelFilter::DEBUG);
        all.with_writer(move || writer.clone()).init();
        log
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// The changes of phase in the log.
    fn transitions(&self) -> BTreeSet<(PhaseName, PhaseName)> {
        let text = self.text();
        let lines = text.lines();
        let fields =
            lines.map(|line| serde_json::from_str::<Value>(line).unwrap()["fields"].clone());
        let changes = fields.filter(|fields| fields["message"] == "phase");
        changes.map(|it| (read(it["from"].clone()), read(it["to"].clone()))).collect()
    }
}
