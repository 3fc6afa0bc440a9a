//! Pickles, byte by byte.

use super::{Ending, Event, Pickles, Value, Walk};
use std::io::Cursor;

/// The first pickle of these bytes and its events, one text each: `import M.N`, `unresolved`,
/// `extension N`, `call`, `state`, `persistent`, prefixed by `nested` inside a byte string.
fn walked(bytes: &[u8]) -> (Vec<String>, Walk) {
    let mut events = Vec::new();
    let walk = Pickles::new(Cursor::new(bytes)).walk(&mut |step| {
        let word = match step.event {
            Event::Import(global) => format!("import {}.{}", global.module, global.name),
            Event::Unresolved => "unresolved".to_owned(),
            Event::Extension(code) => format!("extension {code}"),
            Event::Call { .. } => "call".to_owned(),
            Event::State { .. } => "state".to_owned(),
            Event::Persistent(_) => "persistent".to_owned(),
            Event::Item { .. } | Event::Element(_) => return,
        };
        events.push(if step.nesting > 0 { format!("nested {word}") } else { word });
    });
    (events, walk)
}

fn events(bytes: &[u8]) -> Vec<String> {
    walked(bytes).0
}

#[track_caller]
fn assert_events(bytes: &[u8], expected: &[&str]) {
    let (events, walk) = walked(bytes);
    assert_eq!(events, expected, "{walk:?}");
}

/// A pickle with every opcode of every protocol. Python's `pickletools` reads it to its end.
fn every_opcode() -> Vec<u8> {
    [
        &b"\x80\x05\x95\x00\x00\x00\x00\x00\x00\x00\x00"[..],
        b"I1\nI01\nL12L\nF1.5\nJ\x01\x00\x00\x00K\x01M\x01\x00G\x00\x00\x00\x00\x00\x00\x00\x00N\x88\x89",
        b"\x8a\x01\x7f\x8b\x02\x00\x00\x00\x00\x01",
        b"S'a'\nVa\nT\x01\x00\x00\x00aU\x01aX\x01\x00\x00\x00aB\x01\x00\x00\x00aC\x01a\x8c\x01a",
        b"\x8d\x01\x00\x00\x00\x00\x00\x00\x00a\x8e\x01\x00\x00\x00\x00\x00\x00\x00a\x96\x01\x00\x00\x00\x00\x00\x00\x00a\x97\x98",
        b"(10]Na](NNe(l()d}NNs}(NNu\x8f(N\x90(N\x91",
        b")\x85)\x85\x86NNN\x87(NNt",
        b"p0\ng0\nq\x01h\x01r\x02\x00\x00\x00j\x02\x00\x00\x00\x942",
        b"cm\na\n)R(im\nb\n(cm\nc\noNb0cm\nd\n)\x81cm\ne\n)}\x92\x8c\x01m\x8c\x01f\x93",
        b"\x82\x01\x83\x01\x00\x84\x01\x00\x00\x00Pid\nNQ0.",
    ]
    .concat()
}

#[test]
fn every_opcode_of_every_protocol_is_read() {
    let bytes = every_opcode();
    let (events, walk) = walked(&bytes);
    assert!(matches!(walk.ending, Ending::Stop(_)), "{walk:?}");
    assert_eq!(walk.end, bytes.len() as u64);
    let expected = [
        "import m.a",
        "call",
        "import m.b",
        "call",
        "import m.c",
        "call",
        "state",
        "import m.d",
        "call",
        "import m.e",
        "call",
        "import m.f",
        "extension 1",
        "extension 1",
        "extension 1",
        "persistent",
        "persistent",
    ];
    assert_eq!(events, expected);
    for opcode in (0..=u8::MAX).filter(|opcode| !b"Nq.()0123".contains(opcode)) {
        let known = bytes.contains(&opcode);
        let (_, walk) = walked(&[&[opcode][..], &[b'1'; 300]].concat());
        let is_unknown = matches!(walk.ending, Ending::Broken(why) if why.contains("unknown opcode")) && walk.end == 1;
        assert!(known || is_unknown, "{opcode:#x}");
    }
}

#[test]
fn import_names_are_found_in_every_form() {
    for (bytes, why) in [
        (&b"\x80\x04\x8c\x02os\x8c\x06system\x93."[..], "pushed"),
        (b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94N0\x93.", "with another value between"),
        (b"\x80\x04\x8c\x06system\x94\x8c\x02os\x94h\x01h\x00\x93.", "from the memo"),
        (
            b"\x80\x04\x8c\x04safeq\x00\x8c\x02osq\x00\x8c\x06systemr\x00\x01\x00\x000h\x00j\x00\x01\x00\x00\x93.",
            "from a memo entry written twice",
        ),
        (b"S'\\x6f\\163'\nV\\u0073ystem\n\x93.", "escaped"),
        (b"X\x02\x00\x00\x00osT\x06\x00\x00\x00system\x93.", "of other text opcodes"),
        (b"\x80\x04(\x8c\x01x\x8c\x02os1\x8c\x02os\x8c\x06system\x93.", "after dropped values"),
        (b"cos\nsystem\n.", "as lines"),
    ] {
        assert_eq!(events(bytes), ["import os.system"], "{why}");
    }
    assert_events(b"\x80\x04\x8c\x02os2\x93.", &["import os.os"]);
    assert_events(b"(S'x'\nios\nsystem\n.", &["import os.system", "call"]);
}

#[test]
fn unknown_import_names_are_reported() {
    for bytes in [
        &b"\x80\x04cbuiltins\nstr\nC\x02os\x85R\x8c\x06system\x93."[..],
        b"\x80\x04\x8c\x02osK\x01\x93.",
        b"\x80\x04h\x05h\x06\x93.",
        b"\x80\x04\x93.",
        &[&b"\x80\x04X\x01\x01\x00\x00"[..], &[b'o'; 257], b"\x8c\x01s\x93."].concat(),
        &[&b"c"[..], &[b'o'; 300], b"\nsystem\n."].concat(),
    ] {
        assert!(events(bytes).contains(&"unresolved".to_owned()), "{}", bytes.escape_ascii());
    }
}

#[test]
fn events_before_a_broken_opcode_are_reported() {
    for rest in
        [&b"\xff"[..], b"", b"X\xff\xff\xff\xff", b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff", b"T\xff\xff\xff\xff", b"\x80\x06", b"g\n"]
    {
        let (events, walk) = walked(&[b"cos\nsystem\n(S'x'\ntR", rest].concat());
        assert_eq!(events, ["import os.system", "call"]);
        assert!(matches!(walk.ending, Ending::Broken(_)), "{walk:?}");
    }
}

#[test]
fn missing_operands_make_a_pickle_unsound() {
    for bytes in [&b"."[..], b"0.", b"\x93.", b"NR.", b"t.", b"(NR.", b"(N\x85(a.", b"Iabc#\n.", b"Sabc\n.", b"h\x01."] {
        assert!(!walked(bytes).1.is_sound, "{}", bytes.escape_ascii());
    }
    assert!(walked(b"N.").1.is_whole());
}

#[test]
fn consecutive_pickles_are_read_to_the_end_of_the_file() {
    let mut pickles = Pickles::new(Cursor::new(b"K\x01.\x80\x02}.N"));
    let mut next = || {
        let walk = pickles.walk(&mut |_| {});
        (walk.begin, walk.end, walk.is_whole(), pickles.is_at_end().unwrap())
    };
    assert_eq!(next(), (0, 3, true, false));
    assert_eq!(next(), (3, 7, true, false));
    assert_eq!(next(), (7, 8, false, true));
}

#[test]
fn pickles_in_byte_strings_are_walked_and_numbers_are_not_mistaken_for_pickles() {
    let inner = b"\x80\x02cos\nsystem\nU\x01x\x85R.";
    for (head, tail) in [(vec![b'C', inner.len() as u8], b"."), (vec![b'B', inner.len() as u8, 0, 0, 0], b".")] {
        assert_events(&[&head[..], inner, tail].concat(), &["nested import os.system", "nested call"]);
    }
    let twice = [&[b'C', inner.len() as u8][..], inner, b"."].concat();
    let twice = [&[b'C', twice.len() as u8 + 2][..], b"\x80\x03", &twice, b"."].concat();
    assert_events(&twice, &["nested import os.system", "nested call"]);
    assert_events(b"C\x06\x80\x02\x93\x93\x82\x01.", &[]);
}

#[test]
fn extensions_and_calls_of_unknown_values_are_reported() {
    assert_events(b"\x80\x02\x82\x05)R.", &["extension 5", "call"]);
    let mut called = None;
    Pickles::new(Cursor::new(b"cm\nf\n)R)R.")).walk(&mut |step| {
        if let Event::Call { callable, .. } = step.event {
            called = Some(callable.clone());
        }
    });
    let called = called.unwrap();
    assert_eq!(called.object().unwrap().callable.global().unwrap().name, "f");
}

#[test]
fn items_and_the_ending_give_the_id_of_the_mapping() {
    let mut items = Vec::new();
    let bytes = b"\x80\x02ccollections\nOrderedDict\n)Rq\x00(X\x01\x00\x00\x00aK\x01X\x01\x00\x00\x00b}(X\x01\x00\x00\x00cK\x02uu}b.";
    let walk = Pickles::new(Cursor::new(bytes)).walk(&mut |step| {
        if let Event::Item { mapping, key, .. } = step.event {
            items.push((mapping, key.text().unwrap().to_owned()));
        }
    });
    let Ending::Stop(root) = walk.ending else { panic!("{walk:?}") };
    let of_root: Vec<_> = items.iter().filter(|(mapping, _)| *mapping == root).map(|(_, key)| key.as_str()).collect();
    assert_eq!(of_root, ["a", "b"]);
    assert_eq!(items.len(), 3);
}

#[test]
fn depth_and_length_use_neither_stack_nor_memory() {
    let deep_tuples = [&b")"[..], &[0x85; 500_000], b"."].concat();
    assert!(walked(&deep_tuples).1.is_whole());
    let marks = [&[b'('; 1_100_000][..], b"cos\nsystem\n."].concat();
    assert_eq!(events(&marks), ["import os.system"]);
    let stack = [&[b'N'; 1_100_000][..], b"cos\nsystem\n."].concat();
    assert_eq!(events(&stack), ["import os.system"]);
    let calls = [&b"cm\nf\n"[..], &b")R".repeat(200_000), b"."].concat();
    assert_eq!(events(&calls).len(), 200_001);
}

#[test]
fn a_full_memo_hides_no_import() {
    // Early names stay known, late names are lost, and no name is mistaken for another.
    let fill = b"N\x940".repeat(1 << 20);
    let early = [&b"\x80\x04\x8c\x02os\x940\x8c\x06system\x940"[..], &fill, b"h\x00h\x01\x93."].concat();
    assert_eq!(events(&early), ["import os.system"]);
    let late = [&b"\x80\x04"[..], &fill, b"\x8c\x02os\x940j\x00\x00\x10\x00\x8c\x06system\x93."].concat();
    assert_eq!(events(&late), ["unresolved"]);
    let mixed = [
        &b"\x80\x04\x8c\x04safer\x05\x00\x10\x000\x8c\x06systemq\x000"[..],
        &fill,
        b"\x8c\x02os\x94\x94\x94\x94\x94\x94\x940j\x05\x00\x10\x00h\x00\x93.",
    ];
    assert_eq!(events(&mixed.concat()), ["unresolved"]);
}

#[test]
fn an_array_inside_a_pickle_is_skipped_and_its_bytes_are_also_walked() {
    let head = |kind: &str| {
        let state = format!("}}(S'dtype'\ncnumpy\ndtype\n(S'{kind}'\ntRS'shape'\n(I2\ntub");
        [b"\x80\x02cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81", state.as_bytes()].concat()
    };
    let imports = ["import joblib.numpy_pickle.NumpyArrayWrapper", "call", "import numpy.dtype", "call", "state"];
    let numbers = [&head("f8"), &[0xff; 16][..], b"."].concat();
    let (events, walk) = walked(&numbers);
    assert_eq!(events, imports);
    assert!(walk.is_whole(), "{walk:?}");
    // A loader without array support takes the numbers for opcodes.
    let (events, walk) = walked(&[&head("f8"), &b"0cos\nsystem\n)R.."[..], b"."].concat());
    assert_eq!(events[5..], ["nested import os.system", "nested call"]);
    assert!(walk.is_whole(), "{walk:?}");
    let (events, _) = walked(&[&head("O8"), &b"\x80\x02cos\nsystem\n)R."[..], b"."].concat());
    assert_eq!(events[5..], ["nested import os.system", "nested call"]);
    assert!(matches!(walked(&head("V8")).1.ending, Ending::Array));
}

#[test]
fn values_equal_those_of_the_pickle() {
    let mut seen = Vec::new();
    Pickles::new(Cursor::new(b"\x80\x02cm\nf\n(K\x07J\xff\xff\xff\xff\x8a\x02\x00\x01X\x01\x00\x00\x00t\x88N(K\x01K\x02ttR.")).walk(
        &mut |step| {
            if let Event::Call { arguments, .. } = step.event {
                seen = arguments.tuple().unwrap().to_vec();
            }
        },
    );
    let [seven, minus_one, long, text, Value::Bool(true), Value::None, pair] = seen.as_slice() else { panic!("{seen:?}") };
    assert_eq!([seven.int(), minus_one.int(), long.int()], [Some(7), Some(-1), Some(256)]);
    assert_eq!(text.text(), Some("t"));
    assert_eq!(pair.tuple().unwrap().len(), 2);
}
