//! What came of asking the consumers.

use crate::{Consumer, NOT_WHOLE, Rule, subject::Subject};
use modelpack_spec::{Digest, ImageManifest, annotation};
use std::fmt;

/// What every consumer can do with an artifact.
#[derive(Clone, Debug)]
pub struct Report {
    /// What is to be said of the model, whoever uses it: of [`MODEL_RULES`](crate::MODEL_RULES), in their order.
    pub model: Vec<Finding>,
    /// One for each of [`CONSUMERS`](crate::CONSUMERS), in their order.
    pub consumers: Vec<ConsumerReport>,
}

impl Report {
    /// Says what is missing of the model, by whoever has read its files: the path of the file by which it is known, and what. What names and
    /// sizes alone told is left out.
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

    /// The same, of an artifact whose layers were not hashed: the digests in its manifest mean nothing.
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

/// What one consumer can do with an artifact.
#[derive(Clone, Debug)]
pub struct ConsumerReport {
    /// The consumer.
    pub consumer: &'static Consumer,
    /// Whether it can use the artifact.
    pub verdict: Verdict,
    /// Why not, or not all of it: in the order of the consumer's rules, then of the layers.
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
    /// All of it.
    Works,
    /// With something lost, such as files that it skips.
    InPart,
    /// Not at all.
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

/// What becomes of an artifact that breaks a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It is used all the same, and looks poorer than it could.
    Note,
    /// Some of it is lost.
    Loss,
    /// It cannot be used.
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
    /// Where.
    pub location: Location,
    /// What stands there, or that nothing does.
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
        /// Which layer, counted from 0.
        index: usize,
        /// The path or title in its annotations, in whichever names it has them.
        path: Option<String>,
        /// Its digest; `None` if its bytes were not hashed.
        digest: Option<Digest>,
        /// The name of its field, such as `mediaType`, or the key of its annotation.
        field: &'static str,
    },
}
