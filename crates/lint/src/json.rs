//! The JSON form of a report.

use crate::{Consumer, ConsumerReport, Finding, Location, Report, Severity, Verdict};
use modelpack_spec::Digest;
use serde::{Serialize, Serializer};

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Both<'a> {
            model: &'a [Finding],
            consumers: &'a [ConsumerReport],
        }
        Both { model: &self.model, consumers: &self.consumers }.serialize(serializer)
    }
}

impl Serialize for ConsumerReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Asked<'a> {
            id: &'a str,
            name: &'a str,
            versions: &'a str,
            verdict: Verdict,
            findings: &'a [Finding],
        }
        let Consumer { id, name, versions, .. } = self.consumer;
        Asked { id, name, versions, verdict: self.verdict, findings: &self.findings }.serialize(serializer)
    }
}

impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Severity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Found<'a> {
            rule: &'a str,
            severity: Severity,
            at: &'a Location,
            found: &'a str,
            reason: &'a str,
            change: &'a str,
        }
        let rule = self.rule;
        Found { rule: rule.name, severity: rule.severity, at: &self.location, found: &self.found, reason: rule.reason, change: rule.change }
            .serialize(serializer)
    }
}

impl Serialize for Location {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(tag = "document", rename_all = "camelCase")]
        enum At<'a> {
            Manifest {
                pointer: &'a str,
            },
            Config {
                pointer: &'a str,
            },
            #[serde(rename = "manifest")]
            Layer {
                layer: usize,
                path: Option<&'a str>,
                digest: Option<&'a Digest>,
                field: &'a str,
            },
        }
        let at = match self {
            Self::Manifest(pointer) => At::Manifest { pointer },
            Self::Config(pointer) => At::Config { pointer },
            Self::Layer { index, path, digest, field } => {
                At::Layer { layer: *index, path: path.as_deref(), digest: digest.as_ref(), field }
            }
        };
        at.serialize(serializer)
    }
}
