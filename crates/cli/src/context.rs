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
use modelpack::{ClientOptions, Modelpack, Notices, Options, Progress, Snapshot};
use std::sync::{Arc, Mutex};

pub struct Context {
    pub settings: Settings,
    pub output: Output,
    pub interrupt: Interrupt,
}

impl Context {
    /// The facade, for a command that transfers no blobs.
    pub fn modelpack(&self, registry: &RegistryArgs) -> Modelpack {
        self.modelpack_with(registry, 1, Arc::default())
    }

    /// Runs `work` and shows its progress. `doing` names the activity, such as `pushing`.
    pub async fn transfer<T>(
        &self,
        doing: &'static str,
        args: &TransferArgs,
        work: impl AsyncFnOnce(&Modelpack) -> modelpack::Result<T>,
    ) -> Result<(T, Snapshot), Failure> {
        let progress = Arc::<Progress>::default();
        let modelpack = self.modelpack_with(&args.registry, args.concurrency.into(), progress.clone());
        let meter = Meter::start(doing, progress.clone(), &self.output);
        let result = work(&modelpack).await;
        // The progress line must end before other output.
        drop(meter);
        Ok((result?, progress.snapshot()))
    }

    fn modelpack_with(&self, registry: &RegistryArgs, concurrency: usize, progress: Arc<Progress>) -> Modelpack {
        let client = ClientOptions {
            plain_http: registry.plain_http,
            insecure: registry.insecure,
            proxies: self.settings.proxies.clone(),
            credentials: self.settings.credentials.clone(),
            ..ClientOptions::default()
        };
        let (output, told) = (self.output, Mutex::new(Vec::new()));
        let notices = Notices::to(move |notice| {
            let mut told = told.lock().expect("no one panics while holding what was told");
            if !told.contains(notice) {
                output.notice(notice);
                told.push(notice.clone());
            }
        });
        Modelpack::new(Options { store: self.settings.store.clone(), client, concurrency, progress, notices })
    }

    /// The creation time of the packed model, if there is one. Fails if the value is invalid.
    pub fn created_at(&self) -> Result<Option<String>, Failure> {
        self.settings.source_date_epoch.as_deref().map(source_date::to_rfc3339).transpose()
    }
}
