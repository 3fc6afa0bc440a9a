//! JSON that refers to code: configs of Keras and of transformers.

use crate::{
    FileReport, Finding,
    keras::{self, Object},
    text,
};
use modelpack_formats::json::{Event, Reader};
use std::io::Read;

/// The longest text that is kept. Names are shorter.
const MAX_TEXT: usize = 4096;
/// The memory limit for all open objects. Real configs need much less.
const MAX_HELD: usize = 16 << 20;
/// The largest number of different findings for a file.
const MAX_KINDS: usize = 100;

/// Looks for content that makes a loader of this JSON file run code.
///
/// The content is judged as far as it can be read. If the file cannot be read to its end, this is a
/// finding if Python could continue, or if the content so far belongs to Keras: the rest is not
/// judged, but some loader may accept it. Otherwise no loader accepts the file.
pub(crate) fn scan(file: impl Read, report: &mut FileReport) {
    let mut walk = Walk::default();
    match walk.document(file) {
        Ok(()) => report.looked("JSON"),
        Err(unread) => {
            let why = format!("JSON that cannot be read completely: {}", unread.why);
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
    /// Whether the reason is a limit here, and not a malformed document.
    may_be_loaded: bool,
}

/// An open array or object.
enum Level {
    Array,
    Object {
        /// The key of the next value, if it is relevant.
        key: Option<&'static str>,
        /// The kept content of the object, if there is any.
        kept: Option<Box<Object>>,
    },
}

#[derive(Default)]
struct Walk {
    open: Vec<Level>,
    /// The memory of the kept content of all open objects, in bytes.
    held: usize,
    has_auto_map: bool,
    has_chat_template: bool,
    /// Whether some object has a class name, and some object has a config, as Keras objects do.
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
                        return Err(Unread { why: "its nested classes exceed the memory limit".to_owned(), may_be_loaded: true });
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
        // Of duplicate keys the last one wins, whatever its value.
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
