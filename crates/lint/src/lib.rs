//! Which tools can use a model artifact, and what to change for those that cannot.
//!
//! [`lint`] holds a manifest and its config against [`CONSUMERS`]: each is a list of [`Rule`]s, in a file of its own, that say what one
//! tool needs, and against [`MODEL_RULES`], which say whether the model is whole. Names are read as the tool reads them, not normalised: a tool that knows today's names only does not see the older ones.

mod consumer;
mod json;
mod model;
mod report;
mod subject;
#[cfg(test)]
mod tests;

pub use consumer::CONSUMERS;
pub use model::{MODEL_RULES, NOT_WHOLE};
pub use report::{ConsumerReport, Finding, Location, Report, Severity, Verdict};

use modelpack_spec::ImageManifest;
use subject::{Breach, Subject};

/// A tool, in those of its versions that read artifacts alike.
#[derive(Debug)]
pub struct Consumer {
    /// What it is called in arguments, such as `harbor-2.13`; unique.
    pub id: &'static str,
    /// What people call it.
    pub name: &'static str,
    /// The versions that are meant.
    pub versions: &'static str,
    /// What it needs.
    pub rules: &'static [Rule],
}

impl Consumer {
    /// The consumer that is called `id` in arguments.
    pub fn find(id: &str) -> Option<&'static Self> {
        CONSUMERS.iter().find(|consumer| consumer.id == id)
    }
}

/// One thing that a consumer needs of an artifact.
#[derive(Debug)]
pub struct Rule {
    /// Its name, unique in its consumer, such as `title-has-directory`.
    pub name: &'static str,
    /// What becomes of an artifact that breaks it.
    pub severity: Severity,
    /// What the consumer does, and so needs.
    pub reason: &'static str,
    /// What to change.
    pub change: &'static str,
    /// Where the artifact breaks it.
    breaches: fn(&Subject<'_>) -> Vec<Breach>,
}

/// Asks every consumer whether it can use the artifact with this manifest.
///
/// `config` is the config blob. Without it, what consumers read of the config is not judged.
pub fn lint(manifest: &ImageManifest, config: Option<&[u8]>) -> Report {
    let subject = Subject::new(manifest, config);
    let ask = |rules: &'static [Rule]| {
        let findings = rules.iter().flat_map(|rule| {
            let found = (rule.breaches)(&subject).into_iter();
            found.map(move |breach| Finding { rule, location: breach.location, found: breach.found })
        });
        findings.collect()
    };
    let consumers = CONSUMERS.iter().map(|consumer| ConsumerReport::new(consumer, ask(consumer.rules)));
    Report { model: ask(&MODEL_RULES), consumers: consumers.collect() }
}
