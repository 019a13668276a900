//! Garbage: what crashes left is found by ids and names, and nothing else is touched.

use std::fs;
use std::path::{Path, PathBuf};

use cnm_cni::lifecycle::{Collection, Finding, Outcome};
use serde_json::{Value, json};

use super::{Bench, SANDBOX, as_docker_moves_it, inside, make_sandbox, rules, scripted};
use crate::alone::{alone, sh};

/// An id as this driver makes them, and its interface's name.
const RANDOM: (&str, &str) = ("c0ffee12345647899abcdef0123456ab", "cnidef0123456ab");
/// Ids as version 0.1.0 made them, from long ago, and their interfaces' names.
const LOST: (&str, &str) = ("01890000-0000-7000-8000-0000000000a1", "cni0000000000a1");
const ALIVE: (&str, &str) = ("01890000-0000-7000-8000-0000000000b2", "cni0000000000b2");
const POD: (&str, &str) =
    ("4f3c9a7e0000000000000000000000000000000000000000000000000000beef", "eth0");

#[test]
fn what_has_no_record_is_removed_by_its_chain() {
    alone(async {
        let bench = Bench::with(json!([leasing(json!({}))])).await;
        let lease = bench.lease("10.22.3.9", LOST);
        let pods = bench.lease("10.22.3.10", POD);
        mark("10.22.3.9", LOST.0);
        sh(&format!("ip link add {} type veth peer name other", LOST.1));

        let found = collect(&bench, false, 600).await;
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].what, format!("attachment {}", LOST.0));
        assert_eq!(found[0].outcome, Outcome::Garbage);
        let traces = found[0].found.join("\n");
        for trace in [
            "lease ",
            "10.22.3.9",
            "exemption of 10.22.3.9 in FORWARD",
            &format!("interface {}", LOST.1),
        ] {
            assert!(traces.contains(trace), "{trace} is not in: {traces}");
        }
        assert!(lease.exists() && rules().contains(LOST.0), "a dry run touches nothing");
        assert_eq!(bench.verbs(), [] as [&str; 0]);

        let found = collect(&bench, true, 600).await;
        assert_eq!(found[0].outcome, Outcome::Removed, "{found:?}");
        let del = &bench.calls()[0];
        assert_eq!(del["command"], "DEL");
        assert_eq!(del["env"]["CNI_CONTAINERID"], LOST.0);
        assert_eq!(del["env"]["CNI_IFNAME"], LOST.1);
        // The reference plugins find their masquerade rules by these.
        assert_eq!(del["live"], json!(["10.22.3.9/16"]));
        assert!(pods.exists(), "the lease of a pod");
        // host-local would have done this.
        fs::remove_file(lease).unwrap();
        assert_eq!(collect(&bench, true, 600).await, []);
        bench.assert_nothing_is_left();
    });
}

#[test]
fn what_some_container_uses_is_kept() {
    alone(async {
        let bench = Bench::with(json!([leasing(json!({}))])).await;
        make_sandbox();
        inside("ip addr add 10.22.4.9/16 dev lo");
        let _process = KilledWithTest::in_sandbox();
        let lease = bench.lease("10.22.4.9", ALIVE);
        let found = collect(&bench, true, 600).await;
        assert!(
            matches!(&found[0].outcome, Outcome::Kept(why) if why.contains("10.22.4.9")),
            "{found:?}"
        );
        assert!(lease.exists() && bench.verbs().is_empty());
    });
}

#[test]
fn what_another_driver_has_staged_is_kept() {
    alone(async {
        let bench = Bench::with(json!([leasing(json!({}))])).await;
        // A pin by another run-time folder, where no process lives.
        let pin = format!("/run/another-driver/netns/{}", LOST.0);
        sh(&format!("mkdir -p /run/another-driver/netns; touch {pin}; unshare --net={pin} true"));
        let lease = bench.lease("10.22.3.9", LOST);
        let found = collect(&bench, true, 0).await;
        let Outcome::Kept(why) = &found[0].outcome else { panic!("{found:?}") };
        assert!(why.contains(&pin), "{why}");
        assert!(lease.exists());
        sh(&format!("umount {pin}"));
        assert_eq!(collect(&bench, false, 0).await[0].outcome, Outcome::Garbage);

        // Nor is an address in a namespace that only a mount keeps.
        sh("touch /run/pod; unshare --net=/run/pod ip addr add 10.22.3.9/16 dev lo");
        let found = collect(&bench, true, 0).await;
        let Outcome::Kept(why) = &found[0].outcome else { panic!("{found:?}") };
        assert!(why.contains("has its address 10.22.3.9"), "{why}");
    });
}

#[test]
fn what_is_young_or_on_record_or_unproven_is_kept() {
    alone(async {
        let bench = Bench::with(json!([leasing(json!({}))])).await;
        bench.create_endpoint("e1").await.unwrap();
        assert_eq!(collect(&bench, true, 600).await, [], "it is Docker's turn");

        // A record that cannot be read: its container may run.
        let record = bench.config.state_dir.join("attachments").join(LOST.0);
        fs::write(record.with_extension("json.unreadable"), "{").unwrap();
        bench.lease("10.22.3.9", LOST);
        sh(&format!("ip link add {} type veth peer name other", LOST.1));
        assert_eq!(collect(&bench, true, 0).await.len(), 1, "only what never joined");
        assert_eq!(bench.verbs(), ["ADD", "DEL"]);

        // The owner of this is unknown.
        sh(&format!("ip link add {} type veth peer name another", ALIVE.1));
        let found = collect(&bench, true, 0).await;
        assert_eq!(found[0].what, format!("interface {}", ALIVE.1));
        assert!(matches!(found[0].outcome, Outcome::Kept(_)), "{found:?}");
        sh(&format!("ip link show {}", ALIVE.1));
    });
}

#[test]
fn an_address_that_only_a_masquerade_rule_names_keeps_a_container_too() {
    alone(async {
        // Its IPAM keeps no folder that can be read.
        let bench = Bench::with(json!([scripted(json!({}))])).await;
        make_sandbox();
        inside("ip addr add 10.22.4.9/16 dev lo");
        let _process = KilledWithTest::in_sandbox();
        cnm_cni::netns::create(&bench.config.run_dir.join("netns").join(ALIVE.0)).await.unwrap();
        sh(&format!(
            r#"iptables -t nat -A POSTROUTING -s 10.22.4.9/32 -j MASQUERADE \
                   -m comment --comment 'name: "k8snet" id: "{}"'"#,
            ALIVE.0
        ));
        let found = collect(&bench, true, 600).await;
        assert!(
            matches!(&found[0].outcome, Outcome::Kept(why) if why.contains("10.22.4.9")),
            "{found:?}"
        );
        assert_eq!(bench.verbs(), [] as [&str; 0]);
    });
}

#[test]
fn an_ipam_without_a_folder_is_told_what_nobody_has_any_more() {
    alone(async {
        let bench = Bench::with(json!([scripted(json!({}))])).await;
        mark("10.22.3.9", LOST.0);
        let found = collect(&bench, true, 600).await;
        assert_eq!(found[0].outcome, Outcome::Removed, "{found:?}");
        let calls = bench.calls();
        assert_eq!((calls.len(), &calls[0]["command"]), (1, &json!("DEL")));
        assert_eq!(calls[0]["env"]["CNI_CONTAINERID"], LOST.0);
        assert_eq!(calls[0]["env"]["CNI_IFNAME"], LOST.1);
        assert!(!rules().contains(LOST.0));
        bench.assert_nothing_is_left();
    });
}

#[test]
fn an_ipam_without_a_folder_is_told_nothing_where_no_address_is_known() {
    alone(async {
        let bench = Bench::with(json!([scripted(json!({}))])).await;
        cnm_cni::netns::create(&bench.config.run_dir.join("netns").join(ALIVE.0)).await.unwrap();
        let rule = format!(
            r#"-p tcp --dport 8080 -m comment --comment 'dnat name: "k8snet" id: "{}"'"#,
            ALIVE.0
        );
        sh("iptables -t nat -N CNI-HOSTPORT-DNAT; iptables -t nat -N CNI-DN-1");
        sh(&format!("iptables -t nat -A CNI-HOSTPORT-DNAT {rule} -j CNI-DN-1"));
        let found = collect(&bench, true, 600).await;
        assert!(
            matches!(&found[0].outcome, Outcome::Kept(why) if why.contains("nothing tells its address")),
            "{found:?}"
        );

        // This rule shows the address.
        sh("iptables -t nat -A CNI-DN-1 -p tcp -j DNAT --to-destination 10.22.4.9:80");
        make_sandbox();
        inside("ip addr add 10.22.4.9/16 dev lo");
        let _process = KilledWithTest::in_sandbox();
        let found = collect(&bench, true, 600).await;
        assert!(
            matches!(&found[0].outcome, Outcome::Kept(why) if why.contains("has its address 10.22.4.9")),
            "{found:?}"
        );
        assert_eq!(bench.verbs(), [] as [&str; 0]);
    });
}

#[test]
fn remains_are_as_old_as_the_latest_of_their_files() {
    alone(async {
        let bench = Bench::with(json!([leasing(json!({}))])).await;
        let lease = bench.lease("10.22.3.9", RANDOM);
        let pin = bench.config.run_dir.join("netns").join(RANDOM.0);
        assert_eq!(collect(&bench, true, 600).await, [], "another driver may be at work on it");

        let an_hour_ago = |path: &Path| sh(&format!("touch -d '1 hour ago' {}", path.display()));
        an_hour_ago(&lease);
        fs::create_dir_all(pin.parent().unwrap()).unwrap();
        fs::write(&pin, "").unwrap();
        assert_eq!(collect(&bench, true, 600).await, [], "its namespace is new");

        an_hour_ago(&pin);
        let found = collect(&bench, true, 600).await;
        assert_eq!(found[0].outcome, Outcome::Removed, "{found:?}");
        assert_eq!(bench.calls()[0]["env"]["CNI_IFNAME"], RANDOM.1);
        fs::remove_file(lease).unwrap();
        bench.assert_nothing_is_left();
    });
}

#[test]
fn what_has_no_age_is_kept_until_the_user_says_that_it_is_old() {
    alone(async {
        let bench = Bench::with(json!([leasing(json!({}))])).await;
        mark("10.22.3.9", RANDOM.0);
        let found = collect(&bench, true, 600).await;
        assert!(
            matches!(&found[0].outcome, Outcome::Kept(why) if why.contains("--grace 0")),
            "{found:?}"
        );
        assert!(rules().contains(RANDOM.0));
        let found = collect(&bench, true, 0).await;
        assert_eq!(found[0].outcome, Outcome::Removed, "{found:?}");
        bench.assert_nothing_is_left();
    });
}

#[test]
fn an_attachment_without_a_join_is_removed_after_the_grace() {
    alone(async {
        let bench = Bench::with(json!([scripted(json!({}))])).await;
        bench.create_endpoint("never-joined".replace('-', "").as_str()).await.unwrap();
        bench.create_endpoint("e2").await.unwrap();
        bench.join("e2", SANDBOX).await.unwrap();
        let found = collect(&bench, true, 0).await;
        assert!(found.iter().all(|finding| finding.outcome == Outcome::Removed), "{found:?}");
        assert_eq!(found.len(), 2);
        assert_eq!(bench.verbs(), ["ADD", "ADD", "DEL", "DEL"]);
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_container_that_runs_is_no_garbage_and_one_that_ended_is() {
    alone(async {
        let bench = Bench::with(json!([scripted(json!({}))])).await;
        make_sandbox();
        bench.create_endpoint("e1").await.unwrap();
        let name = bench.join("e1", SANDBOX).await.unwrap().interface_name.src_name;
        as_docker_moves_it(&name);
        bench.program("e1").await.unwrap();
        assert_eq!(collect(&bench, true, 0).await, []);

        sh(&format!("umount {SANDBOX} && rm {SANDBOX}"));
        let found = collect(&bench, true, 0).await;
        assert_eq!(found[0].outcome, Outcome::Removed, "{found:?}");
        assert!(found[0].reason.contains("ended"), "{found:?}");
        // The kernel takes the namespace apart, and with it the interface's other end, when it likes.
        sh(
            "for i in $(seq 100); do [ \"$(ls /sys/class/net)\" = lo ] && exit; sleep 0.1; done; exit 1",
        );
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_namespace_of_an_attachment_without_record_is_removed() {
    alone(async {
        let bench = Bench::with(json!([leasing(json!({}))])).await;
        let pin = bench.config.run_dir.join("netns").join(LOST.0);
        cnm_cni::netns::create(&pin).await.unwrap();
        mark("10.22.3.9", LOST.0);
        let found = collect(&bench, true, 600).await;
        assert_eq!(found[0].outcome, Outcome::Removed, "{found:?}");
        assert_eq!(bench.verbs(), [] as [&str; 0], "no lease tells of its chain's");
        bench.assert_nothing_is_left();
    });
}

#[test]
fn gc_is_sent_only_when_it_is_asked_for_and_knows_what_others_have() {
    alone(async {
        let bench = Bench::with(json!([scripted(json!({}))])).await;
        bench.write_conflist_of("1.1.0", json!([scripted(json!({}))]));
        bench.create_endpoint("e1").await.unwrap();
        let wanted = Collection { apply: true, grace: 600, exclusive: false };
        bench.driver.collect(&wanted).await.unwrap();
        assert_eq!(bench.verbs(), ["ADD"]);

        let look = Collection { apply: false, exclusive: true, ..wanted };
        assert_eq!(bench.driver.collect(&look).await.unwrap()[0].outcome, Outcome::Garbage);
        assert!(!Path::new("/var/lib/cni").exists(), "a dry run makes nothing");
        assert_eq!(bench.verbs(), ["ADD"]);

        let wanted = Collection { exclusive: true, ..wanted };
        let found = bench.driver.collect(&wanted).await.unwrap();
        assert_eq!(found[0].what, "conflist k8snet");
        assert_eq!(found[0].outcome, Outcome::Removed, "{found:?}");
        let gc = &bench.calls()[1];
        assert_eq!(gc["command"], "GC");
        let valid = &gc["stdin"]["cni.dev/valid-attachments"];
        assert_eq!(valid.as_array().unwrap().len(), 1, "{valid}");
        let add = &bench.calls()[0]["env"];
        assert_eq!(valid[0]["containerID"], add["CNI_CONTAINERID"]);
        assert_eq!(valid[0]["ifname"], add["CNI_IFNAME"]);
        bench.delete_endpoint("e1").await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn gc_keeps_what_is_on_record_even_where_the_record_cannot_be_read() {
    alone(async {
        let bench = Bench::with(json!([scripted(json!({}))])).await;
        bench.write_conflist_of("1.1.0", json!([scripted(json!({}))]));
        bench.create_endpoint("e1").await.unwrap();
        let results = Path::new("/var/lib/cni/results");
        let pod = json!({
            "kind": "cniCacheV1", "containerId": "pod", "ifName": "eth0",
            "networkName": "k8snet", "result": {"cniVersion": "2.0.0", "unknown": []},
        });
        fs::create_dir_all(results).unwrap();
        let cached = results.join("k8snet-pod-eth0");
        fs::write(&cached, pod.to_string()).unwrap();
        // Records of other networks do not matter, whatever is in them.
        fs::write(results.join("other-pod-eth0"), "").unwrap();
        let record = sh(&format!("ls {}/attachments/*", bench.config.state_dir.display()));
        let record = (record.trim(), fs::read(record.trim()).unwrap());
        fs::write(record.0, "{}").unwrap();

        let found = collect_exclusively(&bench).await;
        assert_eq!(found.outcome, Outcome::Removed, "{found:?}");
        let (add, gc) = (&bench.calls()[0]["env"], &bench.calls()[1]);
        assert_eq!(
            gc["stdin"]["cni.dev/valid-attachments"],
            json!([
                {"containerID": add["CNI_CONTAINERID"], "ifname": add["CNI_IFNAME"]},
                {"containerID": "pod", "ifname": "eth0"},
            ])
        );

        // As libcni writes it: not in one step.
        fs::write(&cached, r#"{"kind":"cniCacheV1","containerId":"p"#).unwrap();
        let found = collect_exclusively(&bench).await;
        let Outcome::Failed(why) = &found.outcome else { panic!("{found:?}") };
        assert!(why.contains(cached.to_str().unwrap()) && why.contains("EOF"), "{why}");
        assert_eq!(bench.verbs(), ["ADD", "GC"]);

        fs::write(record.0, record.1).unwrap();
        bench.delete_endpoint("e1").await;
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_conflist_whose_plugins_cannot_collect_is_said_to_be_kept() {
    alone(async {
        let bench = Bench::with(json!([scripted(json!({}))])).await;
        bench.write_conflist_of("1.0.0", json!([scripted(json!({}))]));
        let found = collect_exclusively(&bench).await;
        let Outcome::Kept(why) = &found.outcome else { panic!("{found:?}") };
        assert!(why.contains("cniVersion is 1.0.0"), "{why}");

        fs::remove_dir_all(&bench.config.conf_dir).unwrap();
        let found = collect_exclusively(&bench).await;
        let Outcome::Failed(why) = &found.outcome else { panic!("{found:?}") };
        assert!(why.contains("k8snet"), "{why}");
        assert_eq!(bench.verbs(), [] as [&str; 0]);
    });
}

#[test]
fn r34_gc_waits_for_an_add_under_way_and_knows_it() {
    alone(async {
        let plugin = scripted(json!({"ADD": {"sleep_ms": 300}}));
        let bench = Bench::with(json!([plugin])).await;
        bench.write_conflist_of("1.1.0", json!([plugin]));
        let wanted = Collection { apply: true, grace: 600, exclusive: true };
        let (made, found) =
            tokio::join!(bench.create_endpoint("e1"), bench.driver.collect(&wanted));
        made.unwrap();
        assert_eq!(found.unwrap()[0].outcome, Outcome::Removed);
        assert_eq!(bench.verbs(), ["ADD", "GC"]);
        let valid = &bench.calls()[1]["stdin"]["cni.dev/valid-attachments"];
        assert_eq!(valid.as_array().unwrap().len(), 1, "{valid}");
        bench.delete_endpoint("e1").await;
        bench.assert_nothing_is_left();
    });
}

impl Bench {
    /// A lease as host-local writes it.
    fn lease(&self, address: &str, (id, if_name): (&str, &str)) -> PathBuf {
        let folder = self.folder.path().join("leases/k8snet");
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(address);
        fs::write(&path, format!("{id}\r\n{if_name}")).unwrap();
        path
    }
}

/// A plugin with leases where [`Bench::lease`] puts them.
fn leasing(more: Value) -> Value {
    let mut plugin = scripted(more);
    plugin["ipam"] = json!({"type": "host-local", "dataDir": "FOLDER/leases",
                            "ranges": [[{"subnet": "10.22.0.0/16"}]]});
    plugin
}

/// The rules that exempt an address from the FORWARD policy.
fn mark(address: &str, id: &str) {
    sh(&format!("iptables -A FORWARD -s {address} -m comment --comment 'cnm-cni {id}' -j ACCEPT"));
}

async fn collect(bench: &Bench, apply: bool, grace: u64) -> Vec<Finding> {
    bench.driver.collect(&Collection { apply, grace, exclusive: false }).await.unwrap()
}

/// The outcome of CNI's GC for the network's conflist.
async fn collect_exclusively(bench: &Bench) -> Finding {
    let wanted = Collection { apply: true, grace: 600, exclusive: true };
    let mut found = bench.driver.collect(&wanted).await.unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

/// A process in the container's namespace.
struct KilledWithTest(std::process::Child);

impl KilledWithTest {
    fn in_sandbox() -> Self {
        let mut command = std::process::Command::new("nsenter");
        command.args([&format!("--net={SANDBOX}"), "sleep", "60"]);
        Self(command.spawn().unwrap())
    }
}

impl Drop for KilledWithTest {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn what_cannot_be_looked_at_is_never_taken_for_unused() {
    alone(async {
        let bench = Bench::with(json!([leasing(json!({}))])).await;
        let lease = bench.lease("10.22.3.9", LOST);
        // A namespace that cannot be looked into: it may have the address.
        sh("mkdir -p /run/docker/netns; ln -s loop /run/docker/netns/loop");
        let found = collect(&bench, true, 600).await;
        let Outcome::Kept(why) = &found[0].outcome else { panic!("{found:?}") };
        assert!(why.contains("may have its address 10.22.3.9"), "{why}");
        assert!(why.contains("/run/docker/netns/loop"), "{why}");
        sh("rm /run/docker/netns/loop");

        // A lease, and a folder of them.
        sh(&format!("mkdir {}", lease.with_file_name("10.22.3.11").display()));
        let error = try_collect(&bench).await.unwrap_err();
        assert!(error.contains("cannot look at") && error.contains("10.22.3.11"), "{error}");
        sh(&format!("rmdir {}", lease.with_file_name("10.22.3.11").display()));
        let folder = lease.parent().unwrap().display().to_string();
        sh(&format!("mv {folder} {folder}.aside; touch {folder}"));
        try_collect(&bench).await.unwrap_err();
        sh(&format!("rm {folder}; mv {folder}.aside {folder}"));

        // The folder that shows which attachments are on record.
        bench.create_endpoint("e1").await.unwrap();
        let records = bench.config.state_dir.join("attachments").display().to_string();
        sh(&format!("mv {records} {records}.aside; touch {records}"));
        let error = try_collect(&bench).await.unwrap_err();
        assert!(error.contains("attachments"), "{error}");
        sh(&format!("rm {records}; mv {records}.aside {records}"));
        assert_eq!(bench.verbs(), ["ADD"]);
        assert!(lease.exists());

        assert_eq!(collect(&bench, true, 600).await[0].outcome, Outcome::Removed);
        assert_eq!(bench.verbs(), ["ADD", "DEL"]);
    });
}

#[test]
fn what_may_be_of_a_configuration_that_cannot_be_read_is_kept() {
    alone(async {
        let bench = Bench::with(json!([leasing(json!({}))])).await;
        let pin = bench.config.run_dir.join("netns").join(LOST.0);
        cnm_cni::netns::create(&pin).await.unwrap();
        let half_written = bench.config.conf_dir.join("20-other.conflist");
        fs::write(&half_written, "{").unwrap();
        let found = collect(&bench, true, 600).await;
        let Outcome::Kept(why) = &found[0].outcome else { panic!("{found:?}") };
        assert!(why.contains("20-other.conflist"), "{why}");
        assert!(pin.exists());
        fs::remove_file(half_written).unwrap();
        assert_eq!(collect(&bench, true, 600).await[0].outcome, Outcome::Removed);
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_lease_that_names_no_owner_is_given_back_once_no_plugin_writes_it() {
    alone(async {
        let bench = Bench::with(json!([leasing(json!({}))])).await;
        let empty = bench.lease("10.22.3.9", POD);
        let zeros = bench.lease("10.22.3.11", POD);
        let whole = bench.lease("10.22.3.12", POD);
        let old = bench.lease("10.22.3.13", POD);
        let lock = empty.with_file_name("lock");
        fs::write(&empty, "").unwrap();
        fs::write(&zeros, [0; 40]).unwrap();
        // As versions before 0.8.0 wrote it.
        fs::write(&old, POD.0).unwrap();
        assert_eq!(collect(&bench, true, 0).await, [], "without a lock it is not the plugin's");
        fs::write(&lock, "").unwrap();
        assert_eq!(collect(&bench, true, 600).await, [], "it is young");
        sh(&format!("touch -d '1 hour ago' {} {}", empty.display(), zeros.display()));

        let found = collect(&bench, false, 600).await;
        let whats: Vec<_> = found.iter().map(|finding| finding.what.as_str()).collect();
        assert_eq!(whats, ["lease 10.22.3.11 of k8snet", "lease 10.22.3.9 of k8snet"]);
        assert!(found.iter().all(|finding| finding.outcome == Outcome::Garbage), "{found:?}");
        assert_eq!(found[1].found, [format!("file {}", empty.display())]);
        assert!(empty.exists() && zeros.exists(), "a dry run touches nothing");

        let held = fs::File::open(&lock).unwrap();
        held.lock().unwrap();
        let found = collect(&bench, true, 600).await;
        for finding in &found {
            let Outcome::Kept(why) = &finding.outcome else { panic!("{found:?}") };
            assert!(why.contains(lock.to_str().unwrap()), "{why}");
        }
        assert_eq!(found.len(), 2);
        drop(held);

        let found = collect(&bench, true, 600).await;
        assert!(found.iter().all(|finding| finding.outcome == Outcome::Removed), "{found:?}");
        assert!(!empty.exists() && !zeros.exists() && whole.exists() && old.exists());
        assert_eq!(fs::read(&lock).unwrap(), b"");
        assert_eq!(collect(&bench, true, 0).await, []);
        assert_eq!(bench.verbs(), [] as [&str; 0], "no plugin knows of them");
    });
}

#[test]
fn a_lease_that_names_no_owner_is_kept_as_long_as_something_has_its_address() {
    alone(async {
        let bench = Bench::with(json!([leasing(json!({}))])).await;
        make_sandbox();
        inside("ip addr add 10.22.4.9/16 dev lo");
        let _process = KilledWithTest::in_sandbox();
        bench.create_endpoint("e1").await.unwrap();
        let folder = bench.folder.path().join("leases/k8snet");
        // Of a container, and of the endpoint, which is staged.
        for address in ["10.22.4.9", "10.22.3.7"] {
            fs::write(bench.lease(address, POD), "").unwrap();
        }
        fs::write(folder.join("lock"), "").unwrap();
        sh(&format!("touch -d '1 hour ago' {}/10.*", folder.display()));
        let found = collect(&bench, true, 600).await;
        let whys: Vec<_> = found
            .iter()
            .map(|finding| match &finding.outcome {
                Outcome::Kept(why) => why.as_str(),
                _ => panic!("{found:?}"),
            })
            .collect();
        let [staged, of_container] = whys[..] else { panic!("{found:?}") };
        let id = bench.calls()[0]["env"]["CNI_CONTAINERID"].as_str().unwrap().to_owned();
        assert_eq!(staged, format!("attachment {id} has its address"));
        assert_eq!(of_container, "a namespace of this host has its address 10.22.4.9");

        bench.delete_endpoint("e1").await;
        let found = collect(&bench, true, 600).await;
        let [staged, _] = &found[..] else { panic!("{found:?}") };
        assert_eq!(staged.outcome, Outcome::Removed, "{found:?}");
    });
}

#[test]
fn leases_are_found_where_a_plugin_that_delegates_has_them() {
    alone(async {
        // As `flannel`, whose configuration names no IPAM.
        let bench = Bench::with(json!([scripted(json!({}))])).await;
        fs::create_dir_all("/var/lib/cni/networks/k8snet").unwrap();
        let lease = "/var/lib/cni/networks/k8snet/10.22.3.9";
        fs::write(lease, format!("{}\n{}", LOST.0, LOST.1)).unwrap();
        let found = collect(&bench, true, 600).await;
        assert_eq!(found[0].outcome, Outcome::Removed, "{found:?}");
        assert_eq!(bench.verbs(), ["DEL"]);
    });
}

async fn try_collect(bench: &Bench) -> Result<Vec<Finding>, String> {
    let wanted = Collection { apply: true, grace: 600, exclusive: false };
    bench.driver.collect(&wanted).await.map_err(|error| cnm_cni::lifecycle::chain(&error))
}
