//! The `cnm-cni` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    cnm_cni::cli::main()
}
