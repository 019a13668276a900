//! Many attachments.

use std::fs;

use serde_json::json;

use super::{Bench, scripted};
use crate::alone::alone;

#[test]
fn a_thousand_attachments_go_on_over_a_restart_with_nothing_run() {
    alone(
        "lifecycle::scale::a_thousand_attachments_go_on_over_a_restart_with_nothing_run",
        async {
            let mut bench = Bench::with(json!([scripted(json!({}))])).await;
            let answer = bench.create_endpoint("e1").await.unwrap();
            let record = bench.records().remove(0);
            let text = fs::read_to_string(&record).unwrap();
            let id = record.file_stem().unwrap().to_string_lossy().into_owned();
            let (head, tail) = id.split_at(id.len() - 4);
            let tail = u16::from_str_radix(tail, 16).unwrap();
            let if_name = |id: &str| format!("cni{}", &id.replace('-', "")[20..]);
            for n in 1..=1000 {
                let other = format!("{head}{:04x}", tail ^ n);
                let text = text.replace(&id, &other).replace(&if_name(&id), &if_name(&other));
                let text = text.replace("\"e1\"", &format!("\"x{n}\""));
                fs::write(record.with_file_name(format!("{other}.json")), text).unwrap();
            }
            bench.restart().await;
            assert_eq!(bench.create_endpoint("x1000").await.unwrap(), answer);
            assert_eq!(bench.verbs(), ["ADD"]);
            assert_eq!(bench.records().len(), 1001);
        },
    );
}
