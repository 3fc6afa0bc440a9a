//! The stack machine: every opcode with its argument, and its effect on the stack and the memo.

use super::{
    Ending, Event, Global, Step, Value, Walk,
    array::{self, Array},
    gate::Gate,
    memo::Memo,
    reader::Reader,
    value::{MAX_ELEMENTS, Values},
};
use std::io::{self, Read, Seek};

/// The longest name of a module, class or function. Longer texts are skipped.
const MAX_TEXT: usize = 256;
/// The largest number of values on the stack, and of marks. Beyond it, the walker loses track of
/// the stack.
const MAX_STACK: usize = 1 << 20;
/// The maximum nesting of pickles in byte strings. Deeper ones are not walked.
const MAX_NESTING: u8 = 3;

pub(super) struct Machine {
    values: Values,
    stack: Vec<Value>,
    marks: Vec<usize>,
    memo: Memo,
    /// Whether a loader's stack has values that this one lacks.
    is_lost: bool,
    is_sound: bool,
}

/// Why a walk stops.
enum Halt {
    Stop,
    Array,
    Broken(&'static str),
    Io(io::Error),
}

impl From<io::Error> for Halt {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof { Self::Broken("it ends too early") } else { Self::Io(error) }
    }
}

/// Receives a step, together with the position and nesting of the pickle.
pub(super) type Each<'a> = &'a mut dyn FnMut(Step<'_>);

/// Receives an event, together with whether all opcodes so far were sound.
type Tell<'a> = &'a mut dyn FnMut(bool, Event<'_>);

impl Machine {
    pub(super) fn new() -> Self {
        Self { values: Values::default(), stack: Vec::new(), marks: Vec::new(), memo: Memo::default(), is_lost: false, is_sound: true }
    }

    pub(super) fn run<R: Read + Seek>(mut self, reader: &mut Reader<R>, nesting: u8, each: Each<'_>) -> Walk {
        let begin = reader.at();
        loop {
            let ending = match self.step(reader, nesting, each) {
                Ok(()) => continue,
                Err(Halt::Stop) => Ending::Stop(self.pop().id()),
                Err(Halt::Array) => Ending::Array,
                Err(Halt::Broken(why)) => Ending::Broken(why),
                Err(Halt::Io(error)) => Ending::Unreadable(error),
            };
            return Walk { begin, end: reader.at(), ending, is_sound: self.is_sound };
        }
    }

    fn step<R: Read + Seek>(&mut self, reader: &mut Reader<R>, nesting: u8, each: Each<'_>) -> Result<(), Halt> {
        let at = reader.at();
        let mut tell = |is_sound: bool, event: Event<'_>| each(Step { at, nesting, is_sound, event });
        let [opcode] = reader.bytes()?;
        match opcode {
            // Start and end.
            0x80 => {
                if reader.bytes::<1>()?[0] > 5 {
                    return Err(Halt::Broken("its protocol is unknown"));
                }
            }
            0x95 => drop(reader.bytes::<8>()?),
            b'.' => return Err(Halt::Stop),

            // Numbers.
            b'N' => self.push(Value::None),
            0x88 => self.push(Value::Bool(true)),
            0x89 => self.push(Value::Bool(false)),
            b'J' => self.push(Value::Int(i32::from_le_bytes(reader.bytes()?).into())),
            b'K' => self.push(Value::Int(reader.bytes::<1>()?[0].into())),
            b'M' => self.push(Value::Int(u16::from_le_bytes(reader.bytes()?).into())),
            b'G' => {
                reader.bytes::<8>()?;
                self.push(Value::Unknown);
            }
            b'I' | b'L' | b'F' => {
                let line = reader.line(MAX_TEXT)?;
                self.push_number(line);
            }
            0x8a => {
                let length = reader.bytes::<1>()?[0].into();
                self.push_long(reader, length)?;
            }
            0x8b => {
                let length = u64::try_from(i32::from_le_bytes(reader.bytes()?)).map_err(|_| Halt::Broken("a length is negative"))?;
                self.push_long(reader, length)?;
            }

            // Texts and byte strings.
            b'S' => {
                let line = reader.line(MAX_TEXT * 4)?;
                let quoted = line.as_deref().map(|line| line.trim_ascii_end());
                let text = quoted.map(|line| line.split_first().and_then(|(quote, rest)| Some((quote, rest.strip_suffix(&[*quote])?))));
                match text {
                    Some(Some((b'"' | b'\'', text))) => self.push_text(Some(unescaped(text, false))),
                    Some(_) => {
                        self.is_sound = false;
                        self.push(Value::Unknown);
                    }
                    None => self.push(Value::Unknown),
                }
            }
            b'V' => {
                let line = reader.line(MAX_TEXT * 4)?;
                self.push_text(line.map(|line| unescaped(&line, true)));
            }
            b'U' | b'C' | 0x8c => {
                let length = reader.bytes::<1>()?[0].into();
                self.read_text(reader, length, opcode == b'C', nesting, each)?;
            }
            b'X' | b'B' => {
                let length = u32::from_le_bytes(reader.bytes()?).into();
                self.read_text(reader, length, opcode == b'B', nesting, each)?;
            }
            b'T' => {
                let length = u64::try_from(i32::from_le_bytes(reader.bytes()?)).map_err(|_| Halt::Broken("a length is negative"))?;
                self.read_text(reader, length, false, nesting, each)?;
            }
            0x8d | 0x8e | 0x96 => {
                let length = u64::from_le_bytes(reader.bytes()?);
                self.read_text(reader, length, opcode != 0x8d, nesting, each)?;
            }
            0x97 => self.push(Value::Unknown),
            0x98 => {
                let buffer = self.pop();
                self.push(buffer);
            }

            // Containers.
            b'(' => {
                if self.marks.len() == MAX_STACK {
                    self.lose();
                }
                self.marks.push(self.stack.len());
            }
            b')' => self.push_tuple(Vec::new()),
            0x85..=0x87 => {
                let mut elements: Vec<_> = (0x84..opcode).map(|_| self.pop()).collect();
                elements.reverse();
                self.push_tuple(elements);
            }
            b't' => {
                let elements = self.pop_to_mark();
                self.push_tuple(elements);
            }
            b']' | 0x8f => self.push(Value::Unknown),
            b'l' | 0x91 => {
                let elements = self.pop_to_mark();
                elements.iter().for_each(|element| tell(self.is_sound, Event::Element(element)));
                self.push(Value::Unknown);
            }
            b'}' => {
                let dict = self.values.dict();
                self.push(dict);
            }
            b'd' => {
                let items = self.pop_to_mark();
                let dict = self.values.dict();
                self.set_items(&dict, items, &mut tell);
                self.push(dict);
            }
            b'a' => {
                let element = self.pop();
                self.need_one();
                tell(self.is_sound, Event::Element(&element));
            }
            b'e' | 0x90 => {
                let elements = self.pop_to_mark();
                self.need_one();
                elements.iter().for_each(|element| tell(self.is_sound, Event::Element(element)));
            }
            b's' => {
                let value = self.pop();
                let key = self.pop();
                let into = self.pop();
                self.set_items(&into, vec![key, value], &mut tell);
                self.push(into);
            }
            b'u' => {
                let items = self.pop_to_mark();
                let into = self.pop();
                self.set_items(&into, items, &mut tell);
                self.push(into);
            }

            // The stack and the memo.
            b'0' => {
                let is_at_mark = self.marks.last() == Some(&self.stack.len());
                if is_at_mark {
                    self.marks.pop();
                } else {
                    self.pop();
                }
            }
            b'1' => drop(self.pop_to_mark()),
            b'2' => {
                let top = self.pop();
                self.push(top.clone());
                self.push(top);
            }
            b'p' | b'g' => match number_of(reader.line(MAX_TEXT)?) {
                Some(index) if opcode == b'p' => self.put(index),
                Some(index) => self.get(index),
                None => return Err(Halt::Broken("an entry of its memo has no number")),
            },
            b'q' => {
                let index = reader.bytes::<1>()?[0].into();
                self.put(index);
            }
            b'r' => {
                let index = u32::from_le_bytes(reader.bytes()?).into();
                self.put(index);
            }
            0x94 => {
                self.memo.has_counted = true;
                let top = self.pop();
                self.push(top.clone());
                self.memo.put(self.memo.count, top, self.values.has_room());
            }
            b'h' => {
                let index = reader.bytes::<1>()?[0].into();
                self.get(index);
            }
            b'j' => {
                let index = u32::from_le_bytes(reader.bytes()?).into();
                self.get(index);
            }

            // Imports.
            b'c' | b'i' => {
                let global = match (reader.line(MAX_TEXT)?, reader.line(MAX_TEXT)?) {
                    (Some(module), Some(name)) => Some(Global { module: lossy(module), name: lossy(name) }),
                    _ => None,
                };
                let imported = match &global {
                    Some(global) => {
                        tell(self.is_sound, Event::Import(global));
                        self.values.global(global)
                    }
                    None => {
                        tell(self.is_sound, Event::Unresolved);
                        Value::Unknown
                    }
                };
                if opcode == b'i' {
                    // Python's own unpickler imports before it looks for the mark; the C version
                    // looks for the mark first. Neither calls without a mark.
                    let arguments = self.pop_to_mark();
                    self.call(imported, arguments, &mut tell);
                } else {
                    self.push(imported);
                }
            }
            0x93 => {
                let (name, module) = (self.pop(), self.pop());
                match (module.text(), name.text()) {
                    (Some(module), Some(name)) => {
                        let global = Global { module: module.to_owned(), name: name.to_owned() };
                        tell(self.is_sound, Event::Import(&global));
                        let imported = self.values.global(&global);
                        self.push(imported);
                    }
                    _ => {
                        tell(self.is_sound, Event::Unresolved);
                        self.push(Value::Unknown);
                    }
                }
            }
            0x82 => {
                tell(self.is_sound, Event::Extension(reader.bytes::<1>()?[0].into()));
                self.push(Value::Unknown);
            }
            0x83 => {
                tell(self.is_sound, Event::Extension(u16::from_le_bytes(reader.bytes()?).into()));
                self.push(Value::Unknown);
            }
            0x84 => {
                tell(self.is_sound, Event::Extension(u32::from_le_bytes(reader.bytes()?)));
                self.push(Value::Unknown);
            }

            // Calls.
            b'R' | 0x81 => {
                let arguments = self.pop();
                let callable = self.pop();
                self.called(callable, arguments, &mut tell);
            }
            0x92 => {
                self.pop();
                let arguments = self.pop();
                let callable = self.pop();
                self.called(callable, arguments, &mut tell);
            }
            b'o' => {
                let mut all = self.pop_to_mark().into_iter();
                let callable = all.next();
                self.is_sound &= callable.is_some() || self.is_lost;
                self.call(callable.unwrap_or(Value::Unknown), all.collect(), &mut tell);
            }
            b'b' => {
                let state = self.pop();
                let object = self.pop();
                tell(self.is_sound, Event::State { object: &object, state: &state });
                // A nested pickle of an array is loaded by another loader, which does not support
                // arrays.
                if nesting == 0 && array::is_wrapper(&object) {
                    self.skip_array(&state, reader, each)?;
                }
                self.push(object);
            }
            b'P' => {
                let line = reader.line(MAX_TEXT)?;
                let id = line.map_or(Value::Unknown, |line| self.values.text(lossy(line)));
                tell(self.is_sound, Event::Persistent(&id));
                let object = self.values.persistent(id);
                self.push(object);
            }
            b'Q' => {
                let id = self.pop();
                tell(self.is_sound, Event::Persistent(&id));
                let object = self.values.persistent(id);
                self.push(object);
            }
            _ => return Err(Halt::Broken("it has an unknown opcode")),
        }
        Ok(())
    }

    /// The values below the current ones are no longer known.
    fn lose(&mut self) {
        self.is_lost = true;
        self.stack.clear();
        self.marks.clear();
    }

    fn push(&mut self, value: Value) {
        if self.stack.len() == MAX_STACK {
            self.lose();
        }
        self.stack.push(value);
    }

    /// Pops the top of the stack, but not below the last mark.
    fn pop(&mut self) -> Value {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            self.is_sound &= self.is_lost;
            return Value::Unknown;
        }
        self.stack.pop().unwrap_or(Value::Unknown)
    }

    /// Checks that the stack has the object that the opcode changes.
    fn need_one(&mut self) {
        let top = self.pop();
        self.push(top);
    }

    fn pop_to_mark(&mut self) -> Vec<Value> {
        match self.marks.pop() {
            Some(mark) => self.stack.split_off(mark.min(self.stack.len())),
            None => {
                self.is_sound &= self.is_lost;
                std::mem::take(&mut self.stack)
            }
        }
    }

    fn push_tuple(&mut self, elements: Vec<Value>) {
        let tuple = self.values.tuple(elements);
        self.push(tuple);
    }

    /// Pushes a number that was written as a line of text.
    fn push_number(&mut self, line: Option<Vec<u8>>) {
        let is_number = |line: &[u8]| {
            let known = |b: &u8| b.is_ascii_hexdigit() || b"+-._ \tLxXoOinfINFNatyATY\r".contains(b);
            !line.is_empty() && line.iter().all(known)
        };
        let line = line.unwrap_or_else(|| vec![b'0']);
        self.is_sound &= is_number(&line);
        let number = str::from_utf8(&line).ok().and_then(|text| text.trim_end_matches('L').parse().ok());
        self.push(number.map_or(Value::Unknown, Value::Int));
    }

    fn push_long<R: Read + Seek>(&mut self, reader: &mut Reader<R>, length: u64) -> Result<(), Halt> {
        let bytes = reader.text(length, 8)?;
        let number = bytes.map(|bytes| {
            let sign = if bytes.last().is_some_and(|b| b & 0x80 != 0) { u8::MAX } else { 0 };
            let mut number = [sign; 8];
            number[..bytes.len()].copy_from_slice(&bytes);
            i64::from_le_bytes(number)
        });
        self.push(number.map_or(Value::Unknown, Value::Int));
        Ok(())
    }

    fn push_text(&mut self, text: Option<String>) {
        let text = text.filter(|text| text.len() <= MAX_TEXT).map_or(Value::Unknown, |text| self.values.text(text));
        self.push(text);
    }

    /// A text, or a byte string, which may contain a pickle.
    fn read_text<R: Read + Seek>(
        &mut self,
        reader: &mut Reader<R>,
        length: u64,
        is_bytes: bool,
        nesting: u8,
        each: Each<'_>,
    ) -> Result<(), Halt> {
        if nesting < MAX_NESTING && length > 2 && reader.is_at_pickle()? {
            self.push(Value::Unknown);
            return reader.part(&[], length, |part| walk_nested(part, nesting + 1, each)).map_err(Halt::from);
        }
        let text = reader.text(length, MAX_TEXT)?;
        // Names must be texts: byte strings as names make the loader fail.
        self.push_text(text.filter(|_| !is_bytes).map(lossy));
        Ok(())
    }

    fn put(&mut self, index: u64) {
        self.memo.has_numbered = true;
        let top = self.pop();
        self.push(top.clone());
        self.memo.put(index, top, self.values.has_room());
    }

    fn get(&mut self, index: u64) {
        let value = self.memo.get(index).unwrap_or_else(|()| {
            self.is_sound &= self.is_lost;
            Value::Unknown
        });
        self.push(value);
    }

    fn set_items(&mut self, into: &Value, items: Vec<Value>, tell: Tell<'_>) {
        self.is_sound &= items.len().is_multiple_of(2) || self.is_lost;
        for item in items.chunks_exact(2) {
            tell(self.is_sound, Event::Item { mapping: into.id(), key: &item[0], value: &item[1] });
            self.values.insert(into, &item[0], &item[1]);
        }
    }

    fn call(&mut self, callable: Value, arguments: Vec<Value>, tell: Tell<'_>) {
        let arguments = if arguments.len() > MAX_ELEMENTS { Value::Unknown } else { self.values.tuple(arguments) };
        self.called(callable, arguments, tell);
    }

    fn called(&mut self, callable: Value, arguments: Value, tell: Tell<'_>) {
        tell(self.is_sound, Event::Call { callable: &callable, arguments: &arguments });
        let object = self.values.object(callable, arguments);
        self.push(object);
    }

    /// Walks bytes that one loader reads as numbers, as the opcodes that a loader without array
    /// support sees.
    pub(super) fn walk_numbers<R: Read + Seek>(mut self, part: &mut Reader<R>, each: Each<'_>) -> Self {
        let mut gate = Gate::default();
        while self.is_sound && self.step(part, 1, &mut |step| gate.pass(step, each)).is_ok() {}
        self
    }

    /// Skips an array that joblib writes into the middle of a pickle.
    ///
    /// Other loaders take its bytes for opcodes, so they are also walked as opcodes, with the
    /// current memo.
    fn skip_array<R: Read + Seek>(&mut self, state: &Value, reader: &mut Reader<R>, each: Each<'_>) -> Result<(), Halt> {
        match array::of(state) {
            Array::Bytes(length) => {
                let padding = if array::is_aligned(state) { u64::from(reader.bytes::<1>()?[0]) } else { 0 };
                let length = length.checked_add(padding).ok_or(Halt::Array)?;
                let memo = std::mem::take(&mut self.memo);
                let other = Self { memo, is_lost: true, ..Self::new() };
                let other = reader.part(&[], length, |part| other.walk_numbers(part, each))?;
                // Entries that this walk added exist in the other loader's memo only.
                self.memo = other.memo;
                Ok(())
            }
            Array::Objects => {
                let walk = Self::new().run(reader, 1, each);
                match walk.ending {
                    Ending::Stop(_) => Ok(()),
                    Ending::Broken(why) => Err(Halt::Broken(why)),
                    Ending::Array => Err(Halt::Array),
                    Ending::Unreadable(error) => Err(Halt::Io(error)),
                }
            }
            Array::Unknown => Err(Halt::Array),
        }
    }
}

/// Walks the pickles in a byte string, as long as they are complete.
fn walk_nested<R: Read + Seek>(part: &mut Reader<R>, nesting: u8, each: Each<'_>) {
    while part.is_at_end().is_ok_and(|is_at_end| !is_at_end) {
        let mut gate = Gate::default();
        if !Machine::new().run(part, nesting, &mut |step| gate.pass(step, each)).is_whole() {
            return;
        }
    }
}

fn number_of(line: Option<Vec<u8>>) -> Option<u64> {
    str::from_utf8(&line?).ok()?.trim().parse().ok()
}

fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

/// Resolves the escapes of a text: Python's byte-string escapes, or only `\u` and `\U` for a
/// unicode text.
fn unescaped(text: &[u8], is_unicode: bool) -> String {
    let text = String::from_utf8_lossy(text);
    let mut resolved = String::with_capacity(text.len());
    let mut rest = text.as_ref();
    while let Some(at) = rest.find('\\') {
        resolved.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(kind) = rest.chars().next() else { break };
        let digits = |from: usize, most: usize, radix: u32| {
            let digits: String = rest.chars().skip(from).take(most).take_while(|c| c.is_digit(radix)).collect();
            let value = u32::from_str_radix(&digits, radix).ok().and_then(char::from_u32);
            value.map(|c| (c, from + digits.len()))
        };
        let found = match (is_unicode, kind) {
            (true, 'u') => digits(1, 4, 16),
            (true, 'U') => digits(1, 8, 16),
            (true, _) => None,
            (false, 'x') => digits(1, 2, 16),
            (false, '0'..='7') => digits(0, 3, 8),
            (false, 'n') => Some(('\n', 1)),
            (false, 't') => Some(('\t', 1)),
            (false, 'r') => Some(('\r', 1)),
            (false, '\\' | '\'' | '"') => Some((kind, 1)),
            (false, _) => None,
        };
        match found {
            Some((character, taken)) => {
                resolved.push(character);
                rest = &rest[taken..];
            }
            None => resolved.push('\\'),
        }
    }
    resolved.push_str(rest);
    resolved
}
