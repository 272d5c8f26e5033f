//! The program's entry; everything else is in the library, where tests reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    // First of all, since every TLS connection of the process needs it. It fails only if there is a provider already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    sealpost::main()
}
