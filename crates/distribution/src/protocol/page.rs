//! Paginated lists: `n` and `last` (OCI distribution specification, "Listing Tags").

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
}
