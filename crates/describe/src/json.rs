//! The JSON form of a description.

use crate::{Description, Finding};
use serde::{Serialize, Serializer};
use serde_json::Value;

impl Description {
    /// The values that `finding` overruled: those of the same field, or of the annotation with the
    /// same key.
    pub fn overruled_by(&self, finding: &Finding) -> impl Iterator<Item = &Finding> {
        let key = |finding: &Finding| {
            let pair = finding.value.as_str().filter(|_| finding.field == "annotations")?;
            pair.split_once('=').map(|(key, _)| key.to_owned())
        };
        let (field, wanted) = (finding.field, key(finding));
        self.overruled.iter().filter(move |other| other.field == field && key(other) == wanted)
    }
}

/// Each value with its source and the values that it overruled, the notes, and the warnings.
impl Serialize for Description {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Whole<'a> {
            metadata: Vec<Printed<'a>>,
            notes: &'a [String],
            warnings: &'a [String],
        }
        #[derive(Serialize)]
        struct Printed<'a> {
            field: &'a str,
            value: &'a Value,
            from: &'a str,
            #[serde(skip_serializing_if = "Vec::is_empty")]
            overruled: Vec<Otherwise<'a>>,
        }
        #[derive(Serialize)]
        struct Otherwise<'a> {
            value: &'a Value,
            from: &'a str,
        }
        fn otherwise(other: &Finding) -> Otherwise<'_> {
            Otherwise { value: &other.value, from: &other.source }
        }
        let metadata = self.findings.iter().map(|finding| Printed {
            field: finding.field,
            value: &finding.value,
            from: &finding.source,
            overruled: self.overruled_by(finding).map(otherwise).collect(),
        });
        Whole { metadata: metadata.collect(), notes: &self.notes, warnings: &self.warnings }.serialize(serializer)
    }
}
