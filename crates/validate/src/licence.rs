//! SPDX licence expressions (SPDX specification 2.3, annex D).

use spdx::{Expression, ParseMode, identifiers};

/// Identifiers that were replaced are still identifiers, `GPL-2.0+` among them.
const MODE: ParseMode = ParseMode { allow_deprecated: true, allow_postfix_plus_on_gpl: true, ..ParseMode::STRICT };

/// What is wrong with `text` as an expression, if anything is.
pub(crate) fn fault(text: &str) -> Option<String> {
    // An identifier is one in any case, which the parser does not know.
    let error = Expression::parse_mode(&in_listed_case(text), MODE).err()?;
    let part = text.get(error.span.clone()).unwrap_or(text);
    Some(format!("{:?}: {}", part, error.reason))
}

/// `text` with each identifier as the lists of SPDX write it.
fn in_listed_case(text: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    let mut listed = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        listed.push_str(name(word).unwrap_or(word));
        let next = after.find(is_part).unwrap_or(after.len());
        listed.push_str(&after[..next]);
        rest = &after[next..];
    }
    listed
}

/// The name in the lists that differs from `word` in case only.
fn name(word: &str) -> Option<&'static str> {
    let licences = identifiers::LICENSES.iter().map(|licence| licence.name);
    let exceptions = identifiers::EXCEPTIONS.iter().map(|exception| exception.name);
    licences.chain(exceptions).find(|name| name.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::fault;

    #[test]
    fn expressions_of_spdx_are_taken_and_other_names_are_not() {
        for good in [
            "Apache-2.0",
            "apache-2.0",
            "MIT OR Apache-2.0",
            "(MIT AND BSD-3-Clause) OR Apache-2.0 WITH LLVM-exception",
            "GPL-2.0+",
            "GPL-3.0-or-later",
            "GPL-3.0",
            "LicenseRef-llama3.1",
            "DocumentRef-a:LicenseRef-b",
            "CC-BY-NC-4.0",
        ] {
            assert_eq!(fault(good), None, "{good}");
        }
        for bad in ["", " ", "llama3.1", "Apache 2.0", "MIT OR", "MIT, Apache-2.0", "(MIT", "MIT)", "other", "Apache-2.0 WITH MIT", "é"] {
            assert!(fault(bad).is_some(), "{bad}");
        }
    }
}
