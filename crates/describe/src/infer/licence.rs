//! Licences as SPDX identifiers, from the names in model cards and from the texts of licence files.

use super::{
    findings::{Findings, field},
    folder::{Folder, beginning},
};
use modelpack_spec::value::is_licence_expression;

/// The beginning of a licence file identifies the licence; the rest is not read.
const MAX_LICENCE_BYTES: u64 = 64 << 10;
/// The identifying words must be within this many characters. Further down, licences mention
/// others.
const TOP_CHARS: usize = 2000;

/// Names in model cards, and their SPDX identifiers. Other names become `LicenseRef-` identifiers.
const NAMES: [(&str, &str); 68] = [
    ("apache-2.0", "Apache-2.0"),
    ("mit", "MIT"),
    ("afl-3.0", "AFL-3.0"),
    ("agpl-3.0", "AGPL-3.0-only"),
    ("artistic-2.0", "Artistic-2.0"),
    ("bsd-2-clause", "BSD-2-Clause"),
    ("bsd-3-clause", "BSD-3-Clause"),
    ("bsd-3-clause-clear", "BSD-3-Clause-Clear"),
    ("bsl-1.0", "BSL-1.0"),
    ("c-uda", "C-UDA-1.0"),
    ("cc0-1.0", "CC0-1.0"),
    ("cc-by-2.0", "CC-BY-2.0"),
    ("cc-by-2.5", "CC-BY-2.5"),
    ("cc-by-3.0", "CC-BY-3.0"),
    ("cc-by-4.0", "CC-BY-4.0"),
    ("cc-by-sa-3.0", "CC-BY-SA-3.0"),
    ("cc-by-sa-4.0", "CC-BY-SA-4.0"),
    ("cc-by-nc-2.0", "CC-BY-NC-2.0"),
    ("cc-by-nc-3.0", "CC-BY-NC-3.0"),
    ("cc-by-nc-4.0", "CC-BY-NC-4.0"),
    ("cc-by-nd-4.0", "CC-BY-ND-4.0"),
    ("cc-by-nc-nd-3.0", "CC-BY-NC-ND-3.0"),
    ("cc-by-nc-nd-4.0", "CC-BY-NC-ND-4.0"),
    ("cc-by-nc-sa-2.0", "CC-BY-NC-SA-2.0"),
    ("cc-by-nc-sa-3.0", "CC-BY-NC-SA-3.0"),
    ("cc-by-nc-sa-4.0", "CC-BY-NC-SA-4.0"),
    ("cdla-permissive-1.0", "CDLA-Permissive-1.0"),
    ("cdla-permissive-2.0", "CDLA-Permissive-2.0"),
    ("cdla-sharing-1.0", "CDLA-Sharing-1.0"),
    ("ecl-2.0", "ECL-2.0"),
    ("epl-1.0", "EPL-1.0"),
    ("epl-2.0", "EPL-2.0"),
    ("etalab-2.0", "etalab-2.0"),
    ("eupl-1.1", "EUPL-1.1"),
    ("eupl-1.2", "EUPL-1.2"),
    ("gpl-2.0", "GPL-2.0-only"),
    ("gpl-3.0", "GPL-3.0-only"),
    ("isc", "ISC"),
    ("lgpl-2.1", "LGPL-2.1-only"),
    ("lgpl-3.0", "LGPL-3.0-only"),
    ("lgpl-lr", "LGPLLR"),
    ("lppl-1.3c", "LPPL-1.3c"),
    ("mpl-2.0", "MPL-2.0"),
    ("ms-pl", "MS-PL"),
    ("mulanpsl-2.0", "MulanPSL-2.0"),
    ("ncsa", "NCSA"),
    ("odbl", "ODbL-1.0"),
    ("odc-by", "ODC-By-1.0"),
    ("ofl-1.1", "OFL-1.1"),
    ("osl-3.0", "OSL-3.0"),
    ("pddl", "PDDL-1.0"),
    ("postgresql", "PostgreSQL"),
    ("unlicense", "Unlicense"),
    ("wtfpl", "WTFPL"),
    ("zlib", "Zlib"),
    // Full names and common spellings.
    ("agpl-3.0-only", "AGPL-3.0-only"),
    ("gpl-2.0-only", "GPL-2.0-only"),
    ("gpl-3.0-only", "GPL-3.0-only"),
    ("gpl-3.0-or-later", "GPL-3.0-or-later"),
    ("gpl-2.0-or-later", "GPL-2.0-or-later"),
    ("agpl-3.0-or-later", "AGPL-3.0-or-later"),
    ("lgpl-2.1-only", "LGPL-2.1-only"),
    ("lgpl-2.1-or-later", "LGPL-2.1-or-later"),
    ("lgpl-3.0-only", "LGPL-3.0-only"),
    ("lgpl-3.0-or-later", "LGPL-3.0-or-later"),
    ("apache 2.0", "Apache-2.0"),
    ("apache license 2.0", "Apache-2.0"),
    ("mit license", "MIT"),
];

/// Words near the beginning of a licence's text that no other licence has there, in lower case with
/// single spaces, and its identifier.
const TEXTS: [(&str, &str); 26] = [
    ("apache license version 2.0, january 2004", "Apache-2.0"),
    ("permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated", "MIT"),
    ("gnu affero general public license version 3, 19 november 2007", "AGPL-3.0-only"),
    ("gnu lesser general public license version 3, 29 june 2007", "LGPL-3.0-only"),
    ("gnu lesser general public license version 2.1, february 1999", "LGPL-2.1-only"),
    ("gnu general public license version 3, 29 june 2007", "GPL-3.0-only"),
    ("gnu general public license version 2, june 1991", "GPL-2.0-only"),
    ("mozilla public license version 2.0", "MPL-2.0"),
    ("this is free and unencumbered software released into the public domain", "Unlicense"),
    ("cc0 1.0 universal", "CC0-1.0"),
    ("attribution 4.0 international", "CC-BY-4.0"),
    ("attribution-sharealike 4.0 international", "CC-BY-SA-4.0"),
    ("attribution-noncommercial 4.0 international", "CC-BY-NC-4.0"),
    ("attribution-noderivatives 4.0 international", "CC-BY-ND-4.0"),
    ("attribution-noncommercial-sharealike 4.0 international", "CC-BY-NC-SA-4.0"),
    ("attribution-noncommercial-noderivatives 4.0 international", "CC-BY-NC-ND-4.0"),
    ("llama 2 community license agreement", "LicenseRef-llama2"),
    ("llama 3 community license agreement", "LicenseRef-llama3"),
    ("llama 3.1 community license agreement", "LicenseRef-llama3.1"),
    ("llama 3.2 community license agreement", "LicenseRef-llama3.2"),
    ("llama 3.3 community license agreement", "LicenseRef-llama3.3"),
    ("llama 4 community license agreement", "LicenseRef-llama4"),
    ("gemma terms of use", "LicenseRef-gemma"),
    ("bigscience openrail-m", "LicenseRef-bigscience-openrail-m"),
    ("creativeml open rail-m", "LicenseRef-creativeml-openrail-m"),
    ("creativeml openrail-m", "LicenseRef-creativeml-openrail-m"),
];

/// Words of texts that begin like a licence but are another one: with additional terms, or with the
/// same first words.
const OTHERS: [(&str, &str); 7] = [
    ("MIT", "modified mit"),
    ("MIT", "redistributions of source code must retain"),
    ("MIT", "good, not evil"),
    ("MIT", "except as contained in this notice"),
    ("MIT", "commons clause"),
    ("Apache-2.0", "commons clause"),
    ("Apache-2.0", "llvm exceptions to the apache 2.0 license"),
];

/// Records the licence of the licence file.
pub(super) fn describe(folder: &Folder<'_>, found: &mut Findings) {
    let is_licence = |name: &str| {
        let name = name.to_ascii_lowercase();
        let stem = name.strip_suffix(".txt").or_else(|| name.strip_suffix(".md")).unwrap_or(&name);
        matches!(stem, "license" | "licence" | "copying")
    };
    let Some(file) = folder.find(is_licence) else { return };
    let identifier = beginning(file, MAX_LICENCE_BYTES).as_deref().and_then(of_text);
    found.say(field::LICENSES, identifier.map(|id| vec![id]), file.path.as_str());
}

/// The SPDX expression for the given name of a licence, or a `LicenseRef-` if SPDX has none. `None`
/// for names without a meaning.
pub(crate) fn spdx(name: &str) -> Option<String> {
    let stated = name.trim();
    let name = stated.to_ascii_lowercase();
    if matches!(name.as_str(), "other" | "unknown" | "none") || !name.contains(|c: char| c.is_ascii_alphanumeric()) {
        return None;
    }
    let as_stated = || is_licence_expression(stated).then(|| stated.to_owned());
    let expression = || [(" or ", " OR "), (" and ", " AND ")].iter().find_map(|(word, operator)| joined(&name, word, operator));
    Some(known(&name).map(str::to_owned).or_else(as_stated).or_else(expression).unwrap_or_else(|| reference(&name)))
}

/// An expression of known licences, joined by one operator.
fn joined(name: &str, word: &str, operator: &str) -> Option<String> {
    let parts: Option<Vec<&str>> = name.split(word).map(|part| known(part.trim())).collect();
    parts.filter(|parts| parts.len() > 1).map(|parts| parts.join(operator))
}

/// The SPDX identifier for a common name of a licence, in any case.
pub(crate) fn known(name: &str) -> Option<&'static str> {
    NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, identifier)| *identifier)
}

/// The identifier of a licence whose name `text` is, or begins with: `AGPL-3.0 License
/// (https://…)`.
pub(super) fn named(text: &str) -> Option<&'static str> {
    known(text.trim()).or_else(|| known(text.split_whitespace().next()?))
}

/// A custom name in SPDX form: letters, digits, `-` and `.` after `LicenseRef-`.
fn reference(name: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    format!("LicenseRef-{}", name.trim().chars().map(allowed).collect::<String>())
}

/// Whether a text has the distinguishing part of the licence. MIT without its condition is MIT-0.
fn is_whole(id: &str, text: &str) -> bool {
    id != "MIT" || text.contains("the above copyright notice and this permission notice")
}

/// The licence whose words occur first.
fn of_text(text: &str) -> Option<&'static str> {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
    let end = text.char_indices().nth(TOP_CHARS).map_or(text.len(), |(end, _)| end);
    let top = &text[..end];
    if let Some(found) = TEXTS.iter().filter_map(|(words, id)| Some((top.find(words)?, *id))).min() {
        return Some(found.1).filter(|id| !OTHERS.iter().any(|(of, words)| of == id && text.contains(words)) && is_whole(id, &text));
    }
    // The BSD licences have the same first words, and differ in the rest.
    if !top.contains("redistribution and use in source and binary forms, with or without modification") {
        return None;
    }
    let has = |words: &str| text.contains(words);
    match (has("all advertising materials mentioning"), has("neither the name")) {
        (true, _) => None,
        (false, true) if has("no express or implied licenses to any party's patent rights") => Some("BSD-3-Clause-Clear"),
        (false, true) => Some("BSD-3-Clause"),
        (false, false) => Some("BSD-2-Clause"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_identifiers_or_references() {
        for (name, expected) in [
            ("apache-2.0", Some("Apache-2.0")),
            ("MIT", Some("MIT")),
            ("gpl-3.0", Some("GPL-3.0-only")),
            ("llama3.1", Some("LicenseRef-llama3.1")),
            ("Apache-2.0 OR MIT", Some("Apache-2.0 OR MIT")),
            ("mit and mine", Some("LicenseRef-mit-and-mine")),
            ("LGPL-3.0-or-later", Some("LGPL-3.0-or-later")),
            ("openrail++", Some("LicenseRef-openrail--")),
            ("My Licence (v1)", Some("LicenseRef-my-licence--v1-")),
            ("other", None),
            ("unknown", None),
            ("", None),
        ] {
            assert_eq!(spdx(name).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn a_name_may_be_followed_by_more() {
        assert_eq!(named("AGPL-3.0 License (https://example.com/license)"), Some("AGPL-3.0-only"));
        assert_eq!(named("apache license 2.0"), Some("Apache-2.0"));
        assert_eq!(named("my own"), None);
        assert_eq!(named(""), None);
    }

    #[test]
    fn texts_are_identified_by_their_first_words() {
        let mit = "Permission is hereby granted, free of charge, to any person obtaining a copy\nof this software and associated documentation files";
        let bsd = "Copyright (c) X\n\nRedistribution and use in source and binary forms, with or without\nmodification, are permitted.";
        for (text, expected) in [
            ("                                 Apache License\n                           Version 2.0, January 2004\n", Some("Apache-2.0")),
            (
                &format!(
                    "MIT License\n\nCopyright (c) X\n\n{mit}, subject to: The above copyright notice and this permission\nnotice shall be included"
                ),
                Some("MIT"),
            ),
            (&format!("MIT No Attribution\n\n{mit}, including without limitation"), None),
            (
                &format!(
                    "University of Illinois/NCSA\n{mit}. * Redistributions of source code must retain the above copyright notice and this permission notice"
                ),
                None,
            ),
            ("\"Commons Clause\" License Condition v1.0\nLicense: Apache License\nVersion 2.0, January 2004\n", None),
            ("Apache License\nVersion 2.0, January 2004\n---- LLVM Exceptions to the Apache 2.0 License ----", None),
            (
                "Modified MIT License\nPermission is hereby granted, free of charge, to any person obtaining a copy\nof this software and associated documentation files",
                None,
            ),
            (bsd, Some("BSD-2-Clause")),
            (&format!("{bsd} Neither the name of X"), Some("BSD-3-Clause")),
            ("GNU GENERAL PUBLIC LICENSE\n Version 3, 29 June 2007", Some("GPL-3.0-only")),
            ("GNU AFFERO GENERAL PUBLIC LICENSE\n Version 3, 19 November 2007", Some("AGPL-3.0-only")),
            ("LLAMA 3.1 COMMUNITY LICENSE AGREEMENT\nLlama 3.1 Version Release Date", Some("LicenseRef-llama3.1")),
            ("Meta Llama 3 Community License Agreement", Some("LicenseRef-llama3")),
            ("Gemma Terms of Use", Some("LicenseRef-gemma")),
            ("Attribution-NonCommercial 4.0 International", Some("CC-BY-NC-4.0")),
            ("All rights reserved.", None),
            ("", None),
        ] {
            assert_eq!(of_text(text), expected, "{text}");
        }
        let below = format!("{} Apache License Version 2.0, January 2004", "my own terms ".repeat(1000));
        assert_eq!(of_text(&below), None);
    }
}
