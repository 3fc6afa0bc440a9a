//! Filters events from bytes that may look like a pickle by chance.

use super::{Event, Global, Step, machine::Each};

/// Passes the events of arbitrary bytes on once they are unlikely to be chance: after an import
/// with a plausible name, or a call of an imported global.
#[derive(Default)]
pub(super) struct Gate {
    passed: bool,
    waiting: Vec<(u64, u8, Waiting)>,
}

enum Waiting {
    Unresolved,
    Extension(u32),
}

impl Gate {
    pub(super) fn pass(&mut self, step: Step<'_>, each: Each<'_>) {
        match step.event {
            Event::Import(global) if is_name(global) => self.passed = true,
            Event::Call { .. } if !self.waiting.is_empty() => {
                self.passed = true;
                for (at, nesting, waiting) in self.waiting.drain(..) {
                    let event = match waiting {
                        Waiting::Unresolved => Event::Unresolved,
                        Waiting::Extension(code) => Event::Extension(code),
                    };
                    each(Step { at, nesting, is_sound: step.is_sound, event });
                }
            }
            Event::Unresolved if self.waiting.len() < 16 => self.waiting.push((step.at, step.nesting, Waiting::Unresolved)),
            Event::Extension(code) if self.waiting.len() < 16 => self.waiting.push((step.at, step.nesting, Waiting::Extension(code))),
            _ => {}
        }
        // Items and elements are reported for the outermost pickle only.
        if self.passed && matches!(step.event, Event::Import(_) | Event::Call { .. } | Event::State { .. }) {
            each(step);
        }
    }
}

/// Whether the text could be the name of a global. Random bytes are not.
fn is_name(global: &Global) -> bool {
    let is_name = |text: &str| {
        let part = |part: &str| !part.is_empty() && part.chars().all(|c| c == '_' || c.is_ascii_alphanumeric());
        text.split('.').all(part)
    };
    is_name(&global.module) && is_name(&global.name)
}
