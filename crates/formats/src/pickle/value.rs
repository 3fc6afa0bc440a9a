//! The part of a pickle's values that is kept: names, numbers, and their containers. All other
//! values are unknown.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

/// The memory limit for all kept values, in bytes.
const MAX_KEPT: usize = 64 << 20;
/// Above this, the memo accepts no more values, so that the stack still can.
const MAX_REMEMBERED: usize = MAX_KEPT / 2;
/// Larger tuples are unknown.
pub(super) const MAX_ELEMENTS: usize = 32;
/// The maximum number of items of a dictionary that are kept.
const MAX_ITEMS: usize = 8;
/// Deeper values are unknown, so no function here recurses deeply.
const MAX_DEPTH: u8 = 8;

/// A Python object that can be imported.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Global {
    /// The module, as the pickle gives it.
    pub module: String,
    /// The name in the module. Dots mean an attribute of an attribute.
    pub name: String,
}

/// The result of a call.
#[derive(Debug)]
pub struct Object {
    /// An id that no other mapping or object of the pickle has.
    pub id: u64,
    /// The callable.
    pub callable: Value,
    /// The tuple of arguments.
    pub arguments: Value,
    _charge: Charge,
}

/// A value, or the part of it that was kept.
#[derive(Clone, Debug)]
pub enum Value {
    /// Any other value, or one that was lost.
    Unknown,
    /// `None`.
    None,
    /// A boolean.
    Bool(bool),
    /// An integer of at most 64 bits.
    Int(i64),
    /// A short text.
    Text(Rc<Kept<String>>),
    /// A short tuple.
    Tuple(Rc<Tuple>),
    /// An imported global.
    Global(Rc<Kept<Global>>),
    /// The object that the loader returned for this persistent id.
    Persistent(Rc<Tuple>),
    /// A dictionary.
    Dict(Rc<Dict>),
    /// The result of a call.
    Object(Rc<Object>),
}

/// A kept value, which is counted against the memory limit.
#[derive(Debug)]
pub struct Kept<T> {
    value: T,
    _charge: Charge,
}

impl<T> std::ops::Deref for Kept<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// A short tuple.
#[derive(Debug)]
pub struct Tuple {
    depth: u8,
    elements: Vec<Value>,
    _charge: Charge,
}

/// A dictionary, with its first items that have texts as keys.
#[derive(Debug)]
pub struct Dict {
    pub(super) id: u64,
    items: RefCell<Vec<(Value, Value)>>,
    _charge: Charge,
}

impl Value {
    /// The text, if the value is one.
    pub fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The integer, if the value is one.
    pub fn int(&self) -> Option<i64> {
        if let Self::Int(number) = self { Some(*number) } else { None }
    }

    /// The elements, if the value is a tuple.
    pub fn tuple(&self) -> Option<&[Value]> {
        if let Self::Tuple(tuple) = self { Some(&tuple.elements) } else { None }
    }

    /// The persistent id, if the loader returned the value for one.
    pub fn persistent(&self) -> Option<&Value> {
        if let Self::Persistent(id) = self { id.elements.first() } else { None }
    }

    /// The global, if the value is one.
    pub fn global(&self) -> Option<&Global> {
        if let Self::Global(global) = self { Some(global) } else { None }
    }

    /// The object, if the value is the result of a call.
    pub fn object(&self) -> Option<&Object> {
        if let Self::Object(object) = self { Some(object) } else { None }
    }

    /// The value of a key in a dictionary.
    pub(super) fn item(&self, key: &str) -> Option<Value> {
        let Self::Dict(dict) = self else { return None };
        dict.items.borrow().iter().rev().find(|(known, _)| known.text() == Some(key)).map(|(_, value)| value.clone())
    }

    /// The id of a mapping, or of an object, which may be a mapping.
    pub(super) fn id(&self) -> Option<u64> {
        match self {
            Self::Dict(dict) => Some(dict.id),
            Self::Object(object) => Some(object.id),
            _ => None,
        }
    }

    fn depth(&self) -> u8 {
        match self {
            Self::Tuple(tuple) | Self::Persistent(tuple) => tuple.depth,
            Self::Object(object) => 1 + object.callable.depth().max(object.arguments.depth()),
            _ => 0,
        }
    }

    /// The value as part of another one. A dictionary becomes unknown, because it can change and
    /// could come to contain itself.
    fn within(self) -> Self {
        if matches!(self, Self::Dict(_)) || self.depth() >= MAX_DEPTH { Self::Unknown } else { self }
    }
}

/// Creates values while the memory limit allows it.
#[derive(Default)]
pub(super) struct Values {
    kept: Rc<Cell<usize>>,
    ids: u64,
}

impl Values {
    /// Whether the memo may accept another value.
    pub(super) fn has_room(&self) -> bool {
        self.kept.get() <= MAX_REMEMBERED
    }

    fn charge(&self, bytes: usize) -> Option<Charge> {
        let kept = self.kept.get() + bytes;
        if kept > MAX_KEPT {
            return None;
        }
        self.kept.set(kept);
        Some(Charge { kept: self.kept.clone(), bytes })
    }

    fn id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    pub(super) fn text(&self, text: String) -> Value {
        match self.charge(64 + text.len()) {
            Some(charge) => Value::Text(Rc::new(Kept { value: text, _charge: charge })),
            None => Value::Unknown,
        }
    }

    pub(super) fn global(&self, global: &Global) -> Value {
        match self.charge(96 + global.module.len() + global.name.len()) {
            Some(charge) => Value::Global(Rc::new(Kept { value: global.clone(), _charge: charge })),
            None => Value::Unknown,
        }
    }

    pub(super) fn tuple(&self, elements: Vec<Value>) -> Value {
        self.sequence(elements).map_or(Value::Unknown, Value::Tuple)
    }

    pub(super) fn persistent(&self, id: Value) -> Value {
        self.sequence(vec![id]).map_or(Value::Unknown, Value::Persistent)
    }

    fn sequence(&self, elements: Vec<Value>) -> Option<Rc<Tuple>> {
        if elements.len() > MAX_ELEMENTS {
            return None;
        }
        let charge = self.charge(64 + elements.len() * size_of::<Value>())?;
        let elements: Vec<_> = elements.into_iter().map(Value::within).collect();
        let depth = 1 + elements.iter().map(Value::depth).max().unwrap_or(0);
        Some(Rc::new(Tuple { depth, elements, _charge: charge }))
    }

    pub(super) fn dict(&mut self) -> Value {
        let id = self.id();
        // The charge includes room for its items.
        match self.charge(64 + MAX_ITEMS * 2 * size_of::<Value>()) {
            Some(charge) => Value::Dict(Rc::new(Dict { id, items: RefCell::default(), _charge: charge })),
            None => Value::Unknown,
        }
    }

    pub(super) fn object(&mut self, callable: Value, arguments: Value) -> Value {
        let id = self.id();
        match self.charge(128) {
            Some(charge) => {
                Value::Object(Rc::new(Object { id, callable: callable.within(), arguments: arguments.within(), _charge: charge }))
            }
            None => Value::Unknown,
        }
    }

    /// Inserts an item, if `into` is a dictionary.
    pub(super) fn insert(&self, into: &Value, key: &Value, value: &Value) {
        let Value::Dict(dict) = into else { return };
        let mut items = dict.items.borrow_mut();
        if key.text().is_some() && items.len() < MAX_ITEMS {
            items.push((key.clone(), value.clone().within()));
        }
    }
}

/// The bytes that a value uses. They are released when it is dropped.
#[derive(Debug)]
struct Charge {
    kept: Rc<Cell<usize>>,
    bytes: usize,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.kept.set(self.kept.get() - self.bytes);
    }
}
