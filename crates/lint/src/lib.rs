//! Checks which tools can use a model artifact, and reports what to change for the others.
//!
//! [`lint`] checks a manifest and its config against the [`Rule`]s of all [`CONSUMERS`] and against
//! [`MODEL_RULES`]. A consumer is a list of rules in its own file, which describe what one tool
//! needs; the model rules check that the model is complete. Names are read as the tool reads them
//! and are not normalised: a tool that supports only today's names does not see the older ones.

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

/// A tool, or a range of its versions that read artifacts in the same way.
#[derive(Debug)]
pub struct Consumer {
    /// Its identifier in arguments, such as `harbor-2.13`; unique.
    pub id: &'static str,
    /// Its display name.
    pub name: &'static str,
    /// The versions that it covers.
    pub versions: &'static str,
    /// Its rules.
    pub rules: &'static [Rule],
}

impl Consumer {
    /// The consumer with the identifier `id`.
    pub fn find(id: &str) -> Option<&'static Self> {
        CONSUMERS.iter().find(|consumer| consumer.id == id)
    }
}

/// A requirement of a consumer.
#[derive(Debug)]
pub struct Rule {
    /// Its name, unique within its consumer, such as `title-has-directory`.
    pub name: &'static str,
    /// The effect on an artifact that breaks the rule.
    pub severity: Severity,
    /// The consumer's behaviour and the resulting requirement.
    pub reason: &'static str,
    /// The required change of the artifact.
    pub change: &'static str,
    /// Finds the places where an artifact breaks the rule.
    breaches: fn(&Subject<'_>) -> Vec<Breach>,
}

/// Checks the artifact with this manifest against the rules of every consumer.
///
/// `config` is the config blob. Without it, the rules about the config are skipped.
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
