//! Data that a command needs besides its arguments.

use crate::{
    args::{RegistryArgs, TransferArgs},
    failure::Failure,
    interrupt::Interrupt,
    output::Output,
    progress::Meter,
    settings::Settings,
    source_date,
};
use modelpack::{Authorities, ClientOptions, Modelpack, Notice, Notices, Options, Progress, Timeouts};
use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

pub struct Context {
    pub settings: Settings,
    pub output: Output,
    pub interrupt: Interrupt,
}

impl Context {
    /// The facade, for a command that transfers no blobs.
    pub fn modelpack(&self, registry: &RegistryArgs) -> Modelpack {
        self.modelpack_with(&TransferArgs::with(registry.clone()), &Arc::default())
    }

    /// The facade, for a command that transfers blobs and shows no progress.
    #[cfg(feature = "mount")]
    pub fn modelpack_without_progress(&self, args: &TransferArgs) -> Modelpack {
        self.modelpack_with(args, &Arc::default())
    }

    /// Runs `work` and shows its progress. `doing` names the activity, such as `pushing`.
    pub async fn transfer<T>(
        &self,
        doing: &'static str,
        args: &TransferArgs,
        work: impl AsyncFnOnce(&Modelpack) -> modelpack::Result<T>,
    ) -> Result<T, Failure> {
        let progress = Arc::<Progress>::default();
        let modelpack = self.modelpack_with(args, &progress);
        let meter = Meter::start(doing, progress, &self.output);
        let result = work(&modelpack).await;
        // The progress must be gone before other output.
        drop(meter);
        Ok(result?)
    }

    fn modelpack_with(&self, args: &TransferArgs, progress: &Arc<Progress>) -> Modelpack {
        let TransferArgs { registry, connections, limit_rate, hash_states } = args;
        let client = ClientOptions::default().plain_http(registry.plain_http).insecure(registry.insecure);
        let timeouts = registry.timeout.map_or_else(Timeouts::default, |timeout| Timeouts::default().idle(timeout));
        let client = client.timeouts(timeouts).proxies(self.settings.proxies.clone()).credentials(self.settings.credentials.clone());
        let ca_file = |path: &PathBuf| Authorities { paths: vec![path.clone()], setting: "--ca-file".to_owned() };
        let additional = registry.ca_file.iter().map(ca_file).collect();
        let client = client.certificates(self.settings.certificates.clone().additional(additional));
        let (output, told, waits) = (self.output.clone(), Mutex::new(Vec::new()), progress.clone());
        let notices = Notices::to(move |notice| {
            if let Notice::Retrying { why, pause, .. } = notice {
                list_pause(&waits, why, *pause);
            }
            let mut told = told.lock().expect("no one panics while holding what was told");
            // The same warning says nothing new. A wait is told each time.
            if !notice.is_warning() || !told.contains(notice) {
                output.notice(notice);
                told.extend(notice.is_warning().then(|| notice.clone()));
            }
        });
        let client = client.rate_limit(*limit_rate);
        // A blob may use several connections.
        let blobs = (*connections).min(usize::from(modelpack::DEFAULT_CONCURRENCY));
        let options = Options::new(&self.settings.store)
            .client(client)
            .connections(*connections)
            .concurrency(blobs)
            .hash_states(*hash_states)
            .notices(notices)
            .registries(self.settings.registries.clone());
        Modelpack::new(options).with_progress(progress.clone())
    }

    /// The creation time of the packed model, if there is one. Fails if the value is invalid.
    pub fn created_at(&self) -> Result<Option<String>, Failure> {
        self.settings.source_date_epoch.as_deref().map(source_date::to_rfc3339).transpose()
    }
}

/// Lists a pause among what the progress waits for, until it is over.
fn list_pause(progress: &Arc<Progress>, why: &str, pause: Duration) {
    let wait = progress.waiting(why, Instant::now().checked_add(pause));
    tokio::spawn(async move {
        tokio::time::sleep(pause).await;
        drop(wait);
    });
}
