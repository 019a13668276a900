//! The inventory that the operator gets.

use cnm_cni::cni::ConfDir;
use cnm_cni::lifecycle::inventory::{Inventory, Owner, Phase, holders};
use serde_json::json;

use super::built_in::bare;
use super::check::attached;
use super::{NETWORK, scripted};
use crate::alone::alone;

#[test]
fn the_driver_tells_what_it_has_and_its_records_tell_the_same_without_it() {
    alone(async {
        let ipam = json!({"type": "host-local", "dataDir": "FOLDER/leases",
                          "subnet": "10.22.0.0/16", "rangeStart": "10.22.3.1"});
        let mut plugin = scripted(json!({}));
        plugin["ipam"] = ipam;
        let bench = attached(json!([plugin])).await;
        let leases = bench.folder.path().join("leases/k8snet");
        std::fs::create_dir_all(&leases).unwrap();
        std::fs::write(leases.join("10.22.3.9"), "pod\neth0").unwrap();
        std::fs::write(leases.join("10.22.3.10"), "").unwrap();

        let told = bench.driver.inventory().await.unwrap();
        let attachment = &told.attachments[0];
        assert_eq!((told.attachments.len(), attachment.phase), (1, Phase::Settled));
        assert_eq!(attachment.endpoint.as_str(), "e1");
        assert_eq!(attachment.addresses[0], "10.22.3.7/16".parse().unwrap());
        assert!(attachment.made.is_some() && attachment.mac.is_some(), "{attachment:?}");
        let network = &told.networks[0];
        assert_eq!((network.network.as_str(), &*network.conflist), (NETWORK, "k8snet"));
        assert_eq!(network.options, [("forward".to_owned(), "always".to_owned())].into());
        let conflist = told.conflists.iter().find(|it| it.conflist == "k8snet").unwrap();
        assert_eq!(conflist.pools[0].first, "10.22.3.1".parse::<std::net::IpAddr>().unwrap());
        let leases = conflist.leases.as_ref().unwrap();
        assert_eq!((leases.len(), &*leases[0].container_id), (2, "pod"));
        let owners = holders(conflist, &[]);
        let owners: Vec<_> = owners.iter().map(|it| (it.owner, &*it.container_id)).collect();
        assert_eq!(owners, [(Owner::Other, "pod"), (Owner::Orphan, "")], "the second is nobody's");
        assert_eq!(told.driver.as_ref().unwrap().conf_dir, bench.config.conf_dir);

        let names = bench.driver.interface_names(Vec::new()).await.unwrap();
        assert_eq!(names, [(attachment.attachment.clone(), "eth0".to_owned())]);
        assert_eq!(bench.driver.interface_names(vec!["other".into()]).await.unwrap(), []);

        let conf_dir = ConfDir::new(bench.config.conf_dir.clone());
        let read = Inventory::read(&bench.config.state_dir, &conf_dir).unwrap();
        assert!(read.driver.is_none());
        assert_eq!((&read.attachments, &read.networks), (&told.attachments, &told.networks));
        assert_eq!(read.conflists, told.conflists);

        bench.leave("e1").await;
        bench.delete_endpoint("e1").await;
        assert_eq!(bench.driver.inventory().await.unwrap().attachments, []);
        bench.assert_nothing_is_left();
    });
}

#[test]
fn a_network_with_a_chain_of_its_own_is_shown_with_it() {
    alone(async {
        let bench = bare().await;
        bench.own("a1", json!({"isolate": "true"})).await;
        let told = bench.driver.inventory().await.unwrap();
        let network = told.networks.iter().find(|it| it.network.as_str() == "a1").unwrap();
        assert!(network.isolated && network.conflist == "cnia1", "{network:?}");
        assert_eq!(network.options, [("isolate".to_owned(), "true".to_owned())].into());
        let conflist = told.conflists.iter().find(|it| it.conflist == "cnia1").unwrap();
        assert_eq!((conflist.file.as_ref(), conflist.device.as_deref()), (None, Some("cnia1")));
        assert_eq!(conflist.pools[0].subnet, "10.233.144.0/24".parse().unwrap());
        bench.rm("a1").await;
        assert_eq!(bench.driver.inventory().await.unwrap().networks, []);
    });
}
