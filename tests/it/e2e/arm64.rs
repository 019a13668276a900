//! What is built for arm64 on a machine of another kind, by the steps of docs/install.md, and what the
//! headers of it say.
//!
//! `make test-arm64` runs it, after it has built the same: the steps then find nothing to do. What
//! the program does is seen below emulators: see that target.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::readme::Steps;

const BUILT: &str = "target/static/aarch64-unknown-linux-gnu/cnm-cni";
const MIB: u64 = 1 << 20;

#[test]
#[ignore = "make test-arm64"]
fn the_program_its_package_and_the_plugin_are_for_arm64() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    Steps::read("docs/install.md", "build-arm64").here(&[]);

    let kind = says("file", &["--brief", BUILT]);
    assert!(kind.contains("ELF 64-bit LSB"), "{kind}");
    assert!(kind.contains("ARM aarch64"), "{kind}");
    let header = says("readelf", &["--file-header", "--program-headers", BUILT]);
    assert!(header.contains("Machine:                           AArch64"), "{header}");
    assert!(!header.contains("INTERP"), "it needs a loader, and so is not static: {header}");
    let libraries = says("readelf", &["--dynamic", BUILT]);
    assert!(!libraries.contains("NEEDED"), "{libraries}");
    let program = fs::read(root.join(BUILT)).unwrap();
    assert!((program.len() as u64) < 12 * MIB, "{} bytes", program.len());

    let package = format!("target/aarch64-unknown-linux-gnu/debian/{}", package(root));
    let fields = says("dpkg-deb", &["--info", &package]);
    assert!(fields.contains(" Architecture: arm64\n"), "{fields}");
    let unpacked = tempfile::tempdir().unwrap();
    says("dpkg-deb", &["--extract", &package, unpacked.path().to_str().unwrap()]);
    let same = |file: &Path| fs::read(file).unwrap() == program;
    assert!(same(&unpacked.path().join("usr/bin/cnm-cni")), "{package} has another program");
    for document in ["man/man1/cnm-cni-serve.1.gz", "bash-completion/completions/cnm-cni"] {
        assert!(unpacked.path().join("usr/share").join(document).exists(), "{document}");
    }
    assert!(same(&root.join("target/plugin/rootfs/cnm-cni")), "the plugin has another program");
}

/// The one package of that folder, whose version is Cargo.toml's.
fn package(root: &Path) -> String {
    let name = format!("cnm-cni_{}_arm64.deb", env!("CARGO_PKG_VERSION"));
    let folder = root.join("target/aarch64-unknown-linux-gnu/debian");
    assert!(folder.join(&name).exists(), "there is no {name} in {}", folder.display());
    name
}

/// What a program says that succeeds.
#[track_caller]
fn says(program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
