//! A registry whose leases expire after seconds instead of the minutes of `modelpack serve`.
//! Otherwise garbage collection would have nothing to do.

use modelpack::{RegistryOptions, ServerOptions, serve};
use std::{error::Error, net::Ipv4Addr, path::PathBuf, time::Duration};
use tokio::signal::unix::{SignalKind, signal};

#[derive(clap::Args)]
pub struct Server {
    #[arg(long)]
    root: PathBuf,
    #[arg(long)]
    lease_seconds: u64,
}

impl Server {
    /// Serves until it is stopped.
    pub fn run(self) -> Result<(), Box<dyn Error>> {
        tokio::runtime::Runtime::new()?.block_on(async {
            let registry = RegistryOptions::default().lease_idle(Duration::from_secs(self.lease_seconds));
            let server = serve(&self.root, (Ipv4Addr::LOCALHOST, 0).into(), registry, ServerOptions::default()).await?;
            println!("serving http://{} from {}", server.address(), self.root.display());
            let mut terminated = signal(SignalKind::terminate())?;
            let shutdown = async {
                terminated.recv().await;
            };
            server.run(shutdown).await?;
            Ok(())
        })
    }
}
