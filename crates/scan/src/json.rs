//! JSON that names code: of Keras, and of transformers.

use crate::{
    FileReport, Finding,
    keras::{self, Object},
    text,
};
use modelpack_formats::json::{Event, Reader};
use std::io::Read;

/// Of a text in it no more is kept. Names are shorter.
const MAX_TEXT: usize = 4096;
/// What is kept of all objects that are open at once; no honest config comes near.
const MAX_HELD: usize = 16 << 20;
/// More kinds of findings of one file are not told.
const MAX_KINDS: usize = 100;

/// Looks for what makes a loader of this JSON file run code.
///
/// What is in it is judged as far as it can be read. If Python could read on, or what was read is of Keras, it is a finding that the file
/// cannot be read to its end: what follows is not judged, and some loader may take it. Else nobody loads it.
pub(crate) fn scan(file: impl Read, report: &mut FileReport) {
    let mut walk = Walk::default();
    match walk.document(file) {
        Ok(()) => report.looked("JSON"),
        Err(unread) => {
            let why = format!("JSON that cannot be read to its end: {}", unread.why);
            if unread.may_be_loaded || walk.has_class && walk.has_config {
                report.unread(format!("is {why}"));
            } else {
                report.not_judged(why);
            }
        }
    }
    if walk.has_auto_map {
        report.note("`auto_map` names Python code that loaders with `trust_remote_code` run");
    }
    if walk.has_chat_template {
        text::note_chat_template(report);
    }
    walk.findings.into_iter().for_each(|finding| report.find(finding));
}

/// Why a document was not read to its end.
struct Unread {
    why: String,
    /// Whether that is not because the document is broken.
    may_be_loaded: bool,
}

/// An array or object that is open.
enum Level {
    Array,
    Object {
        /// The key of the value that comes next, if that is wanted.
        key: Option<&'static str>,
        /// What is kept of it, once there is something.
        kept: Option<Box<Object>>,
    },
}

#[derive(Default)]
struct Walk {
    open: Vec<Level>,
    /// The bytes of what is kept of all that is open.
    held: usize,
    has_auto_map: bool,
    has_chat_template: bool,
    /// Whether something says of which class it is, and something has a config, as objects of Keras do.
    has_class: bool,
    has_config: bool,
    findings: Vec<Finding>,
}

impl Walk {
    fn document(&mut self, file: impl Read) -> Result<(), Unread> {
        let mut reader = Reader::new(file, MAX_TEXT);
        loop {
            let next = reader.next().map_err(|error| Unread { why: error.to_string(), may_be_loaded: !error.is_invalid() })?;
            match next {
                None => return Ok(()),
                Some(Event::BeginArray) => self.open.push(Level::Array),
                Some(Event::BeginObject) => self.open.push(Level::Object { key: None, kept: None }),
                Some(Event::EndArray) => _ = self.open.pop(),
                Some(Event::EndObject) => self.end(),
                Some(Event::Key(key)) => self.key(key.text),
                Some(Event::String(text)) => {
                    let cut = if text.is_exact { "" } else { "…" };
                    self.text(|| format!("{}{cut}", text.text));
                    if self.held > MAX_HELD {
                        return Err(Unread {
                            why: "it names more classes within each other than are kept".to_owned(),
                            may_be_loaded: true,
                        });
                    }
                }
                Some(Event::Number(_) | Event::Bool(_) | Event::Null) => {}
            }
        }
    }

    fn key(&mut self, name: &str) {
        if self.open.len() == 1 {
            self.has_auto_map |= name == "auto_map";
            self.has_chat_template |= name == "chat_template";
        }
        let wanted = keras::KEYS.into_iter().find(|wanted| *wanted == name);
        self.has_class |= wanted == Some(keras::CLASS_NAME);
        self.has_config |= wanted == Some(keras::CONFIG);
        let Some(Level::Object { key, kept }) = self.open.last_mut() else { return };
        *key = wanted;
        // Of keys that are repeated the last counts, whatever its value.
        if let (Some(wanted), Some(kept)) = (wanted, kept) {
            self.held -= kept.forget(wanted);
        }
    }

    fn text(&mut self, text: impl FnOnce() -> String) {
        if let Some(Level::Object { key: Some(key), kept }) = self.open.last_mut() {
            self.held += kept.get_or_insert_default().keep(key, text());
        }
    }

    fn end(&mut self) {
        let Some(Level::Object { kept: Some(ended), .. }) = self.open.pop() else { return };
        if let Some(finding) = keras::judge(&ended)
            && self.findings.len() < MAX_KINDS
            && !self.findings.contains(&finding)
        {
            self.findings.push(finding);
        }
        self.held -= ended.held();
        if let Some(Level::Object { key: Some(keras::CONFIG), kept }) = self.open.last_mut() {
            self.held += kept.get_or_insert_default().keep_config(*ended);
        }
    }
}
