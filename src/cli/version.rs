//! `coracle version`

use clap::Args;

#[derive(Args)]
pub(super) struct Version {}

impl Version {
    pub(super) fn run(self) -> Result<(), String> {
        println!("coracle {} (Kubernetes {})", env!("CARGO_PKG_VERSION"), apiserver_lite::health::KUBERNETES);
        Ok(())
    }
}
