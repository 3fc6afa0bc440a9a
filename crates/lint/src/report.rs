//! The results of the checks.

use crate::{Consumer, NOT_WHOLE, Rule, subject::Subject};
use modelpack_spec::{Digest, ImageManifest, annotation};
use std::fmt;

/// The results for an artifact.
#[derive(Clone, Debug)]
pub struct Report {
    /// Findings that do not depend on the consumer: of [`MODEL_RULES`](crate::MODEL_RULES), in
    /// their order.
    pub model: Vec<Finding>,
    /// One for each of [`CONSUMERS`](crate::CONSUMERS), in their order.
    pub consumers: Vec<ConsumerReport>,
}

impl Report {
    /// Adds what is missing of the model, if the caller has read the model's files: for each
    /// problem the path of the file and a description. Replaces the findings that came from names
    /// and sizes alone.
    pub fn with_missing(mut self, manifest: &ImageManifest, missing: impl IntoIterator<Item = (String, String)>) -> Self {
        let subject = Subject::new(manifest, None);
        self.model = missing
            .into_iter()
            .map(|(path, found)| {
                let layer = subject.layers.iter().find(|layer| layer.path() == Some(path.as_str()));
                let location = layer.map(|layer| layer.breach(annotation::FILEPATH, "").location);
                Finding { rule: &NOT_WHOLE, location: location.unwrap_or(Location::Manifest("/layers")), found }
            })
            .collect();
        self
    }

    /// Like the other constructor, for an artifact whose layers were not hashed. The digests in its
    /// manifest have no meaning.
    pub fn without_digests(mut self) -> Self {
        let findings = self.consumers.iter_mut().flat_map(|report| &mut report.findings).chain(&mut self.model);
        for finding in findings {
            if let Location::Layer { digest, .. } = &mut finding.location {
                *digest = None;
            }
        }
        self
    }
}

/// The result for one consumer.
#[derive(Clone, Debug)]
pub struct ConsumerReport {
    /// The consumer.
    pub consumer: &'static Consumer,
    /// Whether it can use the artifact.
    pub verdict: Verdict,
    /// The reasons, in the order of the consumer's rules, then of the layers.
    pub findings: Vec<Finding>,
}

impl ConsumerReport {
    pub(crate) fn new(consumer: &'static Consumer, findings: Vec<Finding>) -> Self {
        let worst = findings.iter().map(|finding| finding.rule.severity).max();
        let verdict = match worst {
            None | Some(Severity::Note) => Verdict::Works,
            Some(Severity::Loss) => Verdict::InPart,
            Some(Severity::Fatal) => Verdict::Cannot,
        };
        Self { consumer, verdict, findings }
    }
}

/// Whether a consumer can use an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It can use the whole artifact.
    Works,
    /// It can use the artifact with losses, such as files that it skips.
    InPart,
    /// It cannot use the artifact.
    Cannot,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Works => "works",
            Self::InPart => "in part",
            Self::Cannot => "cannot",
        })
    }
}

/// The effect on an artifact that breaks a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The artifact works, but some information is not displayed or used.
    Note,
    /// A part of the artifact is lost.
    Loss,
    /// The artifact cannot be used.
    Fatal,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Loss => "loss",
            Self::Fatal => "fatal",
        })
    }
}

/// A place where an artifact breaks a rule.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The rule.
    pub rule: &'static Rule,
    /// The location.
    pub location: Location,
    /// The value found there, or that there is none.
    pub found: String,
}

/// A part of an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A field of the manifest, as a JSON pointer.
    Manifest(&'static str),
    /// A field of the config, as a JSON pointer.
    Config(String),
    /// A field or annotation of a layer.
    Layer {
        /// The index of the layer, from 0.
        index: usize,
        /// The path or title in its annotations, under today's or the older names.
        path: Option<String>,
        /// Its digest; `None` if its bytes were not hashed.
        digest: Option<Digest>,
        /// The name of the field, such as `mediaType`, or the key of the annotation.
        field: &'static str,
    },
}
