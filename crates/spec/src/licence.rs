//! SPDX licence expressions (SPDX specification 2.3, annex D).

use spdx::{Expression, ParseMode, identifiers};
use std::{collections::HashMap, sync::LazyLock};

/// Deprecated identifiers such as `GPL-2.0+` are still valid.
const MODE: ParseMode = ParseMode { allow_deprecated: true, allow_postfix_plus_on_gpl: true, ..ParseMode::STRICT };

/// The identifiers of the SPDX lists by their lower-case form. A map, because a text may have
/// hundreds of thousands of words.
static LISTED: LazyLock<HashMap<String, &'static str>> = LazyLock::new(|| {
    let licences = identifiers::LICENSES.iter().map(|licence| licence.name);
    let exceptions = identifiers::EXCEPTIONS.iter().map(|exception| exception.name);
    licences.chain(exceptions).map(|name| (name.to_ascii_lowercase(), name)).collect()
});

/// Why `text` is not a valid SPDX licence expression, or `None` if it is one.
pub fn licence_fault(text: &str) -> Option<String> {
    // SPDX identifiers are case-insensitive, but the parser compares them case-sensitively.
    let listed = match in_listed_case(text) {
        Ok(listed) => listed,
        Err(fault) => return Some(fault),
    };
    let error = Expression::parse_mode(&listed, MODE).err()?;
    let part = text.get(error.span.clone()).unwrap_or(text);
    Some(format!("{:?}: {}", part, error.reason))
}

/// Whether `text` is an SPDX licence expression: identifiers from the SPDX lists or
/// `LicenseRef-NAME`, joined by `AND`, `OR` and `WITH`.
pub fn is_licence_expression(text: &str) -> bool {
    licence_fault(text).is_none()
}

/// Writes each identifier of `text` in the case of the SPDX lists. Fails on words that the parser
/// accepts but the grammar does not.
fn in_listed_case(text: &str) -> Result<String, String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    let mut listed = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let name = LISTED.get(&word.to_ascii_lowercase()).copied().unwrap_or(word);
        match name {
            "and" | "or" | "with" => return Err(format!("{word:?}: operators must be in upper case")),
            "LicenseRef-" | "DocumentRef-" | "AdditionRef-" => return Err(format!("{word:?}: no name follows")),
            // Valid in other fields of an SPDX document. The parser's list contains it, but it is
            // not a licence.
            "NOASSERTION" => return Err(format!("{word:?}: it is not a licence")),
            _ => listed.push_str(name),
        }
        let next = after.find(is_part).unwrap_or(after.len());
        listed.push_str(&after[..next]);
        rest = &after[next..];
    }
    Ok(listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spdx_expressions_are_accepted_and_other_names_are_refused() {
        for good in [
            "Apache-2.0",
            "apache-2.0",
            "MIT OR Apache-2.0",
            "(MIT AND BSD-3-Clause) OR Apache-2.0 WITH LLVM-exception",
            "Apache-2.0 WITH llvm-exception",
            "GPL-2.0+",
            "MIT+",
            "GPL-3.0-or-later",
            "GPL-3.0",
            "LicenseRef-llama3.1",
            "DocumentRef-a:LicenseRef-b",
            "CC-BY-NC-4.0",
        ] {
            assert_eq!(licence_fault(good), None, "{good}");
        }
        for bad in [
            "",
            " ",
            "llama3.1",
            "Apache 2.0",
            "MIT OR",
            "MIT or Apache-2.0",
            "MIT Or Apache-2.0",
            "MIT, Apache-2.0",
            "MIT/Apache-2.0",
            "(MIT",
            "MIT)",
            "other",
            "Apache-2.0 WITH MIT",
            "LicenseRef-",
            "LicenseRef-a_b",
            "DocumentRef-:LicenseRef-b",
            "DocumentRef-a:LicenseRef-",
            "NONE",
            "NOASSERTION",
            "noassertion",
            "é",
        ] {
            assert!(!is_licence_expression(bad), "{bad}");
        }
    }
}
