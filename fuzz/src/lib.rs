//! The ways by which foreign bytes reach the CNI engine and the driver, and what has to hold there
//! for any bytes: an answer or an error that says something, never a panic; and what was
//! understood survives being written.
//!
//! libFuzzer calls these through `fuzz_targets/`, and `cargo test` through
//! `tests/it/cni/fuzz.rs`. They know nothing of how the bytes were made.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use cnm_cni::cni::{AttachResult, Attachment, Failure, NetworkConfigList, Version};
use cnm_cni::cnm::{EndpointOptions, NetworkOptions};
use cnm_cni::lifecycle::reread_record;
use serde_json::json;

/// The content of a `.conflist`, or of a `.conf`.
pub fn conflist(bytes: &[u8]) {
    for read in [NetworkConfigList::parse, NetworkConfigList::up_convert] {
        let list = match read(bytes) {
            Ok(list) => list,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                continue;
            }
        };
        assert!(!list.name().contains('/'), "{:?} leads out of a folder", list.name());
        assert!(!list.plugins().is_empty());
        for plugin in list.plugins() {
            let types = [Some(plugin.plugin_type()), plugin.ipam_type()];
            for name in types.into_iter().flatten() {
                assert!(!matches!(name, "" | "." | "..") && !name.contains(['/', '\0']));
            }
        }
        // The records keep a list in this form.
        let stored = serde_json::to_vec(&list).unwrap();
        assert_eq!(serde_json::from_slice::<NetworkConfigList>(&stored).unwrap(), list);
    }
}

/// What a plugin writes to standard output when it succeeds.
pub fn result(bytes: &[u8]) {
    for asked in [Version::V0_2_0, Version::V1_1_0] {
        let result = match AttachResult::parse(bytes, asked) {
            Ok(result) => result,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                continue;
            }
        };
        let stored = serde_json::to_vec(&result).unwrap();
        assert_eq!(serde_json::from_slice::<AttachResult>(&stored).unwrap(), result);
        for version in [Version::V0_2_0, Version::V0_4_0, Version::V1_0_0, Version::V1_1_0] {
            // 0.2.0 cannot do without an address.
            let Ok(written) = result.to_version(version) else {
                assert!(version == Version::V0_2_0 && result.ips.is_empty());
                continue;
            };
            let again = AttachResult::parse(written.to_string().as_bytes(), asked).unwrap();
            assert_eq!(again.to_version(version).unwrap(), written, "by way of {version}");
        }
    }
}

/// What a plugin writes to standard output, or to standard error, when it fails.
pub fn plugin_error(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    // Exit status 1; killed by signal 9.
    for status in [ExitStatus::from_raw(1 << 8), ExitStatus::from_raw(9)] {
        assert!(!Failure::read(status, b" \n", &text).to_string().is_empty());
        let failure = Failure::read(status, bytes, &text);
        assert!(!failure.to_string().is_empty());
        if let Failure::Reported { code, msg, details } = failure {
            let written = json!({"code": code, "msg": msg, "details": details}).to_string();
            match Failure::read(status, written.as_bytes(), "") {
                Failure::Reported { code: c, msg: m, details: d } => {
                    assert_eq!((c, m, d), (code, msg, details));
                }
                other => panic!("{written} was read as {other}"),
            }
        }
    }
}

/// The value of `CNI_ARGS`, as it is read and as it is written.
pub fn cni_args(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let with = |args| Attachment {
        container_id: "c1".to_owned(),
        if_name: "eth0".to_owned(),
        args,
        ..Attachment::default()
    };
    match Attachment::parse_args(&text) {
        Ok(pairs) => {
            let attachment = with(pairs);
            assert_eq!(attachment.cni_args(), text);
            assert_eq!(attachment.check().is_ok(), !text.contains('\0'));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    // Pairs of any texts, as Docker's options give them: what passes the check is taken apart
    // again by a plugin as it was meant.
    let pair = |line: &str| {
        let (key, value) = line.split_once(':').unwrap_or((line, ""));
        (key.to_owned(), value.to_owned())
    };
    let attachment = with(text.lines().map(pair).collect());
    if attachment.check().is_ok() {
        let written = attachment.cni_args();
        let taken = written.split(';').filter_map(|pair| pair.split_once('='));
        assert!(taken.eq(attachment.args.iter().map(|(key, value)| (&**key, &**value))));
        assert!(!written.contains('\0'));
    }
}

/// The content of a record's file.
pub fn record(bytes: &[u8]) {
    match reread_record(bytes) {
        // What was believed is believed again, and says the same.
        Ok(written) => assert_eq!(reread_record(&written), Ok(written)),
        Err(reason) => assert!(!reason.is_empty()),
    }
}

/// The `Options` of a network and of an endpoint.
pub fn options(bytes: &[u8]) {
    let Ok(options) = serde_json::from_slice(bytes) else { return };
    let chains = [
        NetworkOptions::read(&options).map(|read| {
            let stored = serde_json::to_vec(&read).unwrap();
            assert_eq!(serde_json::from_slice::<NetworkOptions>(&stored).unwrap(), read);
            read.chain
        }),
        EndpointOptions::read(&options).map(|read| {
            assert!(read.ports.iter().all(|binding| binding.port != 0));
            read.chain
        }),
    ];
    for chain in chains {
        match chain {
            // Whatever gets past the door can be handed to a plugin.
            Ok(chain) => {
                let attachment = Attachment {
                    container_id: "c1".to_owned(),
                    if_name: "eth0".to_owned(),
                    args: chain.args,
                    capability_args: chain.capabilities,
                    ..Attachment::default()
                };
                attachment.check().unwrap();
                assert!(!attachment.cni_args().contains(char::is_control));
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}
