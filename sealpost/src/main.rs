//! The program's entry; everything else is in the library, where tests reach it.

use std::process::ExitCode;

/// A quarter of the server's time under load went into the system's allocator; this one takes a third of that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // First of all, since every TLS connection of the process needs it. It fails only if there is a provider already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    sealpost::main()
}
