//! What an observer is told of the runs of plugins.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use cnm_cni::cni::{Limits, NetworkConfigList, Observer, PluginEnd, PluginRun, Runtime, Trust};
use serde_json::{Value, json};

use super::{Bench, attachment};

/// Writes down what it is told.
#[derive(Debug, Default)]
struct Told(Mutex<Vec<String>>);

impl Told {
    fn lines(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Observer for Told {
    fn started(&self, run: &PluginRun<'_>) {
        let PluginRun { number, verb, plugin, .. } = run;
        self.0.lock().unwrap().push(format!("{number} {verb} {plugin}"));
    }

    fn slow(&self, run: &PluginRun<'_>, so_far: Duration) {
        let PluginRun { number, verb, plugin, .. } = run;
        self.0.lock().unwrap().push(format!("{number} {verb} {plugin} slow: {so_far:?}"));
    }

    fn ended(&self, run: &PluginRun<'_>, end: &PluginEnd<'_>) {
        assert_eq!(run.conflist, Some("net"));
        assert_eq!((run.container_id, run.if_name), (Some("c1"), Some("eth0")));
        let failure = end.failure.map(|failure| format!(": {failure}")).unwrap_or_default();
        let PluginRun { number, verb, plugin, .. } = run;
        let line = format!("{number} {verb} {plugin} {}{failure}", end.outcome.as_str());
        self.0.lock().unwrap().push(line);
    }
}

/// A runtime with two observers, and a list of these plugins.
fn observed(bench: &Bench, plugins: Value) -> (Runtime, NetworkConfigList, Arc<Told>, Arc<Told>) {
    let (one, other) = (Arc::new(Told::default()), Arc::new(Told::default()));
    let limits = Limits {
        add: Duration::from_secs(1),
        backoff: Duration::from_millis(1),
        ..Limits::default()
    };
    let observers: Vec<Arc<dyn Observer>> = vec![one.clone(), other.clone()];
    let runtime = Runtime::observed(vec![bench.bin()], limits, Trust::Anybody, observers);
    (runtime, bench.list("1.0.0", plugins), one, other)
}

#[tokio::test]
async fn each_run_is_told_with_its_end_and_each_try_is_a_run() {
    let bench = Bench::with(&["one", "busy"]);
    let again = json!({"times": 1, "exit": 1, "stdout": {"code": 11, "msg": "later"}});
    let plugins = json!([{"type": "one"}, {"type": "busy", "fake": {"ADD": again}}]);
    let (runtime, list, told, other) = observed(&bench, plugins);
    runtime.add(&list, &attachment()).await.unwrap();
    let lines = told.lines();
    assert_eq!(
        lines,
        [
            "0 ADD one",
            "0 ADD one ok",
            "1 ADD busy",
            "1 ADD busy failed: later",
            "2 DEL busy",
            "2 DEL busy ok",
            "3 ADD busy",
            "3 ADD busy ok",
        ]
    );
    assert_eq!(other.lines(), lines);
}

#[tokio::test]
async fn what_went_wrong_is_told() {
    let bench = Bench::with(&["bad", "slow", "odd"]);
    super::execution::write_executable(&bench.bin().join("broken"), "#!/nowhere\n");
    for (plugin, script, end) in [
        ("bad", json!({"exit": 1, "stdout": {"code": 7, "msg": "no"}}), "0 ADD bad failed: no"),
        ("slow", json!({"sleep_ms": 120_000}), "0 ADD slow timed_out: it did not end within 1s"),
        ("odd", json!({"stdout": "no result"}), "0 ADD odd failed: its result cannot be used"),
        ("broken", json!({}), "0 ADD broken not_run: cannot start"),
    ] {
        let (runtime, list, told, _) =
            observed(&bench, json!([{"type": plugin, "fake": {"ADD": script}}]));
        runtime.add(&list, &attachment()).await.unwrap_err();
        let lines = told.lines();
        assert_eq!((lines.len(), &*lines[0]), (2, &*format!("0 ADD {plugin}")));
        assert!(lines[1].starts_with(end), "{lines:?}");
    }
    let (runtime, list, told, _) = observed(&bench, json!([{"type": "absent"}]));
    runtime.add(&list, &attachment()).await.unwrap_err();
    let lines = told.lines();
    assert_eq!(lines.len(), 1);
    assert!(lines[0].starts_with("0 ADD absent not_run: failed to find plugin"), "{lines:?}");
}

#[tokio::test]
async fn a_run_that_takes_long_is_told_once_while_it_goes_on() {
    let bench = Bench::with(&["slow", "quick"]);
    let told = Arc::new(Told::default());
    let limits = Limits { slow: Duration::from_millis(20), ..Limits::default() };
    let observers: Vec<Arc<dyn Observer>> = vec![told.clone()];
    let runtime = Runtime::observed(vec![bench.bin()], limits, Trust::Anybody, observers);
    let slow = json!({"type": "slow", "fake": {"ADD": {"sleep_ms": 500}}});
    runtime.add(&bench.list("1.0.0", json!([slow])), &attachment()).await.unwrap();
    assert_eq!(told.lines(), ["0 ADD slow", "0 ADD slow slow: 20ms", "0 ADD slow ok"]);
    let (runtime, list, told, _) = observed(&bench, json!([{"type": "quick"}]));
    runtime.add(&list, &attachment()).await.unwrap();
    assert_eq!(told.lines(), ["0 ADD quick", "0 ADD quick ok"]);
    assert_eq!(Limits::default().slow, Duration::from_secs(10));
}

#[tokio::test]
async fn a_run_that_is_cut_short_has_an_end_too() {
    let bench = Bench::with(&["slow"]);
    let plugins = json!([{"type": "slow", "fake": {"DEL": {"sleep_ms": 120_000}}}]);
    let (runtime, list, told, _) = observed(&bench, plugins);
    let to = attachment();
    let until_it_runs = async {
        while bench.calls().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        _ = runtime.del(&list, &to, None) => panic!("it has ended"),
        () = until_it_runs => {}
    }
    assert_eq!(told.lines(), ["0 DEL slow", "0 DEL slow cut"]);
}
