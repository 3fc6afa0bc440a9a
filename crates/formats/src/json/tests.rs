use super::*;
use serde_json::{Value, json};

fn value(text: impl AsRef<[u8]>) -> Result<Value, Error> {
    super::read(text.as_ref(), Keep::All)
}

/// The document in each encoding that Python detects, with and without a byte order mark.
fn encodings(text: &str) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for mark in ["", "\u{feff}"] {
        let text = format!("{mark}{text}");
        all.push(text.clone().into_bytes());
        all.push(text.encode_utf16().flat_map(u16::to_le_bytes).collect());
        all.push(text.encode_utf16().flat_map(u16::to_be_bytes).collect());
        all.push(text.chars().flat_map(|c| u32::from(c).to_le_bytes()).collect());
        all.push(text.chars().flat_map(|c| u32::from(c).to_be_bytes()).collect());
    }
    all
}

#[test]
fn standard_json_is_read() {
    let text = r#" {"a" : [1, -2.5e3, true, false, null, "x\n\u00e9\ud83d\ude00"], "b":{}, "":[[]]} "#;
    assert_eq!(value(text).unwrap(), serde_json::from_str::<Value>(text).unwrap());
    for text in ["1", "\"x\"", "null", "[]", "18446744073709551615", "-9223372036854775808", "0.1", "1e-400", "-0", "123456789012345678901"]
    {
        assert_eq!(value(text).unwrap(), serde_json::from_str::<Value>(text).unwrap(), "{text}");
    }
}

#[test]
fn pythons_extensions_are_read_and_are_null_if_a_value_cannot_hold_them() {
    for number in ["NaN", "Infinity", "-Infinity", "1e999", "-1E+400"] {
        assert_eq!(value(format!("[0.0,{number}]")).unwrap(), json!([0.0, null]), "{number}");
    }
    let long = "9".repeat(5000);
    assert_eq!(value(format!("[{long}]")).unwrap(), json!([null]));
    assert_eq!(value(format!("[0.{long}]")).unwrap(), json!([1.0]));
    for half in [r#""\ud800""#, r#""\ude00x""#, r#""\ud800\n""#, r#""\ud800\ud800""#] {
        assert_eq!(value(format!("[{half},1]")).unwrap(), json!([null, 1]), "{half}");
    }
    assert_eq!(value(r#""\ud800\ud83d\ude00""#).unwrap(), json!(null));
    // Raw surrogate bytes: Python's decoder accepts them too.
    assert_eq!(value(b"[\"\xed\xa0\x80\"]").unwrap(), json!([null]));
    assert_eq!(value(r#"{"a":1,"b":2,"a":3}"#).unwrap(), json!({"a": 3, "b": 2}));
}

#[test]
fn all_encodings_of_a_document_give_the_same_value() {
    for text in [r#"{"é":"😀","b":[1]}"#, "[]", "{\n\"a\" : 1}"] {
        let expected: Value = serde_json::from_str(text).unwrap();
        for bytes in encodings(text) {
            assert!(begins_like_json(&bytes), "{bytes:?}");
            assert_eq!(value(&bytes).as_ref(), Ok(&expected), "{bytes:?}");
        }
    }
    // Unpaired surrogates in UTF-16, which are not characters.
    let units = |units: &[u16]| units.iter().flat_map(|unit| unit.to_le_bytes()).collect::<Vec<u8>>();
    assert_eq!(value(units(&[0x5b, 0x22, 0xd800, 0x22, 0x5d])).unwrap(), json!([null]));
    let mut reader = Reader::new(&*units(&[0x22, 0xd800, 0xd83d, 0xde00, 0x22]).leak(), 100);
    assert_eq!(reader.next(), Ok(Some(Event::String(Text { text: "\u{fffd}😀", is_exact: false }))));
    for broken in [&b"[\"\xff\"]"[..], b"[\"\xc0\x80\"]", b"[\"\xe2\x82\"]", b"[\0]\0\0", b"[\0\0\0\0\0\x11\0"] {
        assert!(value(broken).unwrap_err().is_invalid(), "{broken:?}");
    }
}

#[test]
fn documents_that_python_refuses_are_refused_with_their_position() {
    for (text, line, column, why) in [
        ("", 1, 1, "file ends before"),
        ("{", 1, 2, "file ends before"),
        ("{\n \"a\": nope}", 2, 8, "such as `null`"),
        ("{\n \"a\": nul", 2, 10, "such as `null`"),
        ("[1,]", 1, 4, "expected a value"),
        ("{\"a\":1,}", 1, 8, "a key in double quotes"),
        ("{a:1}", 1, 2, "a key in double quotes"),
        ("{\"a\" 1}", 1, 6, "expected a colon after the key \"a\""),
        ("[1 2]", 1, 4, "a comma or `]`"),
        ("{\"a\":1]", 1, 7, "a comma or `}`"),
        ("[01]", 1, 3, "a comma or `]`"),
        ("[1.]", 1, 4, "after the decimal point"),
        ("[1e]", 1, 4, "exponent"),
        ("[-]", 1, 3, "a digit"),
        ("[-NaN]", 1, 3, "a digit"),
        ("[.5]", 1, 2, "expected a value"),
        ("[+1]", 1, 2, "expected a value"),
        ("['a']", 1, 2, "expected a value"),
        ("[\"é\t\"]", 1, 4, "control character"),
        ("[\"\\x41\"]", 1, 4, "not a valid escape"),
        ("[\"\\u12g4\"]", 1, 7, "four hexadecimal digits"),
        ("[\"a", 1, 4, "ends inside a text"),
        ("[] []", 1, 4, "more text after the end"),
        ("// x\n[]", 1, 1, "expected a value"),
        ("[1]\u{a0}", 1, 4, "more text after the end"),
    ] {
        let error = value(text).unwrap_err();
        assert_eq!((error.line, error.column), (line, column), "{text}: {error}");
        assert!(error.to_string().contains(why) && error.is_invalid(), "{text}: {error}");
    }
}

#[test]
fn nesting_uses_no_stack_and_is_limited() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(Reader::new(nested(MAX_DEPTH).as_bytes(), 0).finish(), Ok(()));
    let error = value(nested(MAX_DEPTH + 1)).unwrap_err();
    assert!(!error.is_invalid() && error.column == MAX_DEPTH as u64 + 1, "{error}");
    assert_eq!(value(format!(r#"{{"deep":{},"a":1}}"#, nested(50_000))).unwrap()["a"], 1);
}

#[test]
fn the_memory_of_kept_values_is_bounded() {
    let many = format!("{{\"many\":[{}0],\"a\":1}}", "0,".repeat(1_000_000));
    let error = value(&many).unwrap_err();
    assert!(!error.is_invalid() && error.to_string().contains("more than 64 MiB"), "{error}");
    assert_eq!(super::read(many.as_bytes(), Keep::Fields(&["a", "b"])).unwrap(), json!({"a": 1}));
    let fields = br#"{"x":{"a":2},"a":{"x":1},"y":"text","x":[1,[2]]}"#;
    assert_eq!(super::read(&fields[..], Keep::Fields(&["a"])).unwrap(), json!({"a": {"x": 1}}));
    let long = format!(r#"{{"a":"{}","b":1}}"#, "x".repeat((1 << 20) + 1));
    assert_eq!(value(long).unwrap(), json!({"a": null, "b": 1}));
    let mut reader = Reader::new(&b"\"abcdef\""[..], 3);
    assert_eq!(reader.next(), Ok(Some(Event::String(Text { text: "abc", is_exact: false }))));
}

#[test]
fn parts_before_an_error_are_read() {
    let mut reader = Reader::new(&br#"{"a":["b","#[..], 100);
    let exact = |text| Text { text, is_exact: true };
    for expected in [Event::BeginObject, Event::Key(exact("a")), Event::BeginArray, Event::String(exact("b"))] {
        assert_eq!(reader.next(), Ok(Some(expected)));
    }
    assert!(reader.next().is_err());
}

#[test]
fn only_arrays_and_objects_can_be_configs() {
    for first in [&b"{"[..], b" \n[", b"\xef\xbb\xbf{", &[b' '; 4096]] {
        assert!(begins_like_json(first), "{first:?}");
    }
    for first in [&b"1"[..], b"\"a\"", b"text", b"\x80\x02", b"\xff"] {
        assert!(!begins_like_json(first), "{first:?}");
    }
}
