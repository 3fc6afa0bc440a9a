//! `Link` headers, with which a server names the next page of a list (RFC 8288).

/// The target of the first link in a header whose relation is `next`.
///
/// Links that cannot be understood are skipped.
pub fn parse_next(header: &str) -> Option<&str> {
    let mut rest = header;
    loop {
        let (target, after) = rest.split_once('<')?.1.split_once('>')?;
        let (is_next, others) = parameters(after);
        if is_next {
            return Some(target);
        }
        rest = others;
    }
}

/// The value of a `Link` header that names the next page.
pub fn print_next(target: &str) -> String {
    format!("<{target}>; rel=\"next\"")
}

/// Whether the parameters of a link say that it is the next page, and the links after it. A quoted value may contain any separator.
fn parameters(text: &str) -> (bool, &str) {
    let (mut is_next, mut is_quoted, mut begin) = (false, false, 0);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'"' => is_quoted = !is_quoted,
            b';' | b',' if !is_quoted => {
                is_next |= means_next(&text[begin..at]);
                begin = at + 1;
                if byte == b',' {
                    return (is_next, &text[begin..]);
                }
            }
            _ => {}
        }
    }
    (is_next || means_next(&text[begin..]), "")
}

/// Whether a parameter is `rel` with `next` among its values.
fn means_next(parameter: &str) -> bool {
    parameter.split_once('=').is_some_and(|(name, value)| {
        let mut relations = value.trim().trim_matches('"').split_whitespace();
        name.trim().eq_ignore_ascii_case("rel") && relations.any(|relation| relation.eq_ignore_ascii_case("next"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found_among_links() {
        assert_eq!(parse_next(&print_next("/v2/a/tags/list?n=2&last=b")), Some("/v2/a/tags/list?n=2&last=b"));
        for (header, expected) in [
            ("<http://h/x>; rel=next", "http://h/x"),
            ("</x>;rel=\"next\"", "/x"),
            ("</x> ; REL = \"Next\"", "/x"),
            ("</x>; rel=\"last next\"", "/x"),
            ("</first>; rel=\"prev\", </second>; title=x; rel=\"next\"", "/second"),
            ("</x?a=1,2;3>; title=\"a, <b>; rel=prev\"; rel=next", "/x?a=1,2;3"),
            ("</first>, </second>; rel=next", "/second"),
        ] {
            assert_eq!(parse_next(header), Some(expected), "{header}");
        }
        for none in ["", "</x>", "</x>; rel=\"prev\"", "</x>; title=\"; rel=next\"", "</x>; rel=\"nextpage\"", "</x", "x; rel=next"] {
            assert_eq!(parse_next(none), None, "{none:?}");
        }
    }
}
