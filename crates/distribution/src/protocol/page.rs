//! Paginated lists: `n`, `last` and the `Link` header (OCI distribution specification, "Listing
//! Tags").

use super::query::Query;

/// The requested part of a sorted list.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    /// The maximum number of entries.
    pub(crate) n: Option<usize>,
    /// Only entries after this one.
    pub(crate) last: Option<String>,
}

impl Page {
    /// Reads the parameters `n` and `last`. Returns `None` if `n` is not a number.
    pub(crate) fn parse(query: &Query) -> Option<Self> {
        let n = query.get("n").map(str::parse).transpose().ok()?;
        Some(Self { n, last: query.get("last").map(str::to_owned) })
    }

    /// The entries of this page of `sorted`, and the key of the last one if more follow.
    pub(crate) fn cut<T>(&self, sorted: Vec<T>, key: impl Fn(&T) -> String) -> (Vec<T>, Option<String>) {
        let after = |entry: &T| self.last.as_ref().is_none_or(|last| key(entry) > *last);
        let mut entries: Vec<T> = sorted.into_iter().filter(after).collect();
        let n = self.n.unwrap_or(usize::MAX);
        let more = entries.len() > n;
        entries.truncate(n);
        let next = entries.last().filter(|_| more).map(key);
        (entries, next)
    }
}

/// The value of a `Link` header for the next page of `path`.
pub(crate) fn print_next(path: &str, query: &Query) -> String {
    format!("<{path}?{query}>; rel=\"next\"")
}

/// The location of the next page, from a `Link` header.
pub(crate) fn parse_next(header: &str) -> Option<&str> {
    let is_next = |parameter: &str| {
        parameter.trim().split_once('=').is_some_and(|(name, value)| name.trim() == "rel" && value.trim().trim_matches('"') == "next")
    };
    let mut rest = header;
    while let Some((_, link)) = rest.split_once('<') {
        let (target, after) = link.split_once('>')?;
        let (parameters, others) = after.split_once('<').unwrap_or((after, ""));
        if parameters.trim_end().trim_end_matches(',').split(';').any(is_next) {
            return Some(target);
        }
        rest = if others.is_empty() { "" } else { &after[parameters.len()..] };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(query: &str) -> (Vec<&'static str>, Option<String>) {
        Page::parse(&Query::parse(query)).unwrap().cut(vec!["a", "b", "c", "d"], |s| (*s).to_owned())
    }

    #[test]
    fn a_page_has_at_most_n_entries_after_last() {
        assert_eq!(cut(""), (vec!["a", "b", "c", "d"], None));
        assert_eq!(cut("n=2"), (vec!["a", "b"], Some("b".into())));
        assert_eq!(cut("n=2&last=b"), (vec!["c", "d"], None));
        assert_eq!(cut("last=bb"), (vec!["c", "d"], None));
        assert_eq!(cut("n=9&last=d"), (vec![], None));
        assert_eq!(cut("n=0"), (vec![], None));
        for bad in ["n=x", "n=-1", "n=", "n=99999999999999999999999"] {
            assert_eq!(Page::parse(&Query::parse(bad)), None, "{bad}");
        }
    }

    #[test]
    fn the_next_page_is_parsed_from_a_link() {
        let link = print_next("/v2/a/tags/list", &Query::default().with("n", 2).with("last", "b"));
        assert_eq!(link, "</v2/a/tags/list?n=2&last=b>; rel=\"next\"");
        assert_eq!(parse_next(&link), Some("/v2/a/tags/list?n=2&last=b"));
        assert_eq!(parse_next("<http://h/x>; rel=next"), Some("http://h/x"));
        assert_eq!(parse_next("</first>; rel=\"prev\", </second>; title=x; rel=\"next\""), Some("/second"));
        for none in ["", "</x>", "</x>; rel=\"prev\"", "</x", "x; rel=next"] {
            assert_eq!(parse_next(none), None, "{none:?}");
        }
    }
}
